"""Blobs in an object store: uploads that break off, collections beside writers, outages. Excludes the laws of all places."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from stratal.core.errors import Conflict, Damaged, Misuse, NotFound, Refused, StoreDown
from stratal.core.settings import load_settings
from stratal.store.files.blobs import digest_of
from stratal.store.files.bucket import BucketBlobs
from stratal.store.files.cache import Cache
from stratal.store.files.copies import folder_of
from stratal.store.files.disk import DiskBlobs
from stratal.store.files.objects import Objects, checked_url, open_objects
from stratal.store.files.placing import open_blobs
from stratal.testing.buckets import VARIABLES
from stratal.testing.proxies import bad_network
from stratal.tracking.opening import open_store

FAR_NS = 2**62


class Failing(Objects):
    """Objects of which a request fails, by its number; `after` runs behind one instead."""

    def __init__(self, store: object, *, fail_at: int = 0, after: Callable[[str, str], None] | None = None) -> None:
        super().__init__(store, "memory")
        self.asked: list[tuple[str, str]] = []
        self.fail_at, self.after = fail_at, after

    def put(self, name: str, data: bytes) -> None:
        self._count("put", name)
        super().put(name, data)
        self._tell("put", name)

    def delete(self, name: str) -> None:
        self._count("delete", name)
        super().delete(name)
        self._tell("delete", name)

    def below(self, folder: str):
        self._count("list", folder)
        found = list(super().below(folder))
        self._tell("list", folder)
        return found

    def _count(self, verb: str, name: str) -> None:
        self.asked.append((verb, name.rpartition("/")[2]))
        if len(self.asked) == self.fail_at:
            raise StoreDown("it is away")

    def _tell(self, verb: str, name: str) -> None:
        if self.after is not None:
            self.after(verb, name.rpartition("/")[2])


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", limit_bytes=10_000)


def test_an_upload_that_breaks_off_goes_on_where_it_stopped(cache: Cache, tmp_path: Path):
    """Whatever request fails; another process, which knows nothing of the first one, sends only what is missing."""
    data = os.urandom(95_000)
    (tmp_path / "large").write_bytes(data)
    broke_off = 0
    for fail_at in range(1, 100):
        memory = MemoryStore()
        first = Failing(memory, fail_at=fail_at)
        try:
            BucketBlobs(first, cache=cache, part_bytes=10_000).put_file(tmp_path / "large")
            break
        except StoreDown:
            broke_off += 1
        sent = {name for verb, name in first.asked[:-1] if verb == "put" and name.startswith("p-")}
        second = Failing(memory)
        blobs = BucketBlobs(second, cache=cache, part_bytes=10_000)
        digest = blobs.put_file(tmp_path / "large")
        again = {name for verb, name in second.asked if verb == "put" and name.startswith("p-")}
        assert not sent & again and len(sent | again) in (0, 10), "no part went twice"
        assert blobs.read_range(digest, 0, 100_000) == data
    assert broke_off > 10


def test_a_file_that_changes_while_it_is_saved_is_refused(cache: Cache, tmp_path: Path):
    path = tmp_path / "large"
    path.write_bytes(b"a" * 30_000)

    def change(verb: str, name: str) -> None:
        if name.startswith("p-"):
            path.write_bytes(b"b" * 30_000)

    blobs = BucketBlobs(Failing(MemoryStore(), after=change), cache=cache, part_bytes=10_000)
    with pytest.raises(Conflict, match="changed"):
        blobs.put_file(path)
    assert list(blobs.entries()) == []


def test_other_bytes_than_the_digests_are_never_given(cache: Cache):
    objects = Objects(MemoryStore(), "memory")
    blobs = BucketBlobs(objects, cache=cache, part_bytes=10)
    small, large = blobs.put(b"small"), blobs.put(b"of several parts, this one")
    for name in [found.name for found in objects.below("")]:
        if "/p-" in name or name.endswith("whole"):
            objects.put(name, bytes(reversed(objects.read(name))))
    for digest in (small, large):
        for ask in (blobs.read, blobs.path, blobs.open):
            with pytest.raises(Damaged):
                ask(digest)


def test_a_writer_that_saves_what_is_being_collected_has_it_whoever_comes_first(cache: Cache):
    """The writer comes after each single request of the collection; at the end its bytes are there, and stay."""
    data, reached = b"of several parts, this one", 0
    for part_bytes in (10, 1000):
        for at in range(1, 50):
            memory = MemoryStore()
            writer = BucketBlobs(Objects(memory, "memory"), cache=cache, part_bytes=part_bytes)
            digest = writer.put(data)
            old_ns = max(found.young_ns for found in writer.entries()) + 1  # all that is there now is old, what comes is young
            asked = []

            def save(verb: str, name: str, asked=asked, writer=writer, at=at, digest=digest) -> None:
                asked.append((verb, name))
                if len(asked) == at:
                    assert writer.put(data) == digest

            collector = BucketBlobs(Failing(memory, after=save), cache=cache, part_bytes=part_bytes)
            collector.drop(digest, older_than_ns=old_ns)
            if len(asked) < at:
                break
            reached += 1
            assert b"".join(writer._ranges(digest, writer._readable(digest), 0, len(data))) == data, (at, asked)
            assert writer.renew(digest)
            assert not collector.drop(digest, older_than_ns=old_ns)
    assert reached > 10


def test_a_collection_that_dies_at_any_request_takes_nothing_that_is_needed_and_the_next_one_finishes(cache: Cache):
    data = b"of several parts, this one"
    for fail_at in range(1, 50):
        memory = MemoryStore()
        blobs = BucketBlobs(Objects(memory, "memory"), cache=cache, part_bytes=10)
        digest = blobs.put(data)
        try:
            BucketBlobs(Failing(memory, fail_at=fail_at), cache=cache, part_bytes=10).drop(digest, older_than_ns=FAR_NS)
            break
        except StoreDown:
            pass
        assert blobs.put(data) == digest, "whatever is left there, it can be saved"
        assert blobs.read_range(digest, 0, 100) == data
        blobs.drop(digest, older_than_ns=FAR_NS)
        for left in list(blobs.leftovers(older_than_ns=FAR_NS)):
            blobs.drop_leftover(left.name, older_than_ns=FAR_NS)
        assert not blobs.has(digest) and blobs.put(data) == digest
    assert fail_at > 5


def test_half_of_an_upload_that_somebody_goes_on_with_is_no_leftover(cache: Cache):
    data = os.urandom(30_000)
    digest = sha256(data).hexdigest()
    memory = MemoryStore()
    blobs = BucketBlobs(Objects(memory, "memory"), cache=cache, part_bytes=10_000)
    with blobs.receive(digest, len(data), 0) as coming:
        coming.write(data[:20_000])
    old_ns = time.time_ns() + 1
    (left,) = blobs.leftovers(older_than_ns=old_ns)

    def go_on(verb: str, name: str) -> None:
        if verb == "put" and name.startswith("dead-"):
            with pytest.raises(Conflict), blobs.receive(digest, len(data), 20_000):
                pass

    assert BucketBlobs(Failing(memory, after=go_on), cache=cache).drop_leftover(left.name, older_than_ns=old_ns)
    with blobs.receive(digest, len(data), 0) as coming:
        coming.write(data[:20_000])
    with blobs.receive(digest, len(data), 20_000) as coming:
        assert not blobs.drop_leftover(left.name, older_than_ns=time.time_ns() - 10**9)
        coming.write(data[20_000:])
        coming.publish()
    assert blobs.read_range(digest, 0, 30_000) == data


def test_a_place_of_another_store_is_refused(cache: Cache):
    memory = MemoryStore()
    first, second = (BucketBlobs(Objects(memory, "memory"), cache=cache, owner=owner) for owner in ("first", "second"))
    digest = first.put(b"a")
    for act in (lambda: second.put(b"b"), lambda: second.renew(digest), second.alone().__enter__, second.clock_shift_ns):
        with pytest.raises(Refused, match="another store"):
            act()
    assert second.read(digest) == b"a"


def test_what_the_cache_has_no_room_for_is_read_all_the_same(cache: Cache):
    blobs = BucketBlobs(Objects(MemoryStore(), "memory"), cache=cache)
    data = [os.urandom(4_000 * (number + 1)) for number in range(6)]
    for digest, each in [(blobs.put(each), each) for each in data] * 2:
        assert blobs.read(digest) == each
    assert sum(file.stat().st_size for file in cache.folder.rglob("blob")) <= 10_000


def test_urls_that_cannot_be_are_refused_and_nothing_of_them_is_repeated():
    assert checked_url("s3://bucket/a/b/") == "s3://bucket/a/b" and checked_url("gs://bucket") == "gs://bucket"
    for url in ("s3://", "s3://key:hidden@bucket/x", "s3://bucket/x?secret=hidden", "https://hidden", "s3://bucket/../hidden\n", "hidden"):
        with pytest.raises(Misuse) as told:
            checked_url(url)
        assert "hidden" not in str(told.value)


def test_an_object_store_that_is_away_is_said_to_be_and_no_secret_is_told(cache: Cache, monkeypatch: pytest.MonkeyPatch, caplog):
    for name, value in {**VARIABLES, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    caplog.set_level(logging.DEBUG)
    blobs = BucketBlobs(open_objects("s3://bucket/x", patience_s=0.1), cache=cache)
    for ask in (lambda: blobs.put(b"a"), lambda: blobs.read(digest_of(b"a")), lambda: list(blobs.entries()), blobs.clock_shift_ns):
        with pytest.raises(StoreDown) as told:
            ask()
        assert "s3://bucket/x cannot be" in told.value.message
        assert not any(value in str(told.value) + caplog.text for value in list(VARIABLES.values())[:2])


def test_an_object_store_that_has_been_away_for_long_is_looked_for_by_one_at_a_time(
    bucket: str, monkeypatch: pytest.MonkeyPatch, s3_endpoint: str
):
    """A request that is answered by nothing holds its thread for a minute: those of a server must not all be held."""
    with bad_network(s3_endpoint, lambda: "refuse") as (url, network):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        objects = open_objects(bucket, patience_s=0.0)
        with pytest.raises(StoreDown):
            objects.read("a")
        network.script = lambda: "stall"
        before = sum(network.seen.values())

        def look() -> None:
            with pytest.raises(StoreDown):
                objects.read("a")

        looking = threading.Thread(target=look)
        looking.start()
        while sum(network.seen.values()) == before:
            pass
        for _ in range(20):
            with pytest.raises(StoreDown, match="is being looked for"):
                objects.put("b", b"b")
        assert sum(network.seen.values()) == before + 1
        network.script = lambda: "pass"
        looking.join()
        objects.put("b", b"b")
        assert objects.read("b") == b"b"


def test_a_bucket_that_is_not_there_is_named(bucket: str, cache: Cache):
    blobs = BucketBlobs(open_objects("s3://no-such-bucket/x", patience_s=5), cache=cache)
    for ask in (lambda: blobs.put(b"a"), lambda: blobs.read(digest_of(b"a"))):
        with pytest.raises(StoreDown, match="NoSuchBucket"):
            ask()


def test_an_outage_is_waited_out_and_nothing_is_lost(bucket: str, cache: Cache, monkeypatch: pytest.MonkeyPatch, s3_endpoint: str):
    """Writers save all the time while every second request is refused or cut; then none passes at all, until one has seen 20 refused."""
    faults = iter(["pass", "refuse", "cut request", "cut answer", "drop answer"] * 1000)
    is_away = threading.Event()
    with bad_network(s3_endpoint, lambda: "refuse" if is_away.is_set() else next(faults)) as (url, network):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        blobs = BucketBlobs(open_objects(bucket), cache=cache, part_bytes=20_000)
        saved: dict[str, bytes] = {}

        def save(seed: int) -> None:
            for number in range(6):
                data = b"%d %d" % (seed, number) * (1 if number % 3 else 10_000)
                saved[blobs.put(data)] = data

        writers = [threading.Thread(target=save, args=(seed,)) for seed in range(3)]
        for writer in writers:
            writer.start()
        is_away.set()
        refused = network.seen.get("refuse", 0)
        while network.seen.get("refuse", 0) < refused + 20:
            writers[0].join(0.01)
        is_away.clear()
        for writer in writers:
            writer.join()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    blobs = BucketBlobs(open_objects(bucket), cache=cache)
    assert len(saved) == 18
    lost = [digest for digest, data in saved.items() if blobs.read(digest) != data]
    assert lost == [] and len(list(blobs.entries())) == 18


def test_an_upload_killed_in_the_middle_goes_on_in_another_process(bucket: str, cache: Cache, tmp_path: Path, s3_endpoint: str):
    """32 parts to a real server: the first process is killed when some are there; the second one sends the others."""
    (tmp_path / "large").write_bytes(os.urandom(32 * 100_000))
    script = f"""
