"""Large files that go straight to the object store. Excludes receiving through the server, and what lies in the bucket."""

import os
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from stratal.core.settings import load_settings
from stratal.server.authenticating import AccessGuard
from stratal.server.serving import serving
from stratal.server.transfers import Transfers
from stratal.store.access.accounts import AccessStore
from stratal.store.files.bucket import BucketBlobs
from stratal.store.proofs import is_proved
from stratal.tracking.opening import open_store

TRANSFERS = "/api/v1/transfers"


@pytest.fixture(params=["bucket", "container"])
def place(request: pytest.FixtureRequest, tmp_path: Path):
    """A store whose blobs lie in S3, or in Azure, in small parts."""
    blobs = request.getfixturevalue(request.param)
    settings = load_settings(environ={"STRATAL_BLOBS": blobs, "STRATAL_CACHE": str(tmp_path / "cache")})
    opened = open_store(tmp_path / "team", settings=settings)
    assert isinstance(opened.blobs, BucketBlobs)
    opened.blobs.part_bytes = 10_000
    yield opened
    opened.close()


@pytest.fixture
def server(place, stage):
    handler = stage[0].handler = Transfers(place)
    with httpx.Client(base_url=stage[1], timeout=30) as client:
        yield client
    handler.close()


def _begin(server: httpx.Client, data: bytes, **headers: str) -> dict:
    asked = {"digest": sha256(data).hexdigest(), "size_bytes": len(data)}
    answer = server.post(TRANSFERS, json=asked, headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


def _send(data: bytes, transfer: dict, most: int | None = None) -> None:
    for part in transfer["missing"][:most]:
        sent = httpx.put(part["url"], content=data[part["offset"] : part["offset"] + part["size_bytes"]], headers=transfer["headers"])
        assert sent.status_code in (200, 201), sent.text


def test_a_file_goes_straight_to_the_object_store_and_is_readable_when_it_is_verified(server: httpx.Client, place):
    data = os.urandom(35_000)
    digest = sha256(data).hexdigest()
    begun = _begin(server, data)
    assert [(part["offset"], part["size_bytes"]) for part in begun["missing"]] == [
        (0, 10_000),
        (10_000, 10_000),
        (20_000, 10_000),
        (30_000, 5_000),
    ]
    _send(data, begun, most=2)
    early = server.post(f"{TRANSFERS}/{begun['id']}/finish")
    assert (early.status_code, early.json()["error"]) == (409, "conflict") and not place.blobs.has(digest)
    left = server.get(f"{TRANSFERS}/{begun['id']}").json()
    assert [part["offset"] for part in left["missing"]] == [20_000, 30_000], "what was sent need not be sent again"
    _send(data, left)
    assert not place.blobs.has(digest)
    for _ in range(2):
        assert server.post(f"{TRANSFERS}/{begun['id']}/finish").json() == {"digest": digest}
    assert place.blobs.read(digest) == data
    assert server.get(f"{TRANSFERS}/{begun['id']}").json()["missing"] == []
    assert [found.name.rpartition("/")[2] for found in place.blobs.objects.below("incoming")] == ["plan"]
    assert place.blobs.objects.below("checked") == []


def test_nothing_is_copied_of_a_file_that_lacks_a_part(server: httpx.Client, place, monkeypatch: pytest.MonkeyPatch):
    """Else whoever has sent some of a large file could have it read again and again, for nothing."""
    data, copied, copy = os.urandom(25_000), list[str](), place.blobs.objects.copy
    begun = _begin(server, data)
    _send(data, begun, most=2)
    monkeypatch.setattr(place.blobs.objects, "copy", lambda name, target: (copied.append(name), copy(name, target)))
    assert server.post(f"{TRANSFERS}/{begun['id']}/finish").status_code == 409
    assert copied == []


def test_bytes_that_are_not_the_digests_are_never_readable(server: httpx.Client, place):
    right, wrong = os.urandom(25_000), os.urandom(25_000)
    digest = sha256(right).hexdigest()
    begun = _begin(server, right)
    _send(wrong, begun)
    refused = server.post(f"{TRANSFERS}/{begun['id']}/finish")
    assert (refused.status_code, refused.json()["error"]) == (422, "damaged")
    assert not place.blobs.has(digest) and not place.blobs.has(sha256(wrong).hexdigest())
    again = server.get(f"{TRANSFERS}/{begun['id']}").json()
    assert len(again["missing"]) == 3, "all of it was thrown away"
    _send(right, again)
    assert server.post(f"{TRANSFERS}/{begun['id']}/finish").status_code == 200
    assert place.blobs.read(digest) == right


def test_what_is_sent_to_a_url_while_or_after_it_is_verified_changes_nothing(server: httpx.Client, place, monkeypatch: pytest.MonkeyPatch):
    """Whenever the sender writes other bytes over a part: the blob is right, or the transfer is refused."""
    data, other = os.urandom(25_000), os.urandom(25_000)
    outcomes = set()
    for at in (1, 2, 6):
        mine = data + b"%d" % at
        digest, count = sha256(mine).hexdigest(), 0
        begun = _begin(server, mine)
        _send(mine, begun)
        copy = place.blobs.objects.copy

        def copy_and_meddle(name: str, target: str, at=at, begun=begun, copy=copy) -> None:
            nonlocal count
            copy(name, target)
            count += 1
            if count == at:
                _send(other, begun)

        monkeypatch.setattr(place.blobs.objects, "copy", copy_and_meddle)
        status = server.post(f"{TRANSFERS}/{begun['id']}/finish").status_code
        monkeypatch.undo()
        _send(other, begun)
        outcomes.add(status)
        assert status in (200, 409, 422) and place.blobs.has(digest) == (status == 200)
        if status == 200:
            assert place.blobs.read_range(digest, 0, 30_000) == mine
    assert 200 in outcomes and len(outcomes) > 1


def test_a_transfer_of_other_bytes_takes_nothing_from_one_of_the_right_ones(server: httpx.Client, place, monkeypatch: pytest.MonkeyPatch):
    """Somebody who knows a digest announces it, sends other bytes, and finishes at any moment of the transfer that is right."""
    copy, moments = place.blobs.objects.copy, list[str]()

    def finish_the_other_one(name: str, target: str) -> None:
        copy(name, target)
        if name.startswith(f"incoming/{begun['id']}/") or not name.startswith("incoming/"):
            moments.append(target)
            if len(moments) == at:
                answers.append(server.post(f"{TRANSFERS}/{other['id']}/finish", headers=eve).status_code)

    eve = {"stratal-user": "eve"}
    for at in range(1, 7):
        data, answers = os.urandom(25_000), list[int]()
        begun, other = _begin(server, data), _begin(server, data, **eve)
        _send(data, begun)
        _send(os.urandom(25_000), other)
        moments.clear()
        with monkeypatch.context() as patch:
            patch.setattr(place.blobs.objects, "copy", finish_the_other_one)
            answers.append(server.post(f"{TRANSFERS}/{begun['id']}/finish").status_code)
        assert answers == [422, 200], f"when {at} parts were copied"
        assert place.blobs.read_range(sha256(data).hexdigest(), 0, 30_000) == data


def test_transfers_of_other_bytes_never_make_a_blob_that_cannot_be_read(server: httpx.Client, place, monkeypatch: pytest.MonkeyPatch):
    """One ends just before the right one is published, another one after it: what is acknowledged then is there."""
    data, publish = os.urandom(25_000), place.blobs.publish
    digest, begun = sha256(data).hexdigest(), _begin(server, data)
    first, second = _begin(server, data), _begin(server, data)
    _send(data, begun)
    for other in (first, second):
        _send(os.urandom(25_000), other)

    def publish_late(*said: object) -> bool:
        assert server.post(f"{TRANSFERS}/{first['id']}/finish").status_code == 422
        return publish(*said)

    with monkeypatch.context() as patch:
        patch.setattr(place.blobs, "publish", publish_late)
        server.post(f"{TRANSFERS}/{begun['id']}/finish")
    assert server.post(f"{TRANSFERS}/{second['id']}/finish").status_code == 422
    assert server.post(f"{TRANSFERS}/{begun['id']}/finish").json() == {"digest": digest}
    assert place.blobs.read_range(digest, 0, 30_000) == data


def test_nobody_learns_from_a_transfer_what_the_store_has_or_gets_it_for_its_name(server: httpx.Client, place):
    data = os.urandom(15_000)
    digest = place.blobs.put(data)
    begun = _begin(server, data)
    assert len(begun["missing"]) == 2, "all bytes are to be sent, though they are there"
    assert server.post(f"{TRANSFERS}/{begun['id']}/finish").status_code == 409
    _send(data, begun)
    assert server.post(f"{TRANSFERS}/{begun['id']}/finish").json() == {"digest": digest}
    assert [found.digest for found in place.blobs.entries()] == [digest]


def test_a_transfer_is_its_beginners(server: httpx.Client):
    begun = _begin(server, b"x" * 100, **{"stratal-user": "ada"})
    for ask in (server.get, server.post):
        path = f"{TRANSFERS}/{begun['id']}{'' if ask == server.get else '/finish'}"
        answer = ask(path, headers={"stratal-user": "bob"})
        assert answer.status_code == 404 and "there is no transfer" in answer.json()["message"]
    assert server.get(f"{TRANSFERS}/{begun['id']}", headers={"stratal-user": "ada"}).status_code == 200


def test_who_may_write_nothing_begins_nothing(place, stage):
    accounts, guard = AccessStore(place), AccessGuard(place)
    for name in ("ada", "vera"):
        accounts.add_person(name=name)
    accounts.grant(person="ada", role="contributor", on="experiment:churn")
    accounts.grant(person="vera", role="viewer", on="experiment:churn")
    handler = stage[0].handler = Transfers(place, guard=guard)
    asked = {"digest": "0" * 64, "size_bytes": 10}
    statuses = {"nobody": httpx.post(f"{stage[1]}{TRANSFERS}", json=asked).status_code}
    for name in ("ada", "vera"):
        token = {"authorization": f"Bearer {accounts.create_token(person=name).secret}"}
        statuses[name] = httpx.post(f"{stage[1]}{TRANSFERS}", json=asked, headers=token).status_code
    assert statuses == {"nobody": 401, "ada": 201, "vera": 403}
    handler.close()
    guard.close()


def test_whoever_finishes_a_transfer_has_sent_the_file_and_whoever_begins_one_has_not(place, stage):
    accounts, guard, data = AccessStore(place), AccessGuard(place), os.urandom(15_000)
    digest = place.blobs.put(data)
    accounts.add_person(name="eve")
    accounts.grant(person="eve", role="contributor", on="experiment:mine")
    handler = stage[0].handler = Transfers(place, guard=guard)
    token = {"authorization": f"Bearer {accounts.create_token(person='eve').secret}"}
    with httpx.Client(base_url=stage[1], headers=token, timeout=30) as client:

        def has_sent() -> bool:
            with place.glance() as tx:
                return is_proved(tx, digest, "eve")

        begun = _begin(client, data)
        assert client.post(f"{TRANSFERS}/{begun['id']}/finish").status_code == 409 and not has_sent()
        _send(data[:-1] + b"?", begun)
        assert client.post(f"{TRANSFERS}/{begun['id']}/finish").status_code == 422 and not has_sent()
        _send(data, client.get(f"{TRANSFERS}/{begun['id']}").json())
        assert client.post(f"{TRANSFERS}/{begun['id']}/finish").status_code == 200 and has_sent()
    handler.close()
    guard.close()


def test_the_server_takes_them(place):
    with serving(place) as url, httpx.Client(base_url=url, timeout=30) as client:
        data = os.urandom(15_000)
        begun = _begin(client, data)
        _send(data, begun)
        assert client.post(f"{TRANSFERS}/{begun['id']}/finish").json() == {"digest": sha256(data).hexdigest()}
        assert client.get("/health").status_code == 200


def test_parts_that_nobody_finished_are_leftovers(server: httpx.Client, place):
    begun = _begin(server, b"x" * 15_000)
    _send(b"x" * 15_000, begun, most=1)
    assert list(place.blobs.leftovers(older_than_ns=0)) == []
    left = list(place.blobs.leftovers(older_than_ns=2**62))
    assert sorted(each.size_bytes for each in left)[-1] == 10_000 and len(left) == 2
    for each in left:
        assert not place.blobs.drop_leftover(each.name, older_than_ns=0)
        assert place.blobs.drop_leftover(each.name, older_than_ns=2**62)
    assert place.blobs.objects.below("incoming") == []


@pytest.mark.parametrize("place", ["container"], indirect=True)
def test_what_else_a_url_of_azure_lets_its_holder_do_keeps_back_nothing_of_others(server: httpx.Client, place):
    """Snapshots and leases keep a part from being deleted, an archived one is not read."""
    data = os.urandom(15_000)
    begun, archived = _begin(server, data), _begin(server, data)
    for transfer in (begun, archived):
        _send(data, transfer)
    kept, leased = (part["url"] for part in begun["missing"])
    assert httpx.put(f"{kept}&comp=snapshot").status_code == 201
    lease = {"x-ms-lease-action": "acquire", "x-ms-lease-duration": "-1"}
    assert httpx.put(f"{leased}&comp=lease", headers=lease).status_code == 201
    assert httpx.put(f"{archived['missing'][0]['url']}&comp=tier", headers={"x-ms-access-tier": "Archive"}).status_code == 200
    assert server.post(f"{TRANSFERS}/{begun['id']}/finish").status_code == 200
    assert server.post(f"{TRANSFERS}/{archived['id']}/finish").status_code == 409
    left = list(place.blobs.leftovers(older_than_ns=2**62))
    gone = [place.blobs.drop_leftover(each.name, older_than_ns=2**62) for each in left]
    assert (gone.count(False), gone.count(True)) == (2, 4)


@pytest.mark.parametrize(("body", "status"), [
    (b"", 400), (b"[]", 400), (b"{}", 400), (b'{"digest": "x", "size_bytes": 1}', 422), (b"[" * 30_000, 400),
    (b'{"digest": "%s", "size_bytes": 0}' % (b"0" * 64), 422), (b'{"digest": "%s", "size_bytes": -1}' % (b"0" * 64), 422),
    (b'{"digest": "%s", "size_bytes": 9000000000000000000}' % (b"0" * 64), 422), (b"x" * 100_000, 413),
])  # fmt: skip
def test_bad_beginnings_are_refused(server: httpx.Client, body: bytes, status: int):
    assert server.post(TRANSFERS, content=body).status_code == status


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "", 405), ("DELETE", "/x", 405), ("GET", "/x/y/z", 404), ("GET", "/" + "0" * 32, 404), ("GET", "/" + "G" * 32, 404),
    ("POST", "/%2e%2e%2fowner/finish", 404), ("GET", "/%2e%2e", 404), ("POST", "/" + "0" * 32 + "/finish", 404),
])  # fmt: skip
def test_what_is_not_there_is_said_to_be(server: httpx.Client, method: str, path: str, status: int):
    assert server.request(method, TRANSFERS + path).status_code == status


def test_a_store_on_a_disk_says_how_files_are_sent_to_it(store, stage):
    handler = stage[0].handler = Transfers(store)
    answer = httpx.post(f"{stage[1]}{TRANSFERS}", json={"digest": "0" * 64, "size_bytes": 10})
    assert answer.status_code == 422 and "PUT /ingest/v1/blobs/DIGEST" in answer.text
    handler.close()
