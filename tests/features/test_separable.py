"""Row-separability: what passes treats each row alone, what does not is refused with the reason."""

import datetime as dt
import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from stratal.core.errors import Damaged, Misuse
from stratal.features.definition import Definition, Feature, build, decode_definition, define
from stratal.features.rows import Computation, same_value
from stratal.features.separable import NotSeparable, canonical_text, parse_expression

N, M, S, T, D, B = (pl.col(name) for name in ("n", "m", "s", "t", "d", "b"))


def text_of(expression):
    return canonical_text(parse_expression(expression))


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (N, 'col("n")'),
        (N / M.clip(1), '(col("n") TrueDivide Clip(col("m"), 1; {"has_max": false, "has_min": true}))'),
        (N.fill_null(0.5).alias("x"), 'FillNull(col("n"), 0.5)'),
        (pl.when(N > 1).then(pl.lit("a")), "when((col(\"n\") Gt 1), lit('a', string), lit(None, null))"),
        (S.is_in(["a", "b"]), "Boolean.IsIn(col(\"s\"), lit(['a', 'b'], list[string]); {\"nulls_equal\": false})"),
        (S.cast(pl.Enum(["a"])), "cast(col(\"s\"), enum['a'], Strict)"),
        (T.dt.year(), 'TemporalExpr.Year(col("t"))'),
        (N**2, 'Pow.Generic(col("n"), 2)'),
        (pl.lit(dt.date(2026, 1, 2)) - D, '(lit(datetime.date(2026, 1, 2), date) Minus col("d"))'),
        (pl.col("Größe"), 'col("Größe")'),
    ],
)
def test_the_canonical_text_is_pinned(expression, text):
    """Digests of views are made of these texts: a change here gives every view of every store a new version."""
    assert text_of(expression) == text


@pytest.mark.parametrize(
    "expression",
    [
        N.log(),
        N.sqrt().round(2),
        N.abs().sign().floor().ceil(),
        -N + M * 2 - 1,
        (N % 3).eq(1) & B | ~B ^ (N >= M),
        N.is_between(0, 1),
        N.is_nan() | N.is_null(),
        N.fill_nan(0),
        pl.coalesce(N, M, 0),
        pl.max_horizontal(N, M) + pl.sum_horizontal(N, M) + pl.mean_horizontal(N, M),
        N.cast(pl.Int32, strict=False),
        S.str.to_lowercase().str.strip_chars().str.len_chars(),
        S.str.contains("^a+$"),
        S.str.replace_all("a", "b").str.slice(0, 2),
        S.str.to_date("%Y-%m-%d", strict=False),
        S.replace_strict({"a": 1, "b": 2}, default=None),
        S.replace({"a": "b"}),
        pl.concat_str(S, N, separator="-"),
        pl.format("{}/{}", S, N),
        T.dt.truncate("1d").dt.weekday(),
        (T - D.cast(pl.Datetime("us"))).dt.total_days(),
        N.sin() + N.arctan() + pl.arctan2(N, M),
        N.eq_missing(M),
    ],
    ids=str,
)
def test_these_pass_and_are_rebuilt_as_they_were(expression):
    definition = define("v", source="dataset:x", entity="id", features={"f": expression})
    again = decode_definition(definition.encode())
    assert again == definition and again.digest == definition.digest
    assert text_of(build(again)[0]) == definition.features[0].text


