"""Ingest into a store whose blobs lie in S3, also while S3 is away. Excludes the protocol itself, and what lies in the bucket."""

import os
import threading
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from stratal.core.errors import StoreDown
from stratal.core.ids import new_id, to_bytes
from stratal.core.settings import load_settings
from stratal.server.ingest import Ingest, Limits
from stratal.server.serving import listening
from stratal.store import shipping
from stratal.store.calling import Server
from stratal.store.files.bucket import BucketBlobs
from stratal.store.files.disk import DiskBlobs
from stratal.store.files.objects import open_objects
from stratal.store.journal import Writer, segments
from stratal.store.shipping import Shipper
from stratal.store.store import Store
from stratal.testing.proxies import BadNetwork, bad_network
from stratal.tracking.facts import START, TAGS, Start
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run
from stratal.tracking.syncing import sync


@pytest.fixture
def network(bucket: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch):
    """What lies between the server and S3."""
    with bad_network(s3_endpoint) as (url, network):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        yield network


@pytest.fixture
def served(network: BadNetwork, bucket: str, stage, tmp_path: Path):
    """The URL of a server whose store has its blobs in S3, which it waits for half a second, and the store."""
    store = open_store(
        tmp_path / "team", settings=load_settings(environ={"STRATAL_BLOBS": bucket, "STRATAL_CACHE": str(tmp_path / "cache")})
    )
    assert isinstance(store.blobs, BucketBlobs)
    store.blobs.objects = open_objects(bucket, patience_s=0.5)
    store.blobs.part_bytes = 40_000
    handler = stage[0].handler = Ingest(store)
    yield stage[1], store
    handler.close()
    store.close()


def _put(url: str, data: bytes, *, offset: int = 0, stop: int | None = None) -> httpx.Response:
    headers = {"stratal-offset": str(offset), "stratal-size": str(len(data))}
    return httpx.put(f"{url}/ingest/v1/blobs/{sha256(data).hexdigest()}", content=data[offset:stop], headers=headers, timeout=30)


def test_blobs_arrive_whole_and_go_on_where_they_broke_off(served):
    url, store = served
    data = os.urandom(150_000)
    digest = sha256(data).hexdigest()
    assert _put(url, data, stop=100_000).json() == {"offset": 100_000}
    head = httpx.head(f"{url}/ingest/v1/blobs/{digest}")
    assert (head.status_code, head.headers["stratal-offset"]) == (404, "100000")
    assert _put(url, data, offset=90_000).json()["offset"] == 100_000
    assert not store.blobs.has(digest)
    assert _put(url, data, offset=100_000).json() == {"offset": 150_000}
    assert store.blobs.read(digest) == data
    assert httpx.head(f"{url}/ingest/v1/blobs/{digest}").headers["stratal-size"] == "150000"
    assert _put(url, data).json() == {"offset": 150_000}


