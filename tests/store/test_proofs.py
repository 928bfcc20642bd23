"""Proofs of having a blob, and uses that wait for them: of facts that arrive, of commands, in collections and purges. Excludes HTTP."""

from pathlib import Path

import pytest
from sqlalchemy import select

from stratal.core.errors import Refused
from stratal.core.ids import new_id, to_bytes
from stratal.core.people import Identity, acting_as
from stratal.data.store import DatasetStore
from stratal.pipelines.payloads import Payload, encode
from stratal.pipelines.rows import Beginning, Entry, PipelineRow, Result, StepRow
from stratal.pipelines.store import PipelineStore
from stratal.registry.store import ModelStore
from stratal.store.admitting import admitting, linking
from stratal.store.arriving import Arrivals, everybody
from stratal.store.collecting import collect
from stratal.store.files.blobs import digest_of
from stratal.store.journal import Writer, segments
from stratal.store.proofs import FRESH_S, KEPT_S, is_proved, is_proved_lately, prove
from stratal.store.store import Store
from stratal.store.tables import blob_claim, blob_proof
from stratal.store.uses import blob_use, holders_of, may_name, use_or_claim
from stratal.tracking.deleting import delete, purge
from stratal.tracking.facts import (
    ARTIFACT,
    CAPTURE,
    EDGE,
    MEDIA,
    START,
    ArtifactFact,
    BlobFact,
    CaptureFact,
    EdgeFact,
    MediaEntry,
    MediaFact,
    MediaFile,
    Start,
)
from stratal.tracking.flavors.manifest import Manifest, ModelFile
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

SECRET = b"what only ann's team may read"
DIGEST = digest_of(SECRET)
EVE = Identity(name="eve", is_authenticated=True)


def nothing(_tx, _digest: str) -> bool:
    return False


@pytest.fixture
def victim(store: Store) -> str:
    """A run of ann's that holds the secret."""
    with run("salaries", store=store) as made:
        made.save_bytes("secret.txt", SECRET)
    store.settle()
    return made.id


class Machine:
    """A machine of somebody whose shipments a server has checked."""

    def __init__(self, store: Store, folder: Path, sender: Identity = EVE) -> None:
        self.store, self.folder, self.sender, self.run = store, folder, sender, new_id()
        folder.mkdir()

    def say(self, *facts: tuple[str, object], may_read=nothing) -> None:
        """Ship facts of the run, by a writer of their own."""
        writer = Writer(self.folder)
        writer.fact(to_bytes(self.run), 0, START, Start(experiment="mine"))
        for what, value in facts:
            writer.fact(to_bytes(self.run), 0, what, value)
        writer.close()
        [name] = segments(self.folder, [writer.id])
        with linking(may_read):
            Arrivals(self.store.settler, everybody).accept(name, 0, (self.folder / name).read_bytes(), [], self.sender)

    def holds(self, digest: str = DIGEST) -> bool:
        return f"run:{self.run}" in holders(self.store, digest)


def holders(store: Store, digest: str) -> list[str]:
    with store.glance() as tx:
        return holders_of(tx, digest)


def show(store: Store, digest: str, sender: str = "eve") -> None:
    with store.command() as tx:
        prove(tx, digest, sender)


def artifact(digest: str = DIGEST) -> tuple[str, object]:
    return ARTIFACT, ArtifactFact(path="a.txt", digest=digest, size_bytes=1)


FILE = MediaFile(path="m", digest=DIGEST, size_bytes=1, mime="image/png")
FACTS = {
    "an artifact": artifact(),
    "a used file": (EDGE, EdgeFact(verb="used", target=f"sha256:{DIGEST}", role="data")),
    "a capture": (CAPTURE, CaptureFact(thorough=BlobFact(digest=DIGEST))),
    "who began it": (CAPTURE, CaptureFact(begun_by=BlobFact(digest=DIGEST))),
    "random generators": (CAPTURE, CaptureFact(generators=BlobFact(digest=DIGEST))),
    "media": (MEDIA, MediaFact(step=0, entries=[MediaEntry(name="m", kind="image", mime="image/png", files=[FILE])])),
}


@pytest.mark.parametrize("fact", FACTS)
def test_a_fact_that_names_a_blob_links_it_only_when_its_sender_has_it_in_either_order(
    store: Store, victim: str, tmp_path: Path, fact: str
):
    first, later = Machine(store, tmp_path / "a"), Machine(store, tmp_path / "b")
    first.say(FACTS[fact])
    assert not first.holds() and get_run(first.run, store=store).experiment == "mine", "the fact itself counts"
    show(store, DIGEST, "somebody else")
    assert not first.holds()
    show(store, DIGEST)
    assert first.holds(), "the bytes came after the fact"
    later.say(FACTS[fact])
    assert later.holds(), "the fact came after the bytes"


