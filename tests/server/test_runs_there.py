"""Runs behind a server: leases, going on from a second machine, and people who may see or change one experiment only.

Not here: what reading and searching give, which `tests/tracking` asks of stores here and there.
"""

import io

import numpy as np
import pytest
from rich.console import Console

import stratal as st
from stratal.cli.tracking_pages import run_page, whole
from stratal.core.errors import Conflict, Forbidden, NotFound, StaleLease
from stratal.core.people import Role
from stratal.core.settings import Settings
from stratal.server.app import Application
from stratal.server.guards import OpenGuard
from stratal.store.operations import operations_of
from stratal.tracking.deleting import delete, purge
from stratal.tracking.explaining import compare_runs, explain
from stratal.tracking.facts import Start
from stratal.tracking.finding import find_runs
from stratal.tracking.forking import fork
from stratal.tracking.leased import claim_leased, start_leased
from stratal.tracking.opening import open_store
from stratal.tracking.operations.annotating import RunRemarks
from stratal.tracking.operations.deciding import RunDecisions
from stratal.tracking.operations.forking import RunForks
from stratal.tracking.operations.leasing import RunLeases
from stratal.tracking.operations.views import ViewStore
from stratal.tracking.reading import get_run, get_whole
from stratal.tracking.runs import run
from stratal.tracking.store.views import ViewQuery
from stratal.tracking.views import save_view


@pytest.fixture
def machines(stage, tmp_path):
    """Open the served store as several machines do: each has a spool of its own."""
    opened = []

    def machine():
        home = tmp_path / f"state{len(opened)}"
        opened.append(open_store(stage[1], settings=Settings(user="tester", capture=False, state_home=home, on_error="raise")))
        return opened[-1]

    yield machine
    for each in opened:
        each.uploader.finish()
        each.close()


class OnlyOpen(OpenGuard):
    """Everybody may see and change the experiment `open`, and nothing else."""

    def check(self, tx, sender, needs: Role, on: str) -> None:
        if on != "experiment:open":
            raise Forbidden(f"{sender.name} may not change {on}")

    def visible(self, tx, sender, kind: str):
        return frozenset({"open"}) if kind == "experiment" else frozenset()


@pytest.fixture
def guarded(store, stage):
    stage[0].handler = application = Application(store, guard=OnlyOpen())
    yield store
    application.close()


def test_a_lease_there_is_held_by_the_process_that_took_it(served_url, store, machines):
    one, other = machines(), machines()
    held = start_leased("e", store=one, kind="job", name="mine")
    held.log({"loss": 1.0}, step=0)
    held.renew()
    with pytest.raises(Conflict, match="is held by"):
        claim_leased(held.id, store=other)
    held.finish()
    assert (get_run(held.id, store=store).status, get_run(held.id, store=other).metrics) == ("finished", {"loss": 1.0})


def test_who_lost_a_lease_there_is_told_so(served_url, store, machines):
    lost = start_leased("e", store=machines(), kind="job", ttl_s=0.0)
    lost.log({"loss": 1.0}, step=0)
    taken = claim_leased(lost.id, store=machines(), from_step=0)
    with pytest.raises(StaleLease):
        lost.renew()
    assert lost.is_lost
    taken.log({"loss": 2.0}, step=0)
    taken.finish()
    lost.let_go()
    assert get_run(taken.id, store=store).series("loss").values.tolist() == [2.0]


def test_a_run_goes_on_from_a_second_machine(served_url, store, machines):
    first, second = machines(), machines()
    with run("e", store=first) as begun:
        begun.log({"loss": 1.0}, step=0)
    first.ship_now([])  # a thread does it anyway, in a moment
    with run(resume=begun.id, store=second) as again:
        again.log({"loss": 0.5}, step=1)
        again.note("from elsewhere")
    found = get_run(begun.id, store=second)
    assert (found.status, found.metrics, [note.text for note in found.notes]) == ("finished", {"loss": 0.5}, ["from elsewhere"])
    assert found.series("loss").steps.tolist() == [0, 1]


def test_a_run_that_began_just_now_is_running_for_everybody(served_url, store, machines):
    with run("e", store=(first := machines())) as live:
        live.log({"loss": 1.0})
        assert get_run(live.id, store=first).status == "running"
        assert get_run(live.id, store=machines()).status == "running"


def test_long_series_come_as_they_are_and_as_buckets(served_url, store, machines):
    with run("e", store=store) as long:
        for step in range(5000):
            long.log({"loss": float("nan") if step == 7 else step / 3}, step=step)
    here, there = get_run(long.id, store=store), get_run(long.id, store=machines())
    for a, b in zip((*here.series("loss"), *here.envelope("loss", 50)), (*there.series("loss"), *there.envelope("loss", 50)), strict=True):
        np.testing.assert_array_equal(a, b)
    there.series("loss").values[0] = 1.0  # one's own copy


