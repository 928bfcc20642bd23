"""Reading tables into normal form, and the digest of their content. Excludes: stores."""

import math
import string
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratal.core.errors import Misuse, NotFound
from stratal.data.sources import normal, read_frame
from stratal.tracking.frames import frame_digest

safe = st.text(string.ascii_letters + " é,\"'\n;", max_size=6).map(lambda text: f"t{text}")  # no text that reads as another type
names = st.text(string.ascii_letters + " é.\"'", min_size=1, max_size=6).map(lambda text: f"n{text}")


@st.composite
def tables(draw):
    rows = draw(st.integers(1, 20))
    kinds = {
        pl.Int64: st.integers(-(2**63), 2**63 - 1),
        pl.Float64: st.floats(allow_nan=False, allow_infinity=False),
        pl.String: safe,
    }
    series = []
    for name in draw(st.lists(names, unique=True, min_size=1, max_size=4)):
        dtype = draw(st.sampled_from(list(kinds)))
        values = draw(st.lists(kinds[dtype] if dtype == pl.Int64 else kinds[dtype] | st.none(), min_size=rows, max_size=rows))
        # One value that fixes the type: a column of nulls has no type in CSV, and 1.0 is written as 1.0.
        values[0] = {pl.Int64: 7, pl.Float64: 0.5, pl.String: "text"}[dtype]
        series.append(pl.Series(name, values, dtype=dtype))
    return pl.DataFrame(series)


@pytest.mark.slow
@given(tables())
@settings(max_examples=20)
def test_csv_parquet_arrow_polars_and_pandas_of_one_content_have_one_digest(tmp_path_factory, table):
    folder = tmp_path_factory.mktemp("tables")
    table.write_csv(folder / "a.csv")
    table.write_parquet(folder / "b.parquet")
    table.write_ipc(folder / "c.arrow")
    sources = [table, table.lazy(), table.rechunk(), table.to_arrow(), table.to_pandas()]
    sources += [folder / "a.csv", str(folder / "b.parquet"), folder / "c.arrow"]
    assert {frame_digest(read_frame(source)) for source in sources} == {frame_digest(table)}


@given(tables(), st.integers(1, 25))
@settings(max_examples=20)
def test_the_digest_does_not_depend_on_chunks(table, size):
    chunked = pl.concat(list(table.iter_slices(size)), rechunk=False)
    assert frame_digest(chunked) == frame_digest(table)


def test_the_digest_is_fixed_for_good():
    frame = pl.DataFrame(
        {
            "i": [1, None, -3],
            "f": [0.5, None, math.nan],
            "s": ["a", None, "é"],
            "b": [True, None, False],
            "d": [date(2024, 1, 1), None, date(1969, 12, 31)],
        }
    )
    assert frame_digest(normal(frame)) == "0cd8fec7acbd4156eef319eb8a0d44a8942244fd8eee7c0c28d027cdd79cea0c"


@pytest.mark.parametrize(
    "other",
    [
        pl.DataFrame({"a": [1, 2], "b": ["x", ""]}),
        pl.DataFrame({"a": [1, 2], "b": ["", "x"]}),
        pl.DataFrame({"a": [2, 1], "b": ["x", None]}),
        pl.DataFrame({"b": ["x", None], "a": [1, 2]}),
        pl.DataFrame({"a": [1.0, 2.0], "b": ["x", None]}),
        pl.DataFrame({"a": [1, 2], "c": ["x", None]}),
        pl.DataFrame({"a": [1, None], "b": ["x", None]}),
        pl.DataFrame({"a": [1, 2, 0], "b": ["x", None, None]}),
    ],
)
def test_any_difference_in_content_gives_another_digest(other):
    assert frame_digest(other) != frame_digest(pl.DataFrame({"a": [1, 2], "b": ["x", None]}))


def test_texts_do_not_run_into_each_other():
    assert frame_digest(pl.DataFrame({"a": ["ab", "c"]})) != frame_digest(pl.DataFrame({"a": ["a", "bc"]}))


