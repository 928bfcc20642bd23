"""Payloads: values there and back, and digests of content. Blobs are the store's own."""

import dataclasses
import datetime
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratal.core.errors import Conflict, Damaged, Misuse, NotFound
from stratal.core.records import Record, from_json, to_json
from stratal.pipelines.payloads import INLINE_BYTES, Payload, blobs_in, content_digest, decode, encode, item, targets_in
from stratal.store.files.disk import DiskBlobs
from stratal.tracking.values import Dataset, Evaluation, File, Model


@pytest.fixture
def blobs(tmp_path):
    return DiskBlobs(tmp_path / "blobs")


def there_and_back(value, blobs):
    """As a value travels: into a row of JSON text, and back."""
    return decode(from_json(to_json(encode(value, blobs, what="value")), Payload), blobs)


KEYS = st.text() | st.integers() | st.binary() | st.none() | st.booleans()
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner) | st.tuples(inner, inner) | st.sets(st.integers() | st.text()),
    max_leaves=20,
)


def same(one, other):
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return one == other and str(one) == str(other) if not isinstance(one, set) else one == other


@given(PLAIN)
def test_plain_values_come_back_as_they_were(tmp_path_factory, value):
    assert same(there_and_back(value, DiskBlobs(Path(tmp_path_factory.getbasetemp()) / "blobs")), value)


@given(PLAIN)
def test_equal_values_have_one_digest(value):
    assert content_digest(value) == content_digest(value)


def test_values_that_are_equal_for_python_but_different_have_two_digests():
    different = [1, 1.0, True, "1", b"1", [1], (1,), {"1": 1}, {1: 1}, None, 0.0, -0.0, [], (), {}, [[]], math.nan]
    assert len({content_digest(value) for value in different}) == len(different)


def test_nan_and_infinities_come_back(blobs):
    back = there_and_back({"a": math.nan, "b": [math.inf, -math.inf]}, blobs)
    assert math.isnan(back["a"])
    assert back["b"] == [math.inf, -math.inf]


def test_a_frame_has_the_digest_of_its_content_and_not_of_its_chunks(blobs):
    whole = pl.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"]})
    pieces = pl.concat([whole[:1], whole[1:]], rechunk=False)
    assert content_digest(whole) == content_digest(pieces)
    assert there_and_back(whole, blobs).equals(whole)
    assert content_digest(whole) != content_digest(whole.select("b", "a"))


def test_a_series_comes_back(blobs):
    series = pl.Series("x", [1.0, None])
    assert there_and_back(series, blobs).equals(series)
    assert there_and_back(series, blobs).name == "x"


def test_items_of_a_tuple_have_digests_of_their_own(blobs):
    train, test = pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})
    payload = encode((train, {"rows": (test, 3)}), blobs, what="value")
    assert item(payload, (0,)).digest == content_digest(train)
    with pytest.raises(Damaged, match="annotated to return a tuple gave a dict"):
        item(payload, (1, 0))
    assert decode(item(payload, (1,)), blobs)["rows"][0].equals(test)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.arange(6).reshape(2, 3).T,
        np.array(3.5),
        np.zeros(0),
        np.array(["a", "é"]),
        np.array([1, 2], dtype=">i4"),
    ],
    ids=["matrix", "transposed", "scalar array", "empty", "text", "big endian"],
)
def test_arrays_come_back_with_shape_and_dtype(blobs, array):
    back = there_and_back(array, blobs)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)
    assert back.shape == array.shape


def test_the_layout_of_an_array_does_not_matter():
    array = np.arange(12).reshape(3, 4)
    assert content_digest(array) == content_digest(np.asfortranarray(array))
    assert content_digest(array) != content_digest(array.astype(float))


def test_numpy_numbers_come_back_as_such(blobs):
    back = there_and_back(np.float64(0.1), blobs)
    assert type(back) is np.float64
    assert back == 0.1


def test_objects_in_arrays_are_pickled(blobs):
    array = np.array([{"a": 1}, None], dtype=object)
    assert there_and_back(array, blobs).tolist() == [{"a": 1}, None]


