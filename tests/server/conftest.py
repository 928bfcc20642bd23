"""A server over a fresh store, a sender that speaks the protocol by hand, and segments to send."""

from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
import zstandard
from mlflow_wire import Wire

from stratal.core.ids import new_id, to_bytes
from stratal.core.settings import load_settings
from stratal.server.app import Application
from stratal.server.authenticating import AccessGuard
from stratal.server.ingest import Ingest
from stratal.server.mlflow.surface import Mlflow
from stratal.server.serving import Served
from stratal.server.signing_in import PREFIX as AUTH
from stratal.server.signing_in import Auth
from stratal.store import remote
from stratal.store.access.accounts import AccessStore
from stratal.store.journal import Writer, segments
from stratal.store.shipments import digest_of_shipment
from stratal.store.store import Store
from stratal.testing.stages import Stage
from stratal.tracking import syncing
from stratal.tracking.facts import START, Start
from stratal.tracking.opening import open_store


@pytest.fixture(autouse=True)
def _again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is so at once: a pass of a sync, and a call of a server that is not reached."""
    monkeypatch.setattr(syncing, "PAUSE_S", 0.01)
    monkeypatch.setattr(remote, "PAUSE_S", 0.001)


class Sender:
    """Speaks the protocol by hand: what our own client would never say, too."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=30, verify=False)  # reading authorities that nobody asks takes 20 ms

    def put(self, name: str, offset: int, data: bytes, **changed: str) -> httpx.Response:
        headers = {
            "stratal-offset": str(offset), "stratal-size": str(len(data)), "content-encoding": "zstd",
            "stratal-damage": "", "stratal-user": "", **changed,
        }  # fmt: skip
        digest = digest_of_shipment(name, offset, str(headers["stratal-damage"]), str(headers["stratal-user"]), data)
        return self.http.put(f"/ingest/v1/segments/{name}", content=zstandard.compress(data), headers={"stratal-digest": digest, **headers})

    def blob(self, data: bytes, *, offset: int = 0, stop: int | None = None, digest: str = "", size: int | None = None) -> httpx.Response:
        headers = {"stratal-offset": str(offset), "stratal-size": str(len(data) if size is None else size)}
        return self.http.put(f"/ingest/v1/blobs/{digest or sha256(data).hexdigest()}", content=data[offset:stop], headers=headers)

    def parts(self, name: str) -> dict:
        return self.http.get(f"/ingest/v1/segments/{name}").json()


class Segment:
    """A segment of a writer that logs `a` = step."""

    def __init__(self, folder: Path, id: str, rows: int, *, experiment: str = "shipped") -> None:
        self.id, self.writer = id, Writer(folder)
        self.cuts: list[int] = []
        self.writer.fact(to_bytes(id), 0, START, Start(experiment=experiment, user="mallory"))
        self.cuts.append(self.writer._size)
        for step in range(rows):
            self.writer.log(to_bytes(id), 0, {"a": float(step)}, step)
            self.cuts.append(self.writer._size)
        self.writer.close()
        [self.name] = segments(folder, [self.writer.id])
        self.data = (folder / self.name).read_bytes()


@pytest.fixture
def team(store, stage):
    """A served store and a sender."""
    stage[0].handler = Ingest(store)
    sender = Sender(stage[1])
    yield sender
    sender.http.close()
    stage[0].handler.close()


@pytest.fixture
def whole(store, stage):
    """A store served whole, and a sender."""
    stage[0].handler = application = Application(store)
    sender = Sender(stage[1])
    yield sender
    sender.http.close()
    application.end()
    application.close()


@pytest.fixture
def wire(store, stage):
    """A store served by MLflow's protocol, and a client by hand."""
    stage[0].handler = Mlflow(store)
    client = Wire(stage[1])
    yield client
    client.http.close()
    stage[0].handler.close()


@pytest.fixture
def segment(tmp_path: Path) -> Segment:
    (tmp_path / "elsewhere").mkdir()
    return Segment(tmp_path / "elsewhere", new_id(), 20)


