"""Autolog of Keras 3, on its torch backend."""

import os
from importlib.util import find_spec

import pytest

if not find_spec("keras"):
    pytest.skip("keras is not installed: it is in the extra `test`", allow_module_level=True)

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np

from stratal.store.store import Store
from stratal.tracking.autologging import callback
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

X = np.random.default_rng(0).normal(size=(32, 2)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")


def fit(*callbacks, epochs: int = 3):
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.05), loss="mse", metrics=["mae"])
    return model.fit(X, Y, epochs=epochs, validation_split=0.25, verbose=0, callbacks=list(callbacks))


def test_a_fit_leaves_its_optimizer_its_metrics_and_the_models_summary(store: Store):
    fit(callback("keras"))  # outside of any run: as ever
    with run("e", store=store) as logged:
        history = fit(callback("keras"))
    read = get_run(logged.id, store=store)
    assert (read.params["optimizer"], read.params["optimizer/learning_rate"]) == ("Adam", 0.05)
    assert (read.params["epochs"], read.params["loss"], read.params["parameters"]) == (3, "mse", 3)
    assert list(read.series("val/loss").values) == pytest.approx(history.history["val_loss"])
    assert list(read.series("mae").steps) == [0, 1, 2]
    assert b"dense" in read.read_artifact("model_summary.txt")


def test_early_stopping_ends_the_series_and_a_second_fit_has_names_of_its_own(store: Store):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    ours = callback("keras")
    with run("e", store=store) as logged:
        fit(ours, Stop(), epochs=9)
        fit(ours, epochs=1)
    read = get_run(logged.id, store=store)
    assert len(read.series("loss").values) == 2 and len(read.series("fit-2/loss").values) == 1


def test_a_fit_that_fails_raises_as_ever(store: Store):
    class Fail(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ValueError("a broken epoch")

    ours = callback("keras")
    with run("e", store=store) as logged:
        with pytest.raises(ValueError, match="a broken epoch"):
            fit(ours, Fail())
        fit(ours, epochs=1)
    assert "fit-2/loss" in get_run(logged.id, store=store).metrics
