"""A study's store beside a plain dict, under any order of proposals, results, takeovers, returns and time that passes."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from stratal.core.errors import StaleLease
from stratal.tracking.opening import open_store
from stratal.tuning.store import LEASE_S, StudyStore
from stratal.tuning.trials import MOST_ATTEMPTS, Result

AT = {"name": "s", "version": 1}


class MovedClock:
    def __init__(self):
        self.now = 1_700_000_000 * 10**9

    def now_ns(self):
        self.now += 1000
        return self.now

    def monotonic_s(self):
        return self.now / 1e9


class StudyMachine(RuleBasedStateMachine):
    """Model: trials by number with token, lease end, attempts, result. `old`: tokens that were lost or spent."""

    template: Path

    @initialize()
    def open(self):
        self.folder = Path(tempfile.mkdtemp())
        shutil.copytree(self.template, self.folder / "store")
        self.clock = MovedClock()
        self.store = open_store(self.folder / "store", clock=self.clock)
        self.studies = StudyStore(self.store)
        options = {"name": "s", "metric": "m", "is_maximized": False, "space": "{}", "objective": "o", "data": "d", "sampler": "r"}
        self.studies.open_version(**options, seed=1, spare_seed=1, budget=9)
        self.model, self.order, self.old = {}, [], []

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)

    def is_free(self, number):
        trial = self.model[number]
        return trial["result"] is None and trial["until"] <= self.clock.now

    @rule(ahead=some.sampled_from([0, 0, 0, 1, -1]))
    def propose(self, ahead):
        number = len(self.model) + ahead
        if number < 0:
            return
        taken = self.studies.propose(**AT, number=number, params={"x": number}, known=len(self.order))
        assert (taken is None) == (ahead != 0)
        if taken is not None:
            self.model[number] = {"taken": taken, "until": self.clock.now + LEASE_S * 1e9, "attempts": 1, "result": None}

    @rule()
    def take_over(self):
        free = [n for n in sorted(self.model) if self.is_free(n)]
        taken = self.studies.take_over(**AT)
        for number in free:
            trial = self.model[number]
            self.old.append(trial["taken"])
            if trial["attempts"] >= MOST_ATTEMPTS:
                trial["result"] = ("failed", None)
                self.order.append(number)
                continue
            assert (taken.number, taken.run, taken.params) == (number, trial["taken"].run, {"x": number})
            trial.update(taken=taken, until=self.clock.now + LEASE_S * 1e9, attempts=trial["attempts"] + 1)
            return
        assert taken is None

    @precondition(lambda self: self.model)
    @rule(data=some.data(), value=some.floats(allow_nan=False), status=some.sampled_from(["finished", "stopped"]))
    def tell(self, data, value, status):
        number = data.draw(some.sampled_from(sorted(self.model)))
        trial = self.model[number]
        if trial["result"] is not None:
            return
        self.say(trial["taken"], Result(status=status, value=value))
        trial["result"] = (status, value)
        self.old.append(trial["taken"])
        self.order.append(number)

    def say(self, taken, result):
        return self.studies.tell(**AT, number=taken.number, run=taken.run, token=taken.token, result=result)

    @precondition(lambda self: self.old)
    @rule(data=some.data())
    def a_zombie_tells(self, data):
        taken = data.draw(some.sampled_from(self.old))
        with pytest.raises(StaleLease):
            self.say(taken, Result(status="finished", value=-1.0))

    @rule(seconds=some.sampled_from([1, 10, 40]))
    def wait(self, seconds):
        self.clock.now += seconds * 10**9

    @precondition(lambda self: self.model)
    @rule(data=some.data())
    def give_back(self, data):
        trial = self.model[data.draw(some.sampled_from(sorted(self.model)))]
        if trial["result"] is None and trial["until"] > 0:
            taken = trial["taken"]
            self.studies.give_back(**AT, number=taken.number, run=taken.run, token=taken.token)
            trial.update(until=0, attempts=trial["attempts"] - 1)

    @invariant()
    def the_store_says_what_the_model_says(self):
        if not hasattr(self, "studies"):
            return
        snapshot = self.studies.snapshot(**AT, since=0)
        assert (snapshot.asked, snapshot.told) == (len(self.model), len(self.order))
        assert [t.number for t in snapshot.ended] == self.order
        assert [t.told for t in snapshot.ended] == list(range(1, len(self.order) + 1))
        assert [(t.status, t.value) for t in snapshot.ended] == [self.model[n]["result"] for n in self.order]
        assert [t.number for t in snapshot.running] == [n for n in sorted(self.model) if self.model[n]["result"] is None]
        assert list(snapshot.free) == [n for n in sorted(self.model) if self.is_free(n)]
        assert all(t.attempts == self.model[t.number]["attempts"] for t in (*snapshot.ended, *snapshot.running))


@pytest.mark.slow
def test_any_order_of_events_leaves_the_study_as_a_dict_would_be(migrated):
    StudyMachine.template = migrated
    run_state_machine_as_test(StudyMachine, settings=settings(max_examples=25, stateful_step_count=30))
