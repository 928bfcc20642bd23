"""Runs that are part of a program: a step replayed alone, a trial through its study, what earlier programs left. Excluded: verdicts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stratal.core.errors import Misuse
from stratal.store.store import Store
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.reproducing.reproduce import reproduce

pytestmark = pytest.mark.slow

LINE = """
import os
from pathlib import Path
import stratal as st

def mark(name):
    with Path(os.environ["MARKS"]).open("a") as file:
        file.write(name + "\\n")

@st.step
def made(n: int) -> list[float]:
    mark("made")
    return [x * 0.1 for x in range(n)]

@st.step
def fitted(rows: list[float]) -> float:
    mark("fitted")
    with st.run(params={"n": len(rows)}) as run:
        for step, x in enumerate(rows):
            run.log({"loss": x * x}, step=step)
    return sum(rows)

def objective(trial, data):
    mark("tried")
    trial.report(data[0] + trial["x"] ** 2)

@st.step
def tuned(rows: list[float]) -> st.Params:
    return st.study("s", {"x": st.uniform(-1, 1)}, minimize="loss", seed=3).optimize(objective, data=rows, trials=6, workers=2).best.params

@st.pipeline
def line(n: int) -> None:
    rows = made(n)
    fitted(rows)
    tuned(rows)

if __name__ == "__main__":
    line.run(5)
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Store]:
    folder = tmp_path_factory.mktemp("ran")
    (folder / "project").mkdir()
    (folder / "project" / "train.py").write_text(LINE)
    environ = {**os.environ, "STRATAL_CAPTURE": "on", "STRATAL_STORE": str(folder / "store"), "MARKS": str(folder / "marks")}
    subprocess.run([sys.executable, "train.py"], cwd=folder / "project", env=environ, check=True)
    (folder / "project").rename(folder / "gone")
    return folder, open_store(folder / "store")


def marks(tmp_path: Path) -> list[str]:
    return (tmp_path / "marks").read_text().split()


def only(store: Store, where: str) -> str:
    return find_runs(where, order_by="started", store=store)[0].id


def test_a_step_is_replayed_without_its_pipeline_from_the_inputs_that_it_had(
    ran: tuple[Path, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKS", str(tmp_path / "marks"))

    made = reproduce(only(ran[1], "name = 'fitted'"), here=True, check=True, alone=True, store=ran[1])

    assert (made.verdict, made.causes) == ("bit-identical", ())
    assert [(each.run, each.metric, each.points) for each in made.series] == [("train line", "loss", 5)]
    assert [(each.path, each.is_equal) for each in made.artifacts] == [("(output)", True)]
    assert marks(tmp_path) == ["fitted"]


def test_the_trials_of_a_study_are_tried_again_with_the_params_that_they_had(
    ran: tuple[Path, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKS", str(tmp_path / "marks"))

    made = reproduce("study:s", here=True, check=True, store=ran[1])

    assert (made.verdict, made.notes) == ("bit-identical", ())
    assert {each.run for each in made.series} == {"", *(f"trial {number}" for number in range(6))}
    assert sorted(marks(tmp_path)) == ["fitted", "made", *["tried"] * 6]


def test_a_trial_inside_of_a_step_is_replayed_with_the_inputs_of_the_step(
    ran: tuple[Path, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKS", str(tmp_path / "marks"))

    made = reproduce(only(ran[1], "name = 'trial 3'"), here=True, check=True, store=ran[1])

    assert (made.verdict, made.notes) == ("bit-identical", ())
    assert {(each.run, each.metric) for each in made.series} == {("", "loss"), ("", "value")}
    assert marks(tmp_path) == ["tried"]


def test_a_trial_is_replayed_with_its_whole_program_if_somebody_asks_for_that(
    ran: tuple[Path, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKS", str(tmp_path / "marks"))

    made = reproduce(only(ran[1], "name = 'trial 3'"), here=True, check=True, alone=False, store=ran[1])

    assert made.verdict == "bit-identical"
    assert sorted(marks(tmp_path)) == ["fitted", "made", *["tried"] * 6]


def test_a_study_is_not_replayed_alone(ran: tuple[Path, Store]) -> None:
    with pytest.raises(Misuse, match="kind study cannot be replayed alone") as raised:
        reproduce("study:s", here=True, check=True, alone=True, store=ran[1])
    assert "Alone: step, trial" in raised.value.hint


def test_a_study_of_an_earlier_program_is_there_with_its_results(tmp_path: Path) -> None:
    environ = {**os.environ, "STRATAL_CAPTURE": "on", "STRATAL_STORE": str(tmp_path / "store")}
    study = "import stratal as st\nst.study('s', {'x': st.uniform(-1, 1)}, minimize='loss', seed=3)"
    for text in (
        study + ".optimize(lambda trial: trial['x'] ** 2, trials=4, workers=1)\n",
        "import stratal as st\nwith st.run('e') as run: run.log({'best': run.use('study:s').best.value})\n",
    ):
        (tmp_path / "train.py").write_text(text)
        subprocess.run([sys.executable, "train.py"], cwd=tmp_path, env=environ, check=True)
    store = open_store(tmp_path / "store")

    made = reproduce(only(store, "experiment = 'e'"), here=True, check=True, store=store)

    assert (made.verdict, made.notes) == ("bit-identical", ())


def test_a_file_of_an_earlier_program_is_there_by_its_digest_and_a_run_by_its_name_is_told(tmp_path: Path) -> None:
    environ = {**os.environ, "STRATAL_CAPTURE": "on", "STRATAL_STORE": str(tmp_path / "store")}
    head = "import stratal as st, sys\nwith st.run('e', name=sys.argv[0]) as run:\n"
    (tmp_path / "first.py").write_text(head + "    print(run.id, run.save_bytes('a.txt', b'abc').digest)\n")
    done = subprocess.run([sys.executable, "first.py"], cwd=tmp_path, env=environ, check=True, capture_output=True, text=True)
    first, digest = done.stdout.split()
    use = f"    run.log({{'size': len(run.use('sha256:{digest}'))}})\n    run.use('run:{first}')\n"
    (tmp_path / "second.py").write_text(head + use)
    subprocess.run([sys.executable, "second.py"], cwd=tmp_path, env=environ, check=True)
    store = open_store(tmp_path / "store")

    made = reproduce(only(store, "name = 'second.py'"), here=True, check=True, store=store)

    assert [(each.metric, each.verdict) for each in made.series] == [("size", "bit-identical")]
    assert made.notes[0] == f"run:{first}, which was used, is not brought along: the program finds nothing by that name"
    assert (made.verdict, made.exit_code) == ("diverges", 1)
