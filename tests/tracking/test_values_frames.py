"""The digest of a frame: what counts and what does not. And tables of runs."""

import datetime as dt
import hashlib
import math
import struct

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from stratal.core.errors import Damaged, Misuse
from stratal.tracking.frames import dtype_text, frame_digest, frame_from_bytes, frame_to_bytes, runs_to_polars, to_pandas

VALUES = {
    "int64": (pl.Int64, some.integers(-(2**63), 2**63 - 1)),
    "uint8": (pl.UInt8, some.integers(0, 255)),
    "float64": (pl.Float64, some.floats()),
    "float32": (pl.Float32, some.floats(width=32)),
    "bool": (pl.Boolean, some.booleans()),
    "string": (pl.String, some.text(max_size=5)),
    "binary": (pl.Binary, some.binary(max_size=5)),
    "category": (pl.Categorical, some.sampled_from(["a", "b", "é", ""])),
    "enum": (pl.Enum(["a", "b"]), some.sampled_from(["a", "b"])),
    "date": (pl.Date, some.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1))),
    "datetime": (pl.Datetime("us", "UTC"), some.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1), timezones=some.just(dt.UTC))),
    "list": (pl.List(pl.Int64), some.lists(some.one_of(some.none(), some.integers(-9, 9)), max_size=3)),
    "struct": (
        pl.Struct({"u": pl.Int64, "v": pl.String}),
        some.fixed_dictionaries({"u": some.integers(-9, 9), "v": some.text(max_size=2)}),
    ),
}


@some.composite
def series(draw):
    word = draw(some.sampled_from(sorted(VALUES)))
    dtype, values = VALUES[word]
    rows = draw(some.lists(some.one_of(some.none(), values), max_size=6))
    return pl.Series("x", rows, dtype=dtype)


@settings(max_examples=200)
@given(series(), some.integers(0, 6))
def test_chunks_do_not_count(column, cut):
    whole = column.to_frame()
    parts = pl.concat([whole[:cut], whole[cut:]], rechunk=False)
    assert frame_digest(parts) == frame_digest(whole)


@pytest.mark.slow
@settings(max_examples=200)
@given(series())
def test_stored_and_read_back_is_the_same_frame(column):
    frame = column.to_frame()
    assert frame_digest(frame_from_bytes(frame_to_bytes(frame))) == frame_digest(frame)


@pytest.mark.slow
@settings(max_examples=300)
@given(series(), series())
def test_digests_are_equal_exactly_when_dtype_and_values_are(one, two):
    same = one.dtype == two.dtype and one.len() == two.len() and _exact(one) == _exact(two)
    assert (frame_digest(one.to_frame()) == frame_digest(two.to_frame())) == same


def _exact(column):
    # repr tells -0.0 from 0.0, and makes one value of all NaNs.
    return [repr(value) for value in column.to_list()]


def test_the_format_is_pinned():
    """A digest of today must be a digest in ten years: computed here from the page's words, not by the code."""
    frame = pl.DataFrame({"a": pl.Series([1, None], dtype=pl.Int64), "é": ["x", "yz"]})
    a = hashlib.sha256(b"\x01" + struct.pack("<2q", 1, 0)).digest()
    b = hashlib.sha256(b"\x03" + struct.pack("<2q", 1, 2) + b"xyz").digest()
    text = b"stratal frame 1\n2\n2\n" + b"1:a:int64:" + a + b"2:\xc3\xa9:string:" + b
    assert frame_digest(frame) == hashlib.sha256(text).hexdigest()


def test_null_nan_zero_and_minus_zero_are_four_values():
    columns = [[None], [math.nan], [0.0], [-0.0]]
    digests = {frame_digest(pl.DataFrame({"x": pl.Series(values, dtype=pl.Float64)})) for values in columns}
    assert len(digests) == 4


def test_all_nans_are_one_value():
    odd = np.frombuffer(struct.pack("<2Q", 0x7FF8000000000001, 0xFFF8000000000000), dtype="<f8")
    assert frame_digest(pl.DataFrame({"x": odd})) == frame_digest(pl.DataFrame({"x": [math.nan, math.nan]}))


def test_what_lies_under_a_null_does_not_count():
    masked = pl.DataFrame({"x": [1, 7]}).select(pl.when(pl.col("x") < 5).then(pl.col("x")))
    assert frame_digest(masked) == frame_digest(pl.DataFrame({"x": [1, None]}))


