"""Naming a digest grants nothing: each way in that takes one, tried by who knows the digest of a file that they may not read.

Each attack is made twice: against the gate, where it must fail, and without it, where it must succeed, so that it is known to be one.
The other half are honest people, who share files and notice nothing. Excludes what a proof is, and transfers.
"""

import base64
import re
from functools import partial
from itertools import count
from pathlib import Path

import httpx
import msgspec
import pytest
import zstandard
from mlflow_wire import Wire

from stratal.core.errors import Forbidden, NotFound, StoreDown
from stratal.core.ids import new_id, to_bytes
from stratal.core.settings import Settings
from stratal.pipelines import store as pipelines
from stratal.pipelines.payloads import Payload, encode
from stratal.pipelines.rows import Beginning, Entry, PipelineRow, Result, StepRow
from stratal.pipelines.store import PipelineStore
from stratal.registry.store import ModelStore
from stratal.server import ingest, linking
from stratal.server.app import Application
from stratal.server.authenticating import AccessGuard
from stratal.store import uses
from stratal.store.access.accounts import AccessStore
from stratal.store.files.blobs import digest_of
from stratal.store.journal import Writer, segments
from stratal.store.shipments import digest_of_shipment
from stratal.store.store import Store
from stratal.store.uses import holders_of
from stratal.store.wire import pack
from stratal.tracking.facts import ARTIFACT, CAPTURE, EDGE, START, ArtifactFact, BlobFact, CaptureFact, EdgeFact, Start
from stratal.tracking.flavors.manifest import Manifest, ModelFile
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run
from stratal.tracking.syncing import sync

SECRET = b"salaries of everybody, " * 2000  # more than a small blob: a client asks before it sends
DIGEST = digest_of(SECRET)
BLOB = f"/api/v1/blobs/{DIGEST}"


class House:
    """A server over a store that holds ann's secret. eve and bob contribute to `mine` and its model; ada may do everything."""

    def __init__(self, store, stage, url: str, folder) -> None:
        self.store, self.url, self.folder = store, url, folder
        self.accounts, self.guard = AccessStore(store), AccessGuard(store)
        stage.handler = self.application = Application(store, guard=self.guard)
        self.accounts.add_person(name="ada", is_admin=True)
        for name, experiment in (("ann", "salaries"), ("bob", "mine"), ("eve", "mine")):
            self.accounts.add_person(name=name)
            self.accounts.grant(person=name, role="contributor", on=f"experiment:{experiment}")
            self.accounts.grant(person=name, role="contributor", on=f"model:{experiment}")
        self.tokens = {name: self.accounts.create_token(person=name).secret for name in ("ada", "ann", "bob", "eve")}
        with run("salaries", store=store) as self.secret:
            self.secret.save_bytes("secret.txt", SECRET)
        store.settle()
        self.clients = {name: httpx.Client(base_url=url, timeout=30, headers=self.headers(name)) for name in self.tokens}
        self.eve, self.run = self.clients["eve"], new_id()
        self.far: list = []

    def headers(self, name: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.tokens[name]}"}

    def wire(self, name: str) -> Wire:
        wire = Wire(self.url)
        wire.http.headers.update(self.headers(name))
        self.far.append(wire.http)
        return wire

    def opened(self, name: str, place: str = ""):
        """The store as somebody's machine has it."""
        settings = Settings(user=name, token=self.tokens[name], capture=False, state_home=self.folder / f"{name}{place}")
        self.far.append(open_store(self.url, settings=settings))
        return self.far[-1]

    def ship(self, *facts: tuple[str, object], who: str = "eve") -> str:
        """Send facts of eve's run, or of a run of somebody's own."""
        id = self.run if who == "eve" else new_id()
        answer = self.put(*self.segment(id, *facts), who)
        assert answer.status_code == 200, answer.text
        return id

    def segment(self, id: str, *facts: tuple[str, object]) -> tuple[str, bytes]:
        """Write facts of a run as a writer does, and give the segment's name and bytes."""
        folder = self.folder / new_id()
        folder.mkdir()
        writer = Writer(folder)
        writer.fact(to_bytes(id), 0, START, Start(experiment="mine"))
        for what, value in facts:
            writer.fact(to_bytes(id), 0, what, value)
        writer.close()
        [name] = segments(folder, [writer.id])
        return name, (folder / name).read_bytes()

    def put(self, name: str, data: bytes, who: str) -> httpx.Response:
        digest = digest_of_shipment(name, 0, "", "", data)
        headers = {"stratal-offset": "0", "stratal-size": str(len(data)), "stratal-damage": "", "stratal-digest": digest}
        body = zstandard.compress(data)
        return self.clients[who].put(f"/ingest/v1/segments/{name}", content=body, headers={**headers, "content-encoding": "zstd"})

    def send(self, data: bytes, who: str = "eve", *, digest: str = "", offset: int = 0, size: int | None = None) -> httpx.Response:
        headers = {"stratal-offset": str(offset), "stratal-size": str(len(data) if size is None else size)}
        return self.clients[who].put(f"/ingest/v1/blobs/{digest or digest_of(data)}", content=data, headers=headers)

    def call(self, operation: str, who: str = "eve", /, **values: object) -> httpx.Response:
        body, kind = pack(values)
        return self.clients[who].post(f"/api/v1/{operation}", content=body, headers={"content-type": kind})

    def holders(self, digest: str = DIGEST) -> set[str]:
        with self.store.glance() as tx:
            return set(holders_of(tx, digest)) - {f"run:{self.secret.id}"}

    def is_out(self) -> bool:
        """Tell whether eve can read the secret in any way, or something of hers holds it."""
        ways = (
            (BLOB, {}),
            ("/get-artifact", {"run_id": self.run, "path": "a.txt"}),
            ("/get-artifact", {"run_id": self.run, "path": "m/a.txt"}),
            ("/model-versions/get-artifact", {"name": "mine", "version": "1", "path": "a.txt"}),
        )
        return any(self.eve.get(path, params=params).content == SECRET for path, params in ways) or bool(self.holders())

    def close(self) -> None:
        for each in (*self.far, *self.clients.values()):
            if isinstance(each, Store):
                each.uploader.finish()
            each.close()
        self.application.close()
        self.guard.close()