def test_other_bytes_are_refused_and_the_right_ones_are_taken_after_them(served):
    url, store = served
    right, wrong = b"r" * 100_000, b"w" * 100_000
    headers = {"stratal-offset": "0", "stratal-size": "100000"}
    for _ in range(2):
        answer = httpx.put(f"{url}/ingest/v1/blobs/{sha256(right).hexdigest()}", content=wrong, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (422, "damaged")
    assert _put(url, right).status_code == 200
    assert store.blobs.read(sha256(right).hexdigest()) == right


def test_a_client_that_ships_while_s3_is_away_loses_nothing(served, network: BadNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs log points and files; S3 goes away in the middle, for more requests than the server waits for, and comes back."""
    url, store = served
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    far = open_store(url)
    files = {f"file{number}": os.urandom(30_000 * (number % 3) + 10) for number in range(12)}
    with run("shipped", store=far) as made:
        for number, (name, data) in enumerate(files.items()):
            made.log({"loss": float(number)}, step=number)
            made.save_bytes(name, data)
            if number == 4:
                sync(store=far)
                network.script = lambda: "refuse"
    refused = 0
    while refused < 3:
        answer = _put(url, b"asked while it is away")
        refused += answer.status_code == 503
        assert "a-secret" not in answer.text and answer.headers["retry-after"]
    network.script = lambda: "pass"
    done = sync(store=far)
    assert done.waiting_bytes == 0 and not done.refused
    read = get_run(made.id, store=store)
    assert read.series("loss").steps.tolist() == list(range(12))
    lost = [name for name, data in files.items() if read.read_artifact(name) != data]
    assert lost == [] and read.status == "finished"
    far.uploader.finish()
    far.close()


def test_senders_of_files_do_not_take_the_places_of_all_others(served, network: BadNetwork):
    store = served[1]
    with listening(Ingest(store, limits=Limits(requests=4, blobs=2))) as small:
        store.blobs.objects = open_objects(store.blobs.name, patience_s=20)
        network.script = lambda: "stall"
        waiting = [threading.Thread(target=_put, args=(small, b"%d" % number)) for number in range(2)]
        for thread in waiting:
            thread.start()
        while sum(network.seen.values()) < 2:
            pass
        refused = _put(small, b"one more")
        assert (refused.status_code, refused.json()["error"], refused.headers["retry-after"]) == (429, "busy", "1")
        assert httpx.post(f"{small}/ingest/v1/beat", json={"writers": []}, timeout=15).status_code == 204
        network.script = lambda: "pass"
        for thread in waiting:
            thread.join()


def test_a_file_that_has_to_wait_holds_up_neither_what_was_logged_before_it_nor_other_writers(
    served, network: BadNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shipping, "time", SimpleNamespace(monotonic=lambda: 1000.0))  # however long the passes take
    url, store = served
    spool, ids = tmp_path / "spool", [new_id() for _ in range(3)]
    (spool / "journal").mkdir(parents=True)
    digest = DiskBlobs(spool / "blobs").put(b"a file")
    for id in ids:
        writer = Writer(spool / "journal")
        writer.fact(to_bytes(id), 0, START, Start(experiment="far"))
        for step in range(20):
            if step == 10 and id is not ids[2]:
                writer.fact(to_bytes(id), 0, TAGS, {"file": digest})
            writer.log(to_bytes(id), 0, {"a": float(step)}, step)
        writer.close()

    def arrived() -> list[int]:
        store.settle()
        return [store_series(store, id) for id in ids]

    shipper = Shipper(spool, Server(url, "tester"), keeps=False)
    network.script = lambda: "slow down"
    for _ in range(2):
        with pytest.raises(StoreDown, match="SlowDown"):
            shipper.ship()
        assert arrived() == [10, 10, 20]
    asked = sum(network.seen.values())
    with pytest.raises(StoreDown):
        shipper.ship()
    assert sum(network.seen.values()) == asked, "it is not asked at each pass"
    network.script = lambda: "pass"
    shipper._blobs_at_s = 0.0  # it is time to try files again
    while not _has_shipped(shipper):
        pass
    assert arrived() == [20, 20, 20]
    assert shipper.done.refused == [] and segments(spool / "journal") == []


def test_a_run_whose_file_has_to_wait_is_alive_and_what_it_logged_before_is_there(
    served, network: BadNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    url, store = served
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    far = open_store(url)
    with run("shipped", store=far) as made:
        made.log({"loss": 1.0}, step=0)
        network.script = lambda: "slow down"
        made.save_bytes("file", b"a file")
        [said] = list(far.uploader.make_pass())
        assert "keeps files back" in said and "SlowDown" in said
        assert get_run(made.id, store=store).status == "running"
        assert get_run(made.id, store=store).series("loss").steps.tolist() == [0]
        network.script = lambda: "pass"
    while sync(store=far).waiting_bytes:
        pass
    assert get_run(made.id, store=store).read_artifact("file") == b"a file"
    far.uploader.finish()
    far.close()


def _has_shipped(shipper: Shipper) -> bool:
    try:
        return shipper.ship()
    except StoreDown:
        return False


def store_series(store: Store, id: str) -> int:
    with store.snapshot() as snapshot:
        return snapshot.series(to_bytes(id), "a").n


def test_points_arrive_while_s3_is_away(served, network: BadNetwork):
    """Who waits for S3 waits in threads of its own."""
    url, store = served
    assert isinstance(store.blobs, BucketBlobs)
    store.blobs.objects = open_objects(store.blobs.name, patience_s=20)
    is_away = threading.Event()
    network.script = lambda: (is_away.set(), "refuse")[1]
    waiting = [threading.Thread(target=_put, args=(url, b"%d" % number)) for number in range(5)]
    for thread in waiting:
        thread.start()
    assert is_away.wait(20)
    assert httpx.post(f"{url}/ingest/v1/beat", json={"writers": []}, timeout=15).status_code == 204
    assert any(thread.is_alive() for thread in waiting)
    network.script = lambda: "pass"
    for thread in waiting:
        thread.join()
    assert all(store.blobs.has(sha256(b"%d" % number).hexdigest()) for number in range(5))