def test_what_a_sender_may_read_is_linked_at_once(store: Store, victim: str, tmp_path: Path):
    machine = Machine(store, tmp_path / "a")
    machine.say(artifact(), artifact(digest_of(b"other")), may_read=lambda _tx, digest: digest == DIGEST)
    assert machine.holds() and not machine.holds(digest_of(b"other"))


def test_what_a_capture_holds_waits_too_whoever_brought_the_capture(store: Store, victim: str, tmp_path: Path):
    mine, machine = digest_of(b"my capture"), Machine(store, tmp_path / "a")
    show(store, mine)
    machine.say((CAPTURE, CaptureFact(thorough=BlobFact(digest=mine), holds=[DIGEST, mine])))
    assert holders(store, DIGEST) == [f"run:{victim}"]
    assert holders(store, mine) == sorted([f"capture:{mine}", f"run:{machine.run}"])
    show(store, DIGEST)
    assert holders(store, DIGEST) == sorted([f"capture:{mine}", f"run:{victim}"])


def test_embedded_and_on_a_server_that_asks_nobody_nothing_is_proved(store: Store, tmp_path: Path):
    machine = Machine(store, tmp_path / "a", Identity(name="eve"))
    machine.say(artifact(), may_read=None)
    with store.command() as tx:
        blob_use(tx, digest_of(b"whatever"), "dataset:d@1")
        assert tx.rows(select(blob_proof)) == [] == tx.rows(select(blob_claim))
    assert machine.holds()


def test_a_sender_whose_server_says_nothing_of_rights_is_not_trusted(store: Store, victim: str, tmp_path: Path):
    machine = Machine(store, tmp_path / "a")
    machine.say(artifact(), may_read=None)
    assert not machine.holds()


def test_what_is_claimed_is_no_garbage_and_a_claim_goes_with_its_run(store: Store, tmp_path: Path):
    store.blobs.put(SECRET)
    machine = Machine(store, tmp_path / "a")
    machine.say(artifact())
    assert collect(store, grace_s=0, events_s=9e9, dry_run=False).blobs == ()
    show(store, digest_of(b"else"))
    delete(machine.run, store=store)
    purge(machine.run, store=store)
    show(store, DIGEST)
    assert holders(store, DIGEST) == []
    assert collect(store, grace_s=0, events_s=9e9, dry_run=False).blobs == (DIGEST,)


def test_a_purge_leaves_what_a_capture_holds_while_anybody_claims_the_capture(store: Store, tmp_path: Path):
    capture, held = digest_of(b"a capture"), digest_of(b"a source")
    one, other = Machine(store, tmp_path / "a"), Machine(store, tmp_path / "b", Identity(name="bob", is_authenticated=True))
    for digest in (capture, held):
        show(store, digest)
    for machine in (one, other):
        machine.say((CAPTURE, CaptureFact(thorough=BlobFact(digest=capture), holds=[held])))
    for machine, left in ((one, [f"capture:{capture}"]), (other, [])):
        delete(machine.run, store=store)
        purge(machine.run, store=store)
        assert holders(store, held) == left
    show(store, held, "bob")
    assert holders(store, held) == []


def test_proofs_are_kept_until_facts_on_their_way_have_come_and_no_longer(store: Store, monkeypatch: pytest.MonkeyPatch):
    show(store, DIGEST)
    now_ns = store.clock.now_ns()
    for age_s, proved, lately in ((0, True, True), (FRESH_S + 1, True, False), (KEPT_S - 1, True, False), (KEPT_S + 1, False, False)):
        monkeypatch.setattr(store.database.clock, "now_ns", lambda age_s=age_s: now_ns + int(age_s * 1e9))
        collect(store, grace_s=0, events_s=9e9, dry_run=False)
        with store.glance() as tx:
            assert (is_proved(tx, DIGEST, "eve"), is_proved_lately(tx, DIGEST, "eve")) == (proved, lately)


def test_who_is_told_that_they_need_not_send_has_nothing_waiting(store: Store):
    with store.command() as tx:
        prove(tx, DIGEST, "eve")
        use_or_claim(tx, DIGEST, "run:00", "bob")
        assert is_proved_lately(tx, DIGEST, "eve") and not is_proved_lately(tx, DIGEST, "bob")


