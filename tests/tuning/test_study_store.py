"""Laws of the study's store, with a clock that tests move: numbers, leases, takeovers, the sequence of results."""

import shutil
import threading

import pytest

from stratal.core.errors import Misuse, NotFound, StaleLease
from stratal.core.people import Role
from stratal.store.operations import operations_of
from stratal.tracking.leased import adopt
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tuning.store import LEASE_S, StudyStore
from stratal.tuning.trials import MOST_ATTEMPTS, Result
from stratal.tuning.trying import LiveTrial

AT = {"name": "s", "version": 1}


class MovedClock:
    def __init__(self):
        self.now = 1_700_000_000 * 10**9

    def now_ns(self):
        self.now += 1000
        return self.now

    def monotonic_s(self):
        return self.now / 1e9

    def move(self, seconds):
        self.now += int(seconds * 1e9)


@pytest.fixture
def clock():
    return MovedClock()


@pytest.fixture
def studies(tmp_path, clock, migrated, seen):
    shutil.copytree(migrated, tmp_path / "store")
    store = open_store(tmp_path / "store", clock=clock)
    yield StudyStore(seen(store))
    store.close()


@pytest.fixture
def opened(studies):
    open_version(studies)
    return studies


def open_version(studies, **changes):
    options = {"name": "s", "metric": "loss", "is_maximized": False, "space": "{}", "objective": "o", "data": "d", "sampler": "tpe"}
    return studies.open_version(**(options | {"seed": 1, "spare_seed": 2, "budget": 10} | changes))


def propose(studies, number, known=0):
    return studies.propose(**AT, number=number, params={"x": float(number)}, known=known)


def tell(studies, taken, value=1.0, status="finished"):
    result = Result(status=status, value=value)
    return studies.tell(**AT, number=taken.number, run=taken.run, token=taken.token, result=result)


def snapshot(studies, since=0):
    return studies.snapshot(**AT, since=since)


def test_a_number_is_given_once(opened):
    assert propose(opened, 0).number == 0
    assert propose(opened, 0) is None
    assert propose(opened, 2) is None
    assert propose(opened, 1).number == 1


