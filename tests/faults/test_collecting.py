"""Collecting garbage: what goes, what stays, beside writers that save what is being collected, and killed at every named point."""

import itertools
import json
import os
import signal
import time
from itertools import count
from pathlib import Path

import pytest

from stratal.cli.app import main
from stratal.core.clock import SECOND_NS
from stratal.core.errors import Conflict, Misuse
from stratal.core.ids import new_id, to_bytes
from stratal.store import collecting
from stratal.store.collecting import Collected, collect
from stratal.store.events import events_since
from stratal.store.files import disk
from stratal.store.files.blobs import digest_of
from stratal.store.journal import Writer
from stratal.store.store import Store
from stratal.testing.victims import Victims
from stratal.testing.workloads import ACKNOWLEDGED
from stratal.tracking.deleting import delete, purge
from stratal.tracking.facts import ARTIFACT
from stratal.tracking.opening import use_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

HOUR_S = 3600.0


def _age(path: Path, seconds: float = 2 * HOUR_S) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def _age_all(store: Store) -> None:
    for path in store.blobs.folder.glob("*/*"):
        _age(path)


def _collect(store: Store, *, dry_run: bool = False) -> Collected:
    return collect(store, grace_s=HOUR_S, events_s=HOUR_S, dry_run=dry_run)


def test_only_what_nobody_needs_and_is_old_is_collected(store: Store):
    with run("e", store=store) as made:
        made.save_bytes("kept", b"kept")
    unused, young = store.blobs.put(b"unused"), store.blobs.put(b"young")
    _age_all(store)
    store.blobs.put(b"young")
    dry = _collect(store, dry_run=True)
    assert (dry.blobs, dry.size_bytes, dry.dry_run) == ((unused,), 6, True)
    assert store.blobs.has(unused), "a dry run takes nothing"
    done = _collect(store)
    assert (done.blobs, done.size_bytes) == ((unused,), 6)
    assert not store.blobs.has(unused) and store.blobs.has(young)
    assert get_run(made.id, store=store).read_artifact("kept") == b"kept"
    assert _collect(store).blobs == ()


def test_what_only_a_journal_names_is_needed(store: Store):
    made = run("e", store=store)
    digest = made.save_bytes("kept", b"kept").digest
    _age_all(store)
    assert _collect(store).blobs == ()
    assert store.blobs.has(digest)


def test_a_file_that_was_used_by_content_or_digest_is_needed(store: Store):
    Path("rows.csv").write_text("a\n1\n")
    loose = store.blobs.put(b"loose")
    _age_all(store)
    with run("e", store=store) as made:
        made.use("rows.csv")
        made.use(f"sha256:{loose}")
        assert store.blobs.path(loose).stat().st_mtime > time.time() - 60, "young until its edge is settled"
    _age_all(store)
    assert _collect(store).blobs == ()


def test_what_a_fact_names_that_does_not_count_is_needed(store: Store):
    """Of a later release, or superseded: it is kept, and so are the files in it."""
    later, hidden = store.blobs.put(b"later"), store.blobs.put(b"hidden")
    id, writer = new_id(), Writer(store.journals)
    writer.fact(to_bytes(id), 0, "of a later release", {"files": [later, 0x61]})
    with store.command() as tx:
        from stratal.store import leases

        leases.take_over(tx, id, "test", from_step=0)
    writer.fact(to_bytes(id), 0, ARTIFACT, {"path": "a", "digest": hidden, "size_bytes": 6})
    _age_all(store)
    assert _collect(store).blobs == ()


def test_files_of_a_purged_run_go_unless_another_one_has_them_too(store: Store):
    with run("e", store=store) as first:
        alone = first.save_bytes("a", b"alone").digest
        first.save_bytes("b", b"both")
    with run("e", store=store) as second:
        second.save_bytes("b", b"both")
    delete(first.id, store=store)
    _age_all(store)
    assert _collect(store).blobs == (), "a deleted run can come back"
    purge(first.id, store=store)
    assert _collect(store).blobs == (alone,)
    assert get_run(second.id, store=store).read_artifact("b") == b"both"


def test_a_capture_goes_with_the_last_run_that_has_it(store: Store):
    captured, source = store.blobs.put(b"capture"), store.blobs.put(b"source")
    runs = []
    for _ in range(2):
        with run("e", store=store) as made:
            made.say("capture", {"thorough": {"digest": captured}, "holds": [source]})
        runs.append(made)
    _age_all(store)
    for each, gone in zip(runs, (set(), {captured, source}), strict=True):
        delete(each.id, store=store)
        purge(each.id, store=store)
        assert set(_collect(store).blobs) == gone


def test_leftovers_of_dead_processes_go_and_those_of_living_ones_stay(store: Store):
    store.blobs.put(b"x")
    incoming = store.blobs.folder / "incoming"
    old, young = incoming / "1-dead", incoming / "2-living"
    dead, living = store.journals / "0000000000000001-000000.log.new", store.journals / "0000000000000002-000000.log.new"
    for path in (old, young, dead, living):
        path.write_bytes(b"left")
    for path in (old, dead):
        _age(path)
    held = os.open(living, os.O_RDWR)
    _age(living)
    import fcntl

    fcntl.flock(held, fcntl.LOCK_EX)
    done = _collect(store)
    os.close(held)
    assert set(done.leftovers) == {"blobs/incoming/1-dead", f"journal/{dead.name}"}
    assert young.exists() and living.exists() and not old.exists() and not dead.exists()


