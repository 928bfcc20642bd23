"""Messages in `.wandb` records, by the numbers of their fields, from 0.15 to 0.31."""

from typing import NamedTuple

from stratal.core.errors import Damaged
from stratal.interop.bounds import read_json, to_ns
from stratal.interop.foreign import LAST_NS
from stratal.interop.protobuf import Fields, blob, blobs, double, fields, integer, text, texts

KINDS = {
    2: "history", 3: "summary", 4: "output", 5: "config", 6: "files", 7: "stats", 8: "artifact", 9: "tbrecord", 10: "alert",
    11: "telemetry", 12: "metric", 13: "output_raw", 17: "run", 18: "exit", 20: "final", 21: "header", 22: "footer", 23: "preempting",
    24: "noop_link_artifact", 25: "use_artifact", 26: "environment", 27: "output_logger", 100: "request",
}  # fmt: skip
# Beside the one message of a record: its number, control, a uuid, information for the service.
_BESIDE = {1, 16, 19, 200}
_ODD = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_AGGREGATES = {1: "min", 2: "max", 3: "mean", 4: "best", 5: "last", 6: "none", 7: "first"}
_GOALS = {1: "minimize", 2: "maximize"}


class Message(NamedTuple):
    """A record's message: its kind, 'unknown 99' for one that is not known."""

    kind: str
    fields: Fields


def read_message(data: bytes) -> Message:
    """Open a record. Raises Damaged if it is none."""
    record = fields(data)
    for number in record:
        if number in _BESIDE:
            continue
        return Message(KINDS.get(number, f"unknown {number}"), fields(blob(record, number)))
    return Message("empty", {})


def items(found: Fields, number: int) -> dict[str, object]:
    """Give the items in a field as nested values: each has a path of keys, and a value in JSON or a typed field."""
    nested: dict[str, object] = {}
    for raw in blobs(found, number):
        item = fields(raw)
        if path := [*(key for key in texts(item, 1) if key), *texts(item, 2)]:
            _put(nested, path, _value(item))
    return nested


def removed(found: Fields) -> list[str]:
    """Give the paths of removed items, joined by '/'."""
    found_items = (fields(raw) for raw in blobs(found, 2))
    return ["/".join([*(key for key in texts(item, 1) if key), *texts(item, 2)]) for item in found_items]


def time_of(found: Fields, number: int, default: int) -> int:
    """Give a timestamp (1 seconds, 2 nanoseconds) in ns."""
    if number not in found:
        return default
    stamp = fields(blob(found, number))
    return min(to_ns(float(integer(stamp, 1)), default) + integer(stamp, 2) % 1_000_000_000, LAST_NS)


class MetricSaid(NamedTuple):
    """What a definition of a metric says; '' and no kinds for what it leaves as it is."""

    name: str
    step_metric: str
    kinds: list[str]
    goal: str
    is_overwriting: bool


def metric_definition(found: Fields) -> MetricSaid:
    """Read a definition of a metric, or of all that match a pattern."""
    summary = fields(blob(found, 7))
    return MetricSaid(
        name=text(found, 1) or text(found, 2),
        step_metric=text(found, 4),
        kinds=[name for number, name in _AGGREGATES.items() if integer(summary, number)],
        goal=_GOALS.get(integer(found, 8), ""),
        is_overwriting=bool(integer(fields(blob(found, 9)), 1)),
    )


def artifact_manifest(found: Fields) -> list[dict[str, object]]:
    """Give the entries of an artifact's manifest; local_path is only good for its last part."""
    manifest = fields(blob(found, 12))
    return [
        {
            "path": text(entry, 1),
            "digest": text(entry, 2),
            "ref": text(entry, 3),
            "size": integer(entry, 4),
            "staged": text(entry, 6).replace("\\", "/").rpartition("/")[2],
        }
        for entry in (fields(raw) for raw in blobs(manifest, 4))
    ]


def number_of(value: object) -> float | None:
    """Give a value of the history that is a number; odd ones may be texts."""
    if isinstance(value, int | float):
        return value  # an int that no float holds is counted as lost where it is logged
    return _ODD.get(value) if isinstance(value, str) else None


def _value(item: Fields) -> object:
    if 16 in item or 8 in item:
        return read_json(blob(item, 16) or blob(item, 8))
    if 4 in item:
        return bool(integer(item, 4))
    if 5 in item:  # zigzag
        raw = next((value for value in item[5] if isinstance(value, int)), 0)
        return raw >> 1 ^ -(raw & 1)
    if 6 in item:
        return double(item, 6)
    return text(item, 7) if 7 in item else None


def _put(nested: dict[str, object], path: list[str], value: object) -> None:
    if len(path) > 100:
        raise Damaged("a value has a path of more than 100 names")
    at = nested
    for key in path[:-1]:
        inner = at.get(key)
        if not isinstance(inner, dict):
            inner = at[key] = {}
        at = inner
    at[path[-1]] = value
