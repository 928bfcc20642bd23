"""Several real processes at once on one model. Not here: crashes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import stratal
from stratal.core.clock import SystemClock
from stratal.registry import registering
from stratal.registry.policies import approvals, better_than_champion, policy
from stratal.registry.stages import Stage
from stratal.registry.store import ModelStore

SCRIPT = Path(__file__).with_name("racing_script.py")


class Racer:
    """A process that decides and acts on command."""

    def __init__(self, folder, name):
        source = str(Path(stratal.__file__).parents[1])
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, "PYTHONPATH": source},
        )

    def say(self, line):
        self.process.stdin.write(line + "\n")

    def hear(self):
        return self.process.stdout.readline().strip()

    def ask(self, line):
        self.say(line)
        return self.hear()


@pytest.fixture
def house(make_house, tmp_path):
    """On the clock of the machine, which the racers have too."""
    made = make_house(tmp_path / "store", SystemClock())
    yield made
    made.store.close()


@pytest.fixture
def racers(house):
    made = []

    def make(name):
        made.append(Racer(house.store.folder, name))
        return made[-1]

    yield make
    for racer in made:
        racer.process.communicate()


def staged(house, seed, rules):
    """Register a version that may go to Production, approvals apart."""
    model = house.model(seed)
    version = registering.register("churn", model, policy=rules, store=house.store)
    registering.promote(version, "Staging", store=house.store)
    return version


@pytest.mark.slow
def test_of_promotions_decided_at_once_one_wins_and_readers_always_see_one(house, racers):
    rules = policy()
    models = ModelStore(house.store)
    registering.promote(staged(house, "first", rules), "Production", store=house.store)
    pair, watcher = [racers("bob"), racers("cy"), racers("dan")], racers("eve")
    assert watcher.ask("watch") == "watching"
    for game in range(12):
        numbers = [staged(house, f"{game} {index}", rules).number for index in range(len(pair))]
        assert [racer.ask(f"decide {number}") for racer, number in zip(pair, numbers, strict=True)] == ["ready"] * len(pair)
        for racer in pair:
            racer.say("act")
        answers = [racer.hear() for racer in pair]
        assert sorted(answers) == ["Conflict", "Conflict", "won"]
        (standing,) = [each for each in models.standings(name="churn").values() if each.stage is Stage.PRODUCTION]
        assert standing.number == numbers[answers.index("won")]
    fewest, most, snapshots = map(int, watcher.ask("stop").split())
    assert (fewest, most) == (1, 1) and snapshots > 20
    assert models.verify_audit().is_sound


@pytest.mark.slow
def test_promotions_and_rollbacks_at_once_end_as_the_log_says(house, racers):
    rules = policy()
    models = ModelStore(house.store)
    games = 6
    for number in range(games + 1):  # each rollback may come before the promotions of its game, and goes back one further then
        registering.promote(staged(house, f"before {number}", rules), "Production", store=house.store)
    pair, watcher = [racers("bob"), racers("cy"), racers("dan")], racers("eve")
    assert watcher.ask("watch") == "watching"
    for game in range(games):
        numbers = [staged(house, f"{game} {index}", rules).number for index in range(2)]
        pair[0].say(f"promote {numbers[0]}")
        pair[1].say(f"promote {numbers[1]}")
        pair[2].say("rollback")
        answers = [racer.hear() for racer in pair]
        assert "won" in answers
        assert set(answers) <= {"won", "Conflict"}
    fewest, most, _ = map(int, watcher.ask("stop").split())
    assert (fewest, most) == (1, 1)
    assert models.verify_audit().is_sound


@pytest.mark.slow
def test_a_lost_race_loses_no_approval_but_the_ones_for_the_old_champion(house, racers):
    rules = policy(production=[approvals(1)])
    for seed in "ab":
        version = staged(house, seed, rules)
        with house.acting("maria"):
            registering.approve(version, "Production", store=house.store)
    pair = [racers("bob"), racers("cy")]
    assert [racer.ask(f"decide {number}") for racer, number in zip(pair, (1, 2), strict=True)] == ["ready", "ready"]
    for racer in pair:
        racer.say("act")
    answers = [racer.hear() for racer in pair]
    assert sorted(answers) == ["Conflict", "won"]
    lost = 1 + answers.index("Conflict")
    # What was approved was to replace nobody; now there is a champion, and that has to be approved.
    assert racers("dan").ask(f"promote {lost}") == "TransitionRefused"
    entries = registering.history("churn", store=house.store)
    assert [entry.action for entry in entries].count("approve") == 2


@pytest.mark.slow
def test_the_loser_is_judged_against_the_winner(house, racers):
    rules = policy(production=[better_than_champion("auc")])
    for seed in "ab":
        staged(house, seed, rules)
    pair = [racers("bob"), racers("cy")]
    for racer, number in zip(pair, (1, 2), strict=True):
        assert racer.ask(f"decide {number}") == "ready"
    answers = [racer.ask("act") for racer in pair]
    assert answers == ["won", "Conflict"]
    assert pair[1].ask("promote 2") == "TransitionRefused"


@pytest.mark.slow
def test_the_same_model_registered_at_once_is_one_version(house):
    model = house.model()
    source = str(Path(stratal.__file__).parents[1])
    code = (
        "import sys; from stratal.registry.store import ModelStore; from stratal.tracking.opening import open_store\n"
        "done = ModelStore(open_store(sys.argv[1])).register_version(name='churn', digest=sys.argv[2], run=sys.argv[3], path='model')\n"
        "print(done.version.number, done.is_new)"
    )
    command = [sys.executable, "-c", code, str(house.store.folder), model.digest, model.run]
    house.store.settle()
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": source}) for _ in range(4)]
    answers = [process.communicate()[0].split() for process in started]
    assert sorted(answers) == [["1", "False"]] * 3 + [["1", "True"]]
