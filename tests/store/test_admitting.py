"""What a server says at each transaction, and the process elsewhere that it works for. Not here: who holds which role."""

from contextlib import ExitStack

import pytest

from stratal.core.errors import Bug, Forbidden, Misuse
from stratal.core.people import Identity, Role, acting_as
from stratal.store.admitting import admitting
from stratal.store.callers import Caller, called_by
from stratal.store.leases import read_lease
from stratal.store.operations import operation
from stratal.tracking.facts import Start
from stratal.tracking.store import runs as rows
from stratal.tracking.store.seeing import experiments_of

ELSEWHERE = Caller(holder="box:1:00000000000000aa", writer="00000000000000aa")


@pytest.mark.parametrize("way", ["query", "glance", "command"])
def test_each_transaction_is_asked_about_and_knows_what_may_be_seen(store, way):
    with admitting(lambda tx: frozenset({"churn"})), getattr(store, way)() as tx:
        assert tx.sees == {"churn"}
    with getattr(store, way)() as tx:
        assert tx.sees is None


def test_a_snapshot_is_asked_about(store):
    with admitting(lambda tx: frozenset()), store.snapshot() as snapshot:
        assert snapshot.tx.sees == frozenset()


@pytest.mark.parametrize("way", ["query", "glance", "command", "snapshot"])
def test_who_is_refused_reads_and_changes_nothing(store, way):
    def refuse(tx):
        raise Forbidden("not you")

    with admitting(refuse), pytest.raises(Forbidden), getattr(store, way)():
        pytest.fail("it was opened")


def test_a_run_that_is_started_for_a_process_elsewhere_is_held_by_it(store):
    with ExitStack() as elsewhere:
        elsewhere.enter_context(called_by(ELSEWHERE))
        elsewhere.enter_context(acting_as(Identity(name="ann")))
        with store.command() as tx:
            run, _ = rows.insert_leased(tx, store, Start(experiment="e", name="", kind="train"), ttl_s=30)
            lease, writers = read_lease(tx, run), rows.writers_of(tx, run)
    assert (lease.holder, writers) == (ELSEWHERE.holder, [ELSEWHERE.writer])
    assert ELSEWHERE.writer in store.living()  # it has sent nothing yet
    assert ELSEWHERE.holder != store.holder


def test_nobody_joins_by_the_writer_of_somebody_else(store):
    for name in ("ann", "ben"):
        with called_by(ELSEWHERE), acting_as(Identity(name=name)), store.command() as tx:
            if name == "ann":
                mine, _ = rows.insert_leased(tx, store, Start(experiment="e", name="", kind="train"), ttl_s=30)
                continue
            with pytest.raises(Forbidden, match="belongs to ann"):
                rows.join(tx, store, mine)


def test_a_writer_that_is_none_is_refused(store):
    odd = Caller(holder="box:1:x", writer="../../etc/passwd")
    with called_by(odd), store.command() as tx, pytest.raises(Misuse, match="no writer"):
        rows.insert_leased(tx, store, Start(experiment="e", name="", kind="train"), ttl_s=30)


def test_the_experiments_of_runs_are_what_roles_are_needed_on(store):
    with store.command() as tx:
        made = [rows.insert_leased(tx, store, Start(experiment=e, name="", kind="train"), ttl_s=30)[0] for e in ("a", "b", "a")]
        assert experiments_of(tx, [*made, "0" * 32]) == {"a", "b"}


def test_an_operation_that_decides_is_not_scoped():
    with pytest.raises(Bug, match="is scoped"):
        operation(needs=Role.CONTRIBUTOR, is_scoped=True)(lambda self: None)
