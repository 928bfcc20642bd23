"""Sources: anything tabular to one normal form. CSV, Parquet, Arrow IPC, polars, pandas and whatever speaks Arrow.

Normal form: Int64 (UInt64 only where needed), Float64, Boolean, String, Date, Datetime in microseconds (UTC or without zone),
Duration, Time, Decimal, Binary. The same content gives the same normal form, whatever it was read from.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl
import polars.exceptions

from stratal.core.errors import Misuse, NotFound
from stratal.data.profile import kind_of
from stratal.store.files.blobs import digest_of_file
from stratal.tracking.capture.inputs import note_input
from stratal.tracking.values import File


@runtime_checkable
class ArrowStream(Protocol):
    """A table that can be read as an Arrow stream (pyarrow, DuckDB, and others)."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


# `object` is the door for pandas frames and Arrow tables, which are told by their looks and never imported.
Source = str | Path | Sequence[str | Path] | pl.DataFrame | pl.LazyFrame | File | object

_INTEGER = r"^-?(0|[1-9][0-9]{0,18})$"
_FLOAT = r"^[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_ODD_FLOAT = r"(?i)^[+-]?(nan|inf|infinity)$"
_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?$"
_SEPARATORS = (",", "\t", ";", "|")


def read_frame(source: Source, *, nulls: Sequence[str] = ("",)) -> pl.DataFrame:
    """Read a table into normal form.

    source: a path, a pattern such as "data/*.parquet", several paths, a polars, pandas or Arrow frame.
    nulls: texts that mean "no value" in CSV files; an empty field does by default, a quoted empty text does not.
    A CSV column becomes numbers, times or booleans only where every value survives it: 01234 stays a text.
    Raises NotFound for a missing file, Misuse for what is no table.
    """
    return normal(_read(source, nulls))


def normal(frame: pl.DataFrame) -> pl.DataFrame:
    """Give the normal form of a frame. Raises Misuse for nested and Python objects."""
    return frame.select([_normal(series) for series in frame.get_columns()]) if frame.width else frame


def describe(source: Source) -> str:
    """Say where a table came from, for people: file names without folders, or what kind of frame."""
    if isinstance(source, str | Path):
        return Path(source).name
    if isinstance(source, list | tuple):
        return ", ".join(Path(item).name for item in source[:3]) + (f" and {len(source) - 3:,} more" if len(source) > 3 else "")
    if isinstance(source, File):
        return source.name
    return f"{type(source).__module__.split('.')[0]} {type(source).__name__}"


def _noted(paths: list[Path]) -> list[Path]:
    """Say that the program was given these files, so that it can be run again on the same content."""
    for path in paths:
        if path.is_file():
            note_input(path, digest_of_file(path), path.stat().st_size)
    return paths


def _read(source: Source, nulls: Sequence[str]) -> pl.DataFrame:
    if isinstance(source, pl.DataFrame):
        return source
    if isinstance(source, pl.LazyFrame):
        return source.collect()
    if isinstance(source, str | Path):
        return _read_files(_noted(_paths(source)), nulls)
    if type(source).__module__.split(".")[0] == "pandas":
        return _from_pandas(source)
    if isinstance(source, ArrowStream):
        return pl.DataFrame(source)
    if isinstance(source, File):
        source.verify()
        return _read_files([Path(source.path)], nulls)
    if isinstance(source, list | tuple) and source and all(isinstance(item, str | Path) for item in source):
        return _read_files(_noted([path for item in source for path in _paths(item)]), nulls)
    raise Misuse(f"a {type(source).__name__} is no table", hint="give a path of CSV or Parquet, or a polars, pandas or Arrow frame")


def _paths(source: str | Path) -> list[Path]:
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        raise Misuse(f"{str(path)!r} is a folder", hint=f"name its files, as in {str(path / '*.parquet')!r}")
    if any(mark in path.name for mark in "*?["):
        if found := sorted(path.parent.glob(path.name)):
            return found
        raise NotFound(f"no file matches {str(path)!r}", hint="patterns work in the last part of a path")
    raise NotFound(f"there is no file {str(path)!r}", hint="paths are taken from the working folder")


