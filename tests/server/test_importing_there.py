"""Who may import through a server, what counts, and what is refused. Excludes what an import gives (tests/interop)."""

import tarfile
from pathlib import Path

import pytest
from sqlalchemy import select

from stratal.core.errors import Forbidden
from stratal.core.settings import Settings
from stratal.interop.batches import Batch, Body, SourceId
from stratal.interop.foreign import Began, ForeignId
from stratal.interop.importing import import_runs
from stratal.interop.tables import import_mark
from stratal.registry import list_versions
from stratal.store.frames import FACT, encode_fact
from stratal.store.wire import pack
from stratal.tracking.facts import (
    ARTIFACT,
    CAPTURE,
    EDGE,
    MEDIA,
    NOTE,
    START,
    STATE,
    ArtifactFact,
    CaptureFact,
    EdgeFact,
    Note,
    Start,
    StateFact,
)
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.quotas import quotas, set_quota
from stratal.tracking.runs import run as start_run

FOREIGN = ForeignId(tool="wandb", store="there", run="r1", started_ns=1_700_000_000_000_000_000)
SECRET = b"what only ada may read"


@pytest.fixture
def come(guarded, tmp_path: Path):
    """Let somebody come with their own store behind the server."""
    opened = []

    def come(name: str):
        settings = Settings(user=name, token=guarded.token_of(name), capture=False, state_home=tmp_path / name, on_error="raise")
        opened.append(open_store(guarded.url, settings=settings))
        return opened[-1]

    yield come
    for store in opened:
        store.uploader.finish()
        store.close()


@pytest.fixture
def history() -> Path:
    """A run of W&B with points and files."""
    return Path(__file__).parent.parent / "interop/fixtures/wandb-0.31.0"


def batch(*facts: tuple[str, object], experiment: str = "churn", after: int = 0, place: int = 1, began: bool = True, run=FOREIGN) -> Batch:
    start = Began(experiment=experiment, user="somebody else", at_ns=1_700_000_000_000_000_000) if began else None
    bodies = [Body(FACT, encode_fact(what, 1_700_000_000_000_000_001, value)) for what, value in facts]
    return Batch(
        source=SourceId(foreign=run, part=b"all"), name="there", after=after, place=place, digest="d", counts={}, began=start, bodies=bodies
    )


def send(who, batch: Batch, *, run: str = ""):
    body, kind = pack({"run": run or batch.source.foreign.new_id(), "batch": batch})
    return who.http.post("/api/v1/interop/apply", content=body, headers={"content-type": kind})


def test_a_contributor_imports_and_the_server_knows_who_though_authors_are_the_tools(guarded, come, store, history):
    report = import_runs("wandb", history, experiment="churn", store=come("bob"))
    assert report.is_complete
    [run] = find_runs(store=store)
    assert run.experiment == "churn" and run.user != "bob", "its author is the one that the tool names"
    with store.query() as tx:
        assert {sender for (sender,) in tx.rows(select(import_mark.c.sender))} == {"bob"}


def test_a_viewer_and_a_stranger_import_nothing_and_are_told_what_to_ask_for(guarded, come, store, history):
    for name in ("vera", "eve"):
        with pytest.raises(Forbidden) as refused:
            import_runs("wandb", history, experiment="churn", store=come(name))
        assert refused.value.hint
    assert not find_runs(store=store)


def test_who_imports_a_new_experiment_becomes_its_maker(guarded, come, store, history):
    guarded.accounts.grant(person="eve", role="contributor", on="*")
    eve = come("eve")
    import_runs("wandb", history, experiment="fresh", store=eve)
    grants = {(each.person, each.role, each.on) for each in guarded.accounts.grants()}
    assert any(person == "eve" and on == "experiment:fresh" and str(role) in ("admin", "Role.ADMIN", "4") for person, role, on in grants), (
        grants
    )


def test_a_run_of_an_experiment_that_one_may_not_view_is_neither_shown_nor_changed(guarded, come, store):
    ada, bob = guarded.having_token("ada"), guarded.having_token("bob")
    assert send(ada, batch((NOTE, Note(text="mine", author="x")), experiment="hidden")).status_code == 200
    asked = {"sources": [SourceId(foreign=FOREIGN, part=b"all")]}
    content, kind = pack(asked)
    seen = bob.http.post("/api/v1/interop/look", content=content, headers={"content-type": kind}).json()
    assert seen[0]["mark"]["place"] == 0 and seen[0]["has_begun"] is False
    for began in (True, False):
        answer = send(bob, batch((NOTE, Note(text="his", author="x")), after=0 if began else 1, place=2, began=began))
        assert answer.status_code == 403, answer.text
    [run] = find_runs(store=store)
    assert [note.text for note in run.notes] == ["mine"]