REFUSED = [
    (N.sum(), "aggregates over rows \\(Sum\\)"),
    (N - N.mean(), "aggregates"),
    (N / N.max().over("s"), "window"),
    (pl.when(N.quantile(0.5) < N).then(1), "aggregates"),
    (N.shift(1), "other rows"),
    (N.diff(), "other rows"),
    (N.pct_change(), "other rows"),
    (N.cum_sum(), "other rows"),
    (N.rank(), "other rows"),
    (N.rolling_mean(3), "other rows"),
    (N.ewm_mean(alpha=0.5), "other rows"),
    (N.interpolate(), "other rows"),
    (N.fill_null(strategy="forward"), "fills from other rows"),
    (N.fill_null(strategy="mean"), "other rows|aggregates"),
    (N.reverse(), "other rows"),
    (N.unique(), "other rows"),
    (N.is_duplicated(), "IsDuplicated"),
    (N.is_first_distinct(), "IsFirstDistinct"),
    (N.sort(), "sorts rows"),
    (N.sort_by("m"), "sorts rows"),
    (N.filter(N > 1), "drops rows"),
    (N.drop_nulls(), "DropNulls"),
    (N.gather([0]), "values of other rows"),
    (N.head(2), "by their place"),
    (N.first(), "aggregates"),
    (N.implode(), "aggregates"),
    (N.shuffle(seed=1), "random"),
    (N.value_counts(), "ValueCounts"),
    (N.hash(), "between versions"),
    (N.to_physical(), "codes of categories"),
    (N.rle_id(), "RLEID"),
    (N.top_k(2), "TopK"),
    (N.is_in(M.implode()), "IsIn compares with all rows"),
    (S.str.join(","), "ConcatVertical"),
    (S.str.to_date(), "guesses the format"),
    (S.str.to_datetime(), "guesses the format"),
    (pl.len(), "counts rows"),
    (N + pl.int_range(pl.len()), "Range"),
    (N + pl.lit(pl.Series([1, 2])), "whole column as a literal"),
    (N.map_elements(lambda x: x, return_dtype=pl.Float64), "Python function"),
    (N.map_batches(lambda x: x), "Python function"),
    (pl.all(), "several columns"),
    (pl.col("^n.*$"), "several columns"),
    (pl.col("n", "m"), "several columns"),
    (N.name.suffix("_x"), "renames"),
    (pl.col("l").list.eval(pl.element().rank()), "inside of lists"),
    (pl.col("l").explode(), "several rows of one"),
    (N + math.inf, "infinite number or NaN"),
    (N.fill_null(math.nan), "infinite number or NaN"),
]


@pytest.mark.parametrize(("expression", "reason"), REFUSED, ids=[str(expression)[:40] for expression, _ in REFUSED])
def test_these_are_refused_with_feature_expression_and_reason(expression, reason):
    with pytest.raises(NotSeparable, match=reason) as caught:
        define("customer", source="dataset:churn", entity="id", features={"fine": N, "bad": expression})
    assert "'bad' of 'customer'" in caught.value.message
    assert str(expression) in caught.value.hint


def test_a_refused_part_is_found_however_deep_it_lies():
    deep = pl.when((N.fill_null(pl.coalesce(M, N.cast(pl.Float64).median())) > 0) & B).then(S).otherwise(pl.lit("x"))
    with pytest.raises(NotSeparable, match="aggregates over rows \\(Median\\)"):
        define("v", source="s", entity="id", features={"f": deep})


@pytest.mark.parametrize(
    ("features", "named"),
    [
        ({}, "no features"),
        ({"id": N}, "cannot be named 'id'"),
        ({"": N}, "cannot be named ''"),
        ({"f": "n"}, "is a str"),
        ({"f": pl.lit(1)}, "reads no column"),
    ],
)
def test_definitions_that_mean_nothing_are_refused(features, named):
    with pytest.raises(Misuse, match=named):
        define("v", source="s", entity="id", features=features)


@pytest.mark.parametrize("name", ["", "a b", "a@1", "a/b", "a:b", ".hidden", "é"])
def test_names_that_a_ref_could_not_hold_are_refused(name):
    with pytest.raises(Misuse, match="cannot name a feature view"):
        define(name, source="s", entity="id", features={"f": N})


def test_a_stored_definition_that_holds_code_is_refused_before_it_is_built(tmp_path):
    mark = tmp_path / "ran"

    def evil(column):
        mark.touch()
        return column

    tree = parse_expression(N.map_batches(evil))
    stored = Definition(name="v", source="s", entity="id", features=(Feature(name="f", text='col("n")', expression=tree),))
    with pytest.raises(NotSeparable, match="Python function"):
        decode_definition(stored.encode())
    assert not mark.exists()


def test_a_stored_definition_whose_text_lies_is_damaged():
    stored = Definition(name="v", source="s", entity="id", features=(Feature(name="f", text='col("n")', expression=parse_expression(M)),))
    with pytest.raises(Damaged, match="not what its text says"):
        decode_definition(stored.encode())
    with pytest.raises(Damaged, match="stored text"):
        decode_definition("{}")


def test_the_digest_speaks_of_the_definition_and_of_nothing_else():
    def digest(name="v", source="s", entity="id", **features):
        return define(name, source=source, entity=entity, features=features or {"f": N + 1, "g": M}).digest

    assert digest() == digest(f=(N + 1).alias("other"), g=M)
    others = [
        digest(name="w"),
        digest(source="t"),
        digest(entity="key"),
        digest(f=N + 2, g=M),
        digest(f=N + 1.0, g=M),
        digest(g=M, f=N + 1),
    ]
    assert len({digest(), *others}) == 7