def _datasets(store: Store) -> None:
    DatasetStore(store).add_version(name="d", digest="x", rows=1, columns=[], content=DIGEST, profile=DIGEST)


def _pipeline(store: Store) -> None:
    payload = Payload(kind="bytes", digest=DIGEST, blob=DIGEST)
    row = PipelineRow(run=new_id(), pipeline="p", entry=Entry(module="m", qualname="p"), params={"x": payload}, nodes=())
    PipelineStore(store).begin(row=row, experiment="mine", params={}, lease_s=30)


def _model(store: Store) -> None:
    ModelStore(store).register_version(name="m", digest=DIGEST, run=new_id(), path="model")


COMMANDS = {"a dataset version": _datasets, "parameters of a pipeline": _pipeline, "a model version": _model}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_names_a_blob_is_refused_until_its_bytes_are_sent(store: Store, victim: str, command: str):
    for _ in ("there", "not there"):
        with acting_as(EVE), linking(nothing), pytest.raises(Refused, match="have not sent its bytes") as refused:
            COMMANDS[command](store)
        assert "send all of it" in refused.value.hint
        store.blobs.drop(DIGEST, older_than_ns=2**62)


def test_a_command_is_let_through_when_its_bytes_were_sent_or_may_be_read(store: Store, victim: str):
    with acting_as(EVE), linking(lambda _tx, digest: digest == DIGEST):
        _datasets(store)
    assert holders(store, DIGEST) == sorted([f"run:{victim}", "dataset:d@1"])
    show(store, digest_of(b"mine"))
    with acting_as(EVE), linking(nothing), store.command() as tx:
        blob_use(tx, digest_of(b"mine"), "dataset:e@1")
        assert not may_name(tx, DIGEST)


def _logged(store: Store, *files: bytes, holds: bool = True) -> tuple[str, str]:
    """A run with a model, of which it holds all files, or only the manifest."""
    listed = tuple(ModelFile(path=f"f{n}", digest=store.blobs.put(data), size_bytes=len(data)) for n, data in enumerate(files))
    with run("mine", store=store) as made:
        for n, data in enumerate(files if holds else ()):
            made.save_bytes(f"model/f{n}", data)
        digest = made.save_bytes("model/manifest.json", Manifest(flavor="x", files=listed).encode()).digest
    return made.id, digest


def test_a_model_whose_run_only_names_its_files_is_registered_by_nobody(store: Store, victim: str):
    """Whoever may read all would else lend it to those who may read the model."""
    id, digest = _logged(store, SECRET, holds=False)
    with acting_as(Identity(name="ada", is_authenticated=True)), linking(lambda _tx, _digest: True):
        with pytest.raises(Refused, match="does not hold the f0 of this model"):
            ModelStore(store).register_version(name="m", digest=digest, run=id, path="model")
        id, digest = _logged(store, b"own weights")
        assert ModelStore(store).register_version(name="m", digest=digest, run=id, path="model").is_new


def test_results_of_others_that_may_not_be_read_or_viewed_are_no_hit(store: Store):
    steps, made = PipelineStore(store), encode(b"of a step" * 1000, store.blobs, what="it")
    row = PipelineRow(run=new_id(), pipeline="p", entry=Entry(module="m", qualname="p"), params={}, nodes=())
    token = steps.begin(row=row, experiment="theirs", params={}, lease_s=30)
    small = encode(b"small, and in the row", store.blobs, what="it")
    attempt = StepRow(run=row.run, path="s", attempt=1, pipeline="p", state="hit", step_run=row.run, key="old", started_ns=1, output=small)
    results = [Result(key=key, refs=(), output=output, step_run=row.run, at_ns=1) for key, output in (("large", made), ("small", small))]
    steps.record(run=row.run, token=token, lease_s=30, results=tuple(results), begun=(Beginning(row=attempt),))

    def found() -> tuple[int, int, bool]:
        asked = steps.look_up(run=new_id(), pipeline="p", asked={"l": "large", "k": "small", "s": "new"})
        return len(asked["l"].results), len(asked["k"].results), asked["s"].before is not None

    assert found() == (1, 1, True)
    for may_read, experiment, wanted in (
        (nothing, "none", (0, 0, False)),
        (nothing, "theirs", (0, 1, True)),
        (lambda _tx, digest: digest == made.blob, "theirs", (1, 1, True)),
        (lambda _tx, _digest: True, "mine", (0, 0, False)),
    ):

        def admit(tx, experiment=experiment) -> None:
            tx.may_view = lambda on: on == f"experiment:{experiment}"

        with acting_as(EVE), linking(may_read), admitting(admit):
            assert found() == wanted
