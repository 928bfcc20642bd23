"""Writers that are sent run by run, because the server refuses something of them: the rest goes on, and nothing is lost or doubled.
Excludes setting runs aside."""

import contextlib
import os
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from failing_server import Failing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from rows_of_a_writer import steps

from stratal.core.errors import NotFound, StoreDown
from stratal.core.ids import new_id, to_bytes
from stratal.core.settings import load_settings
from stratal.store.calling import Server
from stratal.store.frames import FACT, NAMED, POINTS, Frame, read_fact, read_names, salt_of, scan
from stratal.store.journal import Writer, open_segments, segments
from stratal.store.parting import Marks, Parts, part_writer
from stratal.store.shipments import OtherBytes, Seal
from stratal.store.shipping import Shipper
from stratal.tracking.facts import START, Start
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run
from stratal.tracking.syncing import sync

# What three runs of a process log in turn: (run, tuple of metrics, or 0 for a fact, how often, whether somebody reads on then).
CALLS = some.lists(
    some.tuples(some.integers(0, 2), some.integers(0, 3), some.sampled_from([1, 1, 9]), some.booleans()), min_size=1, max_size=30
)
NAMES = (("a",), ("a", "b"), ("c",))


def spoken(data: bytes, salt: int) -> dict[bytes, list[object]]:
    """Give what frames say, by run, in order. Fails for a point whose names stand nowhere before it."""
    named: dict[int, tuple[str, ...]] = {}
    said: dict[bytes, list[object]] = {}
    read = scan(data, salt, is_whole=True)
    assert read.end == len(data)
    for frame in read.frames:
        width = frame.stop - frame.start + 48
        for number in range(frame.stretch):
            one = Frame(*frame[:4], frame.start + number * width, frame.stop + number * width)
            body = data[one.start : one.stop]
            if frame.kind == FACT:
                what: object = read_fact(data, one, "")[4:]
            elif frame.kind == NAMED:
                shape, names = read_names(data, one)
                named[shape] = names
                what = (names, body[-8 * len(names) - 16 :])
            else:
                assert frame.kind == POINTS
                what = (named[int.from_bytes(body[:8], "little")], body[8:])
            said.setdefault(frame.run, []).append((frame.sequence + number, what))
    return said


@given(calls=CALLS, cut=some.integers(0, 99))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_parts_say_what_their_segment_says_and_are_only_added_to(tmp_path, calls, cut):
    folder, runs = tmp_path / new_id(), [to_bytes(new_id()) for _ in range(3)]
    writer, since = Writer(folder), 0
    parts: Parts | None = None
    grown: dict[bytes, bytes] = {}
    said = [(which, kind, reads) for which, kind, often, reads in calls for _ in range(often)]
    for number, (which, kind, reads) in enumerate(said):
        if number == cut:
            since = writer._size
        if kind:
            writer.log(runs[which], 0, dict.fromkeys(NAMES[kind - 1], float(number)), number)
        else:
            writer.fact(runs[which], 0, "note", {"text": str(number)})
        if number >= cut and reads:
            [name] = segments(folder)
            with open_segments(folder, [name]) as opened:
                parts = parts or Parts(name, since)
                assert parts.read_on(opened[name]) == 0
                for id, part in parts.of_run.items():
                    assert bytes(part.data).startswith(grown.get(id, b"")), "what was sent of it stays true"
                    grown[id] = bytes(part.data)
    [name] = segments(folder)
    writer.close()
    with open_segments(folder, [name]) as opened:
        made = Parts(name, since)
        made.read_on(opened[name])
    whole = (folder / name).read_bytes()
    salt = salt_of(name)
    before = {id: len(said) for id, said in spoken(whole[:since], salt).items()}
    expected = {id: said[before.get(id, 0) :] for id, said in spoken(whole, salt).items()}
    told = {id: spoken(bytes(part.data), salt_of(part.name))[id] for id, part in made.of_run.items()}
    assert told == {id: said for id, said in expected.items() if said}
    assert all(bytes(made.of_run[id].data).startswith(data) for id, data in grown.items())


