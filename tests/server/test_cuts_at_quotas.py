"""Shipments with a run for which there is no room: what comes before it arrives, so do other runs; it waits, and comes later.
Excludes files, and commands that make runs."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from rows_of_a_writer import steps

from stratal.core.ids import new_id, to_bytes
from stratal.store.arriving import Arrivals, everybody
from stratal.store.calling import Server
from stratal.store.journal import Writer, segments
from stratal.store.quotas.holding import check_placed
from stratal.store.shipments import Accepted, SegmentParts
from stratal.store.shipping import Shipper
from stratal.store.store import Store
from stratal.tracking.facts import START, Start
from stratal.tracking.finding import find_runs
from stratal.tracking.quotas import quotas, recount_quotas, set_quota
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run
from stratal.tracking.syncing import sync

# What a writer does, a person with limits, and a shipper: the number chooses a run, or an experiment.
STEPS = some.lists(
    some.tuples(some.sampled_from(["start", "start", "log", "log", "spoil", "raise", "ship"]), some.integers(0, 3)), min_size=4, max_size=40
)


class Direct(Server):
    """The protocol without a network."""

    def __init__(self, store: Store) -> None:
        self.store, self.arrivals = store, Arrivals(store.settler, everybody, placed=check_placed)

    def parts(self, name: str, since: int) -> SegmentParts:
        with self.store.database.read(self.store.actor()) as tx:
            return self.arrivals.parts(tx, name, since, self.store.actor())

    def ship(self, name, offset, data, damage) -> int:
        return self.arrivals.accept(name, offset, data, damage, self.store.actor())

    def seal(self, name, seal) -> int:
        return Accepted(offset=self.arrivals.seal(name, seal, self.store.actor())).offset


class Model:
    """A journal, as a list of what was said of which run, and what a server with these limits has taken of it."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []  # (run, experiment that it starts in, or '' for a point)
        self.limits, self.used = Counter[str](), Counter[str]()
        self.points, self.there = Counter[str](), set[tuple[str, str]]()

    def ship(self) -> bool:
        """Take what there is room for; tell whether something is left."""
        left: list[tuple[str, str]] = []
        for id, experiment in self.said:
            if id in {each for each, _ in left} or (experiment and self.used[experiment] >= self.limits[experiment]):
                left.append((id, experiment))
            elif experiment:
                self.used[experiment] += 1
                self.there.add((id, experiment))
            else:
                self.points[id] += 1
        self.said = left
        return bool(left)


def there(store: Store, experiments: list[str]) -> set[tuple[str, str]]:
    return {(found.id, experiment) for experiment in experiments for found in find_runs(experiment=experiment, store=store)}


def spoil(spool: Path, writer: Writer, since: int) -> None:
    name = segments(spool / "journal", [writer.id])[-1]
    with (spool / "journal" / name).open("r+b") as file:
        file.seek(since + 60)
        file.write(b"spoilt")


