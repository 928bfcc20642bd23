"""The page on the filter language says what the grammar says: each example is read, and nothing of the language is left out."""

import re
from pathlib import Path

import pytest

from stratal.tracking.search import ATTRIBUTES, PARTS, grammar, parse_columns, parse_filter, parse_order
from stratal.tracking.search.grammar import _ALIASES, _ENTITIES
from stratal.tracking.search.lexer import WORDS

PAGE = (Path(__file__).parents[2] / "docs/filter-language.md").read_text()


def examples(kind: str) -> list[str]:
    return [line for block in re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE) for line in block.splitlines()]


@pytest.mark.parametrize("line", examples("filter"))
def test_each_filter_of_the_page_is_read(line: str) -> None:
    parse_filter(line, now_ns=1_800_000_000_000_000_000)


@pytest.mark.parametrize("line", examples("order"))
def test_each_order_of_the_page_is_read(line: str) -> None:
    assert parse_order(line)


@pytest.mark.parametrize("line", examples("columns"))
def test_each_column_of_the_page_is_read(line: str) -> None:
    assert parse_columns(line)


def test_the_rules_are_those_that_the_parser_states() -> None:
    stated = [" ".join(line.split()) for line in (grammar.__doc__ or "").splitlines()]
    for line in examples("grammar"):
        assert " ".join(line.split()) in stated


def test_each_word_attribute_part_and_name_of_the_language_has_an_example() -> None:
    shown = "\n".join([*examples("filter"), *examples("order"), *examples("columns")]).lower()
    for word in [*WORDS, *ATTRIBUTES, *(set(PARTS) - {"last"}), "best_step", "min_step", "max_step", *_ALIASES]:
        assert re.search(rf"\b{word}\b", shown), word
    for op in ("=", "!=", "<", "<=", ">", ">=", "==", "<>"):
        assert f" {op} " in shown
    for name in _ENTITIES:
        assert f"`{name}`" in PAGE
