"""Values that scripts wrap: images, sounds, tables. Each is a value of ours once it is logged."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stratal.interop.wandb.script.missing import refuse
from stratal.interop.wandb.script.settings import Error
from stratal.tracking.media import values
from stratal.tracking.media.arrays import comes_from, to_array
from stratal.tracking.media.histograms import histogram
from stratal.tracking.media.values import Media

_ARRAYS = ("numpy", "torch", "jax", "jaxlib", "tensorflow", "cupy")
_FIGURES = ("matplotlib", "plotly")
_MOST_LISTED = 32  # elements of an array that W&B keeps as a list; more become a histogram


class Wrapped:
    """A value of W&B's kind. `media` is what is logged of it."""

    media: object


class Image(Wrapped):
    """A picture: pixels (H, W[, 1 | 3 | 4]) from 0 to 255, a torch tensor ([1 | 3 | 4,] H, W), a Pillow image, a figure, or a file.

    Floats from 0 to 1 are pixels, too: W&B makes them black. mode is not needed: the shape says it."""

    def __init__(
        self, data_or_path: object, mode: str | None = None, caption: str | None = None, boxes: object = None, masks: object = None,
        **ignored: object,
    ) -> None:  # fmt: skip
        if boxes or masks:
            refuse("boxes and masks of an Image", "draw them into the pixels, or log them as a Table beside the picture")
        if _comes_from_any(data_or_path, _FIGURES) or getattr(data_or_path, "__name__", "") == "matplotlib.pyplot":
            self.media = values.figure(data_or_path, caption=caption or "")
        else:
            self.media = values.image(_pixels(_opened(data_or_path)), caption=caption or "")


class Histogram(Wrapped):
    """Counts of values: the values themselves, or (counts, edges) as numpy.histogram gives them."""

    def __init__(self, sequence: object = None, np_histogram: tuple[object, object] | None = None, num_bins: int = 64) -> None:
        if np_histogram is not None:
            counts, edges = np_histogram
            self.media = histogram(counts=counts, edges=edges)
        else:
            self.media = histogram(sequence, bins=num_bins)


class Audio(Wrapped):
    """A sound: samples with their rate, or a file."""

    def __init__(self, data_or_path: object, sample_rate: int | None = None, caption: str | None = None) -> None:
        self.media = values.audio(_opened(data_or_path), sample_rate, caption=caption or "")


class Video(Wrapped):
    """A video: a file, or frames (T, C, H, W) as W&B has them; several of them (B, T, C, H, W) stand side by side."""

    def __init__(self, data_or_path: object, caption: str | None = None, fps: float | None = None, format: str | None = None) -> None:
        value = _opened(data_or_path)
        if not isinstance(value, Path):
            frames = np.asarray(value)
            if frames.ndim not in (4, 5) or 0 in frames.shape:
                raise Error(f"frames have the shape {frames.shape}", hint="give (time, channels, height, width), or several of these")
            value = _side_by_side(frames) if frames.ndim == 5 else np.moveaxis(frames, 1, -1)
        self.media = values.video(value, fps=fps, caption=caption or "")


class Html(Wrapped):
    """A page: HTML as a text, an open file, or the path of a file."""

    def __init__(self, data: object, inject: bool = True, caption: str | None = None) -> None:
        read = getattr(data, "read", None)
        text = read() if callable(read) else data
        is_file = isinstance(text, str) and text.endswith(".html") and Path(text).is_file()
        self.media = values.html(Path(str(text)) if is_file else text, caption=caption or "")


class Plotly(Wrapped):
    """A figure of plotly."""

    def __init__(self, value: object) -> None:
        self.media = values.figure(value)


