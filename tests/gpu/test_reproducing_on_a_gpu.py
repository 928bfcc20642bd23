"""Programs that train on a GPU are run again, whole and in part."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stratal.store.store import Store
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.reproducing.reproduce import reproduce
from stratal.tuning.studies import find_study

pytestmark = pytest.mark.gpu

WHOLE = """
import torch
import stratal as st
st.seed_everything(7, deterministic=True)
with st.run("e") as run:
    net = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(256, 1)).cuda()
    optimizer = torch.optim.AdamW(net.parameters())
    for step in range(30):
        optimizer.zero_grad()
        loss = net(torch.randn(512, 64, device="cuda")).square().mean()
        loss.backward()
        optimizer.step()
        run.log({"loss": loss}, step=step)
"""
TUNED = """
import torch
import stratal as st

def objective(trial):
    x = torch.randn(1000, device="cuda") * trial["x"]
    return x.square().mean().item()

st.seed_everything(7)
st.study("s", {"x": st.uniform(-1, 1)}, minimize="loss").optimize(objective, trials=4, workers=1)
"""


def started(tmp_path: Path, text: str) -> Store:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "train.py").write_text(text)
    environ = {**os.environ, "STRATAL_CAPTURE": "on", "STRATAL_STORE": str(tmp_path / "store"), "PYTHONHASHSEED": "0"}
    subprocess.run([sys.executable, "train.py"], cwd=tmp_path / "project", env=environ, check=True)
    return open_store(tmp_path / "store")


def test_a_seeded_training_comes_out_bit_for_bit(tmp_path: Path):
    store = started(tmp_path, WHOLE)
    (run,) = find_runs("kind = 'train'", store=store)
    made = reproduce(run.id, here=True, store=store)
    assert (made.verdict, made.is_reproduced, made.causes) == ("bit-identical", True, ())
    assert {each.metric: each.points for each in made.series}["loss"] == 30


def test_a_trial_that_draws_on_a_gpu_is_tried_again_by_itself_bit_for_bit(tmp_path: Path):
    store = started(tmp_path, TUNED)
    trial = find_study("s", store=store).trials[2]
    made = reproduce(trial.run, here=True, store=store)
    assert (made.verdict, made.notes) == ("bit-identical", ())
