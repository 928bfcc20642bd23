"""Frames: their content digest, their bytes, and tables of runs as frames. The trunk's only file that knows polars.

**The digest of a frame** is sha256 over a text header and one sha256 per column, in column order. It depends on the names,
the dtypes, the order of columns and rows, and the values; not on chunks, on categorical codes, on the machine's byte order or
on the library's version. Per column: what is null as packed bits (first row = lowest bit), then values in little-endian
order with nulls as zero. All NaNs are one value; -0.0 is not 0.0 (division tells them apart). Texts and lists are int64
lengths, then all contents; categories count by their text; decimals by their text; structs by their fields.
"""

import ast
import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from stratal.core.errors import Damaged, Misuse

if TYPE_CHECKING:
    import pandas as pd

_PLAIN: dict[type[pl.DataType], str] = {
    pl.Int8: "int8",
    pl.Int16: "int16",
    pl.Int32: "int32",
    pl.Int64: "int64",
    pl.UInt8: "uint8",
    pl.UInt16: "uint16",
    pl.UInt32: "uint32",
    pl.UInt64: "uint64",
    pl.Float32: "float32",
    pl.Float64: "float64",
    pl.Boolean: "bool",
    pl.String: "string",
    pl.Binary: "binary",
    pl.Date: "date",
    pl.Time: "time",
    pl.Null: "null",
    pl.Categorical: "category",
    pl.Int128: "int128",
}
# What NumPy holds, and the order of bytes that counts.
_BUFFERS: dict[type[pl.DataType], str] = {
    pl.Int8: "<i1",
    pl.Int16: "<i2",
    pl.Int32: "<i4",
    pl.Int64: "<i8",
    pl.UInt8: "<u1",
    pl.UInt16: "<u2",
    pl.UInt32: "<u4",
    pl.UInt64: "<u8",
    pl.Float32: "<f4",
    pl.Float64: "<f8",
}


def frame_digest(frame: pl.DataFrame) -> str:
    """Give the content digest, 64 hex digits. Equal for equal content, however it lies in memory.

    Raises Misuse for a column of Python objects. Cost: one pass; about the speed of sha256, less for texts."""
    whole = hashlib.sha256(f"stratal frame 1\n{frame.height}\n{frame.width}\n".encode())
    for series in frame:
        name = series.name.encode()
        whole.update(f"{len(name)}:".encode() + name + f":{dtype_text(series.dtype)}:".encode())
        whole.update(_series_digest(series))
    return whole.hexdigest()


def dtype_text(dtype: pl.DataType) -> str:
    """Name a dtype in our words: 'int64', 'string', 'category', 'datetime[us, UTC]', 'list[int64]'..."""
    kind = type(dtype)
    if isinstance(dtype, pl.Datetime):
        return f"datetime[{dtype.time_unit}, {dtype.time_zone}]" if dtype.time_zone else f"datetime[{dtype.time_unit}]"
    if isinstance(dtype, pl.Duration):
        return f"duration[{dtype.time_unit}]"
    if isinstance(dtype, pl.Enum):
        return f"enum[{', '.join(repr(text) for text in dtype.categories)}]"
    if isinstance(dtype, pl.Decimal):
        return f"decimal[{dtype.precision}, {dtype.scale}]"
    if isinstance(dtype, pl.List):
        return f"list[{dtype_text(_inner(dtype))}]"
    if isinstance(dtype, pl.Array):
        return f"array[{dtype_text(_inner(dtype))}, {dtype.size}]"
    if isinstance(dtype, pl.Struct):
        return "struct[" + ", ".join(f"{field.name!r}: {dtype_text(_instance(field.dtype))}" for field in dtype.fields) + "]"
    if kind in _PLAIN:
        return _PLAIN[kind]
    raise Misuse(f"a column of type {dtype} has no content that can be digested", hint="cast it to numbers, text, dates or lists of those")