class Table(Wrapped):
    """Rows and columns; it may grow until it is logged."""

    def __init__(
        self, columns: Sequence[str] | None = None, data: object = None, rows: object = None, dataframe: object = None, **ignored: object
    ) -> None:
        frame = dataframe if dataframe is not None else data if hasattr(data, "columns") else None
        if frame is not None:
            names, body = _of_frame(frame)
        else:
            body = [list(row) for row in _rows(data if data is not None else rows)]
            names = list(columns) if columns is not None else ["Input", "Output", "Expected"][: len(body[0]) if body else 3]
        self.columns: list[str] = [str(name) for name in names]
        self.data: list[list[object]] = body

    def add_data(self, *row: object) -> None:
        """Add a row. Raises Error if it has another number of values."""
        if len(row) != len(self.columns):
            raise Error(f"a row has {len(row)} values for {len(self.columns)} columns", hint=f"the columns are: {', '.join(self.columns)}")
        self.data.append(list(row))

    def add_column(self, name: str, data: Sequence[object]) -> None:
        """Add a column. Raises Error if it has another number of values."""
        column = list(data)
        if self.data and len(column) != len(self.data):
            raise Error(f"column {name!r} has {len(column)} values for {len(self.data)} rows", hint="give one value per row")
        self.data = [[*row, value] for row, value in zip(self.data or [[] for _ in column], column, strict=True)]
        self.columns.append(name)

    def get_column(self, name: str) -> list[object]:
        """Give the values of a column."""
        if name not in self.columns:
            raise Error(f"the table has no column {name!r}", hint=f"it has: {', '.join(self.columns)}")
        place = self.columns.index(name)
        return [row[place] for row in self.data]

    @property
    def media(self) -> Media:  # type: ignore[override]  # as it is when it is logged
        return values.table(self.rows(), columns=self.columns)

    def rows(self) -> list[list[object]]:
        """Give the rows. Raises Error for media in cells."""
        for row in self.data:
            if wrapped := next((value for value in row if isinstance(value, Wrapped)), None):
                kind = type(wrapped).__name__
                refuse(
                    f"wandb.{kind} in a cell of a table", f"log a list of them beside it: run.log({{'cells': [wandb.{kind}(...), ...]}})"
                )
        return self.data


def unwrapped(value: object) -> object:
    """Give what our runs log of a value: lists and small arrays are documents, larger arrays histograms, as W&B has them."""
    if type(value) in (float, int):
        return value
    if isinstance(value, Wrapped):
        return value.media
    if isinstance(value, list | tuple):
        return [unwrapped(part) for part in value] if any(isinstance(part, Wrapped) for part in value) else values.json(list(value))
    if _comes_from_any(value, _ARRAYS):
        if (plain := number(value)) is not None:
            return plain
        array = to_array(value)
        return values.json(array.tolist()) if array.size <= _MOST_LISTED else histogram(array)
    return value


def number(value: object) -> float | None:
    """Give a number, also one of NumPy or torch, as a plain one; None for what is none."""
    if isinstance(value, int | float):
        return value
    if not hasattr(value, "__float__") or getattr(value, "ndim", 0) > 0:
        return None
    if comes_from(value, "torch"):
        value = getattr(value, "detach", lambda: value)()
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


def _comes_from_any(value: object, libraries: Sequence[str]) -> bool:
    return any(comes_from(value, library) for library in libraries)


def _opened(value: object) -> object:
    return Path(value) if isinstance(value, str | os.PathLike) else value


def _pixels(value: object) -> object:
    """Give the pixels in our order and scale; axes of length 1 are left out, as W&B does."""
    if isinstance(value, Path) or comes_from(value, "PIL"):
        return value
    array = to_array(value)
    if comes_from(value, "torch") and array.ndim == 3:
        array = array.transpose(1, 2, 0)
    if array.ndim > 2:
        array = array.squeeze()
    is_to_255 = array.dtype.kind == "f" and array.size and 1 < array.max() <= 255 and array.min() >= 0
    return array.astype(np.uint8) if is_to_255 else array


def _rows(data: object) -> Sequence[Sequence[object]]:
    if data is None:
        return []
    rows = data.tolist() if isinstance(data, np.ndarray) else data
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        raise Error(f"{data!r:.60} is no table", hint="give a list of rows: wandb.Table(columns=['id', 'error'], data=[['C1', 0.9]])")
    return rows


def _of_frame(frame: object) -> tuple[list[str], list[list[object]]]:
    columns = [str(name) for name in getattr(frame, "columns", [])]
    return columns, [list(row) for row in zip(*(list(frame[name]) for name in columns), strict=True)]  # type: ignore[index]  # a frame


def _side_by_side(films: np.ndarray) -> np.ndarray:
    """Lay films (B, T, C, H, W) out as one, (T, H', W', C), in a grid of powers of two; places that are left are black."""
    count, times, channels, height, width = films.shape
    places = 1 << (count - 1).bit_length()
    rows = 1 << ((places.bit_length() - 1) // 2)
    grid = np.zeros((places, times, channels, height, width), films.dtype)
    grid[:count] = films
    laid_out = grid.reshape(rows, places // rows, times, channels, height, width).transpose(2, 0, 4, 1, 5, 3)
    return laid_out.reshape(times, rows * height, places // rows * width, channels)