def test_behind_a_run_without_a_right_the_others_of_its_process_go_on_and_it_comes_when_it_may(guarded, away):
    team, far = guarded.store, away(guarded.token_of("bob"))
    with run("churn", store=far) as first:
        first.log({"a": 0.0}, step=0)
        with run("secret", store=far) as refused:
            for step in range(30):
                refused.log({"a": 1.0}, step=step)
                first.log({"a": 1.0}, step=step + 1)
            refused.save_bytes("a.txt", b"kept")
        with run("churn", store=far) as second:
            second.log({"a": 2.0}, step=0)
        [why] = sync(store=far).refused
        assert f"run:{refused.id[-8:]} of secret waits here" in why and "stratal grant add bob" in why
        assert (steps(team, first.id), steps(team, second.id)) == (list(range(31)), [0])
        assert get_run(second.id, store=team).status == "finished"
        first.log({"a": 3.0}, step=31)  # the process goes on, and so does what it ships
    done = sync(store=far)
    assert len(done.refused) == 1 and done.waiting_bytes > 0
    assert steps(team, first.id) == list(range(32)) and get_run(first.id, store=team).status == "finished"
    assert list(find_runs(experiment="secret", store=team)) == []
    guarded.accounts.grant(person="bob", role="contributor", on="experiment:secret")
    done = sync(store=far)
    assert (done.refused, done.waiting_bytes) == ([], 0)
    read = get_run(refused.id, store=team)
    assert (read.status, steps(team, refused.id), read.read_artifact("a.txt")) == ("finished", list(range(30)), b"kept")
    far.writer.close()
    assert sync(store=far).waiting_bytes == 0 and segments(far.journals) == []
    assert Marks(far.folder).parted() == {}, "nothing of it is left to remember"
    assert steps(team, first.id) == list(range(32)), "nothing twice"


def test_files_of_what_is_refused_are_kept_here(guarded, away):
    far = away(guarded.token_of("bob"))
    with run("secret", store=far) as refused:
        saved = refused.save_bytes("a.bin", os.urandom(20_000))
    path = far.blobs.path(saved.digest)
    os.utime(path, (1, 1))
    sync(store=far)
    assert path.exists(), "a server may collect what nothing names there"


def log_in_turn(writer: Writer, experiments: list[str]) -> list[str]:
    """Log runs at the same time, with the same names, of which only the first says them."""
    ids = [new_id() for _ in experiments]
    for id, experiment in zip(ids, experiments, strict=True):
        writer.fact(to_bytes(id), 0, START, Start(experiment=experiment))
    for step in range(10):
        for id in ids:
            writer.log(to_bytes(id), 0, {"a": float(step)}, step)
    return ids


@pytest.mark.parametrize("after", [False, True])
def test_a_pass_that_fails_at_its_nth_call_is_made_good_by_the_next_ones(guarded, tmp_path: Path, after: bool):
    token, team = guarded.token_of("bob"), guarded.store
    for nth in count(1):
        folder, secret = tmp_path / f"spool{nth}", f"secret{nth}-{after}"
        (folder / "journal").mkdir(parents=True)
        writer = Writer(folder / "journal")
        refused, *others = log_in_turn(writer, [secret, "churn", "churn"])
        failing, again = Failing(guarded.url, nth, after=after, user="bob", token=token), Server(guarded.url, "bob", token)
        with contextlib.suppress(StoreDown):
            Shipper(folder, failing, keeps=False).ship()
        is_hit = failing.left <= 0
        writer.log(to_bytes(others[0]), 0, {"a": 10.0}, 10)
        writer.close()
        shipper = Shipper(folder, again, keeps=False)
        assert shipper.ship()
        assert [steps(team, id) for id in others] == [list(range(11)), list(range(10))]
        guarded.accounts.grant(person="bob", role="contributor", on=f"experiment:{secret}")
        failing.left = nth
        with contextlib.suppress(StoreDown):
            Shipper(folder, failing, keeps=False).ship()
        assert Shipper(folder, again, keeps=False).ship()
        assert [steps(team, id) for id in (refused, *others)] == [list(range(10)), list(range(11)), list(range(10))]
        assert segments(folder / "journal") == []
        for server in (failing, again):
            server.close()
        if not is_hit:
            break
    assert nth > 6


