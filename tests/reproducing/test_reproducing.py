"""Real programs are run, changed, and run again: verdicts, likely causes, and what is left behind. Excluded: rebuilt environments."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stratal.cli.app import main
from stratal.core.errors import Misuse, NotFound
from stratal.store.store import Store
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.reproducing.records import Reproduction
from stratal.tracking.reproducing.reproduce import reproduce
from stratal.tracking.resolving import get
from stratal.tracking.runs import run as start_run

pytestmark = pytest.mark.slow

HEAD = "import os, random, sys\nimport stratal as st\n"
WALK = "with st.run('e', params={'lr': 0.1}) as run:\n    x = 0.0\n    for step in range(9):\n        x += random.gauss(0, 1)\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def program(project: Path, text: str, *words: str, **variables: str) -> Store:
    (project / "train.py").write_text(HEAD + text)
    environ = {**os.environ, "STRATAL_CAPTURE": "on", "STRATAL_STORE": str(project.parent / "store"), **variables}
    subprocess.run([sys.executable, "train.py", *words], cwd=project, env=environ, check=True)
    return open_store(project.parent / "store")


def again(store: Store, **options: object) -> Reproduction:
    oldest = find_runs("kind = 'train'", order_by="started", limit=1, store=store)[0]
    return reproduce(oldest.id, here=True, store=store, **options)  # type: ignore[arg-type]


def test_a_seeded_program_comes_out_bit_for_bit_and_says_so_for_gates(project: Path) -> None:
    (project / "part.py").write_text("def step(x): return x * 0.5\n")
    text = (
        "import part\nst.seed_everything(7)\n" + WALK + "        run.log({'loss': part.step(x), 'seconds': random.random()}, step=step)\n"
    )
    store = program(project, text, "--lr", "0.1")
    before = {path: path.read_bytes() for path in project.iterdir() if path.is_file()}

    made = again(store)

    assert (made.verdict, made.is_reproduced, made.notes, made.causes) == ("bit-identical", True, (), ())
    assert {each.metric: (each.verdict, each.points) for each in made.series}["loss"] == ("bit-identical", 9)
    (stated,) = get_run(made.run, store=store).statements("reproduction")
    assert (stated.subject, stated.body["verdict"], stated.body["is_reproduced"]) == (f"run:{made.run}", "bit-identical", True)
    recorded = get_run(made.by, store=store)
    assert [(edge.verb, edge.target, edge.role) for edge in recorded.edges] == [("used", f"run:{made.run}", "reproduces")]
    assert json.loads(recorded.read_artifact("reproduction.json"))["verdict"] == "bit-identical"
    assert len(find_runs("kind = 'train'", store=store)) == 1, "the replay has a store of its own"
    assert get_run(made.replay, store=open_store(Path(made.folder) / "store")).metrics["loss"]
    assert {path: path.read_bytes() for path in project.iterdir() if path.is_file()} == before


def test_a_seed_that_is_another_one_now_is_named_with_the_first_step(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = program(project, "st.seed_everything(int(os.environ.get('APP_SEED', '1')))\n" + WALK + "        run.log({'x': x}, step=step)\n")
    monkeypatch.setenv("APP_SEED", "2")

    made = again(store, check=True)

    assert (made.verdict, made.causes[0].subject, made.causes[0].what) == ("diverges", "seed", "1 → 2")
    assert made.first is not None and (made.first.metric, made.first.step) == ("x", 0)
    assert made.folder == ""
    assert not list((store.folder / "reproductions").iterdir())


def test_a_line_that_changed_is_named_with_the_first_step_that_it_changes(project: Path) -> None:
    (project / "part.py").write_text("def step(x, n): return x\n")
    text = "import part\nst.seed_everything(7)\n" + WALK + "        run.log({'x': part.step(x, step)}, step=step)\n"
    store = program(project, text)
    (project / "part.py").write_text("def step(x, n): return x + (n > 4)\n")

    made = again(store, working_tree=True)

    assert (made.verdict, made.causes[0].subject, made.causes[0].what) == ("diverges", "code", "part.py differs")
    assert made.first is not None and made.first.step == 5
    assert get_run(made.run, store=store).statements("reproduction") == [], "other code says nothing about the run"
    assert again(store).verdict == "bit-identical", "the captured line is still there"


def test_a_package_of_another_version_is_named(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site-packages"
    (site / "solver-1.0.dist-info").mkdir(parents=True)
    (site / "solver.py").write_text("def step(n): return float(n)\n")
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    text = "import solver\nst.seed_everything(7)\nwith st.run('e') as run:\n"
    store = program(project, text + "    for step in range(9): run.log({'x': solver.step(step)}, step=step)\n")
    (site / "solver-1.0.dist-info").rename(site / "solver-2.0.dist-info")
    (site / "solver.py").write_text("def step(n): return n + 0.5 * (n == 3)\n")

    made = again(store)

    assert (made.causes[0].subject, made.causes[0].what) == ("packages", "solver 1.0 → 2.0")
    assert made.first is not None and made.first.step == 3


def test_other_threads_are_named_when_the_last_digits_differ(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "threads = os.environ['OMP_NUM_THREADS'] = os.environ.get('APP_THREADS', '2')\nst.seed_everything(7)\n"
        "with st.run('e') as run:\n    for step in range(9):\n"
        "        run.log({'x': 1.0 + (step > 2) * int(threads) * 1e-12}, step=step)\n"
    )
    store = program(project, text)
    monkeypatch.setenv("APP_THREADS", "1")

    made, strict = again(store), again(store, rtol=0.0, atol=0.0)

    assert (made.verdict, made.is_reproduced) == ("within tolerance", True)
    assert strict.first is not None and (strict.verdict, strict.first.step) == ("diverges", 3)
    assert (strict.causes[0].subject, strict.causes[0].what) == ("threads", "OMP_NUM_THREADS: 2 → 1")


def test_data_that_changed_where_no_copy_was_kept_is_named(project: Path, tmp_path: Path) -> None:
    data = tmp_path / "elsewhere.csv"
    data.write_text("a\n1\n2\n")
    text = "st.seed_everything(7)\ndata = st.dataset('rows', sys.argv[1])\nwith st.run('e') as run:\n    run.use(data)\n"
    store = program(project, text + "    for step, a in enumerate(data.raw()['a']): run.log({'a': a}, step=step)\n", str(data))
    assert again(store).verdict == "bit-identical"
    data.write_text("a\n1\n3\n")

    made = again(store)

    assert made.first is not None and made.first.step == 1
    assert made.causes[0].subject == "data"
    assert any("is no longer what it was" in note for note in made.notes)


def test_datasets_of_earlier_programs_are_there_under_their_numbers(project: Path) -> None:
    for rows in ("1\n2\n", "1\n3\n"):
        (project / "rows.csv").write_text("a\n" + rows)
        store = program(project, "st.dataset('rows', 'rows.csv')\n")
    text = (
        "st.seed_everything(1)\nwith st.run('e') as run:\n    old = run.use('dataset:rows@1')\n    new = run.use('dataset:rows@latest')\n"
    )
    store = program(project, text + "    run.log({'old': old.raw()['a'].sum(), 'new': new.raw()['a'].sum()})\n")
    program(project.parent / "project", "st.dataset('rows', 'rows.csv')\n")
    (project / "rows.csv").write_text("a\n9\n")
    program(project, "st.dataset('rows', 'rows.csv')\n")

    made = again(store)

    assert (made.verdict, made.notes) == ("bit-identical", ())


def test_a_model_leads_to_the_run_that_made_it_and_is_told_of_its_reproduction(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        "import numpy as np\nfrom sklearn.linear_model import LogisticRegression\nst.seed_everything(1)\n"
        "x, y = np.random.normal(size=(50, 2)), np.arange(50) % 2\nwith st.run('e') as run:\n"
        "    fitted = LogisticRegression().fit(x, y)\n    run.log({'auc': fitted.score(x, y)})\n"
        "    model = run.log_model('model', fitted)\nst.register('churn', model)\n"
    )
    store = program(project, text)

    with pytest.raises(SystemExit) as left:
        main(["reproduce", "model:churn@1", "--here", "--check", "--json", "--store", str(store.folder)])

    said = json.loads(capsys.readouterr().out)
    assert (left.value.code, said["verdict"], said["is_reproduced"]) == (0, "bit-identical", True)
    assert all(each["is_equal"] for each in said["artifacts"])
    stated = get_run(said["run"], store=store).statements("reproduction")
    model = get_run(said["run"], store=store).statements("model")[0].subject
    assert {each.subject for each in stated} == {f"run:{said['run']}", model}
    with pytest.raises(NotFound):
        get("model:churn@2", store=store)  # what the replay registered stays in its own store


def test_a_program_that_breaks_now_exits_with_1_and_shows_its_last_lines(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = program(project, "if 'broken' in sys.argv: sys.exit('it broke')\nwith st.run('e') as run: run.log({'x': 1})\n")
    run = find_runs(store=store)[0]

    with pytest.raises(SystemExit) as left:
        main(["reproduce", run.short, "--here", "--check", "--store", str(store.folder), "--argv", "broken"])

    said = capsys.readouterr().out
    assert left.value.code == 1
    for words in ("failed", "it broke", "given anew: broken", "exit code 1"):
        assert words in said


def test_a_run_that_its_program_deleted_is_reproduced_as_any_other(project: Path) -> None:
    text = "with st.run('e', name='first') as run:\n    run.log({'loss': 0.5})\nst.delete(run.ref)\nst.run('e', name='second').finish()\n"
    store = program(project, text)
    (deleted,) = find_runs("deleted is not null", store=store)

    made = reproduce(deleted.id, here=True, store=store)

    assert (made.verdict, made.notes) == ("bit-identical", ())


def test_a_run_that_goes_on_or_was_not_captured_is_refused(store: Store) -> None:
    with start_run("e", store=store) as going_on:
        with pytest.raises(Misuse, match="has not ended"):
            reproduce(going_on.id, here=True, store=store)
    with pytest.raises(Misuse, match="nothing was captured"):
        reproduce(going_on.id, here=True, store=store)
    with pytest.raises(Misuse, match="one run made"):
        reproduce("experiment:e", here=True, store=store)


def test_a_program_does_not_start_itself_again_for_ever(project: Path) -> None:
    text = "with st.run('e') as run: run.log({'x': 1})\ntry: st.reproduce(run.id, here=True)\nexcept st.Misuse as error: print(error)\n"

    store = program(project, text)

    assert len(find_runs(store=store)) == 1
