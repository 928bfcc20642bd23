"""Ingest into a store whose blobs lie in S3, also while S3 is away. Excludes the protocol itself, and what lies in the bucket."""

import os
import threading
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from stratal.core.settings import load_settings
from stratal.server.ingest import Ingest
from stratal.store.bucket import BucketBlobs
from stratal.store.objects import open_objects
from stratal.testing.proxies import BadNetwork, bad_network
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
    far.close()


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
