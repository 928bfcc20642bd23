"""Splitting by a keyed hash: where an entity goes depends on the entity and the seed, and on nothing else.

So rows that are added or removed never move others from one part to the other, and the parts never share an entity.
"""

import polars as pl

from stratal.core.errors import Misuse
from stratal.core.places import place_of


def split_by(frame: pl.DataFrame, *, by: str, test: float, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Give the rows of either part, in order; `test` is their expected share. Raises Misuse for a share or column that cannot be."""
    if not 0 < test < 1:
        raise Misuse(f"test={test} is no share of the rows", hint="give a number between 0 and 1, as in test=0.25")
    if by not in frame.columns:
        raise Misuse(f"the frame has no column {by!r} to split by", hint=f"it has: {', '.join(frame.columns)}")
    if nulls := frame[by].null_count():
        raise Misuse(f"{nulls} rows have no {by!r}, so nothing says to which part they belong", hint="drop them first")
    is_test = pl.Series([place_of(value, seed) < test for value in frame[by].to_list()], dtype=pl.Boolean)
    return frame.filter(~is_test), frame.filter(is_test)
