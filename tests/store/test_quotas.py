"""Quotas: what is counted, whatever happens to runs and files; limits, and who is told. Excludes servers, which refuse by them."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import update

from stratal.core.errors import Misuse, NotFound
from stratal.core.ids import new_id, to_bytes
from stratal.store.events import events_since
from stratal.store.names import find_run
from stratal.store.quotas.counting import count_anew, count_asked, count_rename, counted
from stratal.store.quotas.rules import UNLIMITED, Quota, is_nearly, limits
from stratal.store.quotas.tables import use
from stratal.store.store import Store
from stratal.tracking.collecting import gc
from stratal.tracking.deleting import delete, purge
from stratal.tracking.doctor import doctor
from stratal.tracking.facts import ARTIFACT, START, ArtifactFact, Start
from stratal.tracking.opening import open_store
from stratal.tracking.quotas import quotas, recount_quotas, remove_quota, set_quota
from stratal.tracking.runs import run
from stratal.tracking.store.deleting import purge_run
from stratal.tracking.store.quotas import sizes_said


def held(store: Store, experiment: str = "churn") -> tuple[int, int]:
    """(bytes, runs) of an experiment."""
    return next(((each.size_bytes, each.runs) for each in quotas(store=store).used if each.experiment == experiment), (0, 0))


def is_right(store: Store) -> bool:
    with store.query() as tx:
        return counted(tx) == count_anew(tx, sizes_said(tx))


def told(store: Store) -> list[tuple[str, dict]]:
    with store.query() as tx:
        return [(event.subject, json.loads(event.body)) for event in events_since(tx, 0) if event.kind == "quota"]


def test_a_file_counts_once_per_experiment_and_deleted_runs_until_they_are_purged(store):
    with run("churn", store=store) as first:
        first.save_bytes("a.bin", b"a" * 1000)
        first.save_bytes("again.bin", b"a" * 1000)
        first.save_bytes("b.bin", b"b" * 300)
    with run("churn", store=store) as second:
        second.save_bytes("a.bin", b"a" * 1000)
    with run("other", store=store) as other:
        other.save_bytes("a.bin", b"a" * 1000)
    assert held(store) == (1300, 2) and held(store, "other") == (1000, 1)
    delete(first.ref, store=store)
    assert held(store) == (1300, 2)
    purge(first.ref, store=store)
    assert held(store) == (1000, 1)
    delete(second.ref, store=store)
    purge(second.ref, store=store)
    assert held(store) == (0, 0) and is_right(store)


def test_a_file_that_was_put_in_the_place_of_another_one_counts_beside_it_as_it_stays_in_the_store(store):
    with run("churn", store=store) as one:
        one.save_bytes("a.bin", b"a" * 1000)
        store.settle()
        one.save_bytes("a.bin", b"b" * 50)
    assert held(store) == (1050, 1) and recount_quotas(store=store).wrong == []


def test_files_that_came_before_their_run_said_where_it_belongs_are_counted_there(store):
    id = new_id()
    store.writer.fact(to_bytes(id), 0, ARTIFACT, ArtifactFact(path="a", digest="a" * 64, size_bytes=70))
    store.settle()
    assert held(store) == (0, 0)
    store.writer.fact(to_bytes(id), 0, START, Start(experiment="churn", user="ada"))
    assert held(store) == (70, 1)
    store.writer.fact(to_bytes(id), 0, START, Start(experiment="other", user="ada"))
    assert held(store) == (0, 0) and held(store, "other") == (70, 1) and is_right(store)


def test_what_is_held_goes_along_with_a_renamed_experiment(store):
    with run("churn", store=store) as one:
        one.save_bytes("a.bin", b"a" * 10)
    set_quota("churn", most_runs=3, store=store)
    with store.command() as tx:
        count_rename(tx, "churn", "new")
    [found] = quotas(store=store).used
    assert (found.experiment, found.size_bytes, found.runs, found.most_runs) == ("new", 10, 1, 3)


def test_an_experiments_own_limit_counts_before_the_default_each_by_itself(store):
    set_quota(most_bytes=100, most_runs=10, store=store)
    set_quota("churn", most_runs=3, store=store)
    set_quota("churn", most_bytes=UNLIMITED, store=store)
    with run("other", store=store):
        pass
    found = {each.experiment: (each.most_bytes, each.most_runs, each.has_own) for each in quotas(store=store).used}
    assert found == {"churn": (None, 3, True), "other": (100, 10, False)}
    remove_quota("churn", store=store)
    remove_quota(store=store)
    assert quotas(store=store).default is None
    with pytest.raises(NotFound, match="no quota of its own"):
        remove_quota("churn", store=store)


@pytest.mark.parametrize(
    ("experiment", "said"),
    [("churn", {}), ("churn", {"most_runs": -2}), ("churn", {"most_bytes": 2**63}), ("", {"most_runs": 1}), ("a\nb", {"most_runs": 1})],
)
def test_what_is_no_quota_is_refused_and_changes_nothing(store, experiment, said):
    with pytest.raises(Misuse):
        set_quota(experiment, **said, store=store)
    assert quotas(store=store).used == []


def test_embedded_nothing_is_refused_and_all_is_counted(store):
    set_quota("churn", most_bytes=10, most_runs=1, store=store)
    for _ in range(2):
        with run("churn", store=store) as one:
            one.save_bytes("a.bin", one.id.encode())
    assert held(store) == (64, 2)
    [check] = [check for check in doctor(store=store) if check.name == "quotas"]
    assert check.state == "note" and check.details == ("experiment:churn",)


def test_people_are_told_once_when_most_of_a_limit_is_used_and_again_after_there_was_room(store):
    set_quota("churn", most_bytes=100, most_runs=5, store=store)
    runs = []
    for _ in range(5):
        with run("churn", store=store) as one:
            runs.append(one.ref)
        store.settle()
    assert told(store) == [("experiment:churn", {"of": "runs", "used": 4, "limit": 5})]
    delete("experiment:churn", store=store)
    purge(runs[0], store=store)
    purge(runs[1], store=store)
    with run("churn", store=store) as one:
        one.save_bytes("a.bin", b"a" * 80)
    store.settle()
    assert [body["of"] for _, body in told(store)] == ["runs", "runs", "bytes"]


def test_a_limit_that_is_set_below_what_is_used_is_told_of_at_once(store):
    with run("churn", store=store):
        pass
    set_quota(most_runs=1, store=store)
    assert told(store) == [("experiment:churn", {"of": "runs", "used": 1, "limit": 1})]


def test_counters_that_are_wrong_are_found_and_counted_anew(store):
    with run("churn", store=store) as one:
        one.save_bytes("a.bin", b"a" * 10)
    store.settle()
    with store.command() as tx:
        tx.run(update(use).values(runs=7))
    [check] = [check for check in doctor(store=store) if check.name == "quotas"]
    assert (check.state, check.details, check.hint) == ("note", ("experiment:churn",), "count anew: stratal quota recount")
    assert recount_quotas(store=store).wrong == ["churn"] and held(store) == (10, 1)
    assert recount_quotas(store=store).wrong == []


def test_limits_and_nearness_are_plain_arithmetic():
    def said(experiment: str, size: int | None, runs: int | None) -> Quota:
        return Quota(experiment=experiment, most_bytes=size, most_runs=runs)

    assert limits("a", {}) == (None, None)
    assert limits("a", {"*": said("*", 5, UNLIMITED), "a": said("a", None, 7)}) == (5, 7)
    assert [is_nearly(used, 10) for used in (0, 7, 8, 11)] == [False, False, True, True]
    assert is_nearly(0, 0) is False and is_nearly(5, None) is False


def test_sizes_that_no_file_has_break_no_sum(store):
    id = to_bytes(new_id())
    store.writer.fact(id, 0, START, Start(experiment="churn", user="ada"))
    for number, size in enumerate((2**63 - 1, 2**63 - 1, -5, 2**62)):
        store.writer.fact(id, 0, ARTIFACT, ArtifactFact(path=f"{number}", digest=f"{number:064x}", size_bytes=size))
    assert held(store) == (3 << 40, 1) and recount_quotas(store=store).wrong == []


def test_files_that_no_run_ever_named_are_forgotten_by_a_collection(store):
    with store.command() as tx:
        count_asked(tx, "churn", "a" * 64, 10, is_waiting=False)
        count_asked(tx, "churn", "b" * 64, 10, is_waiting=True)
    assert held(store) == (10, 0) and is_right(store)
    gc(grace_hours=1, store=store)
    assert held(store) == (10, 0)
    gc(grace_hours=0, store=store)
    assert held(store) == (0, 0) and is_right(store)


class Counting(RuleBasedStateMachine):
    """Runs come, name files, move, are purged; the counters are what a count of everything gives."""

    template: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="stratal-test-"))
        self.store = open_store(shutil.copytree(self.template, self.folder / "store"))
        self.runs: list[str] = []

    @rule(experiment=some.sampled_from("ab"), is_started=some.booleans())
    def begin(self, experiment: str, is_started: bool) -> None:
        self.runs.append(new_id())
        if is_started:
            self.start(0, experiment)
        else:
            self.save(0, 0, 0)

    @precondition(lambda self: self.runs)
    @rule(at=some.integers(0, 3), experiment=some.sampled_from("ab"))
    def start(self, at: int, experiment: str) -> None:
        self.store.writer.fact(to_bytes(self.runs[-1 - at % len(self.runs)]), 0, START, Start(experiment=experiment, user="ada"))

    @precondition(lambda self: self.runs)
    @rule(at=some.integers(0, 3), path=some.integers(0, 2), content=some.integers(0, 4))
    def save(self, at: int, path: int, content: int) -> None:
        fact = ArtifactFact(path=f"{path}", digest=f"{content:064x}", size_bytes=100 + content)
        self.store.writer.fact(to_bytes(self.runs[-1 - at % len(self.runs)]), 0, ARTIFACT, fact)

    @precondition(lambda self: self.runs)
    @rule(at=some.integers(0, 3))
    def purge(self, at: int) -> None:
        id = self.runs.pop(-1 - at % len(self.runs))
        with self.store.command() as tx:
            row = find_run(tx, to_bytes(id))
            if row is not None:
                purge_run(tx, id, row.no)

    @rule(experiment=some.sampled_from("ab"), content=some.integers(0, 4), is_waiting=some.booleans())
    def ask(self, experiment: str, content: int, is_waiting: bool) -> None:
        with self.store.command() as tx:
            count_asked(tx, experiment, f"{content:064x}", 100 + content, is_waiting=is_waiting)

    @rule()
    def settle(self) -> None:
        self.store.settle()

    @invariant()
    def counters_are_right(self) -> None:
        assert is_right(self.store)

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


@pytest.mark.slow
def test_whatever_happens_the_counters_are_what_a_count_of_everything_gives(migrated):
    Counting.template = migrated
    run_state_machine_as_test(Counting, settings=settings(max_examples=25, stateful_step_count=20))
