"""What is told of registered models after a move from MLflow: once, and under no name of somebody else. Excludes what the client sees."""

from hashlib import sha256
from pathlib import Path

import pytest

from stratal.core.errors import Conflict, Misuse
from stratal.core.settings import Settings
from stratal.interop.mlflow.operations import MOST_TEXT, MovedModels, VersionSaid
from stratal.interop.mlflow.service.registry.records import to_version
from stratal.interop.mlflow.service.store import registered as rows
from stratal.registry import history, list_versions, register, verify_audit
from stratal.store.store import Store
from stratal.tracking.flavors.manifest import Manifest, ModelFile
from stratal.tracking.opening import open_store
from stratal.tracking.runs import run
from stratal.tracking.values import Model


@pytest.fixture
def moved(store: Store) -> MovedModels:
    """Tells of a store with the model `gr-e`, of one version."""
    file = ModelFile(path="weights.bin", digest=sha256(b"weights").hexdigest(), size_bytes=7)
    manifest = Manifest(flavor="sklearn", files=(file,))
    with run("e", store=store) as made:
        made.save_bytes("model/weights.bin", b"weights")
        made.save_bytes("model/manifest.json", manifest.encode())
    register("gr-e", Model(run=made.id, path="model", digest=manifest.digest, flavor="sklearn"), store=store)
    return MovedModels(store)


def said_of(store: Store, name: str) -> tuple[str, str | None, dict[str, str]]:
    with store.query() as tx:
        [head] = rows.heads_of(tx, [name])
        return head.name, head.description, rows.words(tx, [name], [0]).tags.get((name, 0), {})


def describe(moved: MovedModels, name: str, called: str, description: str = "what it is", **fields) -> None:
    said = {"tags": {"team": "a"}, "versions": []} | fields
    moved.describe(name=name, called=called, description=description, **said)


def test_a_model_is_called_and_described_as_it_was_once(moved: MovedModels, store: Store):
    describe(moved, "gr-e", "Gr e")
    describe(moved, "gr-e", "gr E", "something else")
    assert said_of(store, "gr-e")[:2] == ("Gr e", "what it is")


def version_of(store: Store) -> rows.VersionRow:
    with store.query() as tx:
        found = rows.find_version(tx, "gr-e", 1)
        assert found is not None
        return found


def stated(author: str = "ada", made_ns: int | None = 5_000_000_000, description: str = "") -> list[VersionSaid]:
    fields = {"description": description, "source": "", "run": "", "logged_model": "", "tags": {}}
    return [VersionSaid(number=1, author=author, made_ns=made_ns, **fields)]


def test_who_made_a_version_is_stated_once_and_the_registry_knows_who_said_so(moved: MovedModels, store: Store):
    describe(moved, "gr-e", "gr-e", versions=stated())
    describe(moved, "gr-e", "gr-e", versions=stated("eve", 7_000_000_000))
    row, me = version_of(store), store.actor().name
    assert (row.shown_author, row.shown_ns) == ("ada", 5_000_000_000)
    assert row.author == me and row.at_ns > 5_000_000_000
    with store.query() as tx:
        assert rows.words(tx, ["gr-e"], [1]).tags["gr-e", 1] == {rows.STATED_BY: me}
    [said] = [entry for entry in history("gr-e", store=store) if entry.action == "state"]
    assert said.actor == me and said.reason == "version 1 was made by 'ada' at 1970-01-01 00:00:05 UTC, says its import"
    assert [version.author for version in list_versions("gr-e", store=store)] == [me] and not verify_audit(store=store).findings


def test_clients_see_whose_word_it_is_whatever_they_make_of_the_tag(moved: MovedModels, store: Store):
    describe(moved, "gr-e", "gr-e", versions=stated())
    for value in (None, "somebody else"):
        with store.command() as tx:
            rows.drop_tag(tx, "gr-e", 1, rows.STATED_BY) if value is None else rows.set_tag(tx, "gr-e", 1, rows.STATED_BY, value)
            shown = to_version("gr-e", version_of(store), rows.words(tx, ["gr-e"], [1]))
        assert shown.user_id == "ada"
        assert [(tag.key, tag.value) for tag in shown.tags] == [(rows.STATED_BY, store.actor().name)]


def test_what_is_described_and_deleted_later_keeps_who_made_it(moved: MovedModels, store: Store):
    describe(moved, "gr-e", "gr-e", versions=stated(description="first"))
    with store.command() as tx:
        rows.say_of_version(tx, "gr-e", 1, description="second")
    assert (version_of(store).description, version_of(store).shown_author) == ("second", "ada")


def test_nobody_states_who_made_the_version_of_somebody_else(moved: MovedModels, store: Store, tmp_path: Path):
    other = open_store(store.url, settings=Settings(user="eve", capture=False))
    describe(MovedModels(other), "gr-e", "gr-e", versions=stated("eve"))
    other.close()
    assert version_of(store).shown_author == store.actor().name and version_of(store).stated_ns is None


def test_nobody_gives_out_a_name_that_others_look_for(moved: MovedModels, store: Store):
    describe(moved, "gr-e", "popular")
    assert said_of(store, "gr-e")[0] == "gr-e"
    with store.query() as tx:
        assert rows.find_head(tx, "popular") is None


def test_what_cannot_be_kept_is_refused_and_changes_nothing(moved: MovedModels, store: Store):
    version = VersionSaid(number=1, description="", source="", run="", logged_model="", tags={})
    for fields in (
        {"description": "x" * (MOST_TEXT + 1)},
        {"tags": {"a": "\0"}},
        {"versions": [version] * 501},
        {"versions": stated(made_ns=-1)},
        {"versions": stated("\0")},
        {"last": -1},
        {"last": 2**31},
    ):
        with pytest.raises(Misuse):
            describe(moved, "gr-e", "gr-e", **fields)
    for name in ("nobody's", "GR-E"):
        with pytest.raises((Misuse, Conflict)):
            describe(moved, name, "gr-e")
    assert said_of(store, "gr-e")[1] in (None, "")
