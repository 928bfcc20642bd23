"""Finding runs, counting them, frames of them, and comparing what the store holds. Excluded: what filters mean."""

import math
from pathlib import Path

import polars as pl
import pytest

from stratal.core.errors import Misuse
from stratal.core.settings import Settings
from stratal.store.store import Store
from stratal.tracking import refs
from stratal.tracking.capturing import wait_for_captures
from stratal.tracking.explaining import capture_of, compare_runs, compared, explain
from stratal.tracking.finding import count, find_runs, searchable
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.refs import Number, Ref, Resolved
from stratal.tracking.runs import run
from stratal.tracking.search import evaluate, parse_filter


def make(store: Store, count: int) -> list[str]:
    ids = []
    for number in range(count):
        with run(
            "churn" if number % 2 else "digits",
            name=f"r{number}",
            params={"number": number},
            tags={"even": str(number % 2 == 0)},
            store=store,
        ) as made:
            made.log({"loss": 1 / (number + 1)})
        ids.append(made.id)
    return ids


def test_runs_are_found_in_order_and_within_the_limit(store: Store) -> None:
    ids = make(store, 7)

    assert [each.id for each in find_runs(store=store)] == ids[::-1]
    assert [each.id for each in find_runs("params.number >= 3", order_by="metrics.loss", limit=2, store=store)] == [ids[6], ids[5]]
    assert [each.id for each in find_runs(experiment="churn", order_by=["params.number"], store=store)] == ids[1::2]
    assert len(find_runs(experiment=["churn", "digits"], store=store)) == 7
    assert len(find_runs(experiment=[], store=store)) == 0
    assert count("tags.even = 'True'", store=store) == 4


def test_pages_go_on_where_the_last_one_ended(store: Store) -> None:
    ids = make(store, 5)

    first = find_runs(order_by="params.number", limit=2, store=store)
    second = find_runs(order_by="params.number", limit=2, after=first.next, store=store)
    third = find_runs(order_by="params.number", limit=2, after=second.next, store=store)

    assert [each.id for each in [*first, *second, *third]] == ids
    assert third.next is None
    assert repr(first) == "<2 runs, and more>"


def test_values_that_were_logged_just_now_are_found(store: Store) -> None:
    live = run("churn", store=store)
    live.log({"loss": 0.5})
    assert [each.id for each in find_runs("metrics.loss = 0.5 and status = 'running'", store=store)] == [live.id]

    live.log({"loss": 0.25})

    assert find_runs("metrics.loss = 0.5", store=store)[:] == []
    assert evaluate(parse_filter("metrics.loss < 0.3 and experiment = 'churn'", now_ns=0), searchable(find_runs(store=store)[0]))


def test_found_runs_become_frames(store: Store) -> None:
    make(store, 3)
    with run("churn", params={"number": None, "model": "gbm"}, group="week 12", job_type="eval", store=store) as made:
        made.log({"loss": math.nan})

    frame = find_runs(order_by="started", store=store).to_polars()

    assert frame.columns[:3] == ["id", "experiment", "name"]
    assert frame["params.number"].to_list() == [0, 1, 2, None]
    assert frame["metrics.loss"].dtype == pl.Float64
    assert math.isnan(frame["metrics.loss"][3])
    assert frame["params.model"].to_list() == [None, None, None, "gbm"]
    assert frame.select("group", "job_type", "parent").row(3) == ("week 12", "eval", None)
    assert list(find_runs(store=store).to_pandas()["experiment"]) == ["churn", "digits", "churn", "digits"]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_gives_nothing_is_refused(store: Store, limit: int) -> None:
    with pytest.raises(Misuse, match="limit"):
        find_runs(limit=limit, store=store)


def test_runs_of_the_store_are_compared_with_their_captures_and_data(tmp_path: Path) -> None:
    quiet, captured = (open_store(tmp_path / "store", settings=Settings(user="ada", capture=on)) for on in (False, True))
    ids = []
    for number, store in enumerate((quiet, captured)):
        with run("churn", name=f"r{number}", params={"lr": number / 10}, store=store) as made:
            made.log({"loss": 1.0 - number / 2})
            made.edge("used", f"dataset:churn@{number + 1}")
        ids.append(made.id)
    assert wait_for_captures(60)

    comparison = compare_runs(ids, store=captured)

    assert comparison.params[0].values == (0, 0.1)
    assert comparison.metrics[0].best == (1,)
    assert comparison.data[0].values == ("dataset:churn@1", "dataset:churn@2")
    assert comparison.not_captured == ("r0",)
    assert comparison.packages == ()  # one capture differs from nobody
    assert compared(get_run(ids[1], store=captured), captured).packages.keys() >= {"numpy", "msgspec"}
    found = capture_of(get_run(ids[1], store=captured))
    assert found is not None
    assert found.packages is not None
    assert found.hardware is not None
    assert capture_of(get_run(ids[0], store=quiet)) is None


def test_the_lineage_of_a_version_joins_what_is_said_of_its_name_and_of_its_content(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = "d" * 64

    def resolve_model(ref: Ref, store: Store) -> Resolved:
        return Resolved(ref=Ref(kind="model", name=ref.name, selector=Number(value=7)), digest=digest, value=None)

    monkeypatch.setitem(refs._resolvers, "model", resolve_model)
    with run("churn", kind="step", store=store) as whole:
        whole.edge("used", "dataset:churn@1")
        with run("churn", store=store) as training:
            training.edge("produced", f"sha256:{digest}", role="model")
    with run("churn", kind="step", store=store) as registering:
        registering.edge("produced", "model:churn@7", role="model")
    with run("churn", kind="evaluation", store=store) as judging:
        judging.edge("used", f"sha256:{digest}", role="model")

    lineage = explain("model:churn@production", store=store)

    assert lineage.ref == "model:churn@7"
    assert {branch.ref for branch in lineage.origins.branches} == {f"run:{training.id}", f"run:{registering.id}"}
    made = next(branch for branch in lineage.origins.branches if branch.ref == f"run:{training.id}")
    assert [(branch.relation, branch.ref) for branch in made.branches] == [("part of", f"run:{whole.id}")]
    assert [branch.ref for branch in made.branches[0].branches] == ["dataset:churn@1"]
    assert [branch.ref for branch in lineage.uses.branches] == [f"run:{judging.id}"]
    assert explain(training.short, store=store).origins.branches[0].relation == "part of"
