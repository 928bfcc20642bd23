"""Shipping journals to a served store, in one process: order, resumption, what is deleted when. Excludes kills, bad networks, and attempts
in any order."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from failing_server import Failing
from rows_of_a_writer import log_rows, steps

from stratal.core.clock import SystemClock
from stratal.core.errors import Misuse, StoreDown
from stratal.core.ids import new_id, to_bytes
from stratal.server.ingest import Ingest
from stratal.store import journal, shipping
from stratal.store.arriving import Arrivals, count_old_parts
from stratal.store.calling import Server
from stratal.store.files.disk import DiskBlobs
from stratal.store.journal import Writer, segments
from stratal.store.marks import mark_spool, remote_url, shipped_to
from stratal.store.shipments import OtherOffset
from stratal.store.shipping import Shipper, digests_in
from stratal.store.store import Store
from stratal.store.uploading import Shipping
from stratal.tracking.collecting import gc
from stratal.tracking.facts import START, Start
from stratal.tracking.leased import start_leased
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run
from stratal.tracking.syncing import sync


@pytest.fixture
def served(store, stage):
    """The URL of a store, and the store."""
    stage[0].handler = Ingest(store)
    yield stage[1], store
    stage[0].handler.close()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    (tmp_path / "spool" / "journal").mkdir(parents=True)
    return tmp_path / "spool"


@pytest.fixture
def shipper(served, spool):
    server = Server(served[0], "tester")
    yield Shipper(spool, server, keeps=False)
    server.close()


def test_what_was_logged_arrives_and_the_segment_goes(served, spool, shipper):
    id, writer = new_id(), Writer(spool / "journal")
    log_rows(writer, id, range(50))
    assert shipper.ship()
    assert steps(served[1], id) == list(range(50))
    assert len(segments(spool / "journal")) == 1, "the writer lives: its segment stays"
    log_rows(writer, id, range(50, 60))
    writer.close()
    assert shipper.ship()
    assert steps(served[1], id) == list(range(60))
    assert segments(spool / "journal") == []
    assert (shipper.done.frames, shipper.done.segments, shipper.done.refused) == (60, 1, [])
    assert shipper.waiting_bytes() == 0


def test_parts_of_what_was_sealed_are_dropped_a_month_later_and_a_repeat_applies_nothing(served, spool, shipper):
    def parts(store: Store) -> int:
        with store.query() as tx:
            return count_old_parts(tx, before_ns=2**62)

    store, kept = served[1], spool.parent / "kept.log"
    id, writer, living = new_id(), Writer(spool / "journal"), Writer(spool / "journal")
    log_rows(writer, id, range(9))
    log_rows(living, id, range(9, 12))
    [first, *_] = segments(spool / "journal", [writer.id])
    writer.close()
    shutil.copy(spool / "journal" / first, kept)
    assert shipper.ship()
    assert parts(store) == 1, "those of the living writer are of no sealed segment"
    assert gc(store=store).parts == 0

    store.clock = Later()
    assert (gc(store=store, dry_run=True).parts, gc(store=store).parts, gc(store=store).parts) == (1, 1, 0)
    assert Server(served[0], "tester").parts(first, 0).parts == []
    with pytest.raises(OtherOffset) as answered:
        Server(served[0], "tester").ship(first, 0, kept.read_bytes(), [])
    assert answered.value.offset == kept.stat().st_size
    shutil.copy(kept, spool / "journal" / first)
    log_rows(living, id, range(12, 14))
    assert shipper.ship()
    assert "so long ago that what it was compared by is dropped" in shipper.done.refused[0]
    assert steps(store, id) == list(range(14)), "nothing twice, and the other writer goes on"
    assert (spool / "journal" / first).exists()
    living.close()


class Later(SystemClock):
    """Forty days from now."""

    def now_ns(self) -> int:
        return super().now_ns() + 40 * 86_400 * 10**9


def test_segments_of_a_writer_arrive_in_order_and_large_ones_in_windows(served, spool, shipper, monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 2000)
    monkeypatch.setattr(journal, "WINDOW_BYTES", 500)
    id, writer = new_id(), Writer(spool / "journal")
    for step in range(200):
        writer.log(to_bytes(id), 0, {"a": float(step)})  # without steps: they are numbered in the order of arrival
    writer.close()
    assert len(segments(spool / "journal")) > 5
    assert shipper.ship()
    with served[1].snapshot() as snapshot:
        points = snapshot.series(to_bytes(id), "a")
    assert points.values.tolist() == [float(step) for step in range(200)]
    assert points.steps.tolist() == list(range(200))


def test_a_long_transfer_says_that_its_writers_are_alive(served, spool, shipper, monkeypatch):
    def seen_ns() -> int:
        return served[1].database.connect().execute("select max(seen_ns) from remote_writer").fetchone()[0]

    monkeypatch.setattr(shipping, "BEAT_S", 0.0)
    writer, id = Writer(spool / "journal"), new_id()
    log_rows(writer, id, range(3))
    shipper.ship()
    assert seen_ns() == 0, "a sync that does not watch says nothing of what comes"
    shipper.beat()
    before = seen_ns()
    blob = DiskBlobs(spool / "blobs").put(os.urandom(2 << 20))
    writer.fact(to_bytes(id), 0, "artifact", {"path": "a", "digest": blob, "size_bytes": 2 << 20})
    shipper.ship()
    assert seen_ns() > before > 0
    assert served[1].blobs.has(blob)


def test_a_writer_that_begins_between_two_beats_is_alive_there_at_once(served, spool, shipper):
    alive = []
    for _ in range(2):
        writer, id = Writer(spool / "journal"), new_id()
        log_rows(writer, id, range(2))
        shipper.ship()
        shipper.beat()
        alive.append(writer)
        assert {each.id for each in alive} <= served[1].living()
    for writer in alive:
        writer.close()


def test_a_writer_of_which_a_beat_came_before_its_first_frames_is_alive_with_them(served, spool, shipper):
    writer = Writer(spool / "journal")
    shipper.ship()
    log_rows(writer, new_id(), range(2))
    shipper.beat()  # of a writer that the server does not know yet
    shipper.ship()
    shipper.beat()
    assert writer.id in served[1].living()
    writer.close()


def test_another_shipper_goes_on_where_the_first_one_was(served, spool, shipper):
    id, writer = new_id(), Writer(spool / "journal")
    other = Shipper(spool, Server(served[0], "tester"), keeps=False)
    for start in range(0, 60, 10):
        log_rows(writer, id, range(start, start + 10))
        assert (shipper if start % 20 else other).ship()
    writer.close()
    assert other.ship()
    assert steps(served[1], id) == list(range(60))
    assert segments(spool / "journal") == []


def test_two_machines_may_log_to_one_run(served, tmp_path: Path):
    id = new_id()
    for number in range(2):
        folder = tmp_path / f"machine{number}"
        (folder / "journal").mkdir(parents=True)
        writer = Writer(folder / "journal")
        writer.fact(to_bytes(id), 0, START, Start(experiment="both"))
        log_rows(writer, id, range(number, 40, 2))
        writer.close()
        assert Shipper(folder, Server(served[0], "tester"), keeps=False).ship()
    assert steps(served[1], id) == list(range(40))


def test_a_clock_that_was_set_back_changes_no_order(served, spool, shipper):
    id, writer = new_id(), Writer(spool / "journal")
    for step in range(20):
        writer.log(to_bytes(id), 0, {"a": float(step)}, None, at_ns=10**18 - step * 10**12)
        if step == 10:
            assert shipper.ship()
    assert shipper.ship()
    with served[1].snapshot() as snapshot:
        assert snapshot.series(to_bytes(id), "a").values.tolist() == [float(step) for step in range(20)]


def test_blobs_are_there_before_the_facts_that_name_them(served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    url, team = served
    accept = Arrivals.accept
    seen = []

    def watched(self, name, offset, data, damage, sender):
        seen.append([team.blobs.has(digest) for digest in (small, large)])
        return accept(self, name, offset, data, damage, sender)

    monkeypatch.setattr(Arrivals, "accept", watched)
    here = open_store(tmp_path / "here")
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(3_000_000))
    with run("artifacts", store=here) as writing:
        small = writing.save_bytes("a/small.txt", b"small").digest
        large = writing.save(big).digest
    done = sync(url, store=here)
    assert (done.blobs, done.blob_bytes) == (2, 3_000_005)
    assert seen and all(all(there) for there in seen)
    read = get_run(writing.id, store=team)
    assert read.read_artifact("big.bin") == big.read_bytes()
    assert read.read_artifact("a/small.txt") == b"small"
    here.close()


def test_a_file_that_somebody_else_is_sending_is_not_told_as_kept_back_and_holds_up_no_other_writer(served, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("stratal.store.store.upload_aside", lambda *_: None)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    url, team = served
    far = open_store(url)
    make_pass = Shipping(far.writer, url, far.settings)
    with run("shipped", store=far) as made:
        saved = made.save_bytes("same.bin", b"of both" * 5000)
        other, id = Writer(far.journals), new_id()
        other.fact(to_bytes(id), 0, START, Start(experiment="shipped"))
        other.fact(to_bytes(id), 0, "note", {"text": str(far.blobs.put(b"another file" * 5000)), "author": "tester"})
        other.close()
        with team.blobs.receive(saved.digest, saved.size_bytes, 0, owner="") as coming:
            assert list(make_pass()) == []
            assert [note.text for note in get_run(id, store=team).notes] != [], "it does not wait for a file of others"
            assert get_run(made.id, store=team).artifacts == []
            coming.write(b"of both" * 5000)
            coming.publish()
        assert list(make_pass()) == []
        assert get_run(made.id, store=team).read_artifact("same.bin") == b"of both" * 5000
    far.close()


def test_digests_are_found_wherever_a_fact_holds_them():
    digest = "0" * 63 + "a"
    assert list(digests_in({"x": [{"y": digest}, f"sha256:{digest}", digest[:-1], 5, None, (digest,)], digest: 1})) == [digest] * 4


def test_a_torn_tail_stays_and_damage_is_declared(served, spool, shipper):
    id, writer = new_id(), Writer(spool / "journal")
    log_rows(writer, id, range(30))
    writer.close()
    [name] = segments(spool / "journal")
    path = spool / "journal" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data) + b"\x89ST1torn")
    assert shipper.ship()
    assert len(steps(served[1], id)) == 29
    connection = served[1].database.connect()
    assert connection.execute("select torn, state from segment").fetchall() == [(8, "done")]
    assert connection.execute("select count(*) from damage").fetchone() == (1,)
    assert not path.exists()


def test_a_copied_writer_that_went_on_elsewhere_is_refused_and_stops_nobody(served, spool, tmp_path: Path):
    id, writer = new_id(), Writer(spool / "journal")
    log_rows(writer, id, range(10))
    shutil.copytree(spool, tmp_path / "copy")
    [name] = segments(spool / "journal")
    log_rows(writer, id, range(10, 20))
    writer.close()
    with (tmp_path / "copy" / "journal" / name).open("ab") as other:  # as if its process had been copied, too
        sequence = 10
        for step in range(100, 110):
            body = journal.points_packer(1).pack(journal.shape_of(journal.encode_names(("a",))), step, 1, 1.0)
            other.write(journal.pack(journal.POINTS, 0, sequence, to_bytes(id), body, journal.salt_of(name)))
            sequence += 1
    neighbour = Writer(tmp_path / "copy" / "journal")
    log_rows(neighbour, id, range(50, 60))
    neighbour.close()
    server = Server(served[0], "tester")
    assert Shipper(spool, server, keeps=False).ship()
    copied = Shipper(tmp_path / "copy", server, keeps=False)
    for _ in range(2):
        assert copied.ship()
        [why] = copied.done.refused
        assert "differs from what the server has" in why
    assert steps(served[1], id) == [*range(20), *range(50, 60)]
    assert segments(tmp_path / "copy" / "journal") == [name], "what was refused is kept; what was not is gone"


def test_a_server_that_was_set_back_gets_what_it_lost_again(served, spool, stage, fresh_store):
    id, writer = new_id(), Writer(spool / "journal")
    server = Server(served[0], "tester")
    shipper = Shipper(spool, server, keeps=False)
    log_rows(writer, id, range(10))
    assert shipper.ship()
    stage[0].handler.close()
    emptied = fresh_store()
    stage[0].handler = Ingest(emptied)
    log_rows(writer, id, range(10, 20))
    writer.close()
    assert shipper.ship()
    assert steps(emptied, id) == list(range(20))
    server.close()


def test_a_spoilt_blob_is_reported_and_its_facts_still_arrive(served, tmp_path: Path):
    here = open_store(tmp_path / "here")
    with run("spoilt", store=here) as writing:
        saved = writing.save_bytes("a.txt", b"right")
    place = here.blobs.path(saved.digest)
    place.chmod(0o644)
    place.write_bytes(b"wrong")
    done = sync(served[0], store=here)
    [why] = done.refused
    assert saved.digest in why
    assert get_run(writing.id, store=served[1]).status == "finished"
    assert not served[1].blobs.has(saved.digest)
    here.close()


@pytest.mark.parametrize("after", [False, True])
def test_a_pass_that_fails_at_its_nth_call_is_made_good_by_the_next_one(served, tmp_path: Path, monkeypatch, after: bool):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 1500)
    url, team = served
    nth, is_hit = 0, True
    while is_hit:
        nth += 1
        folder = tmp_path / f"spool{nth}"
        mark = folder / "journal"
        mark.mkdir(parents=True)
        here = Store(folder)
        id, writer = new_id(), Writer(folder / "journal")
        digest = here.blobs.put(os.urandom(100))
        writer.fact(to_bytes(id), 0, START, Start(experiment="cut", tags={"blob": digest}))
        log_rows(writer, id, range(40))
        writer.close()
        failing = Failing(url, nth, after=after)
        with contextlib.suppress(StoreDown):
            Shipper(folder, failing, keeps=False).ship()
        is_hit = failing.left <= 0
        again = Server(url, "tester")
        assert Shipper(folder, again, keeps=False).ship()
        assert steps(team, id) == list(range(40))
        assert team.blobs.has(digest)
        assert segments(folder / "journal") == []
        for server in (failing, again):
            server.close()
    assert nth > 8


def test_a_store_in_a_folder_keeps_its_journals_until_they_are_shipped(served, tmp_path: Path):
    here = open_store(tmp_path / "here")
    with pytest.raises(Misuse, match="shipped to nowhere"):
        sync(store=here)
    with pytest.raises(StoreDown, match="not reached"):
        sync("http://127.0.0.1:9", store=here)
    assert shipped_to(here.folder) is None, "a server that was never reached is none to keep journals for"
    with run("both", store=here) as first:
        first.log({"a": 1.0}, step=1)
    sync(served[0], store=here)
    with run("both", store=here) as second:
        second.log({"a": 2.0}, step=1)
    here.writer.close()
    here.settle()
    assert here.settler.sweep(at_once=True) == 0, "the server has not all of it yet"
    done = sync(store=here)
    assert (done.segments, done.waiting_bytes, done.left) == (1, 0, [])
    assert here.settler.sweep(at_once=True) == 1
    assert list(here.journals.iterdir()) == []
    for written in (first, second):
        assert get_run(written.id, store=here).metrics == get_run(written.id, store=served[1]).metrics
    assert (sync(store=here).frames, sync(store=here).left) == (0, [])
    with pytest.raises(Misuse, match="is shipped to"):
        sync("http://127.0.0.1:1", store=here)
    assert shipped_to(here.folder) == served[0]
    here.close()


def test_a_spool_can_be_read_in_place_and_still_be_shipped(served, spool, shipper):
    mark_spool(spool, served[0])
    ids = [new_id() for _ in range(20)]
    for id in ids:
        writer = Writer(spool / "journal")
        log_rows(writer, id, range(5))
        writer.close()
    here = open_store(spool)
    assert get_run(ids[7], store=here).metrics == {"a": 4.0}
    assert len(segments(spool / "journal")) == 20, "settling a spool deletes nothing of it"
    assert shipper.ship()
    assert all(steps(served[1], id) == list(range(5)) for id in ids)
    here.close()


def test_runs_that_frames_cannot_tell_are_named(served, tmp_path: Path):
    here = open_store(tmp_path / "here")
    with run("gone", store=here) as gone:
        gone.log({"a": 1.0}, step=1)
    here.writer._become_new()  # another process, as it were
    here.settle()
    assert here.settler.sweep(at_once=True) == 1
    with start_leased("leased", store=here, kind="trial") as leased:
        leased.log({"a": 1.0}, step=1)
    done = sync(served[0], store=here)
    assert [left.runs for left in done.left] == [[gone.id], [leased.id]]
    here.close()


def test_what_needs_an_answer_of_a_store_behind_a_url_says_where_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    far = open_store("http://127.0.0.1:9/")
    assert (far.url, far.folder.parent) == ("http://127.0.0.1:9", tmp_path / "state" / "stratal")
    for ask in (
        lambda: get_run("0" * 32, store=far),
        lambda: run("e", resume="0" * 32, store=far),
        lambda: start_leased("e", store=far, kind="trial"),
    ):
        with pytest.raises((Misuse, StoreDown), match=r"only where the store lies|is not reached"):
            ask()


@pytest.mark.parametrize(
    "url", ["http://", "http://host:x", "http://user:secret@host", "http://host/?x=1", "https://host:99999", "http://a b\n"]
)
def test_urls_that_cannot_be_are_refused(url: str):
    with pytest.raises(Misuse, match="not the URL of a server"):
        remote_url(url)


def test_a_url_has_one_spelling():
    assert remote_url("HTTP://Host:80/team/") == remote_url("http://host:80/team") == "http://host:80/team"
    assert (remote_url("/a/folder"), remote_url("s3://x")) == (None, None)


SCRIPT = """
import sys, stratal as st
from stratal.store import uploading
uploading.UNKNOWN_S = uploading.FINISH_S = 60  # on a busy machine it takes seconds until the thread beside has imported HTTP
with st.run("far", params={"a": 1}) as run:
    for step in range(100):
        run.log({"a": float(step)}, step=step)
    run.save_bytes("a.txt", b"x")
