"""The examples and the demo run as a user would run them, and do what they say. Excludes what each room tests by itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run

EXAMPLES = Path(__file__).parents[2] / "examples"
ENVIRON = {**os.environ, "OMP_NUM_THREADS": "1", "STRATAL_CAPTURE": "on"}
STRATAL = [sys.executable, "-c", "from stratal.cli.app import main; main()"]


def call(*words: str, cwd: Path, fails: bool = False) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, env=ENVIRON, timeout=900)
    assert (done.returncode != 0) == fails, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout if "--json" in words else done.stdout + done.stderr


@pytest.mark.slow
def test_digits_learns_on_two_ranks(tmp_path: Path):
    said = call(sys.executable, str(EXAMPLES / "digits.py"), cwd=tmp_path)
    assert "2 ranks" in said
    job = find_runs(experiment="digits", store=open_store(tmp_path / ".stratal"))[0]
    assert job.metrics["accuracy"] > 0.9
    assert job.kind == "job"
    said = json.loads(call(*STRATAL, "reproduce", job.id, "--here", "--check", "--json", cwd=tmp_path))
    assert said["verdict"] == "bit-identical", said
    assert {each["metric"]: each["points"] for each in said["series"]} == {"loss": 460, "accuracy": 20}


@pytest.mark.slow
def test_churn_reaches_staging_and_the_second_time_comes_from_the_cache(tmp_path: Path):
    assert len((EXAMPLES / "churn.py").read_text().splitlines()) < 150
    call(sys.executable, str(EXAMPLES / "churn.py"), cwd=tmp_path)
    store = open_store(tmp_path / ".stratal")
    trials = find_runs("kind = 'trial'", store=store)
    assert len(trials) == 20
    assert {trial.status for trial in trials} <= {"finished", "stopped"}
    models = json.loads(call(*STRATAL, "models", "churn", "--json", cwd=tmp_path))
    assert "Staging" in json.dumps(models)
    why = call(*STRATAL, "why", "model:churn@staging", cwd=tmp_path)
    for link in ("dataset:churn@1", "features:customer@1", "study:churn"):
        assert link in why
    call(sys.executable, str(EXAMPLES / "churn.py"), cwd=tmp_path)
    assert len(find_runs("kind = 'trial'", store=store)) == 20, "nothing was tried again"
    assert len(find_runs("kind = 'train'", store=store)) == 1, "nothing was trained again"
    said = json.loads(call(*STRATAL, "reproduce", "pipeline:churn@1", "--here", "--check", "--json", cwd=tmp_path))
    assert said["verdict"] == "bit-identical", said
    assert sum("trial" in each["run"] for each in said["series"]) == 40, "of each trial the metric and its last value"
    assert {each["verdict"] for each in said["series"]} == {"bit-identical"}
    said = json.loads(call(*STRATAL, "reproduce", trials[0].id, "--here", "--check", "--json", cwd=tmp_path))
    assert said["verdict"] == "bit-identical", said
    assert {each["metric"] for each in said["series"]} == {"auc", "value"}, "the trial by itself, in its step"
    refused = call(*STRATAL, "promote", "model:churn@staging", "Production", cwd=tmp_path, fails=True)
    assert "approval" in refused


@pytest.mark.slow
def test_the_demo_tells_the_whole_lifecycle_twice(tmp_path: Path):
    said = call(*STRATAL, "demo", cwd=tmp_path)
    for part in (
        "dataset:churn@1",
        "Weekly",
        "500 of 500",
        "40 trials",
        "network on 2 ranks",
        "fairness",
        "refused: 1 approval",
        "maria approves",
    ):
        assert part in said, said
    assert "the same as from the training frame" in said
    store = open_store(tmp_path / ".stratal")
    report = store.folder / "reports" / "churn-1.html"
    assert "<svg" in report.read_text()
    job = find_runs("kind = 'job'", store=store)[0]
    assert get_run(job.id, store=store).series("loss").values[-1] < 0.6
    assert "stopped early" in said
    again = call(*STRATAL, "demo", cwd=tmp_path)
    assert "came from the cache" in again
    assert len(find_runs("kind = 'job'", store=store)) == 1
    assert "in Production already" in again
