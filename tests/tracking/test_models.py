"""Models among a run's artifacts. The run here is a plain recorder with the run's own verbs, its blobs a dict."""

import hashlib

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from stratal.core.errors import Damaged, Misuse
from stratal.tracking import flavors
from stratal.tracking.models import load_model, log_model

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

    def save_bytes(self, name, data):
        self.artifacts[name] = self.blobs.put(data)

    def edge(self, verb, target, role="data"):
        self.edges.append((verb, target, role))

    def state(self, kind, body, *, subject=""):
        self.statements.append((kind, body, subject))


class View:
    digest = "f" * 64

    def ref(self):
        return "features:customer@2"


def fitted():
    return LogisticRegression().fit(TABLE, LABEL)


def test_a_logged_model_is_loaded_by_its_handle_alone():
    run = Recorder()
    handle = log_model(run, "model", fitted(), features=View(), sample=TABLE)
    assert sorted(run.artifacts) == ["model/manifest.json", "model/model.skops"]
    assert handle.digest == run.artifacts["model/manifest.json"]
    assert (handle.run, handle.path, handle.flavor, handle.features) == (run.id, "model", "sklearn", "features:customer@2")
    back = load_model(handle, run)
    np.testing.assert_array_equal(back.scores(TABLE), fitted().predict_proba(TABLE)[:, 1])
    assert back.manifest.features == flavors.FeatureUse(ref="features:customer@2", digest="f" * 64)


def test_the_run_states_what_it_made_and_from_what():
    run = Recorder()
    handle = log_model(run, "model", fitted(), features=View(), sample=TABLE)
    subject = f"sha256:{handle.digest}"
    assert run.edges == [("produced", subject, "model"), ("used", "features:customer@2", "features")]
    assert run.statements == [("model", {"path": "model", "flavor": "sklearn", "features": "features:customer@2"}, subject)]


def test_a_model_that_cannot_be_kept_leaves_nothing_behind():
    run = Recorder()
    with pytest.raises(Misuse, match="no format keeps"):
        log_model(run, "model", {"not": "a model"})
    for name in ("", "/model", "a/../b"):
        with pytest.raises(Misuse, match="no name for a folder"):
            log_model(run, name, fitted())
    assert (run.artifacts, run.edges, run.statements) == ({}, [], [])


def test_swapped_content_is_not_loaded():
    run = Recorder()
    handle = log_model(run, "model", fitted(), sample=TABLE)
    other = log_model(run, "other", LogisticRegression(C=0.01).fit(TABLE, LABEL), sample=TABLE)
    honest = dict(run.blobs)
    run.blobs[run.artifacts["model/model.skops"]] = run.blobs[run.artifacts["other/model.skops"]]
    with pytest.raises(Damaged, match="digest differs"):
        load_model(handle, run)
    run.blobs.update(honest)
    run.blobs[handle.digest] = run.blobs[other.digest]
    with pytest.raises(Damaged, match="is no manifest"):
        load_model(handle, run)
