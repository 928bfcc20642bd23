"""Splits by keyed hash. Excludes: the versions that a split makes."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratal.core.errors import Misuse, NotFound
from stratal.core.places import place_of
from stratal.data.splitting import SplitRule, split_frame
from stratal.features import splitting as features_splitting

entities = st.lists(st.integers(0, 50), min_size=1, max_size=80)
rules = st.builds(SplitRule, by=st.just("id"), test=st.floats(0.05, 0.95), seed=st.integers(0, 9))


def frame(ids):
    return pl.DataFrame({"id": ids, "row": range(len(ids))}, schema={"id": pl.Int64, "row": pl.Int64})


@given(entities, rules)
def test_parts_share_no_entity_keep_the_order_and_lose_no_row(ids, rule):
    train, test = split_frame(frame(ids), rule)
    assert not set(train["id"]) & set(test["id"])
    assert train["row"].is_sorted()
    assert test["row"].is_sorted()
    assert sorted([*train["row"], *test["row"]]) == list(range(len(ids)))


@given(entities, entities, rules)
def test_an_entity_never_changes_side_when_other_rows_come_and_go(ids, more, rule):
    _, test = split_frame(frame(ids), rule)
    _, later = split_frame(frame(more + ids), rule)
    assert set(test["id"]) == set(later["id"]) & set(ids)


@given(entities, rules)
def test_a_larger_test_part_holds_the_smaller_one(ids, rule):
    _, small = split_frame(frame(ids), rule)
    _, large = split_frame(frame(ids), SplitRule(by="id", test=min(rule.test * 1.5, 0.99), seed=rule.seed))
    assert set(small["id"]) <= set(large["id"])


@given(entities, rules)
def test_both_kinds_of_split_put_an_entity_on_the_same_side(ids, rule):
    _, test = split_frame(frame(ids), rule)
    _, other = features_splitting.split_by(frame(ids), by="id", test=rule.test, seed=rule.seed)
    assert test.equals(other)


def test_the_share_is_about_what_was_asked_and_seeds_differ():
    ids = pl.DataFrame({"id": range(20_000)})
    _, test = split_frame(ids, SplitRule(by="id", test=0.25, seed=7))
    _, other = split_frame(ids, SplitRule(by="id", test=0.25, seed=8))
    assert abs(test.height / 20_000 - 0.25) < 0.015  # five standard deviations
    assert not test.equals(other)


def test_places_are_fixed_for_good():
    assert [place_of("C0001", 7), place_of(12, 0)] == [0.6052618576595381, 0.24336993852323408]


def test_splits_that_make_no_sense_are_refused():
    with pytest.raises(Misuse, match="no share"):
        split_frame(frame([1]), SplitRule(by="id", test=1.0, seed=7))
    with pytest.raises(NotFound, match="'customer'"):
        split_frame(frame([1]), SplitRule(by="customer", test=0.5, seed=7))
    with pytest.raises(Misuse, match="belong to nobody"):
        split_frame(frame([1, None]), SplitRule(by="id", test=0.5, seed=7))
