"""Inputs of models: the signature of a sample, and any kind of rows arranged as the model was fitted."""

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
import polars as pl

from stratal.core.errors import Misuse
from stratal.tracking.frames import dtype_from_text, dtype_text, from_pandas, to_pandas
from stratal.tracking.signatures import Column, Label, Signature

if TYPE_CHECKING:
    import pandas as pd

# A column whose dtype nobody told: it is taken as it comes.
ANY = "any"


def describe(sample: object) -> tuple[tuple[Column, ...], str]:
    """Give columns and container of a sample of inputs. Raises Misuse if it is no table."""
    if isinstance(sample, pl.DataFrame):
        return _columns(sample), "polars"
    if is_pandas(sample):
        return _columns(from_pandas(sample)), "pandas"
    if isinstance(sample, np.ndarray) and sample.ndim == 2:
        dtype = "float64" if sample.dtype.kind == "O" else str(sample.dtype)
        return tuple(Column(name=f"x{i}", dtype=ANY if sample.dtype.kind in "OUS" else dtype) for i in range(sample.shape[1])), "numpy"
    raise Misuse(
        f"a sample of inputs is a frame or a two-dimensional array, not {_what(sample)}",
        hint="give some rows of what the model was fitted on",
    )


def arrange(x: object, signature: Signature | None) -> object:
    """Give the rows as the model wants them: its columns, in its order, in its container.

    Raises Misuse naming columns that are missing, or that do not fit their dtype."""
    if signature is None or not signature.inputs:
        if isinstance(x, Mapping):
            raise Misuse(
                "this model was saved without a sample, so a row's names mean nothing to it",
                hint="log_model(..., sample=rows) keeps the names",
            )
        return x
    if signature.container == "pandas" and is_pandas(x):
        _check_names(tuple(str(name) for name in x.columns), signature)
        return x[list(signature.names)]
    if isinstance(x, np.ndarray) and signature.container == "numpy":
        return _checked_array(x, signature)
    frame = _cast(_as_frame(x, signature), signature)
    if signature.container == "pandas":
        return to_pandas(_without_nulls_in_numbers(frame))
    return frame if signature.container == "polars" else to_matrix(frame)


def to_matrix(frame: pl.DataFrame) -> np.ndarray:
    """Give a float64 matrix, null as NaN; of objects if a column is no number."""
    if all(dtype.is_numeric() or dtype == pl.Boolean for dtype in frame.dtypes):
        return frame.select(pl.all().cast(pl.Float64).fill_null(float("nan"))).to_numpy()
    return np.array([series.to_list() for series in frame], dtype=object).T.reshape(frame.height, frame.width)


def is_pandas(x: object) -> "TypeGuard[pd.DataFrame]":
    """Tell whether this is a pandas frame, without importing pandas."""
    return type(x).__module__.partition(".")[0] == "pandas" and hasattr(x, "columns")


def plain_label(value: object) -> Label:
    """Give a class label as a plain Python value."""
    plain = value.item() if isinstance(value, np.generic) else value
    return plain if isinstance(plain, bool | int | float | str) else str(plain)


def _columns(frame: pl.DataFrame) -> tuple[Column, ...]:
    return tuple(Column(name=name, dtype=dtype_text(dtype)) for name, dtype in frame.schema.items())


def _as_frame(x: object, signature: Signature) -> pl.DataFrame:
    if isinstance(x, pl.DataFrame):
        _check_names(tuple(x.columns), signature)
        return x.select(signature.names)
    if is_pandas(x):
        _check_names(tuple(str(name) for name in x.columns), signature)
        return from_pandas(x[list(signature.names)])
    if isinstance(x, Mapping):
        _check_names(tuple(str(name) for name in x), signature)
        return pl.DataFrame([pl.Series(name, [x[name]]) for name in signature.names])
    if isinstance(x, np.ndarray):
        return pl.DataFrame([_plain_series(name, _checked_array(x, signature)[:, i]) for i, name in enumerate(signature.names)])
    raise Misuse(f"a model takes a polars or pandas frame, a NumPy array of rows or one row as a dict, not {_what(x)}")


def _plain_series(name: str, values: np.ndarray) -> pl.Series:
    return pl.Series(name, values.tolist(), strict=False) if values.dtype.kind == "O" else pl.Series(name, np.ascontiguousarray(values))


def _checked_array(x: np.ndarray, signature: Signature) -> np.ndarray:
    if x.ndim != 2 or x.shape[1] != len(signature.inputs):
        raise Misuse(
            f"the model takes arrays of {len(signature.inputs)} columns, and got shape {x.shape}",
            hint=f"the columns are, in order: {', '.join(signature.names)}",
        )
    return x


def _check_names(given: tuple[str, ...], signature: Signature) -> None:
    if missing := [name for name in signature.names if name not in given]:
        near = {name: difflib.get_close_matches(name, given, n=1) for name in missing}
        likely = [f"{name!r} (is it {found[0]!r}?)" if found else repr(name) for name, found in near.items()]
        raise Misuse(f"the model needs columns that are missing: {', '.join(likely)}", hint=f"it takes: {', '.join(signature.names)}")


def _cast(frame: pl.DataFrame, signature: Signature) -> pl.DataFrame:
    done = []
    for column in signature.inputs:
        series = frame[column.name]
        if column.dtype == ANY:
            done.append(series)
            continue
        wanted = dtype_from_text(column.dtype)
        if series.dtype.is_float() and not wanted.is_float():
            series = series.fill_nan(None)  # a whole number that was missing, as pandas and NumPy write it
        try:
            done.append(series.cast(wanted))
        except pl.exceptions.PolarsError as error:
            raise Misuse(f"column {column.name!r} should be {column.dtype} and is {dtype_text(series.dtype)}: {error}") from error
    return pl.DataFrame(done)


def _without_nulls_in_numbers(frame: pl.DataFrame) -> pl.DataFrame:
    # pandas' own way for a missing number is NaN in float64, and that is what models fitted on pandas have seen.
    broken = [name for name in frame.columns if frame[name].dtype.is_integer() and frame[name].null_count()]
    return frame.with_columns(pl.col(name).cast(pl.Float64) for name in broken)


def _what(x: object) -> str:
    shape = getattr(x, "shape", None)
    return f"{type(x).__module__}.{type(x).__qualname__}" + (f" of shape {tuple(shape)}" if shape is not None else "")