def _read_files(paths: list[Path], nulls: Sequence[str]) -> pl.DataFrame:
    frames = [normal(_read_file(path, nulls)) for path in paths]
    first = frames[0]
    for path, frame in zip(paths[1:], frames[1:], strict=True):
        if set(frame.columns) != set(first.columns):
            different = ", ".join(repr(name) for name in sorted(set(first.columns) ^ set(frame.columns)))
            raise Misuse(f"{path.name} and {paths[0].name} have different columns: {different}", hint="read them as separate datasets")
    return first if len(frames) == 1 else _joined([pl.DataFrame([frame[name] for name in first.columns]) for frame in frames], paths)


def _joined(frames: list[pl.DataFrame], paths: list[Path]) -> pl.DataFrame:
    for name in frames[0].columns:
        # An all-null column has no kind of its own: in CSV nothing says what it would hold.
        kinds = {kind_of(frame.schema[name]) for frame in frames if frame[name].null_count() < frame.height}
        if len(kinds) > 1 and kinds != {"integer", "number"}:
            files = ", ".join(path.name for path in paths[:3])
            raise Misuse(f"column {name!r} holds {' and '.join(sorted(kinds))} in {files}", hint="write the files with the same types")
    typed = [frame.select(_nothing_as_null(series) for series in frame.get_columns()) for frame in frames]
    return pl.concat(typed, how="vertical_relaxed")


def _nothing_as_null(series: pl.Series) -> pl.Series:
    return series.cast(pl.Null) if series.null_count() == len(series) else series


def _read_file(path: Path, nulls: Sequence[str]) -> pl.DataFrame:
    if not path.is_file():
        raise NotFound(f"there is no file {str(path)!r}", hint="paths are taken from the working folder")
    with path.open("rb") as file:
        head = file.read(8)
    try:
        # By content and not by name: blobs and downloads have no suffix.
        if head[:4] == b"PAR1":
            return pl.read_parquet(path, glob=False)
        if head[:6] == b"ARROW1":
            return pl.read_ipc(path)
        return _read_csv(path, nulls)
    except (polars.exceptions.PolarsError, OSError) as error:
        raise Misuse(
            f"{path.name} cannot be read as a table: {str(error).splitlines()[0]}", hint="it should be CSV (UTF-8), Parquet or Arrow IPC"
        ) from error


def _read_csv(path: Path, nulls: Sequence[str]) -> pl.DataFrame:
    separator = _separator(path)
    names = pl.read_csv(path, has_header=False, n_rows=1, infer_schema=False, separator=separator, glob=False).row(0)
    if repeated := sorted({str(name) for name in names if names.count(name) > 1}):
        raise Misuse(f"{path.name} has columns of the same name: {', '.join(map(repr, repeated))}", hint="rename them")
    frame = pl.read_csv(path, infer_schema=False, separator=separator, glob=False)
    # polars leaves doubled quotes in names as they are, and undoes them in values.
    frame.columns = [name if parsed is None else str(parsed) for name, parsed in zip(frame.columns, names, strict=True)]
    if any("\ufffd" in name for name in frame.columns):
        raise Misuse(f"{path.name} is not UTF-8", hint="convert it first, for example by iconv -t utf-8")
    if others := [text for text in nulls if text]:
        frame = frame.with_columns(pl.when(~pl.all().is_in(others)).then(pl.all()).name.keep())
    return frame.select([_typed(series) for series in frame.get_columns()])


def _separator(path: Path) -> str:
    """Give the mark that the first line holds most often."""
    line = pl.read_csv(path, has_header=False, n_rows=1, infer_schema=False, separator="\x01", quote_char=None, glob=False)
    first = str(line.item(0, 0))
    return max(_SEPARATORS, key=lambda mark: (first.count(mark), -_SEPARATORS.index(mark)))


def _typed(texts: pl.Series) -> pl.Series:
    """Give the texts of a CSV column the narrowest type that keeps each of them."""
    kept = texts.drop_nulls()
    kept = kept.filter(kept != "")
    if kept.is_empty():
        return texts
    # A quoted empty text is a text among texts, and no value among numbers: some writers quote everything.
    filled = texts.set(texts == "", None)
    typed = _parsed(filled, kept)
    return texts if typed is None or typed.null_count() != filled.null_count() else typed


