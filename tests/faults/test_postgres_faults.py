"""Several machines over one PostgreSQL: kills inside transactions, a server that crashes under load, workers of one study. Counted.

Each victim has a folder of its own for journals, as a machine has.
"""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from stratal.core.ids import new_id, to_bytes
from stratal.core.people import Identity
from stratal.store.events import events_since
from stratal.store.store import Store
from stratal.store.tables import key
from stratal.testing.postgres import PostgresServer
from stratal.testing.service_workloads import SPACE, loss, open_elsewhere
from stratal.testing.victims import Victims
from stratal.testing.workloads import acknowledged_steps
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tuning.studies import study

WORK = "stratal.testing.service_workloads"
ADA = Identity(name="ada")
LONGEST_S = 60


@pytest.fixture(scope="module")
def machines():
    with Victims(
        [WORK, "stratal.store.postgres", "stratal.store.settling", "stratal.store.migrating", "stratal.tracking.store.settling"]
    ) as running:
        yield running


@pytest.fixture
def served(lent: Callable[[], str]):
    opened = open_store(lent())
    yield opened
    opened.close()


def wait_until(is_so: Callable[[], object]) -> None:
    ends_s = time.monotonic() + LONGEST_S
    while not is_so():
        assert time.monotonic() < ends_s, "it never came"
        time.sleep(0.002)


def series(store: Store, id: str) -> list[tuple[int, float]]:
    with store.snapshot() as snapshot:
        points = snapshot.series(to_bytes(id), "m")
    return list(zip(points.steps.tolist(), points.values.tolist(), strict=True))


def test_who_is_killed_inside_a_transaction_changed_nothing_and_keeps_nobody_waiting(served: Store, machines: Victims, tmp_path: Path):
    victim = machines.start(f"{WORK}:hold_a_transaction", served.url, str(tmp_path / "machine"), str(tmp_path / "inside"))
    wait_until((tmp_path / "inside").exists)
    assert victim.kill() == -signal.SIGKILL
    with served.command() as tx:
        assert tx.rows(select(key.c.name)) == []


@pytest.mark.slow
def test_a_server_that_crashes_under_load_costs_no_point_and_no_command(
    served: Store, machines: Victims, postgres_server: PostgresServer, tmp_path: Path
):
    """Two processes log and two command, while the server crashes; then they are killed, and all that was acknowledged is counted."""
    served.settle()
    ids = [new_id(), new_id()]
    told = [tmp_path / f"told{number}" for number in range(4)]
    victims = [
        *(machines.start(f"{WORK}:log_as_if_elsewhere", served.url, str(tmp_path / f"m{n}"), str(told[n]), id) for n, id in enumerate(ids)),
        *(machines.start(f"{WORK}:command_as_if_elsewhere", served.url, str(tmp_path / f"m{n}"), str(told[n]), f"c{n}") for n in (2, 3)),
    ]
    for _ in range(3):
        before = [acknowledged_steps(path) for path in told]
        wait_until(lambda before=before: all(acknowledged_steps(path) > n + 20 for path, n in zip(told, before, strict=True)))
        postgres_server.restart()
    before = [acknowledged_steps(path) for path in told]
    wait_until(lambda: all(acknowledged_steps(path) > n + 20 for path, n in zip(told, before, strict=True)))
    assert [victim.kill() for victim in victims] == [-signal.SIGKILL] * 4
    acknowledged = [acknowledged_steps(path) for path in told]
    print(f"acknowledged {acknowledged}")
    for number, id in enumerate(ids):
        machine = open_elsewhere(served.url, str(tmp_path / f"m{number}"))  # whoever comes next on that machine
        machine.settle()
        found = series(served, id)
        assert found == [(step, float(step)) for step in range(len(found))], "lost, doubled or out of order"
        assert len(found) - acknowledged[number] in (0, 1)
        machine.close()
    with served.query() as tx:
        names = Counter(name for (name,) in tx.rows(select(key.c.name)))
        seqs = [event.subject for event in events_since(tx, 0, limit=10**6) if event.kind == "added"]
    for number in (2, 3):
        of_it = [name for name in names if name.startswith(f"c{number} ")]
        assert len(of_it) - acknowledged[number] in (0, 1)
        assert set(of_it) == {f"c{number} {n}" for n in range(len(of_it))}
        assert set(of_it) <= set(seqs)


@pytest.mark.slow
def test_four_machines_share_a_study_and_log_beside_it(served: Store, machines: Victims, tmp_path: Path):
    served.settle()
    trials = 24
    workers = [machines.start(f"{WORK}:tune_as_if_elsewhere", served.url, str(tmp_path / f"m{n}"), trials) for n in range(4)]
    assert [worker.wait() for worker in workers] == [0] * 4
    done = study("shared", SPACE, minimize="loss", seed=3, store=served).optimize(loss, trials=trials, workers=1)
    assert [trial.number for trial in done.trials] == list(range(trials))
    assert {trial.status for trial in done.trials} == {"finished"}
    assert [trial.value for trial in done.trials] == [trial.params["x"] for trial in done.trials]
    assert done.replay() == [trial.params for trial in done.trials]
    assert len(find_runs("kind = 'trial'", store=served, limit=1000)) == trials
    beside = list(find_runs(experiment="beside", store=served))
    assert len(beside) == 4
    for one in beside:
        assert series(served, one.id) == [(step, float(step)) for step in range(300)]


@pytest.mark.slow
def test_who_follows_the_events_misses_none_whatever_is_rolled_back_beside(served: Store, machines: Victims, tmp_path: Path):
    """Numbers of events are given before they are committed; a reader that goes on from the last that it saw must see all."""
    told = [tmp_path / f"told{number}" for number in range(3)]
    victims = [
        machines.start(f"{WORK}:command_as_if_elsewhere", served.url, str(tmp_path / f"m{n}"), str(path), f"c{n}")
        for n, path in enumerate(told)
    ]
    dice, seen = random.Random(7), list[int]()
    while any(acknowledged_steps(path) < 60 for path in told):
        with served.database.read(ADA) as tx:
            seen += [event.seq for event in events_since(tx, seen[-1] if seen else 0, limit=dice.randrange(1, 5))]
        if dice.random() < 0.2:
            with pytest.raises(RuntimeError), served.command() as tx:
                tx.emit("never", "committed")
                raise RuntimeError
    for victim in victims:
        victim.kill()
    with served.database.read(ADA) as tx:
        seen += [event.seq for event in events_since(tx, seen[-1], limit=10**6)]
        assert seen == [event.seq for event in events_since(tx, 0, limit=10**6)]
    assert len(seen) < seen[-1], "none was rolled back"