def test_all_that_is_said_of_a_run_comes_by_one_question_and_is_what_many_give(store, stage, guarded, machines):
    with run("closed", store=store) as hidden, run("open", store=store) as origin:
        hidden.save_bytes("a.bin", b"of hidden")
        origin.log({"loss": 3.0}, step=0)
    with run("open", fork_from=(origin.ref, 1), tags={"t": "1"}, params={"lr": 0.1}, store=store) as made:
        for step in range(1, 60):
            made.log({"loss": 1 / step, "system/cpu": 0.5, "acc": step / 60}, step=step)
        made.define_metric("loss", summary="min")
        made.alert("look", "at this")
        made.note("looks fine")
        made.log({"text": st.text("said")}, step=1)
        made.save_bytes("a.txt", b"a file")
        made.use(f"artifact:{hidden.id}/a.bin")
        made.use(origin.ref)
        with (
            start_leased("closed", parent=made.id, kind="step", store=store),
            start_leased("open", parent=made.id, kind="step", store=store),
        ):
            pass
    asked, application = [], stage[0].handler

    async def counting(scope, receive, send) -> None:
        asked.append(scope["path"])
        await application(scope, receive, send)

    far = machines()
    stage[0].handler = counting
    found = get_whole(made.short, curves=40, buckets=24, store=far)
    page, document = shown(found), whole(found)
    assert [path for path in asked if "/blobs/" not in path] == ["/api/v1/tracking/whole"]
    assert "look" in page and "looks fine" in page and "a.txt" in page and "min " in page
    parts = get_run(made.id, store=far)
    assert (page, document) == (shown(parts), whole(parts))
    targets = [edge.target for edge in found.edges]
    assert origin.ref in targets and not any(hidden.id in target for target in targets) and len(found.children) == 1
    with pytest.raises(NotFound):
        get_whole(hidden.id, store=far)


def shown(found) -> str:
    """Give what `stratal show` prints."""
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(*run_page(found, 160))
    return console.export_text()


def test_each_command_about_runs_asks_for_a_role_on_their_experiments(guarded, machines):
    """Whoever knows an id, and asks by it."""
    far = machines()
    with run("closed", store=guarded) as hidden, run("open", store=guarded) as seen:
        hidden.log({"auc": 0.9}, step=0)
        seen.log({"auc": 0.9}, step=0)
    guarded.settle()
    asked = set()
    start, both = Start(experiment="open"), [seen.id, hidden.id]
    for kind, name, arguments in (
        (RunDecisions, "resume", {"run": hidden.id}),
        (RunDecisions, "delete", {"runs": both}),
        (RunDecisions, "restore", {"runs": both}),
        (RunDecisions, "purge", {"runs": both}),
        (RunDecisions, "purge_deleted", {"older_than_days": 0.0}),
        (RunRemarks, "tag", {"run": hidden.id, "tags": {"a": "b"}}),
        (RunRemarks, "note", {"run": hidden.id, "text": "x"}),
        (RunForks, "fork", {"experiment": "open", "start": start, "origin": hidden.id, "step": 1, "is_open": False}),
        (RunForks, "fork", {"experiment": "closed", "start": start, "origin": seen.id, "step": 1, "is_open": False}),
        (RunLeases, "start_leased", {"experiment": "closed", "start": start, "ttl_s": 30.0}),
        (RunLeases, "claim_leased", {"run": hidden.id, "from_step": None, "ttl_s": 30.0}),
        (RunLeases, "renew_lease", {"run": hidden.id, "token": 0, "ttl_s": 30.0}),
        (RunLeases, "end_leased", {"run": hidden.id, "token": 0, "status": "failed"}),
        (ViewStore, "save_view", {"name": "v", "query": ViewQuery()}),
        (ViewStore, "remove_view", {"name": "v"}),
    ):
        with pytest.raises(Forbidden, match=r"may not (change|view it)"):
            getattr(kind(far), name)(**arguments)
        asked.add((kind, name))
    kinds = (RunDecisions, RunForks, RunLeases, RunRemarks, ViewStore)
    assert asked == {(kind, one.name) for kind in kinds for one in operations_of(kind).values() if not one.is_scoped}


def test_nothing_of_what_may_not_be_seen_comes_out(guarded, machines):
    far = machines()
    with run("open", store=guarded) as seen, run("closed", name="sesame", params={"sesame": 1}, store=guarded) as hidden:
        seen.log({"auc": 0.5})
        hidden.log({"auc": 0.9})
    assert [found.id for found in find_runs(store=far)] == [seen.id]
    assert find_runs("params.sesame > 0", store=far)[:] == []
    for ask in (get_run, explain, lambda id, store: compare_runs([seen.id, id], store=store)):
        with pytest.raises(NotFound, match="there is no run"):
            ask(hidden.id, store=far)


def test_nothing_of_what_may_not_be_changed_is_changed(guarded, machines):
    far = machines()
    with run("closed", store=guarded) as hidden, run("open", store=guarded) as seen:
        hidden.log({"auc": 0.9}, step=0)
        seen.log({"auc": 0.9}, step=0)
    for decide in (
        lambda: start_leased("closed", store=far, kind="job"),
        lambda: claim_leased(hidden.id, store=far),
        lambda: fork(seen.id, step=1, experiment="closed", store=far),
        lambda: save_view("v", store=far),
        lambda: purge(older_than_days=0, store=far),
    ):
        with pytest.raises(Forbidden):
            decide()
    for decide in (
        lambda: delete(hidden.id, store=far),
        lambda: run(resume=hidden.id, store=far),
        lambda: fork(hidden.id, step=1, store=far),
    ):
        with pytest.raises(NotFound, match="there is no run"):  # it is not even there
            decide()
    delete(seen.id, store=far)
    assert {found.id: found.record.epoch for found in find_runs(store=guarded)} == {hidden.id: 0}