def test_narrow_types_categories_and_chunks_are_normalised():
    narrow = pl.DataFrame(
        {
            "i": pl.Series([1, 2], dtype=pl.Int8),
            "u": pl.Series([1, 2], dtype=pl.UInt32),
            "f": pl.Series([0.5, 2], dtype=pl.Float32),
            "c": pl.Series(["a", "b"], dtype=pl.Categorical),
            "t": pl.Series([datetime(2024, 1, 1), None], dtype=pl.Datetime("ms")),
            "n": pl.Series([None, None], dtype=pl.Null),
        }
    )
    assert normal(narrow).schema == {
        "i": pl.Int64,
        "u": pl.Int64,
        "f": pl.Float64,
        "c": pl.String,
        "t": pl.Datetime("us"),
        "n": pl.String,
    }


def test_zones_become_utc():
    berlin = pl.DataFrame({"t": [datetime(2024, 6, 1, 12)]}).with_columns(pl.col("t").dt.replace_time_zone("Europe/Berlin"))
    utc = pl.DataFrame({"t": [datetime(2024, 6, 1, 10, tzinfo=UTC)]})
    assert frame_digest(normal(berlin)) == frame_digest(normal(utc))


def test_odd_columns_have_digests():
    frame = normal(
        pl.DataFrame(
            {
                "big": pl.Series([2**64 - 1], dtype=pl.UInt64),
                "dec": [Decimal("1.10")],
                "raw": [b"\x00\xff"],
                "dur": [timedelta(seconds=1)],
                "nan": [math.nan],
            }
        )
    )
    assert frame["big"].dtype == pl.UInt64
    assert len(frame_digest(frame)) == 64


@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        (["1", "", "-7"], pl.Int64),
        (["01", "2"], pl.String),  # leading zeros are part of a postal code
        (["1", "9223372036854775808"], pl.String),  # beyond 64 bits
        (["1.5", "", "2"], pl.Float64),
        (["1e5", "inf", "-Infinity", "NaN", "+3"], pl.Float64),
        (["00.5", "1.5"], pl.String),
        (["true", "false", ""], pl.Boolean),
        (["True", "False"], pl.Boolean),
        (["true", "False"], pl.String),
        (["2024-02-29", ""], pl.Date),
        (["2024-02-30"], pl.String),  # no such day
        (["2024-01-01 10:00:00", "2024-01-01T10:00:00.5"], pl.Datetime("us")),
        (["1", "NA"], pl.String),
        (["", ""], pl.String),
        (["abc", "1"], pl.String),
    ],
)
def test_a_csv_column_is_typed_only_where_every_value_survives(tmp_path, column, dtype):
    (tmp_path / "a.csv").write_text("k,x\n" + "".join(f"k,{value}\n" for value in column))
    assert read_frame(tmp_path / "a.csv")["x"].dtype == dtype


def test_named_nulls_are_nulls(tmp_path):
    (tmp_path / "a.csv").write_text("k,x\nk,1\nk,NA\n")
    assert read_frame(tmp_path / "a.csv", nulls=("", "NA"))["x"].to_list() == [1, None]


def test_a_quoted_empty_text_is_a_text_among_texts_and_nothing_among_numbers(tmp_path):
    (tmp_path / "a.csv").write_text('s,n\n"",""\nx,1\n,2\n')
    frame = read_frame(tmp_path / "a.csv")
    assert frame["s"].to_list() == ["", "x", None]
    assert frame["n"].to_list() == [None, 1, 2]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_separators_are_told_from_the_header(tmp_path, mark):
    (tmp_path / "a.csv").write_text(f"a{mark}b\n1{mark}2\n")
    assert read_frame(tmp_path / "a.csv").columns == ["a", "b"]


def test_a_pattern_and_a_list_read_several_files_as_one_table(tmp_path):
    pl.DataFrame({"a": [1], "*": ["x"]}).write_csv(tmp_path / "1.csv")
    pl.DataFrame({"*": ["y"], "a": [2.5]}).write_parquet(tmp_path / "2.csv")  # told by content, not by name
    joined = read_frame(str(tmp_path / "*.csv"))
    assert joined.to_dict(as_series=False) == {"a": [1.0, 2.5], "*": ["x", "y"]}
    assert joined.equals(read_frame([tmp_path / "1.csv", tmp_path / "2.csv"]))


