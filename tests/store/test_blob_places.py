"""The laws of places for blobs (store/files/blobs.py), on every place. Excludes how each place keeps them, and who needs a blob."""

import os
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from obstore.store import LocalStore, MemoryStore

from stratal.core.errors import Damaged, Misuse, NotFound
from stratal.store.files.blobs import Blobs, digest_of
from stratal.store.files.bucket import PART, BucketBlobs
from stratal.store.files.cache import Cache
from stratal.store.files.disk import DiskBlobs
from stratal.store.files.objects import Objects, open_objects
from stratal.store.shipments import OtherOffset

FAR_NS = 2**62
HOUR_NS = 3600 * 10**9


@pytest.fixture(params=["disk", "memory", "files", "s3", "s3 in parts", "azure", "azure in parts"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Blobs]:
    """Open the same place, each time as another process would."""
    if request.param == "disk":
        return lambda: DiskBlobs(tmp_path / "place")
    cache = Cache(tmp_path / "cache", limit_bytes=1 << 20)
    if request.param == "memory":
        memory = Objects(MemoryStore(), "memory")
        return lambda: BucketBlobs(memory, cache=cache)
    if request.param == "files":
        (tmp_path / "place").mkdir()
        return lambda: BucketBlobs(Objects(LocalStore(tmp_path / "place"), "files"), cache=cache, part_bytes=7_000)
    url = request.getfixturevalue("bucket" if request.param.startswith("s3") else "container")
    return lambda: BucketBlobs(open_objects(url), cache=cache, part_bytes=3_000 if request.param.endswith("parts") else PART)


@pytest.fixture
def place(reopen: Callable[[], Blobs]) -> Blobs:
    return reopen()


def _hour_ago(place: Blobs) -> int:
    return time.time_ns() + place.clock_shift_ns() - HOUR_NS


def test_what_was_put_is_read(place: Blobs, reopen: Callable[[], Blobs], tmp_path: Path):
    (tmp_path / "file").write_bytes(b"of a file" * 1000)
    for digest, data in ((place.put(b"data"), b"data"), (place.put(b""), b""), (place.put_file(tmp_path / "file"), b"of a file" * 1000)):
        assert digest == digest_of(data)
        for each in (place, reopen()):
            assert (each.read(digest), each.size_bytes(digest), each.has(digest)) == (data, len(data), True)
            assert each.path(digest).read_bytes() == data
            with each.open(digest) as opened:
                assert opened.read() == data
            each.copy_to(digest, tmp_path / "copy")
            assert (tmp_path / "copy").read_bytes() == data


def test_what_is_not_there_is_said_to_be_missing(place: Blobs, tmp_path: Path):
    missing = digest_of(b"missing")
    assert not place.has(missing) and not place.renew(missing)
    for ask in (place.read, place.size_bytes, place.path, place.open, lambda digest: place.read_range(digest, 0, 1)):
        with pytest.raises(NotFound):
            ask(missing)
    with pytest.raises(NotFound):
        place.copy_to(missing, tmp_path / "copy")
    with pytest.raises(NotFound):
        place.put_file(tmp_path / "no file")
    with pytest.raises(Misuse):
        place.put_file(tmp_path)


def test_what_is_put_twice_is_stored_once(place: Blobs, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"data")
    assert place.put(b"data") == place.put(b"data") == place.put_file(tmp_path / "file")
    assert [(found.digest, found.size_bytes) for found in place.entries()] == [(digest_of(b"data"), 4)]


def test_a_digest_that_is_none_is_refused(place: Blobs, tmp_path: Path):
    for text in ("", "../../etc/passwd", "0" * 63, "G" * 64, "0" * 64 + "/x", digest_of(b"x").upper()):
        for ask in (place.has, place.read, place.path, place.open, place.size_bytes, place.renew):
            with pytest.raises(Misuse):
                ask(text)
        with pytest.raises(Misuse), place.receive(text, 1, 0):
            pass


def test_what_was_put_or_renewed_is_young_and_stays(place: Blobs):
    put, renewed = place.put(b"put"), place.put(b"renewed")
    before = time.time_ns() - 10**9
    assert place.renew(renewed)
    with place.alone():
        assert not place.drop(put, older_than_ns=_hour_ago(place)) and not place.drop(renewed, older_than_ns=_hour_ago(place))
    ages = {found.digest: found.young_ns for found in place.entries()}
    assert ages[renewed] >= before
    assert place.read(put) == b"put" and place.read(renewed) == b"renewed"


def test_what_is_old_can_be_dropped_and_put_again(place: Blobs, reopen: Callable[[], Blobs]):
    digest = place.put(b"data")
    for _ in range(3):
        with place.alone():
            assert place.drop(digest, older_than_ns=FAR_NS)
            assert not place.drop(digest, older_than_ns=FAR_NS)
        assert not place.has(digest) and not place.renew(digest) and list(place.entries()) == []
        assert place.put(b"data") == digest
        assert reopen().read(digest) == b"data"


def test_ranges_are_cut_where_a_blob_ends(place: Blobs):
    data = os.urandom(10_000)
    digest = place.put(data)
    for start, size in ((0, 10), (0, 10_000), (0, 20_000), (9_990, 100), (10_000, 5), (20_000, 5), (17, 0), (5, 9_000)):
        assert place.read_range(digest, start, size) == data[start : start + size], (start, size)
    for start, size in ((-1, 5), (0, -1)):
        with pytest.raises(Misuse):
            place.read_range(digest, start, size)


def test_each_blob_is_listed_once_with_its_size(place: Blobs):
    put = {place.put(b"x" * size): size for size in range(20)}
    for digest in put:
        place.renew(digest)
    found = list(place.entries())
    assert {each.digest: each.size_bytes for each in found} == put and len(found) == len(put)
    assert [each.digest for each in found] == sorted(put)


def test_what_is_received_goes_on_where_it_broke_off(place: Blobs, reopen: Callable[[], Blobs]):
    data = os.urandom(50_000)
    digest = sha256(data).hexdigest()
    assert place.received_bytes(digest) == 0
    with place.receive(digest, len(data), 0) as coming:
        assert not coming.is_there and coming.offset == 0
        for start in range(0, 30_000, 10_000):
            coming.write(data[start : start + 10_000])
    assert not place.has(digest), "nobody reads half a blob"
    other = reopen()
    here = other.received_bytes(digest)
    assert 0 < here <= 30_000
    with pytest.raises(OtherOffset) as told, other.receive(digest, len(data), here + 1):
        pass
    assert told.value.offset == here
    with other.receive(digest, len(data), here) as coming:
        coming.write(data[here:])
        coming.publish()
    assert place.read(digest) == data and place.received_bytes(digest) == 0
    with place.receive(digest, len(data), 0) as coming:
        assert coming.is_there


def test_what_is_received_and_is_not_the_blob_is_thrown_away(place: Blobs):
    data = os.urandom(40_000)
    digest = sha256(data).hexdigest()
    with place.receive(digest, len(data), 0) as coming:
        coming.write(data[:39_999] + bytes([data[39_999] ^ 1]))
        with pytest.raises(Damaged):
            coming.publish()
    assert not place.has(digest) and place.received_bytes(digest) == 0
    with place.receive(digest, len(data), 0) as coming:
        coming.write(data)
        coming.publish()
    assert place.read(digest) == data


def test_what_one_owner_has_begun_no_other_goes_on_with_or_learns_of(place: Blobs, reopen: Callable[[], Blobs]):
    data = os.urandom(50_000)
    digest = sha256(data).hexdigest()
    with place.receive(digest, len(data), 0, owner="ann") as coming:
        coming.write(data[:-1])
    for owner in ("eve", ""):
        assert place.received_bytes(digest, owner=owner) == 0
        with pytest.raises(OtherOffset) as told, place.receive(digest, len(data), len(data) - 1, owner=owner):
            pass
        assert told.value.offset == 0
    with reopen().receive(digest, len(data), place.received_bytes(digest, owner="ann"), owner="ann") as coming:
        coming.write(data[coming.offset :])
        coming.publish()
    assert place.read(digest) == data and place.received_bytes(digest, owner="ann") == 0


def test_an_owner_sends_all_of_a_blob_that_is_there_and_it_stays_one(place: Blobs):
    for data in (os.urandom(49_999) + b"!", b"", b"small"):
        digest = place.put(data)
        for sent, is_right in ((data[:-1] + b"?", False), (data, True)):
            with place.receive(digest, len(sent), 0, owner="eve") as coming:
                assert not coming.is_there and coming.offset == 0
                coming.write(sent)
                if is_right:
                    coming.publish()
                    continue
                with pytest.raises(Damaged):
                    coming.publish()
        assert place.read(digest) == data and [each.digest for each in place.entries()].count(digest) == 1
    assert list(place.leftovers(older_than_ns=FAR_NS)) == []


def test_two_owners_send_the_same_blob_at_once(place: Blobs):
    data = os.urandom(50_000)
    digest = sha256(data).hexdigest()
    with place.receive(digest, len(data), 0, owner="ann") as one, place.receive(digest, len(data), 0, owner="bob") as other:
        for start in range(0, len(data), 5_000):
            one.write(data[start : start + 5_000])
            other.write(data[start : start + 5_000])
        one.publish()
        other.publish()
    assert place.read(digest) == data and list(place.leftovers(older_than_ns=FAR_NS)) == []


def test_halves_are_leftovers_once_they_are_old(place: Blobs):
    data = os.urandom(30_000)
    with place.receive(sha256(data).hexdigest(), len(data), 0) as coming:
        coming.write(data[:20_000])
    assert list(place.leftovers(older_than_ns=_hour_ago(place))) == []
    (left,) = place.leftovers(older_than_ns=FAR_NS)
    assert 0 < left.size_bytes <= 20_000
    assert place.drop_leftover(left.name, older_than_ns=FAR_NS)
    assert list(place.leftovers(older_than_ns=FAR_NS)) == [] and place.received_bytes(sha256(data).hexdigest()) == 0


def test_a_blob_is_taken_from_another_place(place: Blobs, tmp_path: Path):
    other = DiskBlobs(tmp_path / "other")
    digest = other.put(b"from elsewhere")
    place.take(other, digest)
    place.take(other, digest)
    assert place.read(digest) == b"from elsewhere"
    back = DiskBlobs(tmp_path / "back")
    back.take(place, digest)
    assert back.read(digest) == b"from elsewhere"
    with pytest.raises(NotFound):
        place.take(other, digest_of(b"missing"))
