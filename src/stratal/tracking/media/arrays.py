"""Arrays of any library as NumPy's, and the words that refuse the others."""

import numpy as np
from numpy.typing import NDArray

from stratal.core.errors import Misuse
from stratal.tracking.media.prepared import of_type

Array = NDArray[np.generic]


def comes_from(value: object, library: str) -> bool:
    """Tell whether a value's class, or one that it derives from, is of a library; nothing is imported."""
    return any(kind.__module__.partition(".")[0] == library for kind in type(value).__mro__)


def to_array(value: object) -> Array:
    """Give any array, tensor or list of numbers as a NumPy array of numbers or booleans. Raises Misuse for what is none."""
    if comes_from(value, "torch"):
        value = _from_torch(value)
    elif comes_from(value, "polars") or comes_from(value, "pandas"):
        to_numpy = getattr(value, "to_numpy", None)
        value = to_numpy() if callable(to_numpy) else value
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise Misuse(f"{of_type(value)} cannot be read as an array: {error}", hint="give a NumPy array") from error
    if array.dtype.kind not in "buif":
        raise Misuse(f"{of_type(value)} holds no numbers", hint="give an array of integers, floats or booleans")
    return array


def _from_torch(value: object) -> object:
    tensor = value.detach().cpu()  # type: ignore[attr-defined]  # a tensor; torch is not imported to say so
    if tensor.is_floating_point() and tensor.element_size() < 4:
        tensor = tensor.float()  # NumPy has no bfloat16 and no 8-bit floats
    try:
        return tensor.numpy()
    except (TypeError, RuntimeError) as error:
        raise Misuse(f"a tensor of {tensor.dtype} cannot be read as an array: {error}", hint="give a dense tensor of numbers") from error


def check_finite(array: Array, what: str) -> None:
    """Refuse NaN and infinities. Raises Misuse with their number."""
    if array.dtype.kind == "f" and (odd := int(array.size - np.isfinite(array).sum())):
        raise Misuse(f"{odd:,} of {array.size:,} {what} are NaN or infinite", hint="replace them: numpy.nan_to_num(...)")
