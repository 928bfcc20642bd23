"""The filter language, from text to tree to meaning on one run. Excluded: SQL."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratal.core.clock import SECOND_NS, to_ns
from stratal.core.errors import Misuse
from stratal.tracking.search import (
    And,
    Between,
    Compare,
    Condition,
    In,
    Key,
    Like,
    Not,
    Null,
    Or,
    OrderKey,
    Searchable,
    evaluate,
    ordered,
    parse_filter,
    parse_order,
)  # fmt: skip
from stratal.tracking.search.times import parse_duration, parse_time

NOW = to_ns(datetime(2026, 11, 25, 12, 30, tzinfo=UTC))
DAY = 86400 * SECOND_NS


def parse(text: str) -> Condition:
    return parse_filter(text, now_ns=NOW)


def key(text: str) -> Key:
    entity, dot, name = text.partition(".")
    return Key(entity=entity, name=name) if dot else Key(entity="attributes", name=text)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", And()),
        ("metrics.auc > 0.9", Compare(key=key("metrics.auc"), op=">", value=0.9)),
        ("METRIC.auc>=1 AND param.model='gbm'", And(
            parts=(Compare(key=key("metrics.auc"), op=">=", value=1), Compare(key=key("params.model"), op="=", value="gbm")),
        )),
        ("params.lr < -1e-3", Compare(key=key("params.lr"), op="<", value=-0.001)),
        ("metrics.loss=-inf", Compare(key=key("metrics.loss"), op="=", value=-math.inf)),
        ("params.flag = true", Compare(key=key("params.flag"), op="=", value=True)),
        ("tags.`a.b/c d` = \"it's\"", Compare(key=key("tags.a.b/c d"), op="=", value="it's")),
        ('tags."a.b" = \'it\'\'s\'', Compare(key=key("tags.a.b"), op="=", value="it's")),
        ("tags.mlflow.runName like 'x%'", Like(key=key("tags.mlflow.runName"), pattern="x%", has_case=True)),
        ("name not ilike '_x'", Like(key=key("name"), pattern="_x", has_case=False, is_negated=True)),
        ("params.x IS NULL", Null(key=key("params.x"))),
        ("params.x is not null", Null(key=key("params.x"), is_negated=True)),
        ("params.depth not in (1, 2.5, 'many')", In(key=key("params.depth"), values=(1, 2.5, "many"), is_negated=True)),
        ("metrics.val/loss between 0 and 1 and status = 'FINISHED'", And(
            parts=(Between(key=key("metrics.val/loss"), low=0, high=1), Compare(key=key("status"), op="=", value="finished")),
        )),
        ("attributes.status != 'KILLED'", Compare(key=key("status"), op="!=", value="stopped")),
        ("run.`run name` = 'x'", Compare(key=key("name"), op="=", value="x")),
        ("`run name` = 'x'", Compare(key=key("name"), op="=", value="x")),
        ("start_time > 1700000000000", Compare(key=key("started"), op=">", value=1_700_000_000_000_000_000)),
        ("started > '2026-11-01'", Compare(key=key("started"), op=">", value=to_ns(datetime(2026, 11, 1, tzinfo=UTC)))),
        ("started > '-7d'", Compare(key=key("started"), op=">", value=NOW - 7 * DAY)),
        ("duration >= '1h30m'", Compare(key=key("duration"), op=">=", value=5400.0)),
        ("not kind = 'trial'", Not(part=Compare(key=key("kind"), op="=", value="trial"))),
    ],
)  # fmt: skip
def test_each_form_gives_its_tree(text: str, tree: Condition) -> None:
    assert parse(text) == tree


def test_and_binds_closer_than_or_and_not_closest() -> None:
    a, b, c = (Null(key=key(f"params.{name}")) for name in "abc")

    assert parse("params.a is null or params.b is null and params.c is null") == Or(parts=(a, And(parts=(b, c))))
    assert parse("(params.a is null or params.b is null) and params.c is null") == And(parts=(Or(parts=(a, b)), c))
    assert parse("not params.a is null and params.b is null") == And(parts=(Not(part=a), b))


@pytest.mark.parametrize(
    ("text", "caret_under", "said"),
    [
        ("metrics.auc >", "", "a value is expected, not the end"),
        ("metrics.auc > '0.9'", "'0.9'", "is a number"),
        ("metrics.auc like 'x'", "auc", "is no text"),
        ("params.model = gbm", "gbm", "a text is quoted: 'gbm'"),
        ("paramz.model = 'gbm'", "paramz", "did you mean params"),
        ("stauts = 'running'", "stauts", "did you mean status"),
        ("lr = 1", "lr", "params.lr"),
        ("status > 'a'", "> 'a'", "has no order"),
        ("params.a = 1 params.b = 2", "params.b", "and, or or the end is expected"),
        ("params.a = 1 ; drop", ";", "';' means nothing here"),
        ("(params.a = 1", "(", "never closed"),
        ("params.a in 1", "1", "a list in parentheses"),
        ("params.a in (1", "(1", "never closed"),
        ("params.a = 'x", "'x", "never closed"),
        ("started > 'yesterweek'", "'yesterweek'", "is no time"),
        ("duration > 'long'", "'long'", "is no duration"),
        ("params.a is 1", "1", "null or not null"),
        ("params.a = null", "null", "is null"),
        ("params.a = 12abc", "12abc", "not a number"),
        ("and", "and", "a name is expected"),
        ("params.a lik 'x'", "lik", "did you mean like"),
        ("params. = 1", "= 1", "a name is expected after params."),
        ("tags.a = 1", "1", "is a text"),
        ("name like x", "x", "a pattern is a quoted text"),
        ("params.a between 1 or 2", "or", "joined by and"),
    ],
)
def test_a_mistake_is_shown_where_it_is(text: str, caret_under: str, said: str) -> None:
    with pytest.raises(Misuse) as raised:
        parse(text)
    shown, caret = raised.value.message.splitlines()[1:]
    assert said in str(raised.value)
    assert shown[caret.index("^") :].startswith(caret_under)
    assert len(caret) <= len(shown) + 1


@given(st.text(alphabet="()`'\"=<>!.,andornotinislikenull 0123456789params", max_size=60) | st.text(max_size=30))
def test_any_text_is_a_filter_or_a_misuse(text: str) -> None:
    for read in (parse, parse_order):
        try:
            read(text)
        except Misuse as error:
            assert "^" in error.message


def test_depth_and_number_of_conditions_are_bounded() -> None:
    with pytest.raises(Misuse, match="levels of parentheses"):
        parse("(" * 2000 + "params.a = 1" + ")" * 2000)
    with pytest.raises(Misuse, match="levels of parentheses"):
        parse("not " * 2000 + "params.a = 1")
    with pytest.raises(Misuse, match="more than 100 conditions"):
        parse(" or ".join(["params.a = 1"] * 101))


def test_lists_patterns_and_texts_are_bounded() -> None:
    ids = ", ".join(f"'{number:032x}'" for number in range(10_000))
    assert len(parse(f"id in ({ids}) and params.a in ({', '.join(['1'] * 499)}) and params.b in (1)").parts) == 3
    for text, wrong in (
        (f"params.a in ({', '.join(['1'] * 499)}) and params.b not in (1, 2)", "more than 500 values"),
        (f"id in ({ids}, '{'a' * 32}')", "or 10,000 ids"),
        (f"tags.a like '%{'a' * 500}'", "more than 500 characters"),
        (" or ".join([f"tags.a like '%{'a' * 499}'"] * 11), "more than 5,000 in all"),
        (f"tags.a = '{'a' * 500_000}'", "500,011 characters"),
    ):
        with pytest.raises(Misuse, match=wrong):
            parse(text)


def test_orders_are_read() -> None:
    assert parse_order("metrics.auc desc, started") == (OrderKey(key=key("metrics.auc"), is_descending=True), OrderKey(key=key("started")))
    assert parse_order(["params.`a b` ASC", "duration DESC"]) == (
        OrderKey(key=key("params.a b")),
        OrderKey(key=key("duration"), is_descending=True),
    )
    assert parse_order("") == ()
    with pytest.raises(Misuse, match="a comma, asc or desc"):
        parse_order("metrics.auc down")


RUN = Searchable(
    id="a" * 32, experiment="churn", name="Gbm", status="finished", started_ns=NOW - DAY, ended_ns=NOW - DAY + 90 * SECOND_NS,
    params={"lr": 0.1, "model": "gbm", "flag": True, "depth": "7", "none": None, "bad": math.nan},
    metrics={"auc": 0.9, "loss": math.nan, "top": math.inf}, tags={"team": "Äpfel"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("params.lr = 0.1", True),
        ("params.lr = '0.1'", True),
        ("params.depth > 6", True),
        ("params.depth = 7.0 and params.depth = '7' and params.depth != '7.0'", True),
        ("params.depth > '6'", True),
        ("params.model > 1", False),
        ("params.model != 1", True),
        ("params.flag = true", True),
        ("params.flag = 1", True),
        ("params.flag = 'true'", True),
        ("params.missing != 1", False),
        ("params.missing not in (1)", False),
        ("params.missing not like 'x'", False),
        ("not params.missing = 1", True),
        ("params.missing is null", True),
        ("params.none is null", True),
        ("params.bad != 1", True),
        ("params.bad < 1 or params.bad >= 1", False),
        ("metrics.loss is not null", True),
        ("metrics.loss != 1 and not metrics.loss = 1", True),
        ("metrics.loss between 0 and 1", False),
        ("metrics.loss not between 0 and 1", False),
        ("metrics.loss not in (1)", True),
        ("metrics.top > 1e308", True),
        ("metrics.top = inf", True),
        ("status = 'FINISHED'", True),
        ("name = 'gbm'", False),
        ("name ilike 'gBM'", True),
        ("tags.team ilike 'äpfel'", False),
        ("tags.team like '_pf%'", True),
        ("duration = 90", True),
        ("started > '-2d' and ended < 'today'", True),
        ("user is null and group is null", True),
        ("user != 'x'", False),
    ],
)
def test_each_condition_means_what_the_page_says(text: str, holds: bool) -> None:
    assert evaluate(parse(text), RUN) is holds


def test_runs_sort_with_nan_and_missing_last_in_both_directions() -> None:
    runs = [
        Searchable(id=id, experiment="e", started_ns=started, metrics={} if value is None else {"m": value})
        for id, started, value in [("a", 1, 2.0), ("b", 2, None), ("c", 3, math.nan), ("d", 4, 1.0), ("e", 5, None), ("f", 6, 2.0)]
    ]

    assert [run.id for run in ordered(runs, parse_order("metrics.m"))] == ["d", "f", "a", "c", "e", "b"]
    assert [run.id for run in ordered(runs, parse_order("metrics.m desc"))] == ["f", "a", "d", "c", "e", "b"]
    assert [run.id for run in ordered(runs, ())] == ["f", "e", "d", "c", "b", "a"]
    assert [run.id for run in ordered(runs, parse_order("metrics.m, started asc"))] == ["d", "a", "f", "c", "b", "e"]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("now", NOW),
        ("today", NOW - 12 * 3600 * SECOND_NS - 1800 * SECOND_NS),
        ("yesterday", NOW - 36 * 3600 * SECOND_NS - 1800 * SECOND_NS),
        ("2 hours ago", NOW - 7200 * SECOND_NS),
        ("-1.5h", NOW - 5400 * SECOND_NS),
        ("2026-11-25T13:30+01:00", NOW),
        ("2026-11-25 12:30", NOW),
        ("2026-13-01", None),
        ("7", None),
    ],
)
def test_times_are_read_in_utc(text: str, at: int | None) -> None:
    assert parse_time(text, NOW) == at


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90.0), ("5m", 300.0), ("1h30m", 5400.0), ("2 days", 172800.0), ("1.5 hours", 5400.0), ("90", None), ("", None), ("h", None)],
)
def test_durations_are_read(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["9" * 5000 + " days ago", "-" + "9" * 400 + "w", "1" * 20 + "d ago"])
def test_a_time_that_is_too_long_ago_is_before_all_others(text: str) -> None:
    now_ns = to_ns(datetime(2026, 11, 1, tzinfo=UTC))
    assert -(2**63) < parse_time(text, now_ns) < to_ns(datetime(1905, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(("digits", "value"), [(5000, math.inf), (310, math.inf), (300, int("1" * 300)), (20, int("1" * 20))])
def test_a_whole_number_of_many_digits_is_read(digits: int, value: float) -> None:
    assert parse_filter(f"params.x > {'1' * digits}", now_ns=0).value == value
