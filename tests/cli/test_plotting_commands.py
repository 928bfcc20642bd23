"""`stratal plot` and `stratal watch`, without a terminal. Excluded: how pictures are drawn."""

import json
from pathlib import Path

import pytest

from stratal.cli.app import main
from stratal.cli.plotting import _looks, _watched
from stratal.cli.printing import print_out
from stratal.store.store import Store
from stratal.tracking.deleting import delete
from stratal.tracking.opening import use_store
from stratal.tracking.runs import Run, run


@pytest.fixture(autouse=True)
def default(store: Store) -> Store:
    return use_store(store)


def train(name: str = "a") -> Run:
    made = run("churn", name=name)
    for step in range(30):
        made.log({"loss": 1 / (step + 1), "auc": step / 30}, step=step)
    return made


def output(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_a_metric_is_plotted_in_characters_as_a_document_and_into_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    made = train()
    made.finish()

    page = output(capsys, "plot", made.id, "-m", "loss")
    document = json.loads(output(capsys, "plot", "-q", "name = 'a'", "-m", "loss", "--out", str(tmp_path / "a.svg"), "--json"))

    assert "⣿ a" in page
    assert "step: 0 to 29" in page
    assert document["curves"][0]["last"][0] == 1.0
    assert (tmp_path / "a.svg").read_text().startswith("<svg")


def test_naming_runs_and_a_filter_at_once_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    made = train()
    with pytest.raises(SystemExit) as ended:
        main(["plot", made.id, "-q", "name = 'a'", "-m", "loss"])
    assert ended.value.code == 2
    made.finish()


def test_watching_runs_that_ended_prints_each_once(capsys: pytest.CaptureFixture[str]) -> None:
    ids = []
    for name in ("a", "b"):
        made = train(name)
        made.finish("failed" if name == "b" else "finished")
        ids.append(made.id)

    lines = output(capsys, "watch", *ids).splitlines()
    documents = [json.loads(line) for line in output(capsys, "watch", "-q", "experiment = 'churn'", "-m", "loss", "--json").splitlines()]

    assert [line.split()[1:3] for line in lines] == [["a", "finished"], ["b", "failed"]]
    assert [(each["name"], list(each["metrics"])) for each in documents] == [("a", ["loss"]), ("b", ["loss"])]


def test_looks_show_what_live_runs_log_and_end_with_them(capsys: pytest.CaptureFixture[str]) -> None:
    made = train()
    looks = _looks(None, "", 0.001)

    assert next(looks)[0].metrics["loss"] == 1 / 30
    made.log({"loss": 0.5}, step=100)
    assert next(looks)[0].metrics["loss"] == 0.5
    other = train("late")
    seen = next(looks)
    assert [each.name for each in seen] == ["a", "late"]
    print_out(_watched(seen, ["loss"]))
    page = capsys.readouterr().out
    assert "running" in page
    assert "█" in page
    made.finish()
    other.finish()
    assert [each.status for each in next(looks)] == ["finished", "finished"]
    with pytest.raises(StopIteration):
        next(looks)


def test_watching_nothing_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["watch"])
    assert ended.value.code == 1
    assert "no run is running" in capsys.readouterr().err


def test_a_deleted_run_that_is_named_is_watched(capsys: pytest.CaptureFixture[str]) -> None:
    made = train()
    made.finish()
    delete(made.ref)

    assert output(capsys, "watch", made.id, "-m", "loss") == f"{made.short}  a  finished  loss 0.0333333\n"


def test_a_metric_that_no_watched_run_has_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    made = train()
    made.finish()
    with pytest.raises(SystemExit) as ended:
        main(["watch", made.id, "-m", "los"])
    assert ended.value.code == 0
    assert "none of these runs has the metric 'los'; they have: auc, loss" in capsys.readouterr().err
