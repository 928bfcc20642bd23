"""Models among a run's artifacts. The run here is a plain recorder with the run's own verbs, its blobs a dict."""

import hashlib
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from stratal.core.errors import Damaged, Misuse, NotFound
from stratal.tracking import flavors
from stratal.tracking.models import load_model, log_model
from stratal.tracking.opening import use_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

TABLE = pl.DataFrame({"spend": [0.0, 1.0, 2.0, 3.0]})
LABEL = [0, 0, 1, 1]


class Blobs(dict):
    def put(self, data):
        digest = hashlib.sha256(data).hexdigest()
        self[digest] = data
        return digest

    def read(self, digest):
        return self[digest]


class Recorder:
    """A run and its store, in memory."""

    id = "0" * 32

    def __init__(self):
        self.blobs, self.artifacts, self.edges, self.statements = Blobs(), {}, [], []

    @property
    def store(self):
        return self

    def save_bytes(self, name, data):
        self.artifacts[name] = self.blobs.put(data)

    def edge(self, verb, target, role="data"):
        self.edges.append((verb, target, role))

    def state(self, kind, body, *, subject=""):
        self.statements.append((kind, body, subject))


class View:
    digest = "f" * 64

    def ref(self, *, store=None):
        assert store is not None  # a view is registered where the run is, not where the process happens to look
        return "features:customer@2"


def fitted():
    return LogisticRegression().fit(TABLE, LABEL)


def test_a_logged_model_is_loaded_by_its_handle_alone():
    current = Recorder()
    handle = log_model(current, "model", fitted(), features=View(), sample=TABLE)
    assert sorted(current.artifacts) == ["model/manifest.json", "model/model.skops", f"model/sample-{handle.digest[:8]}.parquet"]
    assert handle.digest == current.artifacts["model/manifest.json"]
    assert (handle.run, handle.path, handle.flavor, handle.features) == (current.id, "model", "sklearn", "features:customer@2")
    back = load_model(handle, current)
    np.testing.assert_array_equal(back.scores(TABLE), fitted().predict_proba(TABLE)[:, 1])
    assert back.manifest.features == flavors.FeatureUse(ref="features:customer@2", digest="f" * 64)


def test_the_run_states_what_it_made_and_from_what():
    current = Recorder()
    handle = log_model(current, "model", fitted(), features=View(), sample=TABLE)
    subject = f"sha256:{handle.digest}"
    assert current.edges == [("produced", subject, "model"), ("used", "features:customer@2", "features")]
    assert current.statements == [("model", {"path": "model", "flavor": "sklearn", "features": "features:customer@2"}, subject)]


def test_a_model_that_cannot_be_kept_leaves_nothing_behind():
    current = Recorder()
    with pytest.raises(Misuse, match="no format keeps"):
        log_model(current, "model", {"not": "a model"})
    for name in ("", "/model", "a/../b"):
        with pytest.raises(Misuse, match="no name for a folder"):
            log_model(current, name, fitted())
    assert (current.artifacts, current.edges, current.statements) == ({}, [], [])


def test_swapped_content_is_not_loaded():
    current = Recorder()
    handle = log_model(current, "model", fitted(), sample=TABLE)
    other = log_model(current, "other", LogisticRegression(C=0.01).fit(TABLE, LABEL), sample=TABLE)
    honest = dict(current.blobs)
    current.blobs[current.artifacts["model/model.skops"]] = current.blobs[current.artifacts["other/model.skops"]]
    with pytest.raises(Damaged, match="digest differs"):
        load_model(handle, current)
    current.blobs.update(honest)
    current.blobs[handle.digest] = current.blobs[other.digest]
    with pytest.raises(Damaged, match="is no manifest"):
        load_model(handle, current)


def test_a_model_of_a_real_run_is_loaded_from_its_store(store):
    use_store(store)
    with run("churn") as current:
        handle = current.log_model("model", fitted(), sample=TABLE)
    expected = fitted().predict_proba(TABLE)[:, 1]
    np.testing.assert_array_equal(handle.scores(TABLE), expected)
    np.testing.assert_array_equal(handle.load(store).scores({"spend": 3.0}), expected[3:])
    read = get_run(current.id)
    assert {artifact.path for artifact in read.artifacts} == {
        "model/manifest.json", "model/model.skops", f"model/sample-{handle.digest[:8]}.parquet",
    }  # fmt: skip
    assert [statement.subject for statement in read.statements("model")] == [f"sha256:{handle.digest}"]


def test_a_model_is_not_loaded_from_a_store_that_lacks_it(store, fresh_store):
    with run("churn", store=store) as current:
        handle = current.log_model("model", fitted(), sample=TABLE)
    with pytest.raises(NotFound, match="is not in this store"):
        handle.load(fresh_store())


def test_importing_handles_pulls_no_library_of_models_or_frames():
    heavy = ["polars", "pandas", "sklearn", "torch", "skops", "sqlalchemy"]
    code = f"import sys, stratal.tracking.values; print([name for name in {heavy!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
