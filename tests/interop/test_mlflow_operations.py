"""What is told of registered models after a move from MLflow: once, and under no name of somebody else. Excludes what the client sees."""

from hashlib import sha256

import pytest

from stratal.core.errors import Misuse, NotFound
from stratal.interop.mlflow.operations import MOST_TEXT, MovedModels, VersionSaid
from stratal.interop.mlflow.service.store import registered as rows
from stratal.registry import register
from stratal.store.store import Store
from stratal.tracking.flavors.manifest import Manifest, ModelFile
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


def test_nobody_gives_out_a_name_that_others_look_for(moved: MovedModels, store: Store):
    describe(moved, "gr-e", "popular")
    assert said_of(store, "gr-e")[0] == "gr-e"
    with store.query() as tx:
        assert rows.find_head(tx, "popular") is None


def test_what_cannot_be_kept_is_refused_and_changes_nothing(moved: MovedModels, store: Store):
    version = VersionSaid(number=1, description="", source="", run="", logged_model="", tags={})
    for fields in ({"description": "x" * (MOST_TEXT + 1)}, {"tags": {"a": "\0"}}, {"versions": [version] * 501}):
        with pytest.raises(Misuse):
            describe(moved, "gr-e", "gr-e", **fields)
    with pytest.raises(NotFound):
        describe(moved, "nobody's", "gr-e")
    assert said_of(store, "gr-e")[1] in (None, "")