@pytest.fixture
def house(store, stage, tmp_path):
    house = House(store, *stage, tmp_path)
    yield house
    house.close()


def artifact(path: str = "a.txt", digest: str = DIGEST) -> tuple[str, object]:
    return ARTIFACT, ArtifactFact(path=path, digest=digest, size_bytes=len(SECRET))


def an_artifact_is_named(house: House) -> None:
    house.ship(artifact())


def a_used_file_is_named(house: House) -> None:
    house.ship((EDGE, EdgeFact(verb="used", target=f"sha256:{DIGEST}", role="data")))


def a_capture_is_named(house: House) -> None:
    house.ship((CAPTURE, CaptureFact(thorough=BlobFact(digest=DIGEST))))


def a_capture_of_mine_holds_it(house: House) -> None:
    house.send(b"a capture")
    house.ship((CAPTURE, CaptureFact(thorough=BlobFact(digest=digest_of(b"a capture")), holds=[DIGEST])))


def a_pipeline_has_it_as_a_parameter(house: House) -> None:
    row = PipelineRow(
        run=house.run, pipeline="p", entry=Entry(module="m", qualname="p"),
        params={"x": Payload(kind="bytes", digest=DIGEST, blob=DIGEST)}, nodes=(),
    )  # fmt: skip
    house.call("pipelines/begin", row=row, experiment="mine", params={}, lease_s=30.0)


def a_model_names_it(house: House) -> str:
    manifest = Manifest(flavor="x", files=(ModelFile(path="a.txt", digest=DIGEST, size_bytes=len(SECRET)),)).encode()
    house.send(manifest)
    house.ship(artifact("m/manifest.json", digest_of(manifest)), artifact("m/a.txt"))
    return digest_of(manifest)


def a_model_that_names_it_is_registered(house: House) -> None:
    house.call("registry/register_version", name="mine", digest=a_model_names_it(house), run=house.run, path="m")


def somebody_who_may_read_all_registers_a_model_that_names_it(house: House) -> None:
    house.call("registry/register_version", "ada", name="mine", digest=a_model_names_it(house), run=house.run, path="m")


def mlflow_makes_a_version_of_it(house: House, who: str = "eve") -> None:
    a_model_names_it(house)
    house.wire("ada").ok("registered-models/create", name="mine")
    house.wire(who).post("model-versions/create", name="mine", source=f"runs:/{house.run}/m", run_id=house.run)


def somebody_who_may_read_all_lets_mlflow_make_a_version_of_it(house: House) -> None:
    mlflow_makes_a_version_of_it(house, "ada")


