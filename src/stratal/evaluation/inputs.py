"""What a user passes: a table, a target, weights, in whatever form they have it; and what comes of it: rows with labels."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl

from stratal.core.errors import Misuse, NotFound
from stratal.evaluation.sample import Bools, Floats
from stratal.store.store import Store
from stratal.tracking.frames import frame_digest, from_pandas
from stratal.tracking.refs import resolve
from stratal.tracking.values import Dataset, File, Label

READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".csv": pl.read_csv,
    ".parquet": pl.read_parquet,
    ".arrow": pl.read_ipc,
    ".feather": pl.read_ipc,
}


@runtime_checkable
class HasFrame(Protocol):
    """A handle of the data room: it can read its rows."""

    def frame(self) -> pl.DataFrame: ...


@runtime_checkable
class ToPolars(Protocol):
    """A table of ours that gives a plain frame."""

    def to_polars(self) -> pl.DataFrame: ...


@dataclass(frozen=True)
class Table:
    """Rows, their content digest ("sha256:..."), and their ref if they have one."""

    frame: pl.DataFrame
    digest: str
    ref: str | None = None


def table(data: object, store: Store) -> Table:
    """Read what was passed as data: a frame (polars, pandas), a dataset handle, a dataset ref, a File or the path of one."""
    if isinstance(data, str) and data.startswith("dataset:"):
        return table(resolve(data, store).value, store)
    if isinstance(data, Dataset) and isinstance(data, HasFrame):
        return Table(data.frame(), f"sha256:{data.digest}", data.ref)
    if isinstance(data, File):
        data.verify()
        return _of_frame(read_file(Path(data.path), suffix=Path(data.name).suffix))
    if isinstance(data, str | Path):
        return _of_frame(read_file(Path(data)))
    if isinstance(data, pl.DataFrame):
        return _of_frame(data)
    if isinstance(data, ToPolars):
        return _of_frame(data.to_polars())
    if type(data).__module__.partition(".")[0] == "pandas":
        return _of_frame(from_pandas(data))
    raise Misuse(f"{type(data).__name__} is not a table", hint="pass a frame, a dataset, or the path of a CSV or Parquet file")


def read_file(path: Path, *, suffix: str | None = None) -> pl.DataFrame:
    """Read a CSV, Parquet or Arrow file. Raises NotFound, or Misuse for other kinds."""
    kind = (suffix or path.suffix).lower()
    if kind not in READERS:
        raise Misuse(f"{path.name!r} is no table that can be read", hint=f"known are: {', '.join(READERS)}")
    if not path.is_file():
        raise NotFound(f"there is no file {str(path)!r}", hint="check the path")
    try:
        return READERS[kind](path)
    except pl.exceptions.PolarsError as error:
        raise Misuse(f"{path.name!r} cannot be read: {str(error)[:300]}", hint="look at its first lines") from error


def labels(frame: pl.DataFrame, target: str, positive: Label | None, learnt: Label | None = None) -> tuple[Bools, str]:
    """Give the truth per row, and the positive class as text.

    learnt: the positive class that the model knows, for a column of texts; true and 1 need nobody to say so.
    Raises Misuse for missing labels and a class that cannot be guessed."""
    column = _column(frame, target)
    if missing := column.null_count() + (int(column.is_nan().sum()) if column.dtype.is_float() else 0):
        raise Misuse(f"{missing} of {len(column)} rows have no {target!r}", hint="leave them out: they cannot be judged")
    if column.dtype == pl.Boolean and positive in (None, True):
        return column.to_numpy().astype(np.bool_), "true"
    if len(column) == 0:
        return np.zeros(0, dtype=np.bool_), str(positive if positive is not None else learnt)
    distinct = column.unique().sort().to_list()[:12]
    texts = column.cast(pl.String)
    wanted = _positive_text(texts, distinct, column.dtype, positive, learnt)
    if wanted is None:
        raise Misuse(f"which {target!r} is positive? it holds {_listed(distinct)}", hint=f"say it: positive={distinct[-1]!r}")
    truth = (texts == wanted).to_numpy().astype(np.bool_)
    if len(distinct) > 1 and not truth.any():
        raise Misuse(f"no row has {target} = {wanted}", hint=f"it holds {_listed(distinct)}")
    return truth, wanted


def _positive_text(texts: pl.Series, distinct: list[object], dtype: pl.DataType, said: Label | None, learnt: Label | None) -> str | None:
    if said is not None:
        return _text_of(said, dtype)
    if dtype.is_numeric() and set(distinct) <= {0, 1}:
        return _text_of(1, dtype)
    if learnt is None:
        return None
    text = _text_of(learnt, dtype)
    return text if bool((texts == text).any()) else None


def weights(frame: pl.DataFrame, column: str | None) -> Floats:
    """Give the weight per row: 1 without a column."""
    if column is None:
        return np.ones(len(frame))
    values = _column(frame, column)
    if not values.dtype.is_numeric() or values.null_count():
        raise Misuse(f"{column!r} cannot weigh rows: it holds nulls or is not numeric", hint="a weight says how many times its row counts")
    return values.cast(pl.Float64).to_numpy()


def numbers(values: object, frame: pl.DataFrame) -> Floats:
    """Give scores as an array: from a column's name, a series, or anything NumPy takes."""
    if isinstance(values, str):
        column = _column(frame, values)
        if not column.dtype.is_numeric():
            raise Misuse(f"{values!r} holds {column.dtype}, not scores", hint="a score is a number, higher for more surely positive")
        return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    found = np.asarray(values, dtype=np.float64)
    if found.shape != (len(frame),):
        raise Misuse(f"scores of shape {found.shape} do not belong to {len(frame)} rows", hint="give one number per row")
    return found


def _of_frame(frame: pl.DataFrame) -> Table:
    return Table(frame, f"sha256:{frame_digest(frame)}")


def _column(frame: pl.DataFrame, name: str) -> pl.Series:
    if name not in frame.columns:
        raise NotFound(f"the data has no column {name!r}", hint=f"it has: {', '.join(frame.columns[:30])}")
    return frame[name]


def _listed(values: list[object]) -> str:
    return ", ".join(map(repr, values))


def _text_of(value: Label, dtype: pl.DataType) -> str:
    """Write a class as polars writes the column's values, so that 1, 1.0 and "1" all find 1."""
    if isinstance(value, bool) and dtype.is_numeric():
        value = int(value)
    text = pl.Series([value]).cast(pl.String).item()
    if dtype.is_numeric():
        number = pl.Series([str(text)]).cast(pl.Float64, strict=False).cast(dtype, strict=False).cast(pl.String).item()
        return str(text if number is None else number)
    return str(text)
