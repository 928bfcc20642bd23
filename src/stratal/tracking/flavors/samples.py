"""Samples of a model's inputs: some rows beside the saved model, for people who want to try it. No part of the model's digest."""

import io
from typing import Any

import numpy as np
import polars as pl

from stratal.core.errors import Damaged
from stratal.tracking.flavors.inputs import is_pandas, to_matrix
from stratal.tracking.frames import from_pandas, to_pandas
from stratal.tracking.signatures import Signature

# Enough to try a model; the training data itself is a dataset, not a sample.
MOST_ROWS = 20
TABLE, ARRAY = ".parquet", ".npy"


def file_of(digest: str, ending: str) -> str:
    """Name a sample's file by its model, so that another model saved over this one has no sample of it."""
    return f"sample-{digest[:8]}{ending}"


def encode(sample: object) -> tuple[str, bytes]:
    """Give the ending and bytes of a sample's first rows: frames as Parquet, arrays and tensors as .npy."""
    head: Any = sample[:MOST_ROWS]  # type: ignore[index]  # frames of both kinds, arrays and tensors slice rows so
    if isinstance(head, pl.DataFrame) or is_pandas(head):
        return TABLE, _parquet(head if isinstance(head, pl.DataFrame) else from_pandas(head))
    if callable(getattr(head, "detach", None)):  # a tensor; NumPy has no bfloat16 and no 8-bit floats
        head = head.detach().cpu()
        head = (head.float() if head.is_floating_point() and head.element_size() < 4 else head).numpy()
    array = np.asarray(head)
    if array.dtype.kind == "O":  # NumPy would pickle it
        return TABLE, _parquet(pl.DataFrame([pl.Series(f"x{i}", array[:, i].tolist(), strict=False) for i in range(array.shape[1])]))
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return ARRAY, out.getvalue()


def decode(ending: str, data: bytes, signature: Signature | None) -> object:
    """Give the rows in the container that the model takes; tensors come back as arrays. Raises Damaged."""
    try:
        if ending == ARRAY:
            array: object = np.load(io.BytesIO(data), allow_pickle=False)
            return array
        frame = pl.read_parquet(io.BytesIO(data))
    except (ValueError, EOFError, pl.exceptions.PolarsError) as error:
        raise Damaged(f"the sample of a model cannot be read: {error}") from error
    container = signature.container if signature else "polars"
    if container == "numpy":
        return to_matrix(frame)
    return to_pandas(frame) if container == "pandas" else frame


def _parquet(frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.write_parquet(out)
    return out.getvalue()
