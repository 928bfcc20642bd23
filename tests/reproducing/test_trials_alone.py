"""Trials replayed without their studies: pruned, failed, retried, on workers, over data, in other stores. In steps: parts of programs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stratal.cli.app import main
from stratal.core.errors import Misuse
from stratal.store.store import Store
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.reading import ReadRun, get_run
from stratal.tracking.reproducing.records import Reproduction
from stratal.tracking.reproducing.reproduce import reproduce
from stratal.tuning.space import uniform
from stratal.tuning.studies import find_study, study

pytestmark = pytest.mark.slow

# Nobody seeds anything. `part.SCALE` is changed in the process that makes the studies, which its workers do not see.
TUNED = """
import functools, os, random, signal, sys
from pathlib import Path
import numpy as np
import part
import stratal as st

def mark(name):
    with Path(os.environ["MARKS"]).open("a") as file:
        file.write(name + "\\n")

def walked(trial, data):
    mark(f"walked-{trial.number}")
    x = trial["x"]
    for step in range(8):
        x += random.gauss(0, 0.2)
        with st.run(name="inner") as run:
            run.log({"y": np.random.rand()})
        trial.report(abs(x) + data[0], step=step // 2)

def made(scale):
    def objective(trial, *, power):
        import late
        mark(f"made-{trial.number}")
        if trial.number == 1 and trial.attempt == 1:
            trial.report(99.0)
            os.kill(os.getpid(), signal.SIGKILL)
        if trial.number == 3:
            raise ValueError("no luck with 3")
        noise = late.noise(np.random.rand()) * part.SCALE
        return {"loss": scale * trial["x"] ** power + noise, "attempt": trial.attempt}
    return functools.partial(objective, power=2)

if __name__ == "__main__":
    part.SCALE = 5.0
    space = {"x": st.uniform(-1, 1)}
    if sys.argv[1] != "neither":
        first = st.study("first", space, minimize="loss", stopper=st.Median(startup=2), seed=1)
        first.optimize(walked, data=[0.5], trials=12, workers=1)
        st.study("second", space, minimize="loss", seed=first.optimize(walked, data=[0.5], trials=12).best.number).optimize(
            made(3.0), trials=5, workers=2)
    mark("after")
"""


def start(folder: Path, script: str, *words: str, marks: str = "marks", **variables: str) -> Store:
    environ = {**os.environ, "STRATAL_CAPTURE": "on", "STRATAL_STORE": str(folder / "store"), "MARKS": str(folder / marks), **variables}
    subprocess.run([sys.executable, script, *words], cwd=folder / "project", env=environ, check=True)
    return open_store(folder / "store")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Store]:
    folder = tmp_path_factory.mktemp("ran")
    (folder / "project").mkdir()
    for name, text in {"train.py": TUNED, "part.py": "SCALE = 1.0\n", "late.py": "def noise(x): return x * 0.5\n"}.items():
        (folder / "project" / name).write_text(text)
    return folder, start(folder, "train.py", "both")


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARKS", str(tmp_path / "marks"))
    return tmp_path / "marks"


def trial_of(store: Store, name: str, number: int) -> ReadRun:
    return get_run(find_study(name, store=store).trials[number].run, store=store)


def again(store: Store, run: ReadRun, **options: object) -> Reproduction:
    return reproduce(run.id, here=True, store=store, **options)  # type: ignore[arg-type]


def test_a_stopped_trial_is_stopped_where_it_was_and_nothing_else_of_the_program_is_tried(ran: tuple[Path, Store], marks: Path) -> None:
    trials = find_study("first", store=ran[1]).trials
    stopped = next(trial for trial in trials if trial.status == "stopped" and trial.number > 3)

    made = again(ran[1], get_run(stopped.run, store=ran[1]))

    assert (made.verdict, made.notes, made.exit_code) == ("bit-identical", (), 0)
    assert {each.metric: each.verdict for each in made.series} == {"loss": "bit-identical", "y": "bit-identical"}
    assert [(each.path, each.is_equal) for each in made.artifacts] == [("(output)", True)]
    assert marks.read_text().split() == [f"walked-{stopped.number}"]
    replayed = get_run(made.replay, store=open_store(Path(made.folder) / "store"))
    assert (replayed.status, replayed.params) == ("stopped", stopped.params)
    assert replayed.series("loss").steps[-1] == stopped.step
    assert find_study("first", store=ran[1]).trials == trials, "the study itself knows of nothing"


def test_a_trial_of_a_worker_is_tried_in_a_worker_by_what_the_program_closes_over(
    ran: tuple[Path, Store], marks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trial_of(ran[1], "second", 2)
    monkeypatch.setenv("STRATAL_STORE", ran[1].url)

    with pytest.raises(SystemExit) as ended:
        main(["reproduce", run.short, "--here", "--check", "--json"])

    assert ended.value.code == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["verdict"], said["notes"]) == ("bit-identical", [])
    assert {each["metric"] for each in said["series"]} == {"loss", "value", "attempt"}
    assert marks.read_text().split() == ["made-2"], "the other study came with its results"


def test_of_a_trial_whose_worker_died_the_last_attempt_is_tried_again(ran: tuple[Path, Store], marks: Path) -> None:
    run = trial_of(ran[1], "second", 1)
    assert run.metrics["attempt"] == 2

    made = again(ran[1], run, check=True)

    assert (made.verdict, made.notes) == ("bit-identical", ())
    assert marks.read_text().split() == ["made-1"]


def test_a_failed_trial_fails_again_with_the_same_error(ran: tuple[Path, Store], marks: Path) -> None:
    made = again(ran[1], trial_of(ran[1], "second", 3), check=True)

    assert (made.verdict, made.series, made.notes) == ("bit-identical", (), ())
    assert [(each.path, each.is_equal) for each in made.artifacts] == [("(output)", True)]


def test_a_changed_objective_is_told_with_the_first_step_that_it_changes(ran: tuple[Path, Store], marks: Path) -> None:
    script = ran[0] / "project" / "train.py"
    script.write_text(TUNED.replace("trial.report(abs(x) + data[0]", "trial.report(abs(x) + data[0] + (step > 3)"))
    try:
        made = again(ran[1], trial_of(ran[1], "first", 0), check=True, working_tree=True)
    finally:
        script.write_text(TUNED)

    assert (made.verdict, made.causes[0].subject, made.causes[0].what) == ("diverges", "code", "train.py differs")
    assert made.first is not None and (made.first.metric, made.first.step) == ("loss", 2)
    assert made.notes[-1] == "study first: the objective changed since it was tried"
    assert marks.read_text().split() == ["walked-0"]


def test_a_program_that_does_not_come_to_the_study_is_told_of(ran: tuple[Path, Store], marks: Path) -> None:
    made = again(ran[1], trial_of(ran[1], "first", 0), check=True, argv=["neither"])

    assert made.verdict == "failed"
    assert "the program ended without coming to trial 0: did it find all that it was given then?" in made.notes
    assert marks.read_text().split() == ["after"]


OVER_DATA = """
import sys
import stratal as st
rows = st.dataset("rows", "rows.csv")

def objective(trial, data):
    frame = data.frame()
    return float((frame["a"] * trial["x"]).sum())

st.study("s", {"x": st.uniform(-1, 1)}, minimize="loss", store=st.open_store(sys.argv[1])).optimize(
    objective, data=rows, trials=int(sys.argv[2]), workers=1)
"""


def test_a_trial_over_a_dataset_whose_study_lies_in_another_store_and_was_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "train.py").write_text(OVER_DATA)
    (tmp_path / "project" / "rows.csv").write_text("a,b\n1,2\n3.25,4\n")
    there = str(tmp_path / "there")
    start(tmp_path, "train.py", there, "2")
    start(tmp_path, "train.py", there, "4")
    store = open_store(there)
    before = find_study("s", store=store).trials
    assert len(before) == 4

    for number in (0, 3):
        made = again(store, trial_of(store, "s", number), check=True)
        assert (made.verdict, made.notes) == ("bit-identical", ("dataset rows, which was used, is not in this store",))

    assert find_study("s", store=store).trials == before
    assert len(find_runs("kind = 'trial'", store=store)) == 4, "what was tried again is not in the study's store"


def test_a_trial_of_which_nothing_was_captured_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    study("s", {"x": uniform(-1, 1)}, minimize="loss", store=store).optimize(lambda trial: trial["x"], trials=2, workers=1)

    with pytest.raises(Misuse, match="nothing was captured of run") as raised:
        reproduce(trial_of(store, "s", 1).id, here=True, store=store)
    assert "STRATAL_CAPTURE" in raised.value.hint