class Team:
    """The whole server, which asks who comes, over people: ada is admin, bob contributes to churn, vera views it, eve may do nothing."""

    def __init__(self, store: Store, stage: Stage, url: str) -> None:
        self.store, self.url = store, url
        self.accounts = AccessStore(store)
        self.guard = AccessGuard(store)
        stage.handler = self.served = Served(store, guard=self.guard, names=["Team.example.org"])
        self.auth: Auth = self.served.surfaces[AUTH]
        self.accounts.add_person(name="ada", is_admin=True)
        for name in ("bob", "vera", "eve"):
            self.accounts.add_person(name=name)
        self.accounts.grant(person="bob", role="contributor", on="experiment:churn")
        self.accounts.grant(person="vera", role="viewer", on="experiment:churn")
        self._senders: list[Sender] = []

    def sender(self, **headers: str) -> Sender:
        """Somebody with these headers, who asks who it is at each request."""
        self._senders.append(Sender(self.url))
        self._senders[-1].http.headers.update(headers)
        return self._senders[-1]

    def token_of(self, name: str, **bounds: object) -> str:
        return self.accounts.create_token(person=name, **bounds).secret

    def having_token(self, name: str, **bounds: object) -> Sender:
        return self.sender(authorization=f"Bearer {self.token_of(name, **bounds)}")

    def refused(self) -> dict[tuple[str, str, str], int]:
        """What was refused so far, by who, what and on what."""
        self.guard.notices.flush()
        counts = Counter[tuple[str, str, str]]()
        for each in self.accounts.refusals():  # by the hour, which may end in the middle of a test
            counts[each.person, each.action, each.object] += each.count
        return dict(counts)

    def close(self) -> None:
        for sender in self._senders:
            sender.http.close()
        self.served.end()
        self.served.close()


@pytest.fixture
def guarded(store, stage):
    team = Team(store, *stage)
    yield team
    team.close()


@pytest.fixture
def away(guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Open stores behind the URL of a server that asks who comes, each with a token."""
    monkeypatch.setattr("stratal.store.store.upload_aside", lambda *_: None)  # tests ship by hand
    opened = []

    def open_away(token: str | None):
        settings = replace(load_settings(), state_home=tmp_path / "state", token=token)
        opened.append(open_store(guarded.url, settings=settings))
        return opened[-1]

    yield open_away
    for store in opened:
        store.close()


@pytest.fixture
def segment_of(tmp_path: Path):
    """Make segments that hold one run of an experiment."""

    def make(experiment: str, *, id: str = "", rows: int = 3) -> Segment:
        folder = tmp_path / new_id()
        folder.mkdir()
        return Segment(folder, id or new_id(), rows, experiment=experiment)

    return make


class Outsider:
    """mallory, who contributes to an experiment of their own and views churn, and ships what facts they like."""

    def __init__(self, guarded, folder: Path) -> None:
        for role, on in (("contributor", "experiment:own"), ("viewer", "experiment:churn")):
            guarded.accounts.add_person(name="mallory") if role == "contributor" else None
            guarded.accounts.grant(person="mallory", role=role, on=on)
        self.sender = guarded.having_token("mallory")
        self.http, self.run, self._folder = self.sender.http, new_id(), folder
        self.say((START, Start(experiment="own"), 1))

    def say(self, *facts: tuple[str, object, int]) -> None:
        """Ship facts (what, value, at_ns) of the run."""
        folder = self._folder / new_id()
        folder.mkdir()
        writer = Writer(folder)
        for what, value, at_ns in facts:
            writer.fact(to_bytes(self.run), 0, what, value, at_ns=at_ns)
        writer.close()
        [name] = segments(folder, [writer.id])
        answer = self.sender.put(name, 0, (folder / name).read_bytes())
        assert answer.status_code == 200, answer.text


@pytest.fixture
def outsider(guarded, tmp_path: Path) -> Outsider:
    return Outsider(guarded, tmp_path)