def test_a_run_goes_nowhere_but_where_its_importer_may_write(guarded, store):
    bob = guarded.having_token("bob")
    assert send(bob, batch(experiment="hidden")).status_code == 403
    with start_run("churn", store=store) as other:
        pass
    assert send(bob, batch(), run=other.id).status_code == 422, "an id that is not of that foreign run"
    smuggled = batch((START, Start(experiment="hidden", user="ada")))
    assert send(bob, smuggled).status_code == 422
    assert not find_runs(experiment="hidden", store=store) and len(find_runs(store=store)) == 1


def test_files_are_linked_only_for_who_has_sent_their_bytes(guarded, store):
    with start_run("hidden", store=store) as secret:
        secret.save_bytes("a.txt", SECRET)
    store.settle()
    [artifact] = secret_files = find_runs(experiment="hidden", store=store)[0].artifacts
    digest, size = artifact.digest, len(SECRET)
    bob = guarded.having_token("bob")
    named = (
        (ARTIFACT, ArtifactFact(path="a.txt", digest=digest, size_bytes=size)),
        (EDGE, EdgeFact(verb="used", target=f"sha256:{digest}", role="data")),
        (
            MEDIA,
            {"step": 0, "entries": [{"name": "m", "kind": "image", "files": [{"path": "m.png", "digest": digest, "size_bytes": size}]}]},
        ),
        (CAPTURE, CaptureFact(holds=(digest,))),
    )
    for fact in named:
        answer = send(bob, batch(fact))
        assert 400 <= answer.status_code < 500, (fact, answer.text)
    assert not find_runs(experiment="churn", store=store), "nothing is half-written"
    assert bob.http.get(f"/api/v1/blobs/{digest}").status_code == 404
    assert bob.blob(SECRET).status_code == 200
    assert send(bob, batch(named[0])).status_code == 200
    assert secret_files and find_runs(experiment="churn", store=store)[0].read_artifact("a.txt") == SECRET


def test_an_import_states_nothing_that_gates_read(guarded, store):
    bob = guarded.having_token("bob")
    for kind in ("evaluation", "validation"):
        refused = send(bob, batch((STATE, StateFact(kind=kind, subject="sha256:" + "0" * 64, body={}, author="ada"))))
        assert refused.status_code == 422 and "nothing that gates read" in refused.text
    assert send(bob, batch((STATE, StateFact(kind="step_scale", subject="loss", body={}, author="")))).status_code == 200


def test_asking_for_room_does_not_tell_that_a_hidden_run_is_there(guarded, store):
    with start_run("hidden", store=store) as hidden:
        pass
    set_quota("churn", most_runs=0, store=store)
    answers = set()
    for run in (hidden.id, FOREIGN.new_id()):
        body, kind = pack({"run": run, "experiment": "churn", "sizes": {}})
        answer = guarded.having_token("bob").http.post("/api/v1/interop/check_room", content=body, headers={"content-type": kind})
        answers.add((answer.status_code, answer.text))
    assert len(answers) == 1 and "no room for another run" in answers.pop()[1]


def test_quotas_count_and_a_refusal_leaves_nothing_and_says_what_to_do(guarded, come, store, history):
    bob = come("bob")
    set_quota("churn", most_runs=0, store=store)
    report = import_runs("wandb", history, experiment="churn", store=bob)
    assert not report.is_complete and not find_runs(store=store)
    assert "has no room for another run" in report.losses[0] and "stratal quota set" in report.losses[0]
    set_quota("churn", most_bytes=1, most_runs=1, store=store)
    report = import_runs("wandb", history, experiment="churn", store=bob)
    assert not report.is_complete and any("has no room for files" in loss for loss in report.losses)
    assert list(store.blobs.entries()) == [], "it is asked first, and nothing is sent for nothing"
    now = next(each for each in quotas(store=store).used if each.experiment == "churn")
    assert now.size_bytes == 0
    set_quota("churn", most_bytes=1 << 30, most_runs=1, store=store)
    assert import_runs("wandb", history, experiment="churn", store=bob).is_complete
    assert import_runs("wandb", history, experiment="churn", store=bob).is_complete
    now = next(each for each in quotas(store=store).used if each.experiment == "churn")
    [run] = find_runs(store=store)
    assert (now.runs, now.size_bytes) == (1, sum({one.digest: one.size_bytes for one in run.artifacts}.values()))


