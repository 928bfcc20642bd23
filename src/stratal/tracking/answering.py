"""Answering: from what users write to what operations take, and from what these give to what users hold."""

from collections.abc import Iterable, Sequence

from stratal.core.clock import to_utc
from stratal.tracking.operations.searching import FoundTable
from stratal.tracking.table import Cell, RunTable


def listed(experiment: str | Sequence[str] | None) -> list[str] | None:
    """Give experiments as a list; None stays: all."""
    return [experiment] if isinstance(experiment, str) else None if experiment is None else list(experiment)


def texts(said: object) -> str | list[str]:
    """Give one text, or a list of some; what is neither stays, for whoever reads it to say so."""
    return list(said) if isinstance(said, Iterable) and not isinstance(said, str) else said  # type: ignore[return-value]  # as it says


def table_of(found: FoundTable) -> RunTable:
    """Give a table, with its times as datetimes."""
    columns: dict[str, Sequence[Cell]] = {**found.columns}
    for name in found.times:
        columns[name] = [to_utc(value) if isinstance(value, int) else value for value in found.columns.get(name, [])]
    return RunTable({name: columns[name] for name in found.columns}, next=found.next, remarks=found.remarks)
