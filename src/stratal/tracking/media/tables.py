"""Tables: any frame as Parquet, with its first rows as JSON for those who only want to look."""

import datetime
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from stratal.core.errors import Misuse
from stratal.core.records import number_to_json
from stratal.tracking.frames import dtype_text, from_pandas
from stratal.tracking.media.arrays import comes_from
from stratal.tracking.media.files import content_of
from stratal.tracking.media.prepared import Content, Prepared, of_type
from stratal.tracking.media.values import Media

PARQUET = "application/vnd.apache.parquet"
# What a page shows at once: rows, columns, and characters of a cell.
_ROWS, _COLUMNS, _CELL = 50, 50, 200


def prepare(media: Media) -> Prepared:
    """Encode a table. Raises Misuse for what is none."""
    frame = to_frame(media.value)
    out = io.BytesIO()
    try:
        frame.write_parquet(out)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        dtypes = ", ".join(f"{name!r} {dtype_text(dtype)}" for name, dtype in list(frame.schema.items())[:8])
        raise Misuse(f"this table cannot be kept as Parquet: {_first_line(error)}", hint=f"cast its columns: {dtypes}") from error
    contents = (Content(out.getvalue(), PARQUET, ".parquet"), Content(_preview(frame), "application/json", ".preview.json"))
    return Prepared("table", contents, {"rows": frame.height, "columns": frame.width})


def load(data: bytes, _mime: str, _details: object) -> pl.DataFrame:
    """Give the table as a polars frame."""
    return pl.read_parquet(io.BytesIO(data))


def to_frame(value: object) -> pl.DataFrame:
    """Give a frame of polars, pandas or pyarrow, a list of dicts, a dict of columns or a table file. Raises Misuse for others."""
    try:
        if isinstance(value, pl.LazyFrame):
            value = value.collect()
        if isinstance(value, pl.DataFrame):
            frame = value
        elif comes_from(value, "pandas") and hasattr(value, "columns"):
            frame = from_pandas(value)
        elif hasattr(value, "__arrow_c_stream__") or hasattr(value, "__dataframe__"):
            frame = pl.DataFrame(value)  # type: ignore[arg-type]  # whatever speaks Arrow
        elif isinstance(value, str | os.PathLike):
            frame = _from_file(Path(value))
        elif isinstance(value, Mapping):
            frame = pl.DataFrame({name: _column(column) for name, column in value.items()})
        elif isinstance(value, Sequence) and all(isinstance(row, Mapping) for row in value):
            names = {name: None for row in value for name in row}  # in order; a row that lacks one has null there
            frame = pl.DataFrame({name: _column([row.get(name) for row in value]) for name in names})
        else:
            raise Misuse(
                f"{of_type(value)} is no table", hint="give a frame, a list of dicts, a dict of columns, or st.table(rows, columns=...)"
            )
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
        raise Misuse(
            f"{of_type(value)} is no table: {_first_line(error)}", hint="give each column values of one type, and all one length"
        ) from error
    if objects := [name for name, dtype in frame.schema.items() if dtype == pl.Object]:
        raise Misuse(f"column {objects[0]!r} holds Python objects", hint="turn them into texts or numbers")
    return frame


def _column(values: Any) -> Any:
    """Give a list of whole numbers and floats as floats; everything else as it is."""
    if not isinstance(values, list) or not any(isinstance(value, float) for value in values):
        return values
    are_numbers = all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values)
    return [None if value is None else float(value) for value in values] if are_numbers else values


def _from_file(path: Path) -> pl.DataFrame:
    content, _ = content_of(path, "table")
    return pl.read_csv(path, infer_schema_length=None) if content.mime == "text/csv" else pl.read_parquet(path)


def _preview(frame: pl.DataFrame) -> bytes:
    document = {
        "columns": [{"name": name, "dtype": dtype_text(dtype)} for name, dtype in list(frame.schema.items())[:_COLUMNS]],
        "rows": [[_cell(value) for value in row[:_COLUMNS]] for row in frame.head(_ROWS).iter_rows()],
        "of_rows": frame.height,
        "of_columns": frame.width,
    }
    return msgspec.json.encode(document)


def _cell(value: object) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)  # beyond, JavaScript rounds
    if isinstance(value, float):
        return number_to_json(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= _CELL else f"{text[:_CELL]}…"


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:300]
