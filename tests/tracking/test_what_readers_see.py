"""What operations give to somebody who may not see an experiment. Not here: who may see what, which a server's guard says."""

import importlib
import inspect
import pkgutil

import msgspec
import pytest

from stratal.core.errors import NotFound
from stratal.core.ids import RunId
from stratal.core.people import Role
from stratal.store.admitting import admitting
from stratal.store.operations import operations_of
from stratal.tracking import operations
from stratal.tracking.finding import find_runs
from stratal.tracking.operations.annotating import RunRemarks
from stratal.tracking.operations.deciding import RunDecisions
from stratal.tracking.operations.forking import RunForks
from stratal.tracking.operations.leasing import RunLeases
from stratal.tracking.operations.lineage import RunLineage
from stratal.tracking.operations.quotas import QuotaStore
from stratal.tracking.operations.reading import RunReads
from stratal.tracking.operations.searching import RunSearch
from stratal.tracking.operations.upkeep import Upkeep
from stratal.tracking.operations.views import ViewStore
from stratal.tracking.runs import run
from stratal.tracking.views import save_view

SECRET = "sesame"
CLASSES = (QuotaStore, RunDecisions, RunForks, RunLeases, RunLineage, RunReads, RunRemarks, RunSearch, Upkeep, ViewStore)


@pytest.fixture
def told(store):
    """Give a run that may be seen, and one that may not: all that is said of it holds the secret."""
    with run("open", name="seen", params={"lr": 1, "seed": 1}, tags={"team": "a"}, store=store) as seen:
        seen.log({"auc": 0.5}, step=0)
        shared = seen.save_bytes("shared.txt", b"both have it")
    with run(SECRET, name=SECRET, params={SECRET: SECRET, "lr": 2}, tags={SECRET: SECRET}, store=store) as hidden:
        hidden.log({SECRET: 1.0, "auc": 0.9}, step=0)
        hidden.log({f"{SECRET}/text": "a text that is not logged as a number"})
        hidden.save_bytes("shared.txt", b"both have it")
        hidden.save_bytes(SECRET, SECRET.encode())
        hidden.note(SECRET)
        hidden.alert(SECRET, SECRET)
        hidden.state("kind", {SECRET: SECRET}, subject="sha256:" + "0" * 64)
        hidden.edge("used", f"dataset:{SECRET}@1")
        hidden.edge("produced", "study:common")
        hidden.define_metric(SECRET, goal="minimize")
    seen.edge("used", "study:common")
    save_view(SECRET, experiment=SECRET, store=store)
    save_view("all", store=store)
    store.settle()
    return seen.id, hidden.id, shared.digest


def calls(seen: RunId, hidden: RunId, digest: str):
    """Ask by each scoped operation for all that it could give; where a run is named, for the hidden one: it is not there."""
    yield RunReads, "stated", {"kind": "kind"}
    yield RunReads, "stated", {"kind": "kind", "subject": "sha256:" + "0" * 64}
    yield RunReads, "children", {"run": hidden}
    yield RunReads, "statements", {"run": hidden}
    for text in (hidden, hidden[-8:], hidden[-6:], f"run:{hidden}"):
        yield RunReads, "find", {"text": text}
        yield RunReads, "get", {"text": text}
        yield RunReads, "whole", {"text": text, "curves": 10, "buckets": 10}
        yield RunReads, "named", {"ref": text}
    yield RunReads, "named", {"ref": f"experiment:{SECRET}"}
    for name in ("summaries", "artifacts", "edges", "notes", "media", "media_summaries"):
        yield RunReads, name, {"run": hidden}
    yield RunReads, "series", {"run": hidden, "name": "auc"}
    yield RunReads, "envelope", {"run": hidden, "name": "auc", "buckets": 10}
    for where in (
        "",
        "params.lr > 1",
        "metrics.nothing > 1",
        f"id = '{hidden}'",
        "metrics.auc > 0.1 or tags.team is null",
        "deleted is null",
    ):
        yield RunSearch, "page", {"where": where}
        yield RunSearch, "count", {"where": where}
        yield RunSearch, "table", {"where": where, "select": ["id", "name", "params.*", "metrics.*", "tags.*", "params.sesamo"]}
    yield RunSearch, "page", {"experiments": [SECRET]}
    yield RunSearch, "page", {"order_by": "metrics.auc desc"}
    yield RunSearch, "top", {"by": "metrics.auc desc", "where": "", "k": 5, "per": "experiment", "select": ["id", "params.*"]}
    yield RunSearch, "spread", {"of": "metrics.auc", "where": "", "per": "experiment", "apart_from": []}
    yield RunSearch, "spread", {"of": "metrics.auc", "where": "", "per": None, "apart_from": ["seed"]}
    yield RunSearch, "name_metric", {"metric": "metrics.auc"}
    yield RunSearch, "alerts", {"levels": ["info"]}
    yield RunSearch, "alerts", {"levels": ["info"], "run": hidden}
    yield RunLineage, "explain", {"ref": hidden}
    yield RunLineage, "explain", {"ref": seen}
    yield RunLineage, "explain", {"ref": "study:common"}
    yield RunLineage, "explain", {"ref": f"sha256:{digest}"}
    yield RunLineage, "explain", {"ref": f"artifact:{hidden}/shared.txt"}
    yield RunForks, "origin", {"run": hidden, "step": 0}
    yield QuotaStore, "quotas", {}
    yield ViewStore, "views", {}