def test_handles_of_tracking_come_back_and_are_named_in_lineage(blobs):
    data = Dataset(ref="dataset:churn@3", name="churn", version=3, digest="a" * 64, rows=3, columns=("a", "b"))
    model = Model(run="7" * 32, path="model", digest="b" * 64, flavor="sklearn")
    assert there_and_back([data, model], blobs) == [data, model]
    payload = encode({"data": data, "rest": (model, Evaluation(run="8" * 32, subject="sha256:" + "b" * 64))}, blobs, what="value")
    assert [(found.place, found.target) for found in targets_in(payload)] == [
        ("[data]", "dataset:churn@3"),
        ("[rest][0]", "sha256:" + "b" * 64),
        ("[rest][1]", "run:" + "8" * 32),
    ]


def test_a_file_is_its_content(blobs, tmp_path):
    (tmp_path / "one.csv").write_text("a,b\n")
    (tmp_path / "two.csv").write_text("a,b\n")
    assert content_digest(File(str(tmp_path / "one.csv"))) == content_digest(File(str(tmp_path / "two.csv")))
    payload = encode(File(str(tmp_path / "one.csv")), blobs, what="rows")
    (tmp_path / "one.csv").unlink()
    back = decode(payload, blobs)
    assert back.read() == b"a,b\n"
    assert back.name == "one.csv"
    assert back.size_bytes == 4


def test_a_file_that_changed_after_it_was_taken_is_refused(blobs, tmp_path):
    (tmp_path / "one.csv").write_text("a")
    file = File(str(tmp_path / "one.csv"))
    (tmp_path / "one.csv").write_text("b")
    with pytest.raises(Conflict, match="has changed"):
        encode(file, blobs, what="rows")


@dataclasses.dataclass(frozen=True)
class Settings:
    names: frozenset
    when: datetime.date


def test_dataclasses_count_by_their_fields(blobs):
    one = Settings(names=frozenset(["a", "b", "c"]), when=datetime.date(2026, 1, 1))
    assert there_and_back(one, blobs) == one
    assert content_digest(one) == content_digest(Settings(names=frozenset(["c", "b", "a"]), when=datetime.date(2026, 1, 1)))
    assert content_digest(one) != content_digest(Settings(names=frozenset(["c"]), when=datetime.date(2026, 1, 1)))


SCRIPT = """
import dataclasses
from stratal.core.records import Record
from stratal.pipelines.payloads import content_digest
class Space(Record, frozen=True, kw_only=True):
    low: float
@dataclasses.dataclass
class Plan:
    tags: set
    space: Space
print(content_digest(Plan({"a", "b", "zz", "hello"}, Space(low=0.5))), content_digest({"x": Space(low=1.0)}))
"""


@pytest.mark.slow
def test_digests_of_classes_of_a_script_are_the_same_in_every_process():
    source = str(Path(__file__).parents[2] / "src")
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT], env={"PYTHONPATH": source, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


class Opaque(Record, frozen=True, kw_only=True):
    inner: object


def test_a_record_that_json_would_change_is_pickled(blobs):
    value = Opaque(inner=(1, 2))
    back = there_and_back(value, blobs)
    assert back == value
    assert type(back.inner) is tuple


def test_large_values_lie_in_blobs_and_small_ones_inline(blobs):
    small, large = encode("a", blobs, what="value"), encode("ü" * INLINE_BYTES, blobs, what="value")
    assert list(blobs_in(small)) == []
    (digest,) = blobs_in(large)
    assert blobs.has(digest)
    blobs.path(digest).unlink()
    with pytest.raises(NotFound):
        decode(large, blobs)


def test_what_cannot_travel_is_refused_by_name(blobs, tmp_path):
    with (tmp_path / "open").open("w") as file, pytest.raises(Misuse, match="the output of 'opened'"):
        encode(file, blobs, what="the output of 'opened'")


def test_exceptions_and_functions_come_back(blobs):
    assert there_and_back(lambda x: x + 1, blobs)(1) == 2
    assert str(there_and_back(ValueError("ü"), blobs)) == "ü"


def test_a_kind_of_the_future_is_damage_that_says_so(blobs):
    with pytest.raises(Damaged, match="unknown kind 'hologram'"):
        decode(Payload(kind="hologram", digest="x"), blobs)
