"""Blobs read through a server: ranges, headers, who may read what, and a remote store that fetches and verifies. Excludes sending."""

import httpx
import pytest

from stratal.core.errors import Damaged, Forbidden, NotFound, StoreDown
from stratal.core.people import Identity, Role
from stratal.core.settings import Settings
from stratal.server.app import Application
from stratal.server.guards import OpenGuard
from stratal.store.files.blobs import digest_of
from stratal.store.uses import blob_use
from stratal.tracking.opening import open_store
from stratal.tracking.runs import run

DATA = bytes(range(256)) * 5000


class Sees(OpenGuard):
    """Lets senders see some experiments and models only; nobody holds a role on everything."""

    def __init__(self, **names: str) -> None:
        self.names = names

    def visible(self, tx, sender: Identity, kind: str) -> frozenset[str] | None:
        return frozenset({self.names[kind]} if kind in self.names else ())

    def check(self, tx, sender: Identity, needs: Role, on: str) -> None:
        raise Forbidden("not on everything")


@pytest.fixture
def http(served_url: str):
    with httpx.Client(base_url=f"{served_url}/api/v1/blobs", timeout=30) as client:
        yield client


def read(http: httpx.Client, digest: str, **headers: str) -> httpx.Response:
    return http.get(f"/{digest}", headers=headers)


def test_a_blob_comes_whole_as_an_attachment_that_no_browser_runs(http, store):
    digest = store.blobs.put(DATA)
    answer = read(http, digest)
    assert (answer.status_code, answer.content) == (200, DATA)
    for name, value in (
        ("content-type", "application/octet-stream"), ("content-disposition", "attachment"), ("x-content-type-options", "nosniff"),
        ("etag", f'"{digest}"'), ("accept-ranges", "bytes"),
    ):  # fmt: skip
        assert answer.headers[name] == value
    assert answer.headers["content-security-policy"].startswith("sandbox")
    head = http.head(f"/{digest}")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(DATA)), b"")


@pytest.mark.parametrize(("asked", "start", "stop"), [
    ("bytes=0-0", 0, 1), ("bytes=5-9", 5, 10), ("bytes=1279999-", 1279999, 1280000), ("bytes=-3", 1279997, 1280000),
    ("bytes=100-99999999999", 100, 1280000),
])  # fmt: skip
def test_a_range_comes_as_it_is_asked(http, store, asked: str, start: int, stop: int):
    answer = read(http, store.blobs.put(DATA), range=asked)
    assert (answer.status_code, answer.content) == (206, DATA[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"


@pytest.mark.parametrize("asked", ["bytes=1280000-", "bytes=9-5", "bytes=-", "lines=1-2", "bytes=0-1,5-6", "bytes=a-b", "bytes=-0"])
def test_what_is_no_range_is_refused(http, store, asked: str):
    answer = read(http, store.blobs.put(DATA), range=asked)
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(DATA)}")


@pytest.mark.parametrize("digest", ["0" * 63, "..%2f..%2fstratal.db", "0" * 64 + "/x", "A" * 64, "%00", "incoming"])
def test_what_is_no_digest_is_refused_before_any_path_is_made_of_it(http, digest: str):
    assert read(http, digest).status_code in (404, 422)


def test_a_digest_opens_only_what_its_reader_may_see(store, stage):
    with run("mine", store=store) as mine:
        mine.save_bytes("a.bin", b"of a run")
    with store.command() as tx:
        blob_use(tx, store.blobs.put(b"of a model"), "model:churn@1")
        blob_use(tx, store.blobs.put(b"of a dataset"), "dataset:churn@1")
    store.blobs.put(b"of nobody yet")
    digests = [digest_of(text) for text in (b"of a run", b"of a model", b"of a dataset", b"of nobody yet")]
    for guard, wanted in (
        (OpenGuard(), [200, 200, 200, 200]),
        (Sees(experiment="mine"), [200, 404, 404, 404]),
        (Sees(model="churn"), [404, 200, 404, 404]),
        (Sees(experiment="other", model="chur"), [404, 404, 404, 404]),
    ):
        stage[0].handler = application = Application(store, guard=guard)
        answers = [httpx.get(f"{stage[1]}/api/v1/blobs/{digest}") for digest in digests]
        application.close()
        assert [answer.status_code for answer in answers] == wanted
    unknown = f"blob {digests[0][:12]}"
    assert answers[0].json()["message"].startswith(unknown), "what may not be seen is answered as what is not there"


def test_a_remote_store_fetches_what_it_reads_once(store, far):
    digest = store.blobs.put(DATA)
    assert far.blobs.has(digest)
    assert far.blobs.size_bytes(digest) == len(DATA)
    assert not (far.blobs.folder / digest[:2] / digest[2:]).exists(), "a look fetches nothing"
    assert far.blobs.read(digest) == DATA
    store.blobs.path(digest).unlink()
    assert far.blobs.read(digest) == DATA
    assert list((far.blobs.folder / "incoming").iterdir()) == []


def test_what_is_not_there_is_not_found_over_http_too(far):
    assert not far.blobs.has("0" * 64)
    for ask in (far.blobs.read, far.blobs.path, far.blobs.size_bytes):
        with pytest.raises(NotFound, match="not in this store"):
            ask("0" * 64)


def test_a_download_that_breaks_off_goes_on_where_it_was(store, stage, far):
    digest, asked = store.blobs.put(DATA), []
    whole = stage[0].handler

    async def breaking(scope, receive, send) -> None:
        asked.append(dict(scope["headers"]).get(b"range", b""))
        sent = 0

        async def send_some(message) -> None:
            nonlocal sent
            sent += len(message.get("body", b""))
            if len(asked) < 3 and message.get("body"):
                await send({"type": "http.response.body", "body": message["body"][:1000], "more_body": True})
                raise ConnectionError
            await send(message)

        await whole(scope, receive, send_some)

    stage[0].handler = breaking
    assert far.blobs.read(digest) == DATA
    assert asked == [b"", b"bytes=1000-", b"bytes=2000-"]
    stage[0].handler = whole


def test_bytes_that_are_not_what_their_digest_says_are_thrown_away(store, far):
    digest = store.blobs.put(DATA)
    place = store.blobs.path(digest)
    place.chmod(0o644)
    place.write_bytes(DATA[:-1] + b"x")
    with pytest.raises(Damaged, match="did not arrive as it was stored"):
        far.blobs.read(digest)
    assert not (far.blobs.folder / digest[:2] / digest[2:]).exists()


def test_a_server_that_is_away_is_no_missing_blob(tmp_path):
    away = open_store("http://127.0.0.1:9", settings=Settings(user="tester", capture=False, state_home=tmp_path / "state"))
    for ask in (away.blobs.read, away.blobs.has):
        with pytest.raises(StoreDown, match="is not reached"):
            ask("0" * 64)
    digest = away.blobs.put(b"mine")
    assert (away.blobs.has(digest), away.blobs.read(digest), away.blobs.size_bytes(digest)) == (True, b"mine", 4)
