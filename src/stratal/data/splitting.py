"""Splitting: which side an entity is on, by a keyed hash of its value, so that it never changes sides.

The side depends on the seed and the entity alone: not on other rows, their order, the size of the data, or a library's hash.
"""

import polars as pl

from stratal.core.errors import Misuse, NotFound
from stratal.core.places import place_of
from stratal.core.records import Record


class SplitRule(Record, frozen=True, kw_only=True):
    """How a dataset was split: the share of entities in `test`, the column of the entity, the seed."""

    by: str
    test: float
    seed: int


def split_frame(frame: pl.DataFrame, rule: SplitRule) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Give the rows of train and test, each in the order of the frame. Raises Misuse where the entity is null."""
    if not 0 < rule.test < 1:
        raise Misuse(f"test={rule.test} is no share", hint="0.25 puts about a quarter of the entities into test")
    if rule.by not in frame.columns:
        raise NotFound(f"there is no column {rule.by!r} to split by", hint=f"the columns are: {', '.join(frame.columns[:20])}")
    entities = frame[rule.by]
    if nulls := entities.null_count():
        raise Misuse(f"{nulls:,} rows have no {rule.by!r}, so they belong to nobody", hint="drop them, or split by another column")
    is_test = sides(entities, rule)
    return frame.filter(~is_test), frame.filter(is_test)


def sides(entities: pl.Series, rule: SplitRule) -> pl.Series:
    """Tell for each entity whether it is in test."""
    unique = entities.unique()
    is_test = [place_of(value, rule.seed) < rule.test for value in unique.to_list()]
    return entities.is_in(unique.filter(pl.Series(is_test, dtype=pl.Boolean)).implode())
