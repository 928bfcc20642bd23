"""Schemas, and their rules against data. Excludes: stores, drift, reading files."""

import math
import pickle

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratal.core.errors import Misuse, NotFound
from stratal.data import Column, Schema, boolean, category, infer_schema, integer, number, string, timestamp
from stratal.data.casting import typed_frame
from stratal.data.findings import from_violation
from stratal.data.rules import SAMPLES, violations
from stratal.data.sources import normal

# Texts that polars can hold (no lone surrogates), hostile ones among them.
texts = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ["", "NaN", "null", "'; drop table", "\x7f", '"', "1", "01", "a\nb"]
)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8) | st.sampled_from(["*", "^.*$", "0", "0 worst"])
whole = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)
floats = st.floats(width=64) | st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf, -math.inf])


@st.composite
def frames(draw, min_rows=0):
    rows = draw(st.integers(min_rows, 30))
    columns = draw(st.lists(names, unique=True, min_size=1, max_size=4))
    series = []
    for name in columns:
        dtype, values = draw(
            st.sampled_from(
                [
                    (pl.Int64, whole),
                    (pl.Float64, floats),
                    (pl.String, texts),
                    (pl.Boolean, st.booleans()),
                    (pl.Date, st.dates()),
                    (pl.Datetime("us"), st.datetimes()),
                    (pl.Null, st.none()),
                ]
            )
        )
        series.append(pl.Series(name, draw(st.lists(values | st.none(), min_size=rows, max_size=rows)), dtype=dtype))
    return normal(pl.DataFrame(series))


bounds = st.integers(-5, 5)
columns = st.one_of(
    st.builds(string, unique=st.booleans(), nullable=st.booleans(), severity=st.sampled_from(["error", "warn", "info"])),
    st.builds(lambda a, b, n, u: integer(min(a, b), max(a, b), nullable=n, unique=u), bounds, bounds, st.booleans(), st.booleans()),
    st.builds(
        lambda low, n, nan: number(low, nullable=n, nan=nan), st.floats(allow_nan=False) | bounds | st.none(), st.booleans(), st.booleans()
    ),
    st.builds(boolean, nullable=st.booleans()),
    st.just(boolean(true="Yes", false="No")),
    st.builds(lambda values: category(*values), st.lists(texts, max_size=3) | st.lists(bounds, max_size=3)),
    st.builds(lambda low: timestamp(low, nullable=True), st.datetimes() | st.none()),
)


@given(st.dictionaries(names, columns, max_size=5), st.booleans())
def test_a_schema_written_as_toml_reads_back_equal(columns, closed):
    schema = Schema.of(columns, closed=closed)
    assert Schema.from_toml(schema.to_toml()) == schema
    assert pickle.loads(pickle.dumps(schema)).digest == schema.digest


@pytest.mark.slow
@given(frames())
@settings(max_examples=80)
def test_data_validates_against_its_own_inferred_schema(frame):
    assert violations(frame, infer_schema(frame)) == []


@pytest.mark.slow
@given(frames(), st.data())
@settings(max_examples=80)
def test_widening_a_schema_never_adds_findings(frame, data):
    schema = Schema.of({name: data.draw(columns) for name in frame.columns})
    wider = Schema.of({name: widened(column) for name, column in schema.columns.items()})
    before = {(v.column, v.check): v.count for v in violations(frame, schema)}
    after = {(v.column, v.check): v.count for v in violations(frame, wider)}
    assert after.items() <= before.items()


def widened(column):
    fields = {name: getattr(column, name) for name in Column.__struct_fields__}
    return Column(**{**fields, "nullable": True, "unique": False, "low": None, "high": None, "values": (), "nan": True})


@given(st.lists(whole | st.none(), max_size=40), bounds, bounds, st.booleans())
def test_counts_of_an_integer_column_equal_brute_force(values, a, b, is_unique):
    low, high = min(a, b), max(a, b)
    frame = pl.DataFrame({"x": pl.Series(values, dtype=pl.Int64)})
    found = {v.check: v.count for v in violations(frame, Schema(x=integer(low, high, unique=is_unique)))}
    kept = [v for v in values if v is not None]
    expected = {"null": len(values) - len(kept), "low": sum(v < low for v in kept), "high": sum(v > high for v in kept)}
    expected["unique"] = (len(kept) - len(set(kept))) if is_unique else 0
    assert found == {check: count for check, count in expected.items() if count}