def test_what_structure_missed_is_found_by_the_probe():
    """As if an operation that looks harmless were not: the expression is put past the structural check."""
    definition = define("v", source="s", entity="id", features={"f": N})
    sneaky = Computation(definition, ((N - N.mean()).alias("f"),))
    frame = pl.DataFrame({"id": ["a", "b", "c"], "n": [1.0, 2.0, 6.0]})
    with pytest.raises(NotSeparable, match=r"'f' of 'v' depends on other rows: row 0 gives -2\.0 in the frame, and 0\.0 alone"):
        sneaky.probe(frame, sneaky.on_frame(frame))


# --- Law: on one row alone = in the frame, for any expression that passes, over any values.

FLOATS = some.one_of(some.none(), some.floats(width=64), some.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf]))
INTS = some.one_of(some.none(), some.integers(-1000, 1000))
TEXTS = some.one_of(some.none(), some.text("ab 1é-", max_size=4))
BOOLS = some.one_of(some.none(), some.booleans())
TIMES = some.one_of(some.none(), some.datetimes(dt.datetime(1950, 1, 1), dt.datetime(2050, 1, 1)))
SCHEMA = {
    "n": pl.Float64,
    "m": pl.Int64,
    "s": pl.String,
    "c": pl.Categorical,
    "e": pl.Enum(["a", "b", "long one"]),
    "b": pl.Boolean,
    "t": pl.Datetime("us"),
}
ROWS = some.lists(
    some.fixed_dictionaries(
        {
            "n": FLOATS,
            "m": INTS,
            "s": TEXTS,
            "c": TEXTS,
            "e": some.one_of(some.none(), some.sampled_from(["a", "b", "long one"])),
            "b": BOOLS,
            "t": TIMES,
        }
    ),
    min_size=1,
    max_size=5,
)
NUMBER_LEAVES = [N, pl.col("m"), *(leaf.cast(pl.Int64) for leaf in (S.str.len_chars(), T.dt.year(), pl.col("c").cat.len_bytes()))]
TEXT_LEAVES = [S, pl.col("c").cast(pl.String), pl.col("e").cast(pl.String), T.dt.strftime("%Y-%m")]


@some.composite
def numbers(draw, depth=3):
    """An expression that gives a number."""
    if depth == 0 or draw(some.integers(0, 3)) == 0:
        return draw(some.sampled_from(NUMBER_LEAVES))
    a, b = draw(numbers(depth - 1)), draw(numbers(depth - 1))
    real = a.cast(pl.Float64)
    constant = draw(some.one_of(some.integers(-3, 3), some.floats(-3, 3, allow_nan=False)))
    made = [
        a + b,
        a - b,
        a * constant,
        a / b,
        a / (constant or 7),
        constant / a,
        real // (constant or 7),
        real % (constant or 7),
        a.abs(),
        real.log1p(),
        real.sqrt().floor(),
        real.exp(),
        a.clip(constant),
        a.fill_null(b),
    ]
    made += [pl.max_horizontal(a, b), pl.coalesce(a, b), pl.when(draw(truths(depth - 1))).then(a).otherwise(b)]
    return draw(some.sampled_from(made))


@some.composite
def truths(draw, depth=2):
    """An expression that gives true, false or null."""
    text = draw(some.sampled_from(TEXT_LEAVES))
    a, b = draw(numbers(max(depth - 1, 0))), draw(numbers(max(depth - 1, 0)))
    return draw(
        some.sampled_from([B, ~B, a > b, a.is_null(), a.eq_missing(b), text.is_in(["a", "b", None]), text.str.contains("a"), B & (a < b)])
    )


@some.composite
def others(draw):
    """An expression that gives a text, a category or a time."""
    one, two, number = draw(some.sampled_from(TEXT_LEAVES)), draw(some.sampled_from(TEXT_LEAVES)), draw(numbers(2))
    made = [one, pl.col("c"), pl.col("e"), T, T.dt.date(), one.str.to_uppercase().str.slice(0, 2), pl.when(draw(truths())).then(one)]
    made += [pl.concat_str(one, two, separator="|", ignore_nulls=True), number.cast(pl.String)]
    return draw(some.sampled_from(made))


EXPRESSIONS = some.one_of(numbers(), truths(), others())