def test_of_many_threads_that_propose_one_number_one_wins(opened):
    for number in range(5):
        won, barrier = [], threading.Barrier(4)

        def race(number=number, won=won, barrier=barrier):
            barrier.wait()
            won.append(propose(opened, number))

        threads = [threading.Thread(target=race) for _ in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert sum(w is not None for w in won) == 1


def test_results_take_places_in_the_order_of_telling(opened):
    taken = [propose(opened, n) for n in range(3)]
    assert [tell(opened, taken[n]).told for n in (2, 0, 1)] == [1, 2, 3]
    assert [t.number for t in snapshot(opened).ended] == [2, 0, 1]
    assert [t.number for t in snapshot(opened, since=1).ended] == [0, 1]
    assert snapshot(opened).told == 3


def test_a_held_trial_is_not_taken_over_and_an_expired_one_is_with_its_params(opened, clock):
    first = propose(opened, 0)
    assert opened.take_over(**AT) is None
    clock.move(LEASE_S + 1)
    assert snapshot(opened).free == (0,)
    second = opened.take_over(**AT)
    assert (second.number, second.run, second.params, second.attempt) == (0, first.run, first.params, 2)
    assert second.token > first.token
    assert opened.take_over(**AT) is None


def test_the_old_holder_is_refused_whatever_it_does(opened, clock):
    old = propose(opened, 0)
    clock.move(LEASE_S + 1)
    new = opened.take_over(**AT)
    place = {**AT, "number": 0, "run": old.run, "token": old.token}
    for act in (
        lambda: tell(opened, old),
        lambda: opened.report(**place, step=0, value=1.0),
        lambda: opened.give_back(**place),
    ):
        with pytest.raises(StaleLease):
            act()
    assert tell(opened, new, value=7.0).value == 7.0
    with pytest.raises(StaleLease):
        tell(opened, old)
    assert snapshot(opened).told == 1


def test_a_result_is_told_once(opened):
    taken = propose(opened, 0)
    tell(opened, taken)
    with pytest.raises(StaleLease):
        tell(opened, taken, value=2.0)
    assert snapshot(opened).ended[0].value == 1.0


def test_a_trial_that_workers_die_on_fails_and_its_run_with_it(opened, clock):
    run = propose(opened, 0).run
    for attempt in range(2, MOST_ATTEMPTS + 1):
        clock.move(LEASE_S + 1)
        assert opened.take_over(**AT).attempt == attempt
    clock.move(LEASE_S + 1)
    assert opened.take_over(**AT) is None
    trial = snapshot(opened).ended[0]
    assert (trial.status, trial.attempts, trial.error) == ("failed", 3, "its worker died 3 times")
    assert get_run(run, store=opened._store).status == "failed"


def test_reports_of_an_attempt_that_was_lost_do_not_count(opened, clock):
    old = propose(opened, 0)
    opened.report(**AT, number=0, run=old.run, token=old.token, step=0, value=0.5)
    opened.report(**AT, number=0, run=old.run, token=old.token, step=5, value=0.1)
    clock.move(LEASE_S + 1)
    new = opened.take_over(**AT)
    standing = opened.report(**AT, number=0, run=new.run, token=new.token, step=0, value=0.7)
    assert standing.own == (0.7,)


def test_peers_are_finished_trials_at_that_very_step(opened):
    taken = [propose(opened, n) for n in range(4)]
    for n, one in enumerate(taken):
        for step in range(3 if n else 1):
            standing = opened.report(**AT, number=n, run=one.run, token=one.token, step=step, value=n + step / 10)
        if n < 3:
            tell(opened, one, status="stopped" if n == 2 else "finished")
    assert standing.own == (3.0, 3.1, 3.2)
    assert standing.peers == (1.2,)  # 0 did not get that far, 2 was stopped
    again = opened.report(**AT, number=3, run=taken[3].run, token=taken[3].token, step=2, value=None)
    assert again.own == (3.0, 3.1, None)


def test_what_is_given_back_is_free_at_once_and_costs_no_attempt(opened):
    taken = propose(opened, 0)
    opened.give_back(**AT, number=0, run=taken.run, token=taken.token)
    assert opened.take_over(**AT).attempt == 1


def test_trials_of_a_holder_that_is_gone_are_free_at_once(opened):
    propose(opened, 0)
    (holder,) = opened.holders(**AT)
    assert opened.free(**AT, holder="somebody else") == 0
    assert opened.free(**AT, holder=holder) == 1
    assert opened.holders(**AT) == []
    assert opened.take_over(**AT).attempt == 2


def test_a_version_is_opened_once_per_identity(studies):
    first = open_version(studies)
    again = open_version(studies, budget=50)
    assert (first.is_new, again.is_new) == (True, False)
    assert again.version.run == first.version.run
    assert again.version.budget == 50
    assert open_version(studies, budget=5).version.budget == 50
    other = open_version(studies, seed=9)
    assert (other.version.version, other.version.why) == (2, "the seed changed")
    assert open_version(studies, seed=None).version.version == 2
    assert open_version(studies, seed=None, data="e").version.seed == 2


def test_unknown_studies_are_named_with_what_there_is(opened):
    with pytest.raises(NotFound, match="there are: s"):
        opened.version(name="t")
    with pytest.raises(NotFound, match="no version 3"):
        opened.version(name="s", version=3)
    assert [v.name for v in opened.newest_versions()] == ["s"]


def test_all_operations_can_be_served():
    found = operations_of(StudyStore)
    assert {"open_version", "propose", "take_over", "report", "tell", "snapshot", "trials"} <= set(found)
    assert all(op.is_command == (op.needs > Role.VIEWER) for op in found.values())


@pytest.mark.parametrize("seen", ["here"], indirect=True)  # the run itself is read where the store lies
def test_the_objective_of_a_lost_trial_is_told_at_its_next_report(opened, clock):
    taken = propose(opened, 0)
    run = adopt(opened._store, taken.run, "s", taken.token, kind="trial", ttl_s=3600.0)
    trial = LiveTrial("loss", taken, run)
    trial.report(1.0)
    clock.move(LEASE_S + 1)
    opened.take_over(**AT)
    with pytest.raises(StaleLease):
        run.renew()
    with pytest.raises(StaleLease):
        trial.report(2.0)
    run.let_go()


def test_nan_is_no_result_of_a_trial(opened):
    taken = propose(opened, 0)
    with pytest.raises(Misuse):
        tell(opened, taken, value=float("nan"))
    assert snapshot(opened).told == 0