print(run.id)
"""


def _script(tmp_path: Path, url: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "STRATAL_STORE": url, "XDG_STATE_HOME": str(tmp_path / "state")}
    return subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environ, check=True)


def test_a_script_ships_beside_itself_and_leaves_nothing_behind(served, tmp_path: Path):
    done = _script(tmp_path, served[0])
    assert done.stderr == ""
    read = get_run(done.stdout.strip(), store=served[1])
    assert (read.status, read.metrics, read.read_artifact("a.txt")) == ("finished", {"a": 99.0}, b"x")
    [folder] = (tmp_path / "state" / "stratal").iterdir()
    assert segments(folder / "journal") == []


def test_a_script_without_its_server_works_and_a_later_sync_ships_it(served, tmp_path: Path):
    done = _script(tmp_path, "http://127.0.0.1:9")
    assert "nothing is lost" in done.stderr
    [folder] = (tmp_path / "state" / "stratal").iterdir()
    command = [sys.executable, "-m", "stratal.cli.app", "sync", "--store", str(folder), "--json"]
    away = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (away.returncode, "127.0.0.1:9 is not reached" in away.stderr) == (1, True)
    here = subprocess.run([*command, "--to", served[0]], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert json.loads(here.stdout)["segments"] == 1
    assert get_run(done.stdout.strip(), store=served[1]).status == "finished"


PRINTS = """
import os, signal, stratal as st
st.autolog("console")
run = st.run("far")
print(run.id)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_printed_is_shipped_with_its_run(served, tmp_path: Path):
    environ = {**os.environ, "STRATAL_STORE": "http://127.0.0.1:9", "XDG_STATE_HOME": str(tmp_path / "state")}
    done = subprocess.run([sys.executable, "-c", PRINTS], capture_output=True, text=True, env=environ)
    assert done.returncode == -9
    [folder] = (tmp_path / "state" / "stratal").iterdir()
    [file] = (folder / "output").iterdir()
    killed = file.name.split("-")[0]
    with contextlib.closing(open_store(folder)) as spool:
        for _ in range(2):
            sync(served[0], store=spool)
    read = get_run(killed, store=served[1])
    assert (read.output, read.read_artifact("output.log")) == (f"{killed}\n", f"{killed}\n".encode())
    assert list((folder / "output").iterdir()) == []


def test_blobs_leave_a_spool_when_the_server_has_them_and_they_are_old(served, spool, shipper):
    mark_spool(spool, served[0])
    here = Store(spool)
    digest, kept = here.blobs.put(b"shipped"), here.blobs.put(b"not shipped")
    writer = Writer(spool / "journal")
    writer.fact(to_bytes(new_id()), 0, START, Start(experiment="e", tags={"d": digest}))
    assert shipper.ship()
    assert shipper.drop_blobs(0) == 0
    assert shipper.drop_blobs(2**62) == 1
    assert (here.blobs.has(digest), here.blobs.has(kept)) == (False, True)