def test_old_events_go_and_numbers_go_on(store: Store):
    with store.command() as tx:
        tx.emit("old", "a")
        tx.emit("old", "b")
    connection = store.database.connect()
    connection.execute("update event set at_ns = at_ns - ?", [int(2 * HOUR_S * SECOND_NS)])
    connection.close()
    with store.command() as tx:
        tx.emit("new", "c")
    assert _collect(store).events == 2
    with store.query() as tx:
        assert [(event.kind, event.actor) for event in events_since(tx, 0)] == [("new", "tester"), ("collected", "tester")]
        assert events_since(tx, 0)[0].seq == 3


def test_an_age_below_zero_is_refused(store: Store):
    with pytest.raises(Misuse):
        collect(store, grace_s=-1, events_s=0, dry_run=True)


def test_no_collection_comes_between_a_look_at_a_blob_and_its_unlinking(store: Store, monkeypatch: pytest.MonkeyPatch):
    """While one of both is at it, the other waits: seen from inside the system calls that make a blob young."""
    monkeypatch.setattr(disk, "_TRIES", 1)
    seen, utime, rename = [], os.utime, Path.rename

    def is_kept_out() -> bool:
        try:
            with store.blobs.alone():
                return False
        except Conflict:
            return True

    def watched_utime(path: Path, *times: object) -> None:
        if path.parent.name != "incoming":
            seen.append(("renewed", is_kept_out()))
        utime(path)

    def watched_rename(path: Path, target: Path) -> Path:
        seen.append(("renamed", is_kept_out()))
        return rename(path, target)

    monkeypatch.setattr(os, "utime", watched_utime)
    monkeypatch.setattr(Path, "rename", watched_rename)
    Path("file").write_bytes(b"b")
    for put in (lambda: store.blobs.put(b"a"), lambda: store.blobs.put(b"a"), lambda: store.blobs.put_file(Path("file"))):
        put()
    assert [what for what in seen if what[0] == "renamed"] == [("renamed", True)] * 2
    assert ("renewed", True) in seen and ("renewed", False) not in seen


@pytest.mark.slow
def test_writers_that_save_what_is_being_collected_lose_nothing(
    victims: Victims, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Files that nobody needs; as soon as some of them are collected, two writers begin to save all contents again."""
    contents, ids = 600, [new_id() for _ in range(2)]
    for number in range(contents):
        store.blobs.put(b"content %d" % number)
    _age_all(store)
    writers = [
        victims.start("stratal.testing.workloads:save_again", store.url, str(tmp_path / id), id, contents, seed, str(tmp_path / "start"))
        for seed, id in enumerate(ids)
    ]
    monkeypatch.setattr(collecting, "_BATCH", 5)
    collected = itertools.count(1)
    store.database.fault = lambda point: (tmp_path / "start").touch() if point == "after a blob" and next(collected) > 10 else None
    first = len(_collect(store).blobs)
    assert first > 10, "nothing was collected meanwhile: the test proves nothing"
    while not all(writer.has_ended() for writer in writers):
        _collect(store)
    assert [writer.wait() for writer in writers] == [0, 0]
    _age_all(store)
    assert _collect(store).blobs == ()
    for id in ids:
        acknowledged = [number for (number,) in ACKNOWLEDGED.iter_unpack((tmp_path / id).read_bytes())]
        assert len(acknowledged) == contents
        read = get_run(id, store=store)
        digests = {artifact.path: artifact.digest for artifact in read.artifacts}
        for number in acknowledged:
            assert store.blobs.read(digests[str(number)]) == b"content %d" % number


def test_a_collection_that_is_killed_at_any_point_loses_nothing_and_the_next_one_finishes(victims: Victims, store: Store):
    with run("e", store=store) as made:
        for number in range(5):
            made.save_bytes(str(number), b"kept %d" % number)
    store.settle()
    store.writer.close()
    for points in count(1):
        unused = {store.blobs.put(b"unused %d %d" % (points, number)) for number in range(3)}
        (store.blobs.folder / "incoming/1-dead").write_bytes(b"left")
        _age_all(store)
        code = victims.start("stratal.testing.workloads:collect_until_killed", store.url, points).wait()
        read = get_run(made.id, store=store)
        assert [read.read_artifact(str(number)) for number in range(5)] == [b"kept %d" % number for number in range(5)]
        assert store.database.connect().execute("pragma integrity_check").fetchone() == ("ok",)
        left = {digest for digest in unused if store.blobs.has(digest)}
        assert set(_collect(store).blobs) == left
        assert not any(store.blobs.has(digest) for digest in unused) and not (store.blobs.folder / "incoming/1-dead").exists()
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert points > 5, "there were hardly any points to die at"


def test_the_command_says_what_goes(store: Store, capsys: pytest.CaptureFixture[str]):
    use_store(store)
    store.blobs.put(b"unused")
    _age_all(store)
    for words, gone in ((["--dry-run"], 0), ([], 1)):
        with pytest.raises(SystemExit) as left:
            main(["gc", "--grace-hours", "1", "--json", *words])
        assert left.value.code == 0
        said = json.loads(capsys.readouterr().out)
        assert said["blobs"] == [digest_of(b"unused")] and said["dry_run"] is not bool(gone)
        assert store.blobs.has(digest_of(b"unused")) is not bool(gone)
    with pytest.raises(SystemExit):
        main(["gc"])
    assert "files nobody needs" in capsys.readouterr().out