def test_registered_models_arrive_for_who_has_sent_their_files_and_for_nobody_else(guarded, come, store, tmp_path: Path):
    with tarfile.open(Path(__file__).parent.parent / "interop/mlflow_files/mlruns-2.9.2.tar.gz") as archive:
        archive.extractall(tmp_path / "there", filter="data")
    guarded.accounts.grant(person="eve", role="contributor", on="*")
    report = import_runs("mlflow", tmp_path / "there", store=come("eve"))
    assert report.is_complete, report.losses
    versions = list_versions("churn-model", store=store)
    assert sorted(version.number for version in versions) == [1, 3]
    guarded.accounts.grant(person="bob", role="contributor", on="model:other")
    guarded.accounts.grant(person="bob", role="viewer", on="*")
    asked = {"name": "other", "digest": versions[0].digest, "origin": versions[0].run, "path": "model"}
    refused = guarded.having_token("bob").http.post("/api/v1/interop/register_imported", json=asked)
    assert refused.status_code == 422 and "has not sent the bytes" in refused.text


def odd_batches() -> list[dict[str, object]]:
    good = {
        "source": {"foreign": {"tool": "wandb", "store": "s", "run": "r", "started_ns": 1}, "part": b"p"},
        "name": "n", "after": 0, "place": 1, "digest": "d", "counts": {}, "bodies": [],
        "began": {"experiment": "churn", "at_ns": 5},
    }  # fmt: skip
    changes: list[dict[str, object]] = [
        {"after": 7}, {"place": 0}, {"after": -1}, {"place": 2**63}, {"name": "\0"}, {"digest": "\0"}, {"counts": {"x": {"imported": "y"}}},
        {"bodies": [[FACT, b""]]}, {"bodies": [[FACT, b"\xff" * 40]]}, {"bodies": [[99, b"x"]]}, {"bodies": [[-1, b"x"]]},
        {"bodies": [[2**70, b"x"]]}, {"bodies": [[1, b"\0" * 31]]}, {"bodies": [[2, b"\xff" * 64]]}, {"bodies": [[3, b"\xff" * 64]]},
        {"bodies": [[4, b"x"]]}, {"bodies": [[FACT, encode_fact(ARTIFACT, 1, {"path": 1})]]},
        {"bodies": [[FACT, encode_fact(NOTE, 1, {"text": "a\0b"})]]}, {"bodies": [[FACT, encode_fact(MEDIA, 1, {"entries": 1})]]},
        {"bodies": [[FACT, encode_fact("", 1, {})]]},
        {"bodies": [[FACT, encode_fact(EDGE, 1, {"verb": "u", "target": "sha256:x", "role": ""})]]},
        {"began": {"experiment": "a\0b", "at_ns": 5}}, {"began": {"experiment": "churn", "kind": "x", "at_ns": 5}},
        {"began": {"experiment": "churn", "name": "a\0", "at_ns": 5}}, {"began": {"experiment": "churn", "at_ns": 2**64}},
        {"began": {"experiment": "churn", "at_ns": -(2**63)}}, {"began": {"experiment": "x" * 100_000, "at_ns": 5}},
        {"began": {"experiment": "churn", "user": "\0", "at_ns": 5}},
        {"began": {"experiment": "churn", "capture": {"a": "\0"}, "at_ns": 5}},
    ]  # fmt: skip
    made = [{**good, **change} for change in changes]
    for key, value in (
        ("tool", "\0"),
        ("started_ns", -5),
        ("started_ns", 2**63 - 1),
        ("started_ns", 2**64),
        ("run", "\0"),
        ("store", "\0"),
    ):
        source = {"foreign": {"tool": "wandb", "store": "s", "run": "r", "started_ns": 1, key: value}, "part": b"p"}
        made.append({**good, "source": source})
    return made


def test_no_hostile_batch_is_a_fault_of_ours_and_none_is_half_written(whole, store):
    for number, odd in enumerate(odd_batches()):
        run = ForeignId(**{**odd["source"]["foreign"], "started_ns": 1}).new_id()
        for id in (run, "0" * 32, "x", ""):
            body, kind = pack({"run": id, "batch": odd})
            answer = whole.http.post("/api/v1/interop/apply", content=body, headers={"content-type": kind})
            assert answer.status_code < 500, (number, odd, answer.text)
    many = {"sources": [SourceId(foreign=FOREIGN, part=b"")] * 501}
    content, kind = pack(many)
    assert whole.http.post("/api/v1/interop/look", content=content, headers={"content-type": kind}).status_code == 422
    find_runs(store=store)
