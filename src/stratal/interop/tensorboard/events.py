"""What an event says of a run: scalars, texts, pictures, histograms, hparams.

Event: 1 wall_time, 2 step, 3 file_version, 4 graph, 5 summary, 6 log_message, 7 session_log, 8 tagged_run_metadata, 9 meta_graph.
A summary holds values: 1 tag, 2 simple_value, 4 image, 5 histogram, 6 audio, 8 tensor, 9 metadata (1 plugin: 1 name, 2 content).
"""

import math
from hashlib import sha256

import numpy as np

from stratal.core.records import number_to_json
from stratal.interop.bounds import artifact_path, to_ns
from stratal.interop.counted import counted
from stratal.interop.foreign import Ended, Logged, Params, Saved, Shown, Skipped, Statement, Tags
from stratal.interop.protobuf import Fields, blob, blobs, double, fields, integer, message, single, text
from stratal.interop.tensorboard.tensors import numbers_of, shape_of, strings_of
from stratal.tracking.media.values import audio as show_audio
from stratal.tracking.media.values import image as show_image
from stratal.tracking.media.values import json as show_json
from stratal.tracking.media.values import text as show_text

_LEFT_OUT = {4: "graph", 6: "log message", 8: "run metadata", 9: "meta graph"}
# Above this, the limit of a last bucket says that it is open.
_HUGE = 1e300
_ENDS = {1: "finished", 2: "failed", 3: ""}


class EventReader:
    """Turns the events of one file into statements."""

    def __init__(self, started_ns: int) -> None:
        self.last_ns = started_ns
        self.is_over = False  # hparams said how the run ended
        self._plugins: dict[str, str] = {}  # a tag's metadata may stand at its first value only

    def read(self, data: bytes) -> list[Statement]:
        """Give what an event says. Raises Damaged if it is none."""
        event = fields(data)
        at_ns = to_ns(double(event, 1), self.last_ns)
        self.last_ns = max(self.last_ns, at_ns)
        said: list[Statement] = [
            Skipped(what=name, reason="has no place here", by_rule=True) for number, name in _LEFT_OUT.items() if number in event
        ]
        step = integer(event, 2)
        for summary in blobs(event, 5):
            for value in blobs(fields(summary), 1):
                said.extend(self._value(fields(value), step, at_ns))
        return said

    def _value(self, value: Fields, step: int, at_ns: int) -> list[Statement]:
        tag, plugin = text(value, 1), message(message(value, 9), 1)
        if name := text(plugin, 1):
            self._plugins[tag] = name
        kind = self._plugins.get(tag, "")
        if 2 in value:
            return [Logged(metrics={tag: single(value, 2)}, step=step, at_ns=at_ns)]
        if kind == "hparams":
            return self._hparams(tag, fields(blob(plugin, 2)), at_ns)
        if 4 in value:
            return [_medium("images", tag, step, blob(message(value, 4), 4), at_ns)]
        if 6 in value:
            return [_medium("audio", tag, step, blob(message(value, 6), 4), at_ns)]
        if 5 in value:
            return [_histogram(tag, step, message(value, 5), at_ns)]
        if 8 in value:
            return self._tensor(kind, tag, step, message(value, 8), at_ns)
        return [Skipped(what="values", reason="of no known kind", by_rule=False)]

    def _tensor(self, kind: str, tag: str, step: int, tensor: Fields, at_ns: int) -> list[Statement]:
        strings = strings_of(tensor)
        if kind == "images":  # width, height, then pictures
            return [_medium("images", tag, step, data, at_ns) for data in strings[2:]]
        if kind == "audio":  # pairs of sound and label
            rows = shape_of(tensor)
            every = rows[1] if len(rows) == 2 and rows[1] > 0 else 1
            return [_medium("audio", tag, step, data, at_ns) for data in strings[::every]]
        if strings:
            words = "\n".join(data.decode("utf-8", "replace") for data in strings)
            return [Shown(name=tag, value=show_text(words), step=step, at_ns=at_ns)]
        numbers = numbers_of(tensor)
        if numbers is None:
            return [Skipped(what="tensors", reason=f"of the type {integer(tensor, 1)}, which is not read", by_rule=False)]
        if len(numbers) == 1 and kind in ("scalars", ""):
            return [Logged(metrics={tag: float(numbers[0])}, step=step, at_ns=at_ns)]
        body: dict[str, object] = {"plugin": kind, "shape": list(shape_of(tensor)), "values": _plain(numbers.tolist())}
        whole = Shown(name=tag, value=show_json(body), step=step, at_ns=at_ns)
        if kind == "histograms" and len(numbers) % 3 == 0:  # rows of low, high, count
            low, high, counts = np.reshape(numbers, (-1, 3)).T
            return [_counted([*low.tolist(), *high[-1:].tolist()], counts.tolist(), whole)]
        return [whole]

    def _hparams(self, tag: str, content: Fields, at_ns: int) -> list[Statement]:
        if start := message(content, 3):  # 1 map of hparams, 4 group
            params = dict(_hparam(fields(entry)) for entry in blobs(start, 1))
            said: list[Statement] = [Params(values=params, at_ns=at_ns)]
            if group := text(start, 4):
                said.append(Tags(values={"tensorboard.group": group}, at_ns=at_ns))
            return said
        if end := message(content, 4):  # 1 status, 2 end time in seconds
            status = _ENDS.get(integer(end, 1), "")
            self.is_over = self.is_over or bool(status)
            return [Ended(status=status, at_ns=to_ns(double(end, 2), at_ns) or at_ns)] if status else []
        return [Skipped(what=f"hparams {tag.rpartition('/')[2]}", reason="describes the dashboard", by_rule=True)]


