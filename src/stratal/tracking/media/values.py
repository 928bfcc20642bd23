"""What users wrap values with, to say what they are or to caption them: st.image(pixels, caption="before")."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stratal.core.errors import Misuse

Kind = Literal["image", "figure", "histogram", "table", "text", "json", "html", "audio", "video"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Media:
    """A value that is to be logged as one kind of media. rate: of audio samples a second, of video frames a second."""

    kind: Kind
    value: object
    caption: str = ""
    rate: float | None = None


def image(value: object, *, caption: str = "") -> Media:
    """Make an image: pixels (H, W), (H, W, 1 | 3 | 4) as uint8, bool or floats from 0 to 1; a torch tensor (H, W) or (1 | 3 | 4, H, W);
    a Pillow image; or an image file, as its path or bytes."""
    return Media(kind="image", value=value, caption=caption)


def figure(value: object, *, caption: str = "") -> Media:
    """Make a figure of matplotlib (kept as PNG, and as SVG where that is small) or plotly (kept as JSON with the script that draws it)."""
    return Media(kind="figure", value=value, caption=caption)


def audio(value: object, rate: int | None = None, *, caption: str = "") -> Media:
    """Make a sound: samples (n,) or (n, channels) as int16 or floats from -1 to 1, with their rate a second; or an audio file,
    as its path or bytes."""
    return Media(kind="audio", value=value, caption=caption, rate=_rate(rate))


def video(value: object, *, fps: float | None = None, caption: str = "") -> Media:
    """Make a video: a file (MP4, WebM, GIF), as its path or bytes; or frames (T, H, W, 3 | 4), which become an animated WebP and need
    Pillow."""
    return Media(kind="video", value=value, caption=caption, rate=_rate(fps))


def table(value: object, *, columns: Sequence[str] | None = None, caption: str = "") -> Media:
    """Make a table: a frame of polars, pandas or pyarrow, a list of dicts, a dict of columns, or with `columns` a list of rows."""
    if columns is None:
        return Media(kind="table", value=value, caption=caption)
    names = list(columns)
    if not isinstance(value, Iterable):
        raise Misuse(f"rows are a list of lists, not {value!r:.60}", hint='st.table([[1, "a"]], columns=["n", "name"])')
    rows = [list(row) if isinstance(row, Iterable) and not isinstance(row, str | bytes | Mapping) else [row] for row in value]
    if wrong := next((row for row in rows if len(row) != len(names)), None):
        raise Misuse(f"a row has {len(wrong)} values for {len(names)} columns: {wrong!r:.80}", hint="give each row one value per column")
    if len(set(names)) != len(names):
        raise Misuse(f"columns are named twice: {', '.join(map(str, names))}", hint="give each column its own name")
    return Media(kind="table", value={name: [row[place] for row in rows] for place, name in enumerate(names)}, caption=caption)


def text(value: str, *, caption: str = "") -> Media:
    """Make a text. A plain text in `run.log` is one already; this adds a caption."""
    return Media(kind="text", value=value, caption=caption)


def html(value: object, *, caption: str = "") -> Media:
    """Make a page: HTML as a text, or the path of a file."""
    return Media(kind="html", value=value, caption=caption)


def json(value: object, *, caption: str = "") -> Media:
    """Make a JSON document of dicts, lists, scalars, NumPy arrays, dataclasses and their like; NaN becomes the text "NaN"."""
    return Media(kind="json", value=value, caption=caption)


def _rate(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(value, "__float__") or not 0 < (rate := float(value)) < 2**31:
        raise Misuse(f"{value!r:.60} is no rate", hint="samples or frames a second: st.audio(samples, 16_000), st.video(frames, fps=10)")
    return rate
