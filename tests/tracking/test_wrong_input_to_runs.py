"""What a run refuses to write: each wrong type is a Misuse in plain words, and nothing of it reaches the store.

Excluded: names of params and metrics (the laws of facts), filters."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stratal.core.errors import Misuse
from stratal.store.store import Store
from stratal.tracking.finding import find_runs
from stratal.tracking.runs import Run, run


@pytest.mark.parametrize(
    "wrong",
    [
        {"experiment": 3},
        {"experiment": "churn", "name": 3},
        {"experiment": "churn", "group": 3},
        {"experiment": "churn", "job_type": 3},
        {"experiment": "churn", "note": 3},
        {"experiment": "churn", "params": 3},
        {"experiment": "churn", "tags": ["a"]},
        {"resume": 3},
    ],
    ids=str,
)
def test_a_run_of_wrong_types_is_refused_and_leaves_no_row(store: Store, wrong: dict[str, object]) -> None:
    with pytest.raises(Misuse):
        run(**wrong, store=store)  # type: ignore[arg-type]

    assert len(find_runs(store=store)) == 0


def test_a_store_that_is_not_open_is_refused_with_the_way_to_open_it() -> None:
    with pytest.raises(Misuse, match="open_store"):
        run("churn", store="folder")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call",
    [
        lambda run: run.log(3),
        lambda run: run.log([("loss", 1.0)]),
        lambda run: run.log_params("depth"),
        lambda run: run.set_tags(3),
        lambda run: run.note(3),
        lambda run: run.save_bytes("notes.txt", "text"),
        lambda run: run.edge("used", 3),
        lambda run: run.edge("used", "dataset:churn@1", 3),
        lambda run: run.state("seen", {}, subject=3),
    ],
)
def test_a_call_of_a_wrong_type_is_refused_and_the_run_goes_on(store: Store, call: Callable[[Run], object]) -> None:
    with run("churn", store=store) as made:
        with pytest.raises(Misuse):
            call(made)
        made.log({"loss": 0.5})

    (found,) = find_runs(store=store)
    assert (found.status, found.metrics) == ("finished", {"loss": 0.5})
    assert (found.tags, found.notes, found.artifacts, found.edges) == ({}, [], [], [])


def test_the_working_folder_is_saved_under_its_name_without_the_store_in_it(store: Store, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("fine")

    with run("churn", store=store) as made:
        made.save(".")

    (found,) = find_runs(store=store)
    assert [artifact.path for artifact in found.artifacts] == [f"{tmp_path.name}/notes.txt"]