def _parsed(texts: pl.Series, kept: pl.Series) -> pl.Series | None:
    if kept.str.contains(_INTEGER).all():
        return texts.cast(pl.Int64, strict=False)
    if (kept.str.contains(_FLOAT) | kept.str.contains(_ODD_FLOAT)).all():
        plain = texts.str.to_lowercase().str.strip_prefix("+").str.replace("infinity", "inf", literal=True)
        return plain.cast(pl.Float64, strict=False)
    if kept.is_in(["true", "false"]).all() or kept.is_in(["True", "False"]).all():
        return texts.str.to_lowercase() == "true"
    if kept.str.contains(_DAY).all():
        return texts.str.strptime(pl.Date, "%Y-%m-%d", strict=False)
    if kept.str.contains(_TIME).all():
        plain = texts.str.replace(" ", "T", literal=True)
        return plain.str.strptime(pl.Datetime("us"), "%Y-%m-%dT%H:%M:%S%.f", strict=False)
    return None


def _normal(series: pl.Series) -> pl.Series:
    dtype = series.dtype
    if dtype.is_integer():
        return _normal_integers(series)
    if dtype.is_float():
        return series.cast(pl.Float64)
    if isinstance(dtype, pl.Null | pl.Categorical | pl.Enum):
        return series.cast(pl.String)
    if isinstance(dtype, pl.Datetime):
        return _normal_times(series, dtype)
    if isinstance(dtype, pl.Duration):
        return series.cast(pl.Duration("us"))
    if dtype.is_nested() or isinstance(dtype, pl.Object):
        raise Misuse(f"column {series.name!r} holds {dtype}, and a dataset holds plain values", hint="unnest or explode it first")
    return series


def _normal_integers(series: pl.Series) -> pl.Series:
    whole = series.cast(pl.Int64, strict=False)
    if whole.null_count() == series.null_count():
        return whole
    if series.dtype == pl.UInt64:
        return series
    raise Misuse(f"column {series.name!r} holds whole numbers beyond 64 bits", hint="keep them as texts")


def _normal_times(series: pl.Series, dtype: pl.Datetime) -> pl.Series:
    if dtype.time_zone and dtype.time_zone != "UTC":
        series = series.dt.convert_time_zone("UTC")
    fine = series.cast(pl.Datetime("us", "UTC" if dtype.time_zone else None))
    if dtype.time_unit == "ns" and (fine.cast(series.dtype) != series).any():
        raise Misuse(f"column {series.name!r} holds parts of a microsecond", hint="keep the nanoseconds in a column of their own")
    return fine


def _from_pandas(frame: object) -> pl.DataFrame:
    """Read a pandas frame column by column, by its public methods only; the index is left out. NaN, NaT and None are nulls."""
    if not hasattr(frame, "columns"):
        raise Misuse(f"a pandas {type(frame).__name__} is no table", hint="give a DataFrame, as by series.to_frame()")
    names = [str(name) for name in frame.columns]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise Misuse(f"the frame has columns of the same name: {', '.join(map(repr, repeated))}", hint="rename them")
    columns = [frame.iloc[:, i] for i in range(len(names))]  # type: ignore[attr-defined]  # pandas by its looks
    return pl.DataFrame([_from_pandas_column(name, column) for name, column in zip(names, columns, strict=True)])


def _from_pandas_column(name: str, column: "_PandasColumn") -> pl.Series:
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biufM":
        series = pl.Series(name, column.to_numpy())
        return series.fill_nan(None) if column.dtype.kind == "f" else series
    missing = column.isna().to_numpy()
    values = [None if is_null else value for value, is_null in zip(_elements(column), missing, strict=True)]
    try:
        return pl.Series(name, values, strict=True)
    except (TypeError, polars.exceptions.PolarsError) as error:
        kinds = ", ".join(sorted({type(value).__name__ for value in values if value is not None}))
        raise Misuse(f"column {name!r} mixes values of different types: {kinds}", hint="cast it to one type") from error


def _elements(column: "_PandasColumn") -> Iterable[object]:
    return [value.to_pydatetime() if hasattr(value, "to_pydatetime") else value for value in column.tolist()]


class _PandasColumn(Protocol):
    """What is used of a pandas column."""

    dtype: object

    def to_numpy(self) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]: ...

    def isna(self) -> "_PandasColumn": ...

    def tolist(self) -> list[object]: ...