from pathlib import Path
from stratal.store.files.bucket import BucketBlobs
from stratal.store.files.cache import Cache
from stratal.store.files.objects import open_objects
cache = Cache(Path("cache"), limit_bytes=1)
print(BucketBlobs(open_objects({bucket!r}), cache=cache, part_bytes=100_000).put_file(Path("large")))
"""
    objects = open_objects(bucket)
    first = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path)
    while len(there := list(objects.below(""))) < 3 and first.poll() is None:
        pass
    first.kill()
    assert first.wait() != 0, "it was done before it was killed"
    before = {found.name: found for found in there if "/p-" in found.name}
    said = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    digest = said.stdout.strip()
    blobs = BucketBlobs(objects, cache=cache)
    assert blobs.read(digest) == (tmp_path / "large").read_bytes()
    after = {found.name: found for found in objects.below(folder_of(digest)) if "/p-" in found.name}
    assert len(after) == 32 and all(after[name].changed_ns == found.changed_ns for name, found in before.items())


def test_a_process_that_was_forked_is_told_so(bucket: str, cache: Cache):
    blobs = BucketBlobs(open_objects(bucket), cache=cache)
    blobs.put(b"a")
    pid = os.fork()
    if pid == 0:
        try:
            blobs.put(b"b")
        except Misuse as error:
            os._exit(0 if "forked" in error.message else 2)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_store_remembers_where_its_blobs_lie(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "a store"
    made = open_store(folder, settings=load_settings(environ={"STRATAL_BLOBS": bucket}))
    digest = made.blobs.put(b"a")
    assert made.blobs.name == bucket and not (folder / "blobs").exists()
    assert open_store(folder).blobs.read(digest) == b"a", "without the setting, too"
    other = open_store(tmp_path / "another", settings=load_settings(environ={"STRATAL_BLOBS": bucket}))
    with pytest.raises(Refused):
        other.blobs.put(b"b")
    monkeypatch.setenv("STRATAL_STORE", str(folder))
    monkeypatch.setenv("STRATAL_BLOBS", "s3://bucket/elsewhere")
    with pytest.raises(Misuse, match="keeps its blobs where they are"):
        open_store()


def test_blobs_may_lie_in_another_folder_of_one_store_alone(tmp_path: Path, cache: Cache):
    place = str(tmp_path / "large disk")
    made = open_store(tmp_path / "a", settings=load_settings(environ={"STRATAL_BLOBS": place}))
    assert isinstance(made.blobs, DiskBlobs) and made.blobs.put(b"a") and (tmp_path / "large disk").is_dir()
    with pytest.raises(Misuse, match="another store"):
        open_store(tmp_path / "b", settings=load_settings(environ={"STRATAL_BLOBS": place}))
    with pytest.raises(Misuse):
        open_blobs("ftp://x/y", cache=cache)
    with pytest.raises(Misuse, match="two slashes"):
        open_store(tmp_path / "c", settings=load_settings(environ={"STRATAL_BLOBS": "s3:bucket/prefix"}))
    with pytest.raises(NotFound):
        open_blobs(place, cache=cache).read(digest_of(b"missing"))


def test_an_old_store_keeps_its_blobs_on_its_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = open_store(tmp_path / "old")
    digest = made.blobs.put(b"a")
    monkeypatch.setenv("STRATAL_BLOBS", "s3://bucket/new")
    assert open_store(tmp_path / "old").blobs.read(digest) == b"a"
    (tmp_path / "old" / "blobs.json").write_text(json.dumps({"place": 5}))
    with pytest.raises(Misuse, match=r"blobs\.json"):
        open_store(tmp_path / "old")