def mlflow_logs_a_model_over_it(house: House) -> None:
    """The folder of a logged model lies among the artifacts of its run: a fact can name a path in it."""
    house.ship()
    wire = house.wire("eve")
    experiment = wire.read("experiments/get-by-name", experiment_name="mine")["experiment"]["experiment_id"]
    model = wire.ok("logged-models", experiment_id=experiment, name="m", source_run_id=house.run)["model"]["info"]["model_id"]
    house.ship(artifact(f"models/m-{model}/a.txt"))
    got = house.eve.get(f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/models/{model}/artifacts/a.txt")
    assert got.status_code in (200, 404), got.text
    if got.content == SECRET:
        house.ship(artifact())


def the_last_byte_is_sent_of_what_somebody_else_began(house: House) -> None:
    house.store.blobs.drop(DIGEST, older_than_ns=2**62)
    assert house.send(SECRET[:-1], "ann", digest=DIGEST, size=len(SECRET)).json() == {"offset": len(SECRET) - 1}
    house.send(SECRET[-1:], digest=DIGEST, offset=len(SECRET) - 1, size=len(SECRET))
    house.ship(artifact())
    house.send(SECRET, "ann")


def none_of_its_bytes_are_sent(house: House) -> None:
    for offset in (0, len(SECRET)):
        house.send(b"", digest=DIGEST, offset=offset, size=len(SECRET))
        house.send(b"", digest=DIGEST, offset=offset, size=0)
    house.eve.head(f"/ingest/v1/blobs/{DIGEST}")
    house.ship(artifact())


def other_bytes_are_sent(house: House) -> None:
    house.send(SECRET[:-1] + b"?", digest=DIGEST)
    house.ship(artifact())


ATTACKS = [
    an_artifact_is_named,
    a_used_file_is_named,
    a_capture_is_named,
    a_capture_of_mine_holds_it,
    a_pipeline_has_it_as_a_parameter,
    a_model_that_names_it_is_registered,
    somebody_who_may_read_all_registers_a_model_that_names_it,
    mlflow_makes_a_version_of_it,
    somebody_who_may_read_all_lets_mlflow_make_a_version_of_it,
    mlflow_logs_a_model_over_it,
    the_last_byte_is_sent_of_what_somebody_else_began,
    none_of_its_bytes_are_sent,
    other_bytes_are_sent,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_a_file_is_not_had_by_its_digest_when(house: House, attack):
    attack(house)
    assert not house.is_out()
    house.send(SECRET)
    house.ship(artifact())
    assert house.eve.get(BLOB).content == SECRET, "whoever sends all of it has it"


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_without_the_gate_a_file_is_had_by_its_digest_when(house: House, attack, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(uses, "_is_theirs", lambda *_: True)
    monkeypatch.setattr(ingest, "_owner", lambda _sender: "")
    attack(house)
    assert house.is_out()


def test_nobody_learns_whether_a_file_is_there_or_what_came_of_it(house: House):
    begun = b"of ann" * 9000
    house.send(begun[:9000], "ann", digest=digest_of(begun), size=len(begun))
    house.ship(artifact(), artifact("b.txt", digest_of(b"nowhere")))
    heads = [house.eve.head(f"/ingest/v1/blobs/{digest}") for digest in (DIGEST, digest_of(b"nowhere"), digest_of(begun))]
    assert [(head.status_code, head.headers["stratal-offset"]) for head in heads] == [(404, "0")] * 3
    reads = [house.eve.get(f"/api/v1/blobs/{digest}") for digest in (DIGEST, digest_of(b"nowhere"))]
    assert [(read.status_code, read.json()["hint"]) for read in reads] == [(404, reads[0].json()["hint"])] * 2
    named = [house.call("registry/register_version", name="mine", digest=digest, run=house.run, path="m") for digest in (DIGEST, "0" * 64)]
    assert {answer.status_code for answer in named} == {422}
    assert {answer.json()["hint"].partition(":")[0] for answer in named} == {"to name a file is not to have it"}
    head = house.clients["ann"].head(f"/ingest/v1/blobs/{digest_of(begun)}")
    assert (head.status_code, head.headers["stratal-offset"]) == (404, "9000")
    assert house.clients["ann"].head(f"/ingest/v1/blobs/{DIGEST}").status_code == 200, "she may read it"


def test_what_a_step_gave_is_not_had_by_the_name_of_its_pipeline_or_its_key(house: House, monkeypatch: pytest.MonkeyPatch):
    steps, said = PipelineStore(house.store), encode("the boss earns 9", house.store.blobs, what="it")
    row = PipelineRow(run=new_id(), pipeline="p", entry=Entry(module="m", qualname="p"), params={}, nodes=())
    token = steps.begin(row=row, experiment="salaries", params={}, lease_s=30)
    hit = StepRow(run=row.run, path="s", attempt=1, pipeline="p", state="hit", step_run=row.run, key="k", started_ns=1, output=said)
    result = Result(key="k", refs=(), output=said, step_run=row.run, at_ns=1)
    steps.record(run=row.run, token=token, lease_s=30, results=(result,), begun=(Beginning(row=hit),))
    house.ship()
    for who, run_of, wanted in (("eve", house.run, False), ("ann", house.secret.id, True)):
        for key in ("k", "another"):
            answer = house.call("pipelines/look_up", who, run=run_of, pipeline="p", asked={"s": key})
            assert answer.status_code == 200 and ("boss" in b64(answer)) == wanted
    mine = house.call("pipelines/record", run=house.run, token=1, lease_s=1.0, results=(result,))
    assert mine.status_code in (403, 404), "nor is anything said in the name of a run of others"
    monkeypatch.setattr(pipelines, "_is_seen", lambda *_: True)
    assert "boss" in b64(house.call("pipelines/look_up", run=house.run, pipeline="p", asked={"s": "another"})), "it was had so before"


def test_a_step_is_taken_from_the_cache_of_an_experiment_that_one_may_only_view(house: House):
    house.accounts.grant(person="eve", role="viewer", on="experiment:salaries")
    theirs, mine = PipelineStore(house.opened("ann")), PipelineStore(house.opened("eve"))
    said = encode("nine", house.store.blobs, what="it")
    made, row = new_id(), PipelineRow(run=new_id(), pipeline="p", entry=Entry(module="m", qualname="p"), params={}, nodes=())
    step = StepRow(run=row.run, path="s", attempt=1, pipeline="p", state="running", step_run=made, key="k", started_ns=1)
    token = theirs.begin(row=row, experiment="salaries", params={}, lease_s=30)
    theirs.record(run=row.run, token=token, lease_s=30, begun=(Beginning(row=step, experiment="salaries"),))
    result = Result(key="k", refs=(), output=said, step_run=made, at_ns=1)
    theirs.record(run=row.run, token=token, lease_s=30, results=(result,))

    row = msgspec.structs.replace(row, run=new_id())
    token = mine.begin(row=row, experiment="mine", params={}, lease_s=30)
    (found,) = mine.look_up(run=row.run, pipeline="p", asked={"s": "k"})["s"].results
    hit = msgspec.structs.replace(step, run=row.run, state="hit", step_run=found.step_run, output=found.output, ended_ns=2)
    assert mine.record(run=row.run, token=token, lease_s=30, begun=(Beginning(row=hit),)) == (hit,)
    with pytest.raises(Forbidden):
        mine.record(run=row.run, token=token, lease_s=30, results=(result,))


def b64(answer: httpx.Response) -> str:
    """Give what an answer holds, with bytes that JSON holds as base64."""
    found = re.findall(r'"data":"([^"]+)"', answer.text)
    return answer.text + "".join(base64.b64decode(text).decode("latin-1") for text in found)


def test_an_honest_first_upload_is_no_refusal(house: House):
    house.send(b"mine")
    house.ship(artifact("a", digest_of(b"mine")))
    house.guard.notices.flush()
    assert [refusal for refusal in house.accounts.refusals() if refusal.person == "eve"] == []


def test_the_same_file_of_two_people_is_stored_once_and_each_reads_their_own(house: House):
    for name in ("ann", "bob"):
        far = house.opened(name)
        with run("salaries" if name == "ann" else "mine", store=far) as made:
            made.save_bytes("copy.txt", SECRET)
        assert sync(store=far).refused == []
        assert get_run(made.id, store=far).read_artifact("copy.txt") == SECRET
        assert house.clients[name].get(BLOB).content == SECRET
        assert house.clients[name].head(f"/ingest/v1/blobs/{DIGEST}").status_code == 200, "it need not be sent again"
    assert [found.digest for found in house.store.blobs.entries()].count(DIGEST) == 1


def test_what_waited_is_there_when_its_bytes_come_after_the_fact(house: House):
    id = house.ship(artifact(), who="bob")
    got = house.wire("bob").http.get("/get-artifact", params={"run_id": id, "path": "a.txt"})
    assert got.status_code == 404 and "have not arrived here yet" in got.json()["message"]
    far = house.opened("bob")
    with pytest.raises(NotFound):
        get_run(id, store=far).read_artifact("a.txt")
    house.send(SECRET, "bob")
    assert get_run(id, store=far).read_artifact("a.txt") == SECRET
    assert house.wire("bob").http.get("/get-artifact", params={"run_id": id, "path": "a.txt"}).content == SECRET


def test_a_server_that_dies_before_it_has_noted_who_sent_a_file_is_sent_it_again(house: House, monkeypatch: pytest.MonkeyPatch):
    def die(*_: object) -> None:
        raise StoreDown("killed")

    id = house.ship(artifact(), who="bob")
    monkeypatch.setattr(ingest, "note_sent", die)
    assert house.send(SECRET, "bob").status_code == 503
    monkeypatch.undo()
    assert house.clients["bob"].head(f"/ingest/v1/blobs/{DIGEST}").headers["stratal-offset"] == "0"
    assert house.send(SECRET, "bob").json() == {"offset": len(SECRET)}
    assert f"run:{id}" in house.holders()


@pytest.mark.parametrize("first", ["the file", "the fact"])
def test_whatever_fails_between_a_file_and_its_fact_the_run_has_the_file_in_the_end(house: House, first: str):
    """The n-th step of the database fails, before a commit or after one, and who was not answered tries again; until none failed."""
    for fail_at in count(1):
        data, id, points = b"%d of bob" % fail_at, new_id(), []
        segment = house.segment(id, artifact("a", digest_of(data)))

        def fail(point: str, points=points, fail_at=fail_at) -> None:
            points.append(point)
            if len(points) == fail_at:
                raise StoreDown(f"killed {point}")

        tries = [partial(house.send, data, "bob"), partial(house.put, *segment, "bob")]
        house.store.database.fault = fail
        for act in tries if first == "the file" else reversed(tries):
            assert any(act().status_code == 200 for _ in range(2))
        assert house.holders(digest_of(data)) == {f"run:{id}"}
        if len(points) < fail_at:
            break
    assert fail_at > 6


def test_our_client_sends_what_its_commands_name_though_others_have_sent_it(house: House):
    far = house.opened("bob")
    payload = encode(SECRET, far.blobs, what="x")
    house.send(far.blobs.read(payload.blob), "ann")
    row = PipelineRow(run=new_id(), pipeline="p", entry=Entry(module="m", qualname="p"), params={"x": payload}, nodes=())
    PipelineStore(far).begin(row=row, experiment="mine", params={}, lease_s=30)
    assert house.holders(payload.blob) == {f"run:{row.run}"}
    assert house.clients["bob"].get(f"/api/v1/blobs/{payload.blob}").status_code == 200


def test_a_model_is_logged_and_registered_through_the_server_and_read_by_who_views_it(house: House):
    far = house.opened("bob")
    with run("mine", store=far) as made:
        weights = made.save_bytes("model/weights", SECRET)
        manifest = Manifest(flavor="x", files=(ModelFile(path="weights", digest=weights.digest, size_bytes=weights.size_bytes),))
        made.save_bytes("model/manifest.json", manifest.encode())
    done = ModelStore(far).register_version(name="mine", digest=manifest.digest, run=made.id, path="model")
    assert done.version.ref == "model:mine@1"
    assert house.eve.get(BLOB).content == SECRET


def test_mlflow_makes_versions_of_what_it_has_sent(house: House):
    wire = house.wire("eve")
    house.ship()
    experiment = wire.read("experiments/get-by-name", experiment_name="mine")["experiment"]["experiment_id"]
    sent = wire.http.put(f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{house.run}/artifacts/m/a.txt", content=SECRET)
    assert sent.status_code == 200, sent.text
    house.wire("ada").ok("registered-models/create", name="mine")
    assert wire.ok("model-versions/create", name="mine", source=f"runs:/{house.run}/m")["model_version"]["version"] == "1"
    assert wire.http.get("/model-versions/get-artifact", params={"name": "mine", "version": "1", "path": "a.txt"}).content == SECRET


def test_every_surface_that_acts_for_a_sender_says_so_to_the_gate():
    """Who writes another one uses `working_for`: `acting_as` alone would let whoever is served link what they name."""
    folder = Path(linking.__file__).parent
    assert [path.name for path in sorted(folder.rglob("*.py")) if "acting_as" in path.read_text()] == ["linking.py"]
