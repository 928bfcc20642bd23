"""Tables of runs: only the columns that were named, one row per run or group. Rows, frames, or Arrow."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from stratal.core.errors import Misuse
from stratal.tracking.search.evaluation import Value

if TYPE_CHECKING:  # a frame costs an import of 0.2 s, and is asked for last
    import pandas as pd
    import polars as pl

Cell = Value | datetime


class Framed(ABC):
    """What can be had as a frame. Whoever speaks Arrow (pyarrow.table(x), duckdb, pandas) takes it as it is."""

    @abstractmethod
    def to_polars(self) -> "pl.DataFrame":
        """Give a frame of polars."""

    def to_pandas(self) -> "pd.DataFrame":
        """Give the same frame for pandas."""
        from stratal.tracking.frames import to_pandas  # polars: only for those who ask for a frame

        return to_pandas(self.to_polars())

    def to_arrow(self) -> object:
        """Give the same as a pyarrow.Table. Raises Misuse without pyarrow, which Stratal does not need itself."""
        from stratal.tracking.frames import to_arrow

        return to_arrow(self.to_polars())

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Give the Arrow C stream of the frame: the PyCapsule interface."""
        return self.to_polars().__arrow_c_stream__(requested_schema)


class RunTable(Framed, Sequence[dict[str, Cell]]):
    """A table: rows as dicts by `[]` and in loops, columns by `column`. `next` is the token of the page after it, None if there
    is none. `remarks`: what looks like a mistake, such as a metric that no run has."""

    def __init__(self, columns: Mapping[str, Sequence[Cell]], *, next: str | None = None, remarks: Sequence[str] = ()) -> None:
        self._columns = {name: list(values) for name, values in columns.items()}
        self.next = next
        self.remarks = tuple(remarks)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(self._columns)

    def column(self, name: str) -> list[Cell]:
        """Give the values of a column, one per row, None where a run has none. Raises Misuse for a column that is not there."""
        if name not in self._columns:
            raise Misuse(f"the table has no column {name!r}", hint=f"it has: {', '.join(self._columns)}")
        return list(self._columns[name])

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()), []))

    def __iter__(self) -> Iterator[dict[str, Cell]]:
        return (dict(zip(self._columns, row, strict=True)) for row in zip(*self._columns.values(), strict=True))

    def __getitem__(self, at: object) -> dict[str, Cell]:  # type: ignore[override]  # a slice of a table is asked of its frame
        if not isinstance(at, int):
            raise Misuse(f"a table is asked for a row by its number, not by {at!r:.60}", hint="or take .to_polars() and slice that")
        return {name: values[at] for name, values in self._columns.items()}

    def to_polars(self) -> "pl.DataFrame":
        """Give a frame of polars, with the columns of the table."""
        from stratal.tracking.frames import columns_to_polars  # as above

        return columns_to_polars(self._columns)

    def __repr__(self) -> str:
        more = ", and more" if self.next else ""
        return f"<{len(self):,} rows of {', '.join(self._columns)}{more}>" + "".join(f"\n{remark}" for remark in self.remarks)