def test_files_of_different_columns_or_types_are_refused(tmp_path):
    pl.DataFrame({"a": [1]}).write_csv(tmp_path / "1.csv")
    pl.DataFrame({"b": [1]}).write_csv(tmp_path / "2.csv")
    pl.DataFrame({"a": ["x"]}).write_csv(tmp_path / "3.csv")
    with pytest.raises(Misuse, match="different columns: 'a', 'b'"):
        read_frame([tmp_path / "1.csv", tmp_path / "2.csv"])
    with pytest.raises(Misuse, match=r"'a' holds integer and string in 1\.csv, 3\.csv"):
        read_frame([tmp_path / "1.csv", tmp_path / "3.csv"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cannot be read"),
        (b"a,b\n1,2,3\n", "cannot be read"),
        (b"a,a\n1,2\n", "same name: 'a'"),
        (b"PAR1 but no parquet", "cannot be read"),
        (b"a\n\xff\xfe\n", "UTF-8"),
        (b"\xff\xfea\n1\n", "UTF-8"),
    ],
)
def test_what_is_no_table_is_refused_by_name(tmp_path, content, says):
    (tmp_path / "bad.csv").write_bytes(content)
    with pytest.raises(Misuse, match=says) as caught:
        read_frame(tmp_path / "bad.csv")
    assert "bad.csv" in caught.value.message


def test_missing_files_are_not_found(tmp_path):
    for source in (tmp_path / "none.csv", str(tmp_path / "*.parquet"), [tmp_path / "none.csv"]):
        with pytest.raises(NotFound):
            read_frame(source)
    with pytest.raises(Misuse, match="is a folder"):
        read_frame(tmp_path)


@pytest.mark.parametrize("source", [3, [], [1], {"a": [1]}, pd.Series([1])])
def test_things_that_are_no_table_are_refused(source):
    with pytest.raises(Misuse, match="no table"):
        read_frame(source)


def test_nested_and_huge_values_are_refused_with_the_way_out():
    with pytest.raises(Misuse, match="'x' holds List") as caught:
        read_frame(pl.DataFrame({"x": [[1, 2]]}))
    assert "explode" in caught.value.hint
    with pytest.raises(Misuse, match="beyond 64 bits"):
        read_frame(pl.DataFrame({"x": pl.Series([2**100], dtype=pl.Int128)}))
    with pytest.raises(Misuse, match="microsecond"):
        read_frame(pl.DataFrame({"x": pl.Series([1], dtype=pl.Int64).cast(pl.Datetime("ns"))}))


def test_pandas_columns_of_every_kind_are_read_without_pyarrow():
    frame = pd.DataFrame(
        {
            "i8": np.array([1, 2], dtype=np.int8),
            "nullable": pd.array([1, None], dtype="Int64"),
            "f": [1.5, np.nan],
            "o": pd.Series(["a", None], dtype=object),
            "s": pd.Series(["a", None], dtype="string"),
            "c": pd.Categorical(["x", None]),
            "b": [True, False],
            "nb": pd.array([True, None], dtype="boolean"),
            "t": pd.to_datetime(["2024-01-01", None]),
            "tz": pd.to_datetime(["2024-01-01 12:00", None]).tz_localize("Europe/Berlin"),
            "none": [None, None],
        }
    ).set_index(pd.Index([7, 7]))
    read = read_frame(frame)
    assert read.row(0) == (1, 1, 1.5, "a", "a", "x", True, True, datetime(2024, 1, 1), datetime(2024, 1, 1, 11, tzinfo=UTC), None)
    assert read.row(1) == (2, None, None, None, None, None, False, None, None, None, None)


def test_pandas_columns_that_mix_types_or_names_are_refused():
    with pytest.raises(Misuse, match="'x' mixes values of different types: int, str"):
        read_frame(pd.DataFrame({"x": pd.Series([1, "a"], dtype=object)}))
    with pytest.raises(Misuse, match="same name: 'a'"):
        read_frame(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_tables_without_rows_are_tables(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n")
    assert read_frame(tmp_path / "a.csv").shape == (0, 2)
    assert read_frame(pd.DataFrame({"a": []})).shape == (0, 1)
    assert len(frame_digest(read_frame(pl.DataFrame()))) == 64
