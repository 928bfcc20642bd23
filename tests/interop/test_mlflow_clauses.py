"""Filters of MLflow's searches, read and asked: texts that a careless reader would look at for years. Excludes what searches find."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratal.interop.mlflow.service import clauses
from stratal.interop.mlflow.service.clauses import Words, parse, parse_order
from stratal.interop.mlflow.service.errors import MlflowError
from stratal.tracking.search.lexer import tokens

WORDS = Words(texts=frozenset({"name"}), numbers=frozenset({"time"}), listed=frozenset({"name"}), entities={"tags": False}, names={})
LONG = 100_000


@given(st.text("ab\n%", max_size=12), st.text("abAB\n_%", max_size=8), st.sampled_from(["LIKE", "ILIKE"]))
def test_a_pattern_matches_as_its_regular_expression_would(text, pattern, operator):
    expression = "".join(".*" if mark == "%" else "." if mark == "_" else re.escape(mark) for mark in pattern)
    wanted = re.fullmatch(expression, text, re.DOTALL | (re.IGNORECASE if operator == "ILIKE" else 0)) is not None
    [clause] = parse(f"tags.a {operator} '{pattern}'", WORDS)
    assert clause.holds(text) == wanted


def test_a_pattern_of_many_places_is_looked_for_once():
    [clause] = parse(f"tags.a LIKE '{'%a' * 50}%b'", WORDS)
    assert not clause.holds("a" * 5000)


@pytest.mark.parametrize(
    "text",
    [
        f"name IN ({'1' * LONG} x", f"name IN ({', '.join(['1'] * 10_000)} x", f"time > {'1' * LONG}x", f"time > {'1' * LONG}.x",
        f"{' ' * LONG}=", f"name = 'a' {' ' * LONG}x", "name = 'a' AND " * 1000, "x" * 10 * LONG,
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_read_is_given_up_at_once(text):
    with pytest.raises(MlflowError):
        parse(text, WORDS)


def test_an_order_that_cannot_be_read_is_given_up_at_once():
    with pytest.raises(MlflowError):
        parse_order([f"name{' ' * LONG}b"], WORDS)
    assert parse_order(["name", " name\tdesc ", "`time` ASC"], WORDS) == [("name", True), ("name", False), ("time", True)]


def test_lists_are_read_as_they_were():
    [clause] = parse("name IN ('a', \"b\",3 , )", WORDS)
    assert clause.value == ("a", "b", "3")
    assert len(parse(" AND ".join(["name = 'a'"] * 100), WORDS)) == clauses.MOST_CLAUSES


def test_a_number_of_our_own_filters_that_cannot_be_read_is_given_up_at_once():
    assert [token.kind for token in tokens("1.5e3 1. .5 -2 +inf")] == ["number"] * 5 + ["end"]
    with pytest.raises(Exception, match="filter"):
        tokens(f"{'1' * LONG}x")