@given(st.lists(floats | st.none(), max_size=40), st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_counts_of_a_number_column_equal_brute_force(values, a, b):
    low, high = min(a, b), max(a, b)
    frame = pl.DataFrame({"x": pl.Series(values, dtype=pl.Float64)})
    found = {v.check: (v.count, v.worst) for v in violations(frame, Schema(x=number(low, high)))}
    kept = [v for v in values if v is not None and not math.isnan(v)]
    below, above = [v for v in kept if v < low], [v for v in kept if v > high]
    expected = {
        "null": (sum(v is None for v in values), None),
        "nan": (sum(v is not None and math.isnan(v) for v in values), None),
        "low": (len(below), min(below, default=None)),
        "high": (len(above), max(above, default=None)),
    }
    assert found == {check: pair for check, pair in expected.items() if pair[0]}


@given(st.lists(texts | st.none(), max_size=40), st.lists(texts, min_size=1, max_size=4))
def test_counts_and_samples_of_a_category_equal_brute_force(values, domain):
    frame = pl.DataFrame({"x": pl.Series(values, dtype=pl.String)})
    found = {v.check: v for v in violations(frame, Schema(x=category(*domain)))}
    outside = [v for v in values if v is not None and v not in domain]
    assert (found["domain"].count if outside else 0) == len(outside)
    assert ("domain" in found) == bool(outside)
    if outside:
        assert found["domain"].samples == tuple(f'"{v}"' for v in list(dict.fromkeys(outside))[:SAMPLES])


def test_a_text_column_read_as_numbers_counts_what_is_none():
    frame = pl.DataFrame({"x": ["1", "2.5", "abc", None, "", "1e3"]})
    as_number = violations(frame, Schema(x=number(nullable=True)))
    as_integer = violations(frame, Schema(x=integer(nullable=True)))
    assert [(v.check, v.count, v.samples) for v in as_number] == [("type", 2, ('"abc"', '""'))]
    assert [(v.check, v.count) for v in as_integer] == [("type", 4)]


def test_a_float_column_of_whole_numbers_is_an_integer_column_and_one_with_fractions_is_not():
    schema = Schema(x=integer(nullable=True))
    assert violations(pl.DataFrame({"x": [1.0, None, -3.0]}), schema) == []
    broken = violations(pl.DataFrame({"x": [1.5, math.nan, math.inf, 1e300, 2.0]}), schema)
    assert [(v.check, v.count) for v in broken] == [("type", 4)]


@pytest.mark.parametrize(
    ("values", "column"),
    [
        (["Yes", "No", None], boolean(true="Yes", false="No", nullable=True)),
        ([1, 0, None], boolean(true=1, false=0, nullable=True)),
        ([1.0, 0.0, None], boolean(nullable=True)),
        (["true", "FALSE", None], boolean(nullable=True)),
        ([True, False, None], boolean(true="Yes", false="No", nullable=True)),
    ],
)
def test_a_boolean_is_read_from_what_stands_for_it(values, column):
    frame = pl.DataFrame({"x": values})
    assert violations(frame, Schema(x=column)) == []
    assert typed_frame(frame, Schema(x=column))["x"].to_list() == [True, False, None]


def test_typing_a_column_with_unreadable_values_leaves_it_as_it_is():
    frame = pl.DataFrame({"x": ["Yes", "Maybe"], "y": ["1", "2"]})
    typed = typed_frame(frame, Schema(x=boolean(true="Yes", false="No"), y=integer(), z=string()))
    assert typed.schema == {"x": pl.String, "y": pl.Int64}


def test_times_are_read_with_and_without_zone_and_compared_in_utc():
    frame = pl.DataFrame({"x": ["2024-01-01", "2024-01-01T10:00:00Z", "2024-01-02 00:00:00.5", "soon"]})
    found = violations(frame, Schema(x=timestamp("2024-01-01T05:00:00+02:00")))
    assert [(v.check, v.count) for v in found] == [("type", 1), ("low", 1)]
    aware = pl.DataFrame({"x": pl.Series(["2024-01-01T01:00:00"]).str.to_datetime().dt.replace_time_zone("Europe/Berlin")})
    assert [v.check for v in violations(aware, Schema(x=timestamp("2024-01-01")))] == []
    assert [v.check for v in violations(aware, Schema(x=timestamp("2024-01-01T00:00:01")))] == ["low"]


def sentence(frame, schema):
    return [str(from_violation(v, schema, frame.columns)) for v in violations(frame, schema)]


def test_findings_speak_plainly():
    frame = pl.DataFrame(
        {
            "contract": ["One year", "Weekly", "Weekly", "Monthly"],
            "charges": [1.0, -19.85, -3.0, None],
            "id": ["a", "a", "b", "b"],
            "Churn": [1, 2, 3, 4],
            "tenure": ["1", "x", "3", "4"],
            "senior": [True, False, True, True],
        }
    )
    schema = Schema.of(
        {
            "contract": category("Month-to-month", "One year", "Two year"),
            "charges": number(0, severity="warn"),
            "id": string(unique=True),
            "churn": boolean(true="Yes", false="No"),
            "tenure": integer(0, 120),
            "senior": number(),
        },
        closed=True,
    )
    assert sentence(frame, schema) == [
        "✕ churn: is missing; is 'Churn' meant?",
        "✕ Churn: is not in the schema",
        '✕ contract: 3 rows outside Month-to-month, One year, Two year: "Weekly", "Monthly"',
        "! charges: 1 row without a value",
        "! charges: 2 rows below 0, lowest -19.85",
        '✕ id: 2 rows repeat a value that was there before: "a", "b"',
        '✕ tenure: 1 row not a whole number: "x"',
        "✕ senior: holds boolean, number was expected",
    ]


def test_a_finding_stays_short_whatever_the_values_are():
    frame = pl.DataFrame({"x": ["y" * 10_000, 'quote "', "line\nbreak"]})
    (line,) = sentence(frame, Schema(x=category(*[f"value {i}" for i in range(500)])))
    assert "and 494 more" in line
    assert len(line) < 300


@pytest.mark.parametrize(
    "make",
    [
        lambda: integer(3, 2),
        lambda: integer(0.5),
        lambda: integer(True),
        lambda: number(math.nan),
        lambda: boolean(true="Yes"),
        lambda: boolean(true="Yes", false="Yes"),
        lambda: boolean(true="Yes", false=0),
        lambda: category("a", 1),
        lambda: category(True),
        lambda: timestamp("tomorrow"),
        lambda: string(severity="fatal"),
        lambda: Schema(x="string"),
        lambda: Schema.from_toml("[columns.x]\nkind = 'text'"),
        lambda: Schema.from_toml("[columns.x]\nkind = 'string'\nunik = true"),
        lambda: Schema.from_toml("columns = 3"),
        lambda: Schema.from_toml("not toml"),
        lambda: Schema.from_toml("format = 99"),
        lambda: setattr(Schema(), "closed", True),
    ],
)
def test_wrong_promises_are_refused_when_they_are_made(make):
    with pytest.raises(Misuse):
        make()


def test_a_wrong_name_is_answered_by_the_nearest_one():
    with pytest.raises(NotFound, match="did you mean 'tenure'"):
        Schema(tenure=integer(0, 120))["tenur"]


def test_a_schema_survives_saving(tmp_path):
    schema = Schema(x=number(-math.inf, 1e300), **{'a "b"\n\x7f': category("\\", "é\x00")})
    schema.save(tmp_path / "schema.toml")
    assert Schema.load(tmp_path / "schema.toml") == schema
    with pytest.raises(NotFound):
        Schema.load(tmp_path / "none.toml")


@pytest.mark.parametrize("dtype", [pl.Int64, pl.Float64, pl.String, pl.Boolean, pl.Date, pl.Null])
def test_columns_without_rows_and_without_values_break_no_kind(dtype):
    schema = Schema(x=integer(0, 1, nullable=True, unique=True))
    assert violations(pl.DataFrame({"x": pl.Series([], dtype=dtype)}), schema) == []
    empty = violations(pl.DataFrame({"x": pl.Series([None, None], dtype=dtype)}), Schema(x=integer(0, 1)))
    assert [(v.check, v.count) for v in empty] == [("null", 2)]


def test_bounds_beyond_64_bits_do_not_overflow():
    frame = pl.DataFrame({"x": [2**63 - 1, -(2**63)]})
    assert violations(frame, Schema(x=integer(-(2**70), 2**70))) == []
    assert [v.check for v in violations(frame, Schema(x=integer(2**70)))] == ["low"]