def test_categories_count_by_text_and_not_by_code():
    one = pl.Series("x", ["a", "b"], dtype=pl.Categorical)
    two = pl.Series("x", ["z", "b", "a"], dtype=pl.Categorical)
    again = pl.concat([two[2:], two[1:2]])
    assert frame_digest(one.to_frame()) == frame_digest(again.to_frame())
    assert frame_digest(one.to_frame()) != frame_digest(one.cast(pl.String).to_frame())


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"x": ["ab", "c"]}, {"x": ["a", "bc"]}),
        ({"x": [[1], [2, 3]]}, {"x": [[1, 2], [3]]}),
        ({"x": [1], "y": [2]}, {"y": [2], "x": [1]}),
        ({"x": [1, 2]}, {"x": [2, 1]}),
        ({"x": [1]}, {"y": [1]}),
        ({"x": [1]}, {"x": [1.0]}),
        ({"x": [[]]}, {"x": [None]}),
        ({"x": [""]}, {"x": [None]}),
    ],
)
def test_these_differ(one, two):
    assert frame_digest(pl.DataFrame(one)) != frame_digest(pl.DataFrame(two))


def test_empty_frames_are_told_apart_by_their_schema_and_height():
    frames = [
        pl.DataFrame(),
        pl.DataFrame(schema={"x": pl.Int64}),
        pl.DataFrame(schema={"x": pl.String}),
        pl.DataFrame(schema={"y": pl.Int64}),
    ]
    assert len({frame_digest(frame) for frame in frames}) == 4
    assert frame_digest(pl.DataFrame(schema={"x": pl.Int64})) == frame_digest(pl.DataFrame({"x": [1]}).clear())


def test_odd_dtypes_have_digests_too():
    frame = pl.DataFrame(
        {
            "decimal": pl.Series(["1.50", None]).cast(pl.Decimal(10, 2)),
            "array": pl.Series([[1, 2], None], dtype=pl.Array(pl.Int64, 2)),
            "nothing": [None, None],
            "time": [dt.time(1, 2), None],
            "wait": pl.Series([dt.timedelta(seconds=3), None], dtype=pl.Duration("ms")),
            "wide": pl.Series([2**70, None], dtype=pl.Int128),
        }
    )
    assert [dtype_text(kind) for kind in frame.dtypes] == ["decimal[10, 2]", "array[int64, 2]", "null", "time", "duration[ms]", "int128"]
    for name in frame.columns:
        changed = frame.with_columns(pl.col(name).reverse())
        assert (frame_digest(changed) == frame_digest(frame)) == (name == "nothing")


def test_python_objects_are_refused():
    with pytest.raises(Misuse, match="no content that can be digested"):
        frame_digest(pl.DataFrame({"x": pl.Series([object()], dtype=pl.Object)}))


def test_bytes_that_are_no_frame_are_damaged():
    with pytest.raises(Damaged, match="not a frame"):
        frame_from_bytes(b"nothing of the kind")


def test_rows_of_runs_become_a_frame_with_nulls_for_the_absent():
    frame = runs_to_polars(
        [{"id": "a", "metrics.auc": 1}, {"id": "b", "params.kind": "gbm", "metrics.auc": 0.5}, {"id": "c", "params.kind": 3}]
    )
    assert frame.columns == ["id", "metrics.auc", "params.kind"]
    assert frame["metrics.auc"].to_list() == [1.0, 0.5, None]
    assert frame["params.kind"].to_list() == [None, "gbm", "3"]
    assert runs_to_polars([]).shape == (0, 0)


def test_a_frame_for_pandas_keeps_values_and_needs_no_pyarrow(monkeypatch):
    frame = pl.DataFrame(
        {
            "n": [1, 2],
            "m": [1, None],
            "u": pl.Series([1, None], dtype=pl.UInt16),
            "f": [0.5, None],
            "t": ["a", None],
            "b": [True, False],
            "c": pl.Series(["p", None], dtype=pl.Categorical),
            "e": pl.Series(["q", None], dtype=pl.Enum(["r", "q"])),
            "at": [dt.datetime(2026, 1, 2, 3), None],
            "utc": pl.Series([dt.datetime(2026, 7, 2, 3), None]).dt.replace_time_zone("Europe/Rome"),
            "l": [[1, 2], [3, 4]],
        }
    )
    monkeypatch.setattr(pl.DataFrame, "to_arrow", None)
    table = to_pandas(frame)
    assert [str(kind) for kind in table.dtypes][:3] == ["int64", "Int64", "UInt16"]
    assert table["f"].isna().tolist() == [False, True]
    assert table["t"].tolist()[0] == "a" and table["t"].isna().tolist() == [False, True]
    assert list(table["c"].cat.categories) == ["p"]
    assert list(table["e"].cat.categories) == ["r", "q"]
    assert table["at"][0] == pd.Timestamp("2026-01-02T03:00")
    assert table["utc"][0] == pd.Timestamp("2026-07-02T03:00", tz="Europe/Rome")
    assert table["l"].tolist() == [[1, 2], [3, 4]]
    assert to_pandas(frame.clear()).shape == (0, 11)
