"""What a value is: the table from types to kinds, and from kinds to the files that keep them."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Protocol, cast

from stratal.core.errors import Misuse
from stratal.tracking.media.files import kind_of_file
from stratal.tracking.media.histograms import Histogram
from stratal.tracking.media.prepared import Prepared, of_type
from stratal.tracking.media.values import Kind, Media

# Kind to its file. Imported when the first value of a kind is met.
FILES: Mapping[str, str] = {
    "image": "images", "figure": "figures", "histogram": "histograms", "table": "tables", "text": "texts", "json": "texts",
    "html": "texts", "audio": "sounds", "video": "videos",
}  # fmt: skip
# Library that a class comes from to the kind of its objects; "array": by the number of axes.
_LIBRARIES: Mapping[str, str] = {
    "numpy": "array", "torch": "array", "jax": "array", "jaxlib": "array", "tensorflow": "array", "cupy": "array",
    "PIL": "image", "matplotlib": "figure", "plotly": "figure", "seaborn": "figure",
    "polars": "table", "pandas": "table", "pyarrow": "table",
}  # fmt: skip
_HINT = "numbers, texts, arrays, figures, images and frames are known by their type; others by st.image, st.table, st.json, st.audio ..."


class Keeper(Protocol):
    """Laws: 1 `load` of the first content of `prepare` gives the thing, or what its docstring says. 2 `prepare` writes nothing, and
    raises Misuse or NotFound in words for what it cannot keep. 3 equal values give equal bytes."""

    prepare: Callable[[Media], Prepared]
    load: Callable[[bytes, str, Mapping[str, object]], object]


def keeper_of(kind: str) -> Keeper:
    """Give the file that knows a kind."""
    return cast(Keeper, importlib.import_module(f"stratal.tracking.media.{FILES[kind]}"))


def recognised(value: object) -> list[Media]:
    """Say what a value is; a list of values is several items. Raises Misuse for what is nothing that is known."""
    if isinstance(value, list | tuple) and value and not all(isinstance(item, Mapping) for item in value):
        return [_one(item, in_list=True) for item in value]
    return [_one(value)]


def _one(value: object, *, in_list: bool = False) -> Media:
    if isinstance(value, Media):
        return value
    if isinstance(value, str):
        return Media(kind="text", value=value)
    if isinstance(value, PurePath):
        return Media(kind=cast(Kind, kind_of_file(value)), value=value)
    if isinstance(value, list | tuple) and value and not in_list:
        return Media(kind="table", value=value)  # of mappings: a list of others was taken apart
    if isinstance(value, Histogram):
        return Media(kind="histogram", value=value, caption=value.caption)
    kind = next((kind for library in _libraries(value) if (kind := _LIBRARIES.get(library))), None)
    if kind == "array" or (kind == "table" and not _has_columns(value)):
        return Media(kind=_kind_of_array(value), value=value)
    if kind is None and (_is_pyplot(value) or hasattr(value, "figure_")):  # the latter: what scikit-learn's displays draw
        kind = "figure"
    if kind is None:
        raise Misuse(f"{of_type(value)} is nothing that can be logged", hint=_hint(value, in_list=in_list))
    return Media(kind=cast(Kind, kind), value=value)


def _libraries(value: object) -> list[str]:
    return [kind.__module__.partition(".")[0] for kind in type(value).__mro__]


def _has_columns(value: object) -> bool:
    return hasattr(value, "columns") or hasattr(value, "column_names") or hasattr(value, "collect")


def _kind_of_array(value: object) -> Kind:
    axes = len(getattr(value, "shape", ()))
    return "histogram" if axes == 1 else "image"


def _hint(value: object, *, in_list: bool) -> str:
    if value is None:
        return "leave it out, or log float('nan')"
    if isinstance(value, int | float) and in_list:
        return "a list of numbers is no metric; st.histogram(values) or st.json(values) takes it"
    return "it is too large for a float; log its logarithm, or its text" if isinstance(value, int) else _HINT


def _is_pyplot(value: object) -> bool:
    return getattr(value, "__name__", "") == "matplotlib.pyplot" and callable(getattr(value, "gcf", None))