def dtype_from_text(text: str) -> pl.DataType:
    """Undo `dtype_text`, for all but nested types. Raises Misuse for a word that is none."""
    word, _, inside = text.removesuffix("]").partition("[")
    if word == "datetime":
        unit, _, zone = inside.partition(", ")
        return pl.Datetime(unit, zone or None)  # type: ignore[arg-type]  # a wrong unit is refused by polars
    if word == "duration":
        return pl.Duration(inside)  # type: ignore[arg-type]  # as above
    if word == "enum":
        return pl.Enum(ast.literal_eval(f"[{inside}]"))
    if word == "decimal":
        precision, scale = ast.literal_eval(f"[{inside}]")
        return pl.Decimal(precision, scale)
    for kind, name in _PLAIN.items():
        if name == text:
            return kind()
    raise Misuse(f"{text!r} names no type of a single value", hint=f"known are: {', '.join(_PLAIN.values())}, datetime[...], enum[...]")


def frame_to_bytes(frame: pl.DataFrame) -> bytes:
    """Encode as Arrow IPC, for a blob. Nothing promises equal bytes for equal frames; `frame_digest` is for that."""
    buffer = io.BytesIO()
    frame.write_ipc(buffer, compression="zstd")
    return buffer.getvalue()


def frame_from_bytes(data: bytes) -> pl.DataFrame:
    """Undo `frame_to_bytes`. Raises Damaged if the bytes are no frame."""
    try:
        return pl.read_ipc(io.BytesIO(data))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise Damaged(f"stored bytes are not a frame: {error}") from error


