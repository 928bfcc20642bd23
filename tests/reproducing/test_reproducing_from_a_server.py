"""Runs whose store is a server: their source, data and environment come over HTTP, to a machine that has nothing of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stratal.cli.app import main
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run

pytestmark = pytest.mark.slow

PROGRAM = """
import random, sys
import polars as pl
import stratal as st
import part

st.seed_everything(7)
frame = st.dataset("churn", pl.DataFrame({"x": [1.0, 2.0, 3.0]})).frame()
with st.run("e", params={"lr": 0.1}) as run:
    run.use("dataset:churn@1")
    for step in range(9):
        run.log({"loss": part.halved(frame["x"].sum() + random.gauss(0, 1))}, step=step)
    run.save_bytes("notes.txt", b"fine")
"""


@pytest.fixture
def made(tmp_path: Path, served_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A program that ran on one machine, and a second one which is to reproduce its run."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "part.py").write_text("def halved(x): return x * 0.5\n")
    (project / "train.py").write_text(PROGRAM.replace("", ""))
    environ = {**os.environ, "STRATAL_CAPTURE": "on", "STRATAL_STORE": served_url, "XDG_STATE_HOME": str(tmp_path / "one")}
    subprocess.run([sys.executable, "train.py", "--lr", "0.1"], cwd=project, env=environ, check=True)
    for file in project.iterdir():
        if file.is_file():
            file.unlink()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    monkeypatch.setenv("STRATAL_STORE", served_url)
    yield served_url
    away = open_store(served_url)
    away.uploader.finish()
    away.close()


def stratal(*words: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code


def test_a_run_of_a_server_is_reproduced_where_nothing_of_it_is(made: str, store, capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = find_runs("kind = 'train'", store=open_store(made))

    assert stratal("reproduce", f"run:{run.short}", "--here", "--check", "--json") == 0

    told = json.loads(capsys.readouterr().out)
    assert (told["verdict"], told["is_reproduced"]) == ("bit-identical", True)
    assert {each["metric"]: each["points"] for each in told["series"]}["loss"] == 9
    again = open_store(made)
    (stated,) = get_run(run.id, store=again).statements("reproduction")
    assert stated.body["verdict"] == "bit-identical"
    recorded = get_run(told["by"], store=again)
    assert recorded.experiment == "e"
    assert json.loads(recorded.read_artifact("reproduction.json"))["verdict"] == "bit-identical"
    assert len(find_runs("kind = 'train'", store=again)) == 1


def test_the_environment_of_a_run_of_a_server_is_written_down_for_a_container(made: str, tmp_path: Path) -> None:
    (run,) = find_runs("kind = 'train'", store=open_store(made))

    assert stratal("reproduce", f"run:{run.short}", "--dockerfile", str(tmp_path / "image")) == 0

    written = [path.name for path in (tmp_path / "image").rglob("*") if path.is_file()]
    assert {"Dockerfile", "train.py", "part.py"} <= set(written)
    assert stratal("reproduce", f"run:{run.short}", "--result", str(tmp_path / "nothing")) == 1
