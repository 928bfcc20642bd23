"""Files in other tools' formats, written byte by byte, and all that a store holds of the runs that were made of them."""

import json
import struct
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zlib import crc32

import polars as pl

from stratal.interop.tensorboard.checksum import masked_crc
from stratal.tracking.finding import find_runs


def varint(value):
    out = b""
    value &= (1 << 64) - 1
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    """One protobuf field: an int as a varint, a float as a double, bytes and texts by length."""
    if isinstance(value, bool | int):
        return varint(number << 3) + varint(int(value))
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def event(time_s, step=0, *values):
    """An event with summary values, which are messages."""
    return field(1, float(time_s)) + field(2, step) + field(5, b"".join(field(1, value) for value in values))


def scalar(tag, value):
    return field(1, tag) + varint(2 << 3 | 5) + struct.pack("<f", value)


def frame(data):
    head = struct.pack("<Q", len(data))
    return head + struct.pack("<I", masked_crc(head)) + data + struct.pack("<I", masked_crc(data))


def event_file(path, *events, started_s=1_700_000_000.0):
    """Write an event file with a file version before the events."""
    first = field(1, started_s) + field(3, "brain.Event:2")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(frame(data) for data in (first, *events)))
    return path


def wandb_item(path, value):
    """An item of a history, config or summary: a key, or a path of keys, and its value in JSON."""
    keys = field(1, path) if isinstance(path, str) else b"".join(field(2, key) for key in path)
    return keys + field(16, json.dumps(value))


def wandb_run(id="abc", *, started_s=1_700_000_000, config=None, more=b""):
    stamp = field(1, started_s) + field(2, 5)
    items = b"".join(field(1, wandb_item(key, value)) for key, value in (config or {}).items())
    return field(17, field(1, id) + field(2, "team") + field(3, "p") + field(4, items) + field(8, "name of it") + field(17, stamp) + more)


def wandb_row(step, values, *, at_s=None):
    row = {**values, "_step": step, "_timestamp": at_s or 1_700_000_000 + step}
    return field(2, b"".join(field(1, wandb_item(key, value)) for key, value in row.items()))


def wandb_file(path, *records):
    """Write a `.wandb` file: records in blocks of 32 KiB, cut where they cross an edge."""
    out = bytearray(b":W&B" + struct.pack("<HB", 0xBEE1, 0))
    for record in records:
        rest, first = record, True
        while first or rest:
            left = 32768 - len(out) % 32768
            if left < 7:
                out += bytes(left)
                left = 32768
            piece, rest = rest[: left - 7], rest[left - 7 :]
            kind = (1 if not rest else 2) if first else (4 if not rest else 3)
            out += struct.pack("<IHB", crc32(bytes([kind]) + piece), len(piece), kind) + piece
            first = False
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(out)
    return path


NEPTUNE = {
    **dict.fromkeys(("project_id", "run_id", "attribute_path", "attribute_type"), pl.String), "step": pl.Decimal(18, 6),
    "timestamp": pl.Datetime("ms", "UTC"), "int_value": pl.Int64, "float_value": pl.Float64, "string_value": pl.String,
    "bool_value": pl.Boolean, "datetime_value": pl.Datetime("ms", "UTC"), "string_set_value": pl.List(pl.String),
    "file_value": pl.Struct({"path": pl.String}),
    "histogram_value": pl.Struct({"type": pl.String, "edges": pl.List(pl.Float64), "values": pl.List(pl.Float64)}),
}  # fmt: skip


def neptune_part(folder, number, rows, *, run="RUN-1", project="team/p"):
    """Write a part as neptune-exporter does. rows: (path, type, value) or (path, type, value, step, seconds)."""
    table = []
    for path, kind, value, *point in rows:
        column = {"float_series": "float", "string_series": "string", "histogram_series": "histogram"}.get(kind, kind)
        row = {"project_id": project, "run_id": run, "attribute_path": path, "attribute_type": kind}
        if kind in ("file", "file_series", "file_set", "artifact"):
            row["file_value"] = {"path": value}
        elif f"{column}_value" in NEPTUNE:
            row[f"{column}_value"] = value
        if point:
            row["step"] = Decimal(str(point[0]))
            row["timestamp"] = datetime.fromtimestamp(point[1], UTC)
        table.append(row)
    place = Path(folder) / f"{project.replace('/', '_')}-{0:016x}"
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{run}-{0:016x}_part_{number}.parquet"
    pl.DataFrame(table, schema=NEPTUNE).write_parquet(path, compression="snappy")
    return path


def held(store):
    """Everything that a store says about its runs, to compare two stores with."""
    found = {}
    for run in find_runs(store=store):
        found[run.id] = {
            "run": (run.experiment, run.name, run.kind, run.group, run.parent, run.status, run.started, run.ended, run.user),
            "params": dict(sorted(run.params.items(), key=str)),
            "tags": run.tags,
            "notes": [(note.author, note.at_ns, note.text) for note in run.notes],
            "artifacts": [(a.path, a.digest, a.size_bytes, a.at_ns) for a in run.artifacts],
            "edges": [(e.verb, e.target, e.role) for e in run.edges],
            "statements": [(s.kind, s.subject, s.at_ns, s.body) for s in run.statements()],
            "definitions": run.definitions,
            "media": [(m.name, m.step, m.kind, m.time, m.digest) for m in run.media()],
            "last": repr(sorted(run.metrics.items())),
            "points": {s.name: s.points for s in run.summaries},
            "series": {s.name: [column.tobytes() for column in run.series(s.name)] for s in run.summaries},
        }
    return found