def runs_to_polars(rows: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    """Make a frame of flat rows, one per run. Columns in order of first appearance; absent is null.

    A column that mixes whole and broken numbers is float64; one that mixes other types becomes text."""
    names = dict.fromkeys(name for row in rows for name in row)
    return columns_to_polars({name: [row.get(name) for row in rows] for name in names})


def columns_to_polars(columns: Mapping[str, Sequence[object]]) -> pl.DataFrame:
    """Make a frame of columns of plain values, typed as by `runs_to_polars`."""
    return pl.DataFrame([_column(name, list(values)) for name, values in columns.items()])


def to_arrow(frame: pl.DataFrame) -> object:
    """Give a frame as a pyarrow.Table. Raises Misuse without pyarrow."""
    try:
        return frame.to_arrow()
    except ImportError as error:
        raise Misuse(
            "pyarrow is not installed",
            hint="pip install pyarrow; or hand over the result as it is: it has __arrow_c_stream__",
        ) from error


def to_pandas(frame: pl.DataFrame) -> "pd.DataFrame":
    """Give the same table for pandas, made from columns, so that pyarrow is not needed.

    Numbers and booleans without nulls keep their dtype; whole numbers with nulls become pandas' nullable Int64 and the like;
    categories stay categories; texts are what this pandas makes of texts; times are datetime64; all else are objects, null as None."""
    import pandas as pd  # an optional adapter: pandas comes with the caller

    return pd.DataFrame({series.name: _pandas_column(series) for series in frame}, index=pd.RangeIndex(frame.height))


def from_pandas(table: "pd.DataFrame") -> pl.DataFrame:
    """Give the same table for polars, made from columns, so that pyarrow is not needed. The index is dropped.

    Missing values (NaN in objects, NA, NaT, None) become null; NaN in a float column stays NaN, for pandas cannot tell them apart."""
    return pl.DataFrame([_polars_column(str(name), table[name]) for name in table.columns])


def _series_digest(series: pl.Series) -> bytes:
    digest = hashlib.sha256()
    valid = series.is_not_null().to_numpy()
    digest.update(np.packbits(valid, bitorder="little").tobytes())
    for piece in _pieces(series.rechunk()):
        digest.update(piece)
    return digest.digest()


def _pieces(series: pl.Series) -> list[bytes]:
    dtype = series.dtype
    kind = type(dtype)
    if kind in _BUFFERS:
        return [_numbers(series, _BUFFERS[kind])]
    if kind in (pl.Date, pl.Time, pl.Datetime, pl.Duration):
        return _pieces(series.to_physical())
    if kind is pl.Boolean:
        return _pieces(series.cast(pl.UInt8))
    if kind in (pl.Categorical, pl.Enum, pl.Decimal, pl.Int128):
        return _pieces(series.cast(pl.String))
    if kind is pl.String:
        texts = series.fill_null("")
        return [_numbers(texts.str.len_bytes(), "<i8"), "".join(texts.to_list()).encode()]
    if kind is pl.Binary:
        parts = [part or b"" for part in series.to_list()]
        return [np.array([len(part) for part in parts], dtype="<i8").tobytes(), b"".join(parts)]
    if kind is pl.Array:
        return _pieces(series.arr.to_list())
    if kind is pl.List:
        lengths = series.list.len()
        return [_numbers(lengths, "<i8"), _series_digest(series.filter(lengths > 0).explode())]
    if kind is pl.Struct:
        return [_series_digest(series.struct.field(field.name)) for field in dtype.fields]  # type: ignore[attr-defined]  # a Struct has them
    return []  # Null: the bits of validity say it all


def _numbers(series: pl.Series, layout: str) -> bytes:
    values = np.array(series.fill_null(0).to_numpy(), dtype=layout)
    if layout in ("<f4", "<f8"):
        values[np.isnan(values)] = np.nan
    return values.tobytes()


def _inner(dtype: pl.List | pl.Array) -> pl.DataType:
    return _instance(dtype.inner)


def _instance(dtype: object) -> pl.DataType:
    return dtype() if isinstance(dtype, type) else dtype  # type: ignore[return-value]  # polars says "class or instance"


def _column(name: str, values: list[object]) -> pl.Series:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and float in kinds:
        return pl.Series(name, [None if value is None else float(value) for value in values], dtype=pl.Float64)  # type: ignore[arg-type]
    if len(kinds) > 1:
        return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
    return pl.Series(name, values, dtype=pl.Null if not kinds else None)


def _polars_column(name: str, column: "pd.Series[Any]") -> pl.Series:
    word = str(column.dtype)
    if word.startswith("datetime64") and getattr(column.dtype, "tz", None) is not None:
        utc = column.dt.tz_convert("UTC").dt.tz_localize(None)
        return _polars_column(name, utc).dt.replace_time_zone("UTC").dt.convert_time_zone(str(column.dtype.tz))
    if word == "category":
        known = column.cat.categories.tolist()
        texts = [None if code < 0 else str(known[code]) for code in column.cat.codes.tolist()]
        return pl.Series(name, texts, dtype=pl.Categorical)
    missing = column.isna().to_numpy(dtype=bool)
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biufmM":
        return pl.Series(name, np.ascontiguousarray(column.to_numpy()))
    if word.lower().rstrip("0123456789") in ("int", "uint", "float", "boolean"):
        plain = np.dtype("bool" if word == "boolean" else word.lower())
        return pl.Series(name, column.fillna(0).to_numpy(dtype=plain)).set(pl.Series(missing), None)
    values = [None if gone else value for value, gone in zip(column.tolist(), missing.tolist(), strict=True)]
    return pl.Series(name, values, dtype=pl.String if not missing.all() and word in ("str", "string") else None, strict=False)


def _pandas_column(series: pl.Series) -> object:
    import pandas as pd  # see to_pandas

    dtype = series.dtype
    if isinstance(dtype, pl.Categorical | pl.Enum):
        texts = series.cast(pl.String)
        known = list(dtype.categories) if isinstance(dtype, pl.Enum) else sorted(texts.drop_nulls().unique().to_list())
        return pd.Categorical(texts.to_list(), categories=known)
    if dtype.is_integer() and series.null_count():
        return pd.arrays.IntegerArray(series.fill_null(0).to_numpy().copy(), series.is_null().to_numpy().copy())
    if (dtype.is_numeric() and not isinstance(dtype, pl.Decimal)) or (isinstance(dtype, pl.Boolean) and not series.null_count()):
        return series.to_numpy()
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        return pd.DatetimeIndex(series.to_physical().cast(pl.Datetime(dtype.time_unit)).to_numpy(), tz="UTC").tz_convert(dtype.time_zone)
    if isinstance(dtype, pl.Datetime | pl.Duration):
        return series.to_numpy()
    if isinstance(dtype, pl.String):
        # What this pandas makes of texts, also where all are missing: a column's type may not depend on its values.
        return pd.Series(series.to_list(), dtype=pd.Series(["a"]).dtype)
    return np.array([*series.to_list(), None], dtype=object)[:-1]  # the None keeps NumPy from making a matrix of lists


def digest_of_any(frame: object) -> str:
    """Give the digest of a frame that only its type is known of. Raises Misuse if it is no polars frame."""
    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    if not isinstance(frame, pl.DataFrame):
        raise Misuse(f"a {type(frame).__name__} is no frame", hint="pass a polars DataFrame")
    return frame_digest(frame)