@given(plan=STEPS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_comes_in_whatever_order_all_but_the_runs_without_room_arrives_once(store, tmp_path, plan):
    spool, experiments = tmp_path / new_id(), [f"{new_id()}-a", f"{new_id()}-b"]
    (spool / "journal").mkdir(parents=True)
    writer, model, shipper = Writer(spool / "journal"), Model(), Shipper(spool, Direct(store), keeps=False)
    runs: list[str] = []
    logged = Counter[str]()

    def log(id: str) -> None:
        writer.log(to_bytes(id), 0, {"a": 1.0}, logged[id])

    def give_room(experiment: str, more: int = 1) -> None:
        model.limits[experiment] += more
        set_quota(experiment, most_runs=model.limits[experiment], store=store)

    def ship() -> None:
        assert shipper.ship()
        assert bool(shipper.done.refused) == model.ship()
        assert there(store, experiments) == model.there, "what has room is there, and nothing else"
        for id in runs:
            assert len(steps(store, id)) == model.points[id]

    for experiment in experiments:
        give_room(experiment, more=0)
    for what, number in plan:
        experiment = experiments[number % 2]
        if what == "start" or not runs:
            runs.append(new_id())
            writer.fact(to_bytes(runs[-1]), 0, START, Start(experiment=experiment, user="ada"))
            model.said.append((runs[-1], experiment))
        elif what == "log":
            id = runs[-1 - number % len(runs)]
            log(id)
            logged[id] += 1
            model.said.append((id, ""))
        elif what == "spoil":  # a disk loses a point, and a good one follows
            since = writer._size
            log(runs[-1])
            spoil(spool, writer, since)
            log(runs[-1])
            logged[runs[-1]] += 1
            model.said.append((runs[-1], ""))
        elif what == "raise":
            give_room(experiment)
        else:
            ship()
    ship()
    for experiment in experiments:
        give_room(experiment, more=len(runs))
    writer.close()
    ship()
    assert model.said == [] and segments(spool / "journal") == []
    for id in runs:
        assert steps(store, id) == list(range(logged[id])), "nothing is lost, doubled or in another order"
    assert recount_quotas(store=store).wrong == []


def test_a_repeat_of_what_was_cut_is_told_how_far_the_server_is(store, team, tmp_path):
    set_quota("churn", most_runs=1, store=store)
    writer, ids = Writer(tmp_path), [new_id(), new_id()]
    for id in ids:
        writer.fact(to_bytes(id), 0, START, Start(experiment="churn", user="ada"))
    writer.close()
    [name] = segments(tmp_path)
    data = (tmp_path / name).read_bytes()
    cut = team.put(name, 0, data).json()["offset"]
    assert 0 < cut < len(data)
    again = team.put(name, 0, data)
    assert (again.status_code, again.json()["error"], again.json()["offset"]) == (409, "offset", cut)
    assert team.put(name, 0, data[:cut]).json() == {"offset": cut}
    refused = team.put(name, cut, data[cut:])
    assert (refused.status_code, refused.json()["error"]) == (422, "quota")
    assert [part["stop"] for part in team.parts(name)["parts"]] == [cut]


def test_points_of_one_run_behind_the_refused_start_of_another_arrive(store, far):
    set_quota("churn", most_runs=1, store=store)
    with run("churn", store=far) as first:
        first.log({"a": 1.0}, step=0)
        with run("churn", store=far) as second:
            second.log({"a": 2.0}, step=0)
        first.log({"a": 1.0}, step=1)
    [why] = sync(store=far).refused
    assert "no room for another run" in why
    assert steps(store, first.id) == [0, 1] and get_run(first.ref, store=store).status == "finished"
    set_quota("churn", most_runs=2, store=store)
    assert sync(store=far).refused == []
    assert (steps(store, first.id), steps(store, second.id)) == ([0, 1], [0])


PROGRAM = """
import stratal as st
from stratal.store import uploading
uploading.UNKNOWN_S = uploading.FINISH_S = 60  # on a busy machine it takes seconds until the thread beside has imported HTTP
for number in range(3):
    with st.run("churn") as run:
        for step in range(50):
            run.log({"a": float(step)}, step=step)
        run.save_bytes("a.txt", str(number).encode())
    print(run.id)
"""


def test_of_a_program_that_makes_more_runs_than_fit_the_first_arrive_whole_and_the_rest_when_there_is_room(store, served_url, tmp_path):
    set_quota("churn", most_runs=2, store=store)
    environ = {**os.environ, "STRATAL_STORE": served_url, "XDG_STATE_HOME": str(tmp_path / "state")}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environ, check=True)
    ids = done.stdout.split()
    assert "experiment:churn has no room for another run: it holds 2, and its quota is 2" in done.stderr
    assert there(store, ["churn"]) == {(id, "churn") for id in ids[:2]}
    for number, id in enumerate(ids[:2]):
        read = get_run(id, store=store)
        assert (read.status, steps(store, id), read.read_artifact("a.txt")) == ("finished", list(range(50)), str(number).encode())
    set_quota("churn", most_runs=3, store=store)
    command = [sys.executable, "-m", "stratal.cli.app", "sync"]
    subprocess.run(command, env=environ, check=True, capture_output=True)
    last = get_run(ids[2], store=store)
    assert (last.status, steps(store, ids[2]), last.read_artifact("a.txt")) == ("finished", list(range(50)), b"2")
    [now] = quotas(store=store).used
    assert (now.runs, recount_quotas(store=store).wrong) == (3, [])