def test_every_scoped_operation_is_asked_here():
    asked = {(kind, name) for kind, name, _ in calls(RunId("0" * 32), RunId("1" * 32), "2" * 64)}
    assert asked == {(kind, one.name) for kind in CLASSES for one in operations_of(kind).values() if one.is_scoped}


def test_every_class_of_operations_is_listed_here():
    found = set()
    for module in pkgutil.iter_modules(operations.__path__):
        held = importlib.import_module(f"{operations.__name__}.{module.name}")
        found |= {kind for _, kind in inspect.getmembers(held, inspect.isclass) if kind.__module__ == held.__name__ and operations_of(kind)}
    assert found == set(CLASSES)


def test_names_of_operations_are_apart_in_the_room():
    names = [name for kind in CLASSES for name in operations_of(kind)]
    assert len(names) == len(set(names))


def test_what_is_not_scoped_names_what_a_role_is_needed_on():
    whole = {one.name for kind in CLASSES for one in operations_of(kind).values() if not one.is_scoped and one.on is None}
    views, care, quotas = {"save_view", "remove_view"}, {"purge_deleted", "collect", "examine"}, {"set_quota", "remove_quota", "recount"}
    assert whole == views | care | quotas
    assert all(one.needs > Role.VIEWER for kind in CLASSES for one in operations_of(kind).values() if not one.is_scoped)


def test_nothing_of_what_may_not_be_seen_is_given(store, told):
    _, hidden, _ = told
    given = 0
    for kind, name, arguments in calls(*told):
        with admitting(lambda tx: frozenset({"open"})):
            try:
                answer = getattr(kind(store), name)(**arguments)
            except NotFound as error:
                assert SECRET not in f"{error.message} {error.hint}" or SECRET in str(arguments)
                continue
        said = msgspec.msgpack.encode(answer).decode(errors="replace")
        assert SECRET not in said, (name, arguments, said)
        assert hidden not in said, (name, arguments, said)
        given += bool(answer)
    assert given > 10  # of the run that may be seen


def test_the_same_questions_find_it_where_all_may_be_seen(store, told):
    _, hidden, _ = told
    for kind, name, arguments in calls(*told):
        if "nothing" in str(arguments) or name in ("count", "series", "envelope", "children", "name_metric", "spread"):
            continue
        answer = msgspec.msgpack.encode(getattr(kind(store), name)(**arguments)).decode(errors="replace")
        assert SECRET in answer or hidden in answer, (name, arguments, answer)


def test_counts_and_groups_are_of_what_may_be_seen(store, told):
    with admitting(lambda tx: frozenset({"open"})):
        assert RunSearch(store).count() == 1
        assert [found.experiment for found in find_runs(store=store)] == ["open"]
        assert "did you mean metrics.auc?" in RunSearch(store).page(where="metrics.sesamo > 0").remarks[0]
    with admitting(lambda tx: frozenset()):
        assert RunSearch(store).count() == 0
        assert find_runs(store=store)[:] == []
