"""Any sequence of calls: the real store beside a dict, and one person alone against a rule that needs two."""

import contextlib
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from stratal.core.errors import Conflict, Misuse, NotFound, Refused
from stratal.registry import registering
from stratal.registry.policies import approvals, policy
from stratal.registry.stages import TRANSITIONS, Stage, Verb, has_passed
from stratal.registry.store import ModelStore

SEEDS = ["a", "b", "c", "d"]
numbers = st.integers(1, 4)


class Machine(RuleBasedStateMachine):
    def __init__(self, make_house):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="stratal-test-"))
        self.house = make_house(self.folder / "store")
        self.store = self.house.store
        self.models = ModelStore(self.store)

    def teardown(self):
        self.store.close()
        shutil.rmtree(self.folder)


class OneModel(Machine):
    """Governed and ungoverned lives of one model, against a dict of stages and a stack of who served."""

    def __init__(self, make_house):
        super().__init__(make_house)
        self.stages: dict[int, Stage] = {}
        self.by_seed: dict[str, int] = {}
        self.born: dict[int, object] = {}
        self.served: list[int] = []
        self.changes = 0
        self.is_governed = False

    @initialize()
    def first(self):
        self.register("a")

    @rule(seed=st.sampled_from(SEEDS))
    def register(self, seed):
        version = registering.register("churn", self.house.model(seed), store=self.store)
        if seed in self.by_seed:
            assert version == self.born[self.by_seed[seed]]
            return
        self.by_seed[seed] = len(self.stages) + 1
        assert version.number == self.by_seed[seed]
        self.stages[version.number] = Stage.DEVELOPMENT
        self.born[version.number] = version
        self.changes += 1

    @precondition(lambda self: not self.is_governed)
    @rule()
    def govern(self):
        assert registering.set_policy("churn", policy(), store=self.store).changed
        self.is_governed = True
        self.changes += 1

    @rule(number=numbers, stage=st.sampled_from(Stage))
    def promote(self, number, stage):
        self._expect(number, stage, Verb.PROMOTE, lambda: registering.promote(f"model:churn@{number}", stage, store=self.store))

    @rule(number=numbers)
    def archive(self, number):
        self._expect(
            number, Stage.ARCHIVED, Verb.ARCHIVE, lambda: registering.archive(f"model:churn@{number}", reason="r", store=self.store)
        )

    @rule(number=numbers)
    def send_back(self, number):
        self._expect(
            number, Stage.DEVELOPMENT, Verb.RETURN, lambda: registering.send_back(f"model:churn@{number}", reason="r", store=self.store)
        )

    @rule(number=numbers)
    def revive(self, number):
        self._expect(
            number, Stage.DEVELOPMENT, Verb.REVIVE, lambda: registering.revive(f"model:churn@{number}", reason="r", store=self.store)
        )

    @rule()
    def rollback(self):
        serving = [number for number, stage in self.stages.items() if stage is Stage.PRODUCTION]
        earlier = [number for number in reversed(self.served) if self.stages[number] is Stage.ARCHIVED]
        if not earlier:
            with pytest.raises(NotFound):
                registering.rollback("churn", reason="r", store=self.store)
            return
        done = registering.rollback("churn", reason="r", store=self.store)
        assert (done.number, list(done.archived)) == (earlier[0], serving)
        for number in serving:
            self.stages[number] = Stage.ARCHIVED
            self.served.remove(number)
        self.served.remove(earlier[0])
        self.served.append(earlier[0])
        self.stages[earlier[0]] = Stage.PRODUCTION
        self.changes += 1

    @invariant()
    def store_and_dict_agree(self):
        found = {number: standing.stage for number, standing in self.models.standings(name="churn").items()} if self.stages else {}
        assert found == self.stages

    @invariant()
    def at_most_one_serves(self):
        assert list(self.stages.values()).count(Stage.PRODUCTION) <= 1

    @invariant()
    def versions_never_change(self):
        for number, version in self.born.items():
            assert self.models.version(name="churn", number=number) == version

    @invariant()
    def each_change_has_one_entry_and_the_log_gives_the_standings(self):
        report = self.models.verify_audit()
        assert (report.findings, report.entries) == ((), self.changes)

    def _expect(self, number, target, verb, call):
        if number not in self.stages:
            with pytest.raises(NotFound):
                call()
            return
        source = self.stages[number]
        is_free = verb is Verb.PROMOTE and not self.is_governed
        is_known = any((row.source, row.verb, row.target) == (source, verb, target) for row in TRANSITIONS)
        if source is target or (verb is Verb.PROMOTE and self.is_governed and has_passed(source, target)):
            assert not call().changed
        elif is_free or is_known:
            assert call().changed
            self._moved(number, source, target)
        else:
            with pytest.raises(Misuse):
                call()

    def _moved(self, number, source, target):
        self.changes += 1
        if target is Stage.PRODUCTION:
            for other, stage in self.stages.items():
                if stage is Stage.PRODUCTION:
                    self.stages[other] = Stage.ARCHIVED
            if number in self.served:
                self.served.remove(number)
            self.served.append(number)
        elif source is Stage.PRODUCTION:
            self.served.remove(number)
        self.stages[number] = target