def _hparam(entry: Fields) -> tuple[str, object]:
    value = message(entry, 2)
    if 2 in value:
        return text(entry, 1), double(value, 2)
    if 4 in value:
        return text(entry, 1), bool(integer(value, 4))
    return text(entry, 1), text(value, 3)


def _medium(folder: str, tag: str, step: int, data: bytes, at_ns: int) -> Statement:
    """Show a picture or a sound; bytes that are neither become a plain file."""
    # The digest keeps apart what several files log at one step.
    path = artifact_path(folder, tag, f"/{step}-{sha256(data).hexdigest()[:8]}.bin")
    value = show_image(data) if folder == "images" else show_audio(data)
    return Shown(name=tag, value=value, step=step, at_ns=at_ns, otherwise=[Saved(path=path, data=data, at_ns=at_ns)])


def _histogram(tag: str, step: int, found: Fields, at_ns: int) -> Statement:
    """Show a histogram of upper limits and counts; without the empty buckets at its ends, whose limits are those of all numbers."""
    limits, counts = _doubles(found, 6), _doubles(found, 7)
    low, high = double(found, 1), double(found, 2)
    body: dict[str, object] = {"min": number_to_json(low), "max": number_to_json(high), "limits": _plain(limits), "counts": _plain(counts)}
    whole = Shown(name=tag, value=show_json(body), step=step, at_ns=at_ns)
    filled = [place for place, count in enumerate(counts) if count]
    if len(limits) != len(counts) or not filled:
        return whole
    first, last = filled[0], filled[-1]
    edges = [limits[first - 1] if first else min(low, math.nextafter(limits[0], -math.inf)), *limits[first : last + 1]]
    if edges[-1] > _HUGE:
        edges[-1] = max(high, math.nextafter(edges[-2], math.inf))
    return _counted(edges, counts[first : last + 1], whole)


def _counted(edges: list[float], counts: list[float], whole: Shown) -> Statement:
    """Show counts between edges; what is no histogram stays the document that it is."""
    made = counted(counts, edges)
    return whole if made is None else Shown(name=whole.name, value=made, step=whole.step, at_ns=whole.at_ns)


def _doubles(found: Fields, number: int) -> list[float]:
    packed = b"".join(blobs(found, number))
    values: list[float] = np.frombuffer(packed[: len(packed) // 8 * 8], "<f8").tolist()
    return values


def _plain(values: list[float]) -> list[float | str]:
    return [number_to_json(value) for value in values]
