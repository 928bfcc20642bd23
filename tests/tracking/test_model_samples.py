"""The sample of a model's inputs: kept beside the model, given back as the model takes it. Excluded: signatures, formats."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.linear_model import LogisticRegression

from stratal.core.errors import Damaged, NotFound
from stratal.store.store import Store
from stratal.tracking.flavors import samples
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

law = settings(max_examples=60)
ROWS = pl.DataFrame({"tenure": np.arange(50), "spend": np.linspace(0, 1, 50)})
LABELS = np.arange(50) % 2


@pytest.mark.parametrize("rows", [ROWS, ROWS.to_pandas(), ROWS.to_numpy()], ids=["polars", "pandas", "numpy"])
def test_the_first_rows_come_back_in_their_container_and_can_be_predicted(store: Store, rows: object):
    with run("churn", store=store) as made:
        model = made.log_model("model", LogisticRegression().fit(rows, LABELS), sample=rows)
    sample = model.sample(store)
    assert type(sample) is type(rows)
    assert np.array_equal(np.asarray(sample), np.asarray(rows[:20]))
    assert np.array_equal(model.load(store).predict(sample), model.load(store).predict(rows)[:20])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_a_sample_of_tensors_comes_back_as_an_array(dtype: torch.dtype):
    rows = torch.arange(60).reshape(30, 2).to(dtype).requires_grad_(dtype.is_floating_point)
    ending, data = samples.encode(rows)
    assert np.array_equal(samples.decode(ending, data, None), np.arange(40).reshape(20, 2))


def test_the_sample_is_no_part_of_the_models_digest_and_is_listed_beside_it(store: Store):
    fitted = LogisticRegression().fit(ROWS, LABELS)
    with run("churn", store=store) as made:
        left = made.log_model("left", fitted, sample=ROWS[:5])
        right = made.log_model("right", fitted, sample=ROWS[5:9])
    assert left.digest == right.digest
    assert (left.sample(store).height, right.sample(store)["tenure"].to_list()) == (5, [5, 6, 7, 8])
    assert f"left/sample-{left.digest[:8]}.parquet" in [artifact.path for artifact in get_run(made.id, store=store).artifacts]


def test_a_model_saved_over_another_has_no_sample_of_it(store: Store):
    with run("churn", store=store) as made:
        first = made.log_model("model", LogisticRegression().fit(ROWS, LABELS), sample=ROWS[:3])
        second = made.log_model("model", LogisticRegression(C=0.1).fit(ROWS, LABELS))
    assert first.sample(store).height == 3
    with pytest.raises(NotFound):
        second.sample(store)


def test_a_model_without_a_sample_says_how_to_keep_one(store: Store):
    with run("churn", store=store) as made:
        model = made.log_model("model", LogisticRegression().fit(ROWS, LABELS))
    with pytest.raises(NotFound, match="sample=rows"):
        model.sample(store)


@law
@given(
    arrays.arrays(st.sampled_from([np.float32, np.float64, np.int64, np.bool_]), arrays.array_shapes(min_dims=1, max_dims=3, max_side=25))
)
def test_arrays_come_back_as_they_were_up_to_twenty_rows(array: np.ndarray):
    name, data = samples.encode(array)
    back = samples.decode(name, data, None)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array[:20], equal_nan=array.dtype.kind == "f")


def test_an_array_of_objects_is_kept_without_pickle():
    name, data = samples.encode(np.array([["a", 1], ["b", None]], dtype=object))
    assert name == samples.TABLE
    assert b"pickle" not in data
    assert samples.decode(name, data, None).rows() == [("a", 1), ("b", None)]


def test_a_frame_of_pandas_keeps_its_types():
    rows = pd.DataFrame({"t": pd.Categorical(["a", "b"]), "when": pd.to_datetime(["2026-01-01", None]), "n": [1.5, None]})
    name, data = samples.encode(rows)
    assert samples.decode(name, data, None).rows()[0][0] == "a"


@pytest.mark.parametrize("name", [samples.TABLE, samples.ARRAY])
@pytest.mark.parametrize("data", [b"", b"not it", b"\x80\x04K\x01."])
def test_other_bytes_are_damaged_and_nothing_is_unpickled(name: str, data: bytes):
    with pytest.raises(Damaged):
        samples.decode(name, data, None)