SPELLINGS = ["ann", "Ann", " ANN", "ａｎｎ"]


class OnePersonAlone(Machine):
    """Whatever one person calls, under whatever spelling, a stage that needs a second one is not reached."""

    RULES = (
        policy(production=[approvals(1)]),
        policy(staging=[approvals(1)], production=[approvals(2, role="owner")]),
        policy(),
        policy(production=[approvals(1, expires="1s")]),
    )

    @initialize()
    def first(self):
        registering.register("churn", self.house.model("a"), policy=self.RULES[0], store=self.store)

    def _try(self, name, call):
        with self.house.acting(name):
            with contextlib.suppress(Misuse, NotFound, Conflict, Refused):
                call()

    @rule(name=st.sampled_from(SPELLINGS), seed=st.sampled_from(SEEDS), rules=st.none() | st.sampled_from(RULES))
    def register(self, name, seed, rules):
        model = self.house.model(seed)
        self._try(name, lambda: registering.register("churn", model, policy=rules, store=self.store))

    @rule(name=st.sampled_from(SPELLINGS), number=numbers, stage=st.sampled_from(Stage))
    def promote(self, name, number, stage):
        self._try(name, lambda: registering.promote(f"model:churn@{number}", stage, store=self.store))

    @rule(name=st.sampled_from(SPELLINGS), number=numbers, stage=st.sampled_from([*Stage, "policy"]))
    def approve(self, name, number, stage):
        self._try(name, lambda: registering.approve(f"model:churn@{number}", stage, store=self.store))

    @rule(name=st.sampled_from(SPELLINGS), rules=st.sampled_from(RULES))
    def set_policy(self, name, rules):
        self._try(name, lambda: registering.set_policy("churn", rules, store=self.store))

    @rule(name=st.sampled_from(SPELLINGS), number=numbers, verb=st.sampled_from(["archive", "send_back", "revive", "rollback", "alias"]))
    def other(self, name, number, verb):
        ref = f"model:churn@{number}"
        calls = {
            "archive": lambda: registering.archive(ref, reason="r", store=self.store),
            "send_back": lambda: registering.send_back(ref, reason="r", store=self.store),
            "revive": lambda: registering.revive(ref, reason="r", store=self.store),
            "rollback": lambda: registering.rollback("churn", reason="r", store=self.store),
            "alias": lambda: registering.alias("churn", "champion", ref, store=self.store),
        }
        self._try(name, calls[verb])

    @rule(seconds=st.sampled_from([1, 10**6, -(10**6)]))
    def time_moves(self, seconds):
        self.house.clock.move(seconds)

    @invariant()
    def production_is_empty(self):
        assert all(each.stage is not Stage.PRODUCTION for each in self.models.standings(name="churn").values())


@pytest.mark.slow
@pytest.mark.parametrize("machine", [OneModel, OnePersonAlone])
def test_any_sequence_of_calls_keeps_the_laws(machine, make_house):
    run_state_machine_as_test(lambda: machine(make_house), settings=settings(max_examples=15, stateful_step_count=25))