X, Y = pl.col("x"), pl.col("y")


@pytest.mark.parametrize(
    "expression",
    [
        X / 3,
        X / 99,
        7.3 / X,
        X / Y,
        X / (pl.lit(2) + 1),
        X // 0.1,
        X % 0.3,
        X**3,
        X.abs() ** 0.5,
        X.abs().log(3),
        X.exp(),
        X.sin(),
        X.round(2),
        X / pl.max_horizontal(Y, 3),
        X.abs() ** Y,
        (X / 12).fill_null(0) / 7,
        pl.when(Y > 0).then(X / 30).otherwise(X / Y),
        X.tanh(),
        X.log1p(),
    ],
    ids=str,
)
def test_the_last_bit_of_a_number_is_the_same_alone_and_in_a_large_frame(expression):
    """polars has other ways for one row than for many, and for constants; a feature may not show it."""
    random = np.random.default_rng(5)
    frame = pl.DataFrame({"id": range(1000), "x": random.normal(size=1000), "y": random.normal(size=1000)})
    computation = Computation.of(define("v", source="s", entity="id", features={"f": expression}))
    whole = computation.on_frame(frame)["f"]
    assert all(same_value(computation.on_row(frame.row(i, named=True), frame.schema)["f"], whole[i]) for i in range(0, 1000, 5))
    assert all(same_value(computation.on_frame(frame[i : i + 1])["f"][0], whole[i]) for i in range(0, 1000, 5))


def test_a_column_that_was_made_of_a_literal_is_a_column_like_others():
    frame = pl.DataFrame({"id": range(100), "x": np.random.default_rng(5).normal(size=100)}).with_columns(y=pl.lit(99))
    computation = Computation.of(define("v", source="s", entity="id", features={"f": X / Y}))
    assert computation.on_frame(frame)["f"].to_list() == [x / 99 for x in frame["x"]]
    computation.probe(frame, computation.on_frame(frame))


@pytest.mark.slow
@settings(max_examples=80)
@given(some.lists(EXPRESSIONS, min_size=1, max_size=3), ROWS)
def test_one_row_alone_gives_what_the_frame_gives(expressions, rows):
    definition = define("v", source="s", entity="id", features={f"f{i}": expression for i, expression in enumerate(expressions)})
    frame = pl.DataFrame([{"id": i, **row} for i, row in enumerate(rows)], schema={"id": pl.Int64, **SCHEMA})
    computation = Computation.of(decode_definition(definition.encode()))
    whole = computation.on_frame(frame)
    if frame.height > 1:
        assert whole.equals(frame.select(expression.alias(f"f{i}") for i, expression in enumerate(expressions)), null_equal=True)
    computation.probe(frame, whole)
    for i, row in enumerate(frame.iter_rows(named=True)):
        alone = computation.on_row(row, frame.schema)
        for name, value in whole.row(i, named=True).items():
            assert same_value(alone[name], value), (name, definition, value, alone[name])


@pytest.mark.slow
@settings(max_examples=150)
@given(some.floats(allow_nan=False, allow_infinity=False), some.integers(-(2**63), 2**63 - 1), some.text(max_size=5))
def test_literals_come_back_exactly_or_are_refused_and_never_nearly(real, whole, text):
    try:
        _check_literals(real, whole, text)
    except Misuse as error:
        assert f"the number {real!r} cannot be kept exactly" in error.message


@pytest.mark.parametrize(
    "real", [0.1, 0.5, 1.1, 1e-3, 3.6e3, 86400.0, math.pi, 2.718281828459045, 1 / 3, 1e-9, 6.02e23, -273.15, 9007199254740993.0]
)
def test_numbers_that_people_write_are_kept(real):
    _check_literals(real, 1, "x")


def _check_literals(real, whole, text):
    features = {"f": N + real, "g": M + whole, "h": S + text}
    definition = decode_definition(define("v", source="s", entity="id", features=features).encode())
    assert [feature.text for feature in definition.features] == [
        f'(col("n") Plus {real!r})',
        f'(col("m") Plus {whole!r})',
        f'(col("s") Plus lit({text!r}, string))',
    ]
    back = build(definition)
    frame = pl.DataFrame({"n": [0.0], "m": [0], "s": [""]})
    assert frame.select(back).row(0) == (0.0 + real, whole, text)


def test_trees_are_plain_json():
    tree = parse_expression(N + 1)
    assert json.loads(json.dumps(tree)) == tree