def test_what_is_on_its_way_of_a_writer_that_is_parted_comes_too_late(guarded, segment_of):
    bob, ann = (Server(guarded.url, name, guarded.token_of(name)) for name in ("bob", "ada"))
    of_secret = segment_of("secret")
    assert bob.seal(of_secret.name, Seal(offset=0)) == 0
    with pytest.raises(OtherBytes, match="was sealed at 0"):
        ann.ship(of_secret.name, 0, of_secret.data, [])
    with pytest.raises(NotFound):
        bob.parts(of_secret.name, 0)  # it stays nobody's
    with pytest.raises(NotFound):
        bob.seal(of_secret.name, Seal(offset=5))
    for server in (bob, ann):
        server.close()


def test_a_server_that_was_set_back_gets_again_what_it_lost_of_a_parted_writer(guarded, tmp_path, stage, fresh_store):
    from stratal.server.ingest import Ingest

    (tmp_path / "spool" / "journal").mkdir(parents=True)
    writer = Writer(tmp_path / "spool" / "journal")
    ids = log_in_turn(writer, ["churn", "secret", "churn"])
    shipper = Shipper(tmp_path / "spool", Server(guarded.url, "bob", guarded.token_of("bob")), keeps=False)
    assert shipper.ship() and len(shipper.done.refused) == 1
    emptied, served = fresh_store(), stage[0].handler
    stage[0].handler = ingest = Ingest(emptied)  # which asks nobody
    writer.log(to_bytes(ids[2]), 0, {"a": 10.0}, 10)
    writer.close()
    for _ in range(3):
        assert shipper.ship()
    assert [steps(emptied, id) for id in ids] == [list(range(10)), list(range(10)), list(range(11))]
    assert shipper.done.refused == [] and segments(tmp_path / "spool" / "journal") == []
    stage[0].handler = served
    ingest.close()


def test_runs_of_a_parted_writer_live_for_as_long_as_its_process(guarded, tmp_path):
    (tmp_path / "spool" / "journal").mkdir(parents=True)
    writer = Writer(tmp_path / "spool" / "journal")
    ids = log_in_turn(writer, ["secret", "churn"])
    shipper = Shipper(tmp_path / "spool", Server(guarded.url, "bob", guarded.token_of("bob")), keeps=False)
    assert shipper.ship()
    shipper.beat()
    assert part_writer(writer.id, to_bytes(ids[1])) in guarded.store.living()
    writer.close()


def test_a_store_in_a_folder_keeps_the_journals_of_what_is_refused(guarded, tmp_path):
    here = open_store(tmp_path / "here", settings=replace(load_settings(), token=guarded.token_of("bob")))
    made = {}
    for experiment in ("churn", "secret", "churn"):
        with run(experiment, store=here) as one:
            one.log({"a": 0.0}, step=0)
        made[experiment] = one.id
    here.writer.close()
    here.settle()
    assert len(sync(guarded.url, store=here).refused) == 1
    assert here.settler.sweep(at_once=True) == 0, "the server has not all of it yet"
    assert get_run(made["churn"], store=guarded.store).status == "finished"
    guarded.accounts.grant(person="bob", role="contributor", on="experiment:secret")
    assert sync(store=here).refused == []
    assert here.settler.sweep(at_once=True) == 1
    assert get_run(made["secret"], store=guarded.store).metrics == {"a": 0.0}
    here.close()


def test_what_another_process_has_sent_meanwhile_is_refused_no_more(guarded, tmp_path):
    (tmp_path / "spool" / "journal").mkdir(parents=True)
    writer = Writer(tmp_path / "spool" / "journal")
    ids = log_in_turn(writer, ["secret", "churn"])
    server = Server(guarded.url, "bob", guarded.token_of("bob"))
    one, other = (Shipper(tmp_path / "spool", server, keeps=False) for _ in range(2))
    for _ in range(2):
        assert one.ship(insists=False) and len(one.done.refused) == 1
    guarded.accounts.grant(person="bob", role="contributor", on="experiment:secret")
    assert one.ship(insists=False) and len(one.done.refused) == 1, "it is not tried each second"
    assert other.ship() and other.done.refused == []
    writer.log(to_bytes(ids[0]), 0, {"a": 10.0}, 10)
    assert one.ship(insists=False) and one.done.refused == []
    assert steps(guarded.store, ids[0]) == list(range(11))
    writer.close()
    server.close()
