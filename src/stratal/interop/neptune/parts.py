"""Parts: the parquet files of one run, read in slices, and what must be known of all of them before the first row is said.

Steps are decimals with six places. A series whose steps are whole keeps them; one with fractional steps is stored as multiples
of its own 1/10^k, k as small as it can be, so that no two points merge and every step can be had back.
"""

from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, TypeVar

import polars as pl

from stratal.core.errors import Damaged

T = TypeVar("T")

# Rows that are in memory at a time, and characters that a text may have: what a row can claim is bounded by both.
SLICE, MOST_TEXT = 4096, 1 << 20
_PLACES = 6
_TEXTS = ("project_id", "run_id", "attribute_path", "attribute_type", "string_value")
_KINDS: dict[str, object] = {
    **dict.fromkeys(_TEXTS, pl.String), "step": pl.Decimal, "timestamp": pl.Datetime, "int_value": pl.Int64, "float_value": pl.Float64,
    "bool_value": pl.Boolean, "datetime_value": pl.Datetime, "string_set_value": pl.List, "file_value": pl.Struct,
    "histogram_value": pl.Struct,
}  # fmt: skip


class Attributes(NamedTuple):
    """What is known of a run before its rows: its ids, system attributes, first and last time, and series with fractional steps."""

    project: str
    run: str
    system: dict[str, object]
    first_ns: int
    last_ns: int
    decimals: dict[str, int]


def check_columns(path: Path) -> None:
    """Refuse a file without the exporter's columns. Raises Damaged."""
    schema = _careful(lambda: pl.scan_parquet(path).collect_schema(), path)
    wrong = [name for name, kind in _KINDS.items() if not _is_kind(schema.get(name), kind)]
    if wrong:
        raise Damaged(f"{path} lacks what neptune-exporter writes: {', '.join(wrong)}")


def count_rows(path: Path) -> int:
    """Give the number of rows."""
    return int(_careful(lambda: pl.scan_parquet(path).select(pl.len()).collect(), path).item())


def digest_of(path: Path) -> str:
    """Give the digest of a part: it is written once and never changed."""
    hashing = blake2b(digest_size=16)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            hashing.update(piece)
    return hashing.hexdigest()


def attributes_of(parts: list[Path]) -> Attributes:
    """Look through all parts of a run. Raises Damaged if they are of several runs, or none."""
    rows = pl.scan_parquet(parts)
    ids = _careful(lambda: rows.select("project_id", "run_id").unique().head(2).collect(), parts[0])
    if ids.height != 1 or any(value is None for value in ids.row(0)):
        raise Damaged(f"{parts[0]} and what belongs to it speak of {'several runs' if ids.height else 'no run'}")
    times = _careful(lambda: rows.select(_ns("timestamp").min().alias("first"), _ns("timestamp").max().alias("last")).collect(), parts[0])
    own = rows.filter(pl.col("attribute_path").str.starts_with("sys/"), pl.col("step").is_null())
    system = {str(row["attribute_path"]): value_of(row) for frame in _slices(own, parts[0]) for row in frame.iter_rows(named=True)}
    (project, run), (first, last) = ids.row(0), times.row(0)
    return Attributes(project, run, system, first or 0, last or 0, _decimals(rows, parts[0]))


def read_rows(path: Path) -> Iterator[dict[str, object]]:
    """Give the rows of a part. step: the decimal's digits as an integer; times in ns; texts over a MiB are cut to None, with too_long."""
    for frame in _slices(pl.scan_parquet(path), path):
        yield from frame.iter_rows(named=True, buffer_size=64)


def value_of(row: dict[str, object]) -> object:
    """Give the value of a row that is no series, None for a type that has none."""
    kind = row["attribute_type"]
    return None if kind not in ("int", "float", "bool", "string", "datetime", "string_set") else row[f"{kind}_value"]


def whole_step(digits: int, decimals: int) -> int:
    """Give the integer step that stands for a decimal one, as multiple of 1/10^decimals."""
    return int(digits // 10 ** (_PLACES - decimals))


def _slices(rows: pl.LazyFrame, path: Path) -> Iterator[pl.DataFrame]:
    is_long = pl.col("string_value").str.len_bytes() > MOST_TEXT
    shown = rows.with_columns(
        pl.col("step").cast(pl.Decimal(38, _PLACES)).to_physical().cast(pl.Int64).alias("step"),
        _ns("timestamp").alias("timestamp"),
        pl.col("datetime_value").dt.to_string("iso:strict"),
        pl.when(is_long).then(None).otherwise(pl.col("string_value")).alias("string_value"),
        is_long.fill_null(value=False).alias("too_long"),
    )
    at = 0
    while (frame := _careful(lambda: shown.slice(at, SLICE).collect(), path)).height:  # noqa: B023  # called at once
        yield frame
        at += frame.height


def _decimals(rows: pl.LazyFrame, path: Path) -> dict[str, int]:
    """Give the series with fractional steps, and how many decimals the finest of them has."""
    digits = pl.col("step").cast(pl.Decimal(38, _PLACES)).to_physical().cast(pl.Int64)
    fits = [(digits % 10 ** (_PLACES - k) == 0).all().alias(str(k)) for k in range(_PLACES)]
    found = _careful(lambda: rows.filter(pl.col("step").is_not_null()).group_by("attribute_path").agg(fits).collect(), path)
    least = {str(name): next((k for k, is_enough in enumerate(enough) if is_enough), _PLACES) for name, *enough in found.iter_rows()}
    return {name: k for name, k in least.items() if k}


def _ns(column: str) -> pl.Expr:
    return pl.col(column).dt.epoch("ns")


def _is_kind(found: object, kind: object) -> bool:
    return found is not None and (found == kind or isinstance(found, kind))  # type: ignore[arg-type]  # a class of polars


def _careful(read: Callable[[], T], path: Path) -> T:
    """Run a query on a file that somebody else wrote. Raises Damaged."""
    try:
        return read()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise Damaged(f"{path} cannot be read: {str(error).splitlines()[0][:200]}") from error
