"""Rows of a history: numbers become points; texts, pictures, tables and the rest are shown at their step."""

from collections.abc import Callable, Mapping
from pathlib import Path

from stratal.core.errors import Damaged, Misuse
from stratal.interop.bounds import artifact_path, read_json, safe_file, to_ns
from stratal.interop.counted import counted, is_figure
from stratal.interop.foreign import Logged, Saved, Shown, Skipped, Statement
from stratal.interop.wandb.messages import number_of
from stratal.tracking.media.values import Media
from stratal.tracking.media.values import audio as show_audio
from stratal.tracking.media.values import html as show_html
from stratal.tracking.media.values import image as show_image
from stratal.tracking.media.values import json as show_json
from stratal.tracking.media.values import table as show_table
from stratal.tracking.media.values import text as show_text
from stratal.tracking.media.values import video as show_video

# What W&B adds to each row; the step and the time are where they belong, the runtime follows from the time.
STEP, TIME = "_step", "_timestamp"
_OWN = frozenset((STEP, TIME, "_runtime"))
_DEEPEST = 50
# Larger tables stay the files that they are.
_MOST_TABLE_BYTES = 64 << 20
_MOST_BINS = 10_000
# A medium's type, to what shows its file.
_SHOWN: dict[str, Callable[[Path], Media]] = {
    "image-file": show_image, "images/separated": show_image, "audio-file": show_audio, "audio": show_audio, "html-file": show_html,
    "html": show_html, "video-file": show_video, "videos": show_video,
}  # fmt: skip
# What a medium says of its file that the file says itself, or that its caption is.
_ABOUT_FILES = frozenset((
    "_type", "path", "filenames", "sha256", "size", "format", "width", "height", "caption", "captions", "count", "ncols", "nrows",
    "artifact_path", "_latest_artifact_path", "log_mode", "all_captions", "durations", "sampleRates",
))  # fmt: skip


class History:
    """Turns rows into statements. files: the folder of the run's files."""

    def __init__(self, files: Path) -> None:
        self.series: set[str] = set()
        self.last_step = 0
        self.shown: set[str] = set()  # paths under files/ that a row spoke of
        self._files = files

    def read(self, row: dict[str, object], step: int | None, last_ns: int) -> tuple[list[Statement], int]:
        """Give what a row says, and its time. step: where the row has none."""
        found = row.get(STEP, step)
        at = int(found) if isinstance(found, int | float) and found == found and abs(found) < 2**63 else None
        stamp = row.get(TIME)
        at_ns = to_ns(float(stamp), last_ns) if is_figure(stamp) else last_ns
        taken = _Row(self, at, at_ns)
        for key, value in row.items():
            if key not in _OWN:
                taken.take(key, value)
        self.series.update(taken.metrics)
        if at is not None:
            self.last_step = max(self.last_step, at)
        return ([Logged(metrics=taken.metrics, step=at, at_ns=at_ns), *taken.said] if taken.metrics else taken.said), at_ns

    def find(self, path: object) -> Path | None:
        """Give the file that a medium speaks of."""
        file = safe_file(self._files, path) if isinstance(path, str) else None
        if file is not None:
            self.shown.add(str(path))
        return file


class _Row:
    """What one row says."""

    def __init__(self, history: History, step: int | None, at_ns: int) -> None:
        self.metrics: dict[str, float] = {}
        self.said: list[Statement] = []
        self._history, self._step, self._at_ns = history, step, at_ns

    def take(self, key: str, value: object, depth: int = 0) -> None:
        """Sort a value into numbers and the rest."""
        if (number := number_of(value)) is not None:
            self.metrics[key] = number
        elif value is None:
            self.said.append(Skipped(what="points", reason="null", by_rule=True))
        elif isinstance(value, str):
            self._show(key, show_text(value))
        elif isinstance(value, dict) and isinstance(kind := value.get("_type"), str):
            self._medium(key, kind, value)
        elif isinstance(value, dict) and depth < _DEEPEST:
            for name, inner in value.items():
                self.take(f"{key}/{name}", inner, depth + 1)
        else:
            self._show(key, show_json(value))

    def _show(self, key: str, value: object, *otherwise: Statement) -> None:
        self.said.append(Shown(name=key, value=value, step=self._step, at_ns=self._at_ns, otherwise=list(otherwise)))

    def _medium(self, key: str, kind: str, value: Mapping[str, object]) -> None:
        """Show a medium's files, and what is said of it beside them."""
        whole = Shown(name=key, value=show_json(dict(value)), step=self._step, at_ns=self._at_ns)
        if kind == "histogram":
            made = counted(value.get("values"), _edges(value))
            self.said.append(whole if made is None else Shown(name=key, value=made, step=self._step, at_ns=self._at_ns))
            return
        paths = [value["path"]] if "path" in value else _listed(value.get("filenames"))
        captions = [value.get("caption")] if "path" in value else _listed(value.get("captions"))
        for place, path in enumerate(paths):
            caption = captions[place] if place < len(captions) else None
            self._file(whole, kind, path, caption if isinstance(caption, str) else "")
        if not paths or kind not in {*_SHOWN, "table-file"} or value.keys() - _ABOUT_FILES:
            self.said.append(whole)

    def _file(self, whole: Shown, kind: str, path: object, caption: str) -> None:
        file = self._history.find(path)
        if file is None:
            self.said.append(Skipped(what="media", reason="the file is not in the run's folder, or is a link", by_rule=False))
            return
        plain = Saved(path=artifact_path("files", str(path)), data=file, at_ns=self._at_ns)
        if kind == "table-file":
            value: object = _table(file)
        else:
            show = _SHOWN.get(kind)
            value = show(file) if show else None
        if isinstance(value, Media):
            self._show(whole.name, Media(kind=value.kind, value=value.value, caption=caption), plain, whole)
        else:
            self.said.append(plain)


def _table(file: Path) -> Media | None:
    """Give a table of a file {columns, data}; None where it is none, or too large."""
    if file.stat().st_size > _MOST_TABLE_BYTES:
        return None
    try:
        found = read_json(file.read_bytes())
        if not isinstance(found, dict) or not isinstance(columns := found.get("columns"), list):
            return None
        return show_table(found.get("data"), columns=[str(column) for column in columns])
    except (Damaged, Misuse, TypeError):
        return None


def _edges(histogram: Mapping[str, object]) -> object:
    packed = histogram.get("packedBins")
    if isinstance(packed, dict):
        low, size, count = (packed.get(name) for name in ("min", "size", "count"))
        if is_figure(low) and is_figure(size) and isinstance(count, int):
            return [low + size * place for place in range(min(max(count, 0), _MOST_BINS) + 1)]
    return histogram.get("bins")


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []
