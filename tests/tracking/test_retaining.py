"""Retention: which runs a rule deletes, and which stay. Excludes purging."""

import json

import pytest

from stratal.cli.app import main
from stratal.core.clock import SECOND_NS
from stratal.core.errors import Misuse, NotFound
from stratal.store.store import Store
from stratal.tracking.deleting import restore
from stratal.tracking.finding import find_runs
from stratal.tracking.forking import fork
from stratal.tracking.opening import use_store
from stratal.tracking.retaining import retain
from stratal.tracking.runs import run

DAY_NS = 86_400 * SECOND_NS


def ended(store: Store, days_ago: float, *, experiment: str = "churn", tags: dict[str, str] | None = None) -> str:
    with run(experiment, store=store, tags=tags) as made:
        made.log({"loss": 1.0}, step=0)
    store.settle()
    connection = store.database.connect()
    back = int(days_ago * DAY_NS)
    connection.execute(
        "update run set started_ns = started_ns - ?, ended_ns = ended_ns - ? where id = ?", [back, back, bytes.fromhex(made.id)]
    )
    connection.close()
    return made.id


def shown(store: Store) -> set[str]:
    return {run.id for run in find_runs(store=store)}


def test_old_runs_go_and_come_back_and_others_stay(store):
    old, young, other = ended(store, 100), ended(store, 10), ended(store, 100, experiment="fraud")
    dry = retain("churn", days=90, dry_run=True, store=store)
    assert (dry.deleted, dry.kept, shown(store)) == ((old,), {}, {old, young, other})
    assert retain("churn", days=90, store=store).deleted == (old,)
    assert shown(store) == {young, other}
    assert retain("churn", days=90, store=store).deleted == (), "once"
    restore(old, store=store)
    assert shown(store) == {old, young, other}


def test_tagged_needed_and_living_runs_stay_with_the_reason(store):
    tagged, untagged = ended(store, 100, tags={"keep": "yes"}), ended(store, 100, tags={"keep": "false"})
    forked = ended(store, 100)
    fork(forked, step=1, experiment="fraud", store=store)
    with run("churn", store=store) as living:
        done = retain("churn", days=0, store=store)
    assert set(done.deleted) == {untagged}
    assert done.kept == {tagged: "it has the tag keep", forked: done.kept[forked], living.id: "it is still running"}
    assert "is a fork of it" in done.kept[forked]


def test_the_newest_stay_whatever_their_age(store):
    ids = [ended(store, 100 + age) for age in range(5)]
    assert set(retain("churn", days=90, newest=2, store=store).deleted) == set(ids[2:])
    assert shown(store) == set(ids[:2])


def test_a_rule_that_is_none_is_refused(store):
    with pytest.raises(NotFound, match="no experiment"):
        retain("nothing", days=1, store=store)
    for wrong in ({"days": -1}, {"days": float("nan")}, {"days": 1, "newest": -1}):
        with pytest.raises(Misuse):
            retain("churn", store=store, **wrong)


def test_the_command_says_what_went_and_what_stays(store, capsys):
    ended(store, 100), ended(store, 100, tags={"keep": "yes"})
    use_store(store)
    for words, wanted in ((["--dry-run"], "1 run would be deleted"), ([], "stays: it has the tag keep")):
        with pytest.raises(SystemExit):
            main(["retain", "churn", "--days", "90", *words])
        assert wanted in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["retain", "churn", "--days", "90", "--json"])
    assert json.loads(capsys.readouterr().out)["deleted"] == []
