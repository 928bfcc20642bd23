"""The facts that are said about runs: their names and bodies, as they stand in journals for years.

start     a Start                                   end     {status, error, lost_calls}
params    {name: bool | int | float | str | None}   tags    {name: text, or None to take it away}
note      {text, author}                            artifact  {path, digest, size_bytes}
edge      {verb, target, role}                      state   {kind, subject, body, author}
capture   what was captured after the start, by subject
alert     {title, text, level, author}
define    {name, x, summary, goal}: how a metric, or all that match a pattern, are drawn and summed up
media     {step, entries: [{name, kind, mime, caption, files: [{path, digest, size_bytes, mime}], text, details}]}
"""

import math
from collections.abc import Iterator, Mapping
from typing import Literal, TypeVar

import msgspec

from stratal.core.errors import Misuse
from stratal.core.records import Record, number_from_json, number_to_json, to_json
from stratal.tracking.documents import unfolded

START, PARAMS, TAGS, NOTE, ARTIFACT, EDGE, STATE, CAPTURE, MEDIA, DEFINE, ALERT, END = (
    "start", "params", "tags", "note", "artifact", "edge", "state", "capture", "media", "define", "alert", "end",
)  # fmt: skip

V = TypeVar("V")

# Names of metrics that we measure unasked begin with it: they say how a run was carried out, not what came out.
SYSTEM = "system/"

Scalar = None | bool | int | float | str
Status = Literal["finished", "failed", "stopped"]
KINDS = ("train", "trial", "study", "pipeline", "step", "evaluation", "job")
# Names, and characters of them and their values, that one fact says; who has more says several facts. A run of some hundred has one.
MOST_NAMES, MOST_PIECE_CHARACTERS = 20_000, 500_000
STATUSES = ("running", "finished", "failed", "stopped", "lost")
# Bytes of all texts by which one thing is looked up: an index of PostgreSQL takes no row of more than 2,704.
MOST_KEY_BYTES = 2500


class Start(Record, frozen=True, kw_only=True):
    """How a run begins. parent: id of the run that it is part of. job_type: its part in its group, in the owner's words."""

    experiment: str
    name: str = ""
    kind: str = "train"
    group: str = ""
    job_type: str = ""
    parent: str | None = None
    params: dict[str, Scalar] = {}
    tags: dict[str, str] = {}
    user: str = ""
    capture: dict[str, object] = {}


class End(Record, frozen=True, kw_only=True):
    """How a run ended. error: the exception's last line, for failed ones; lost_calls: how many calls could not be written."""

    status: str
    error: str = ""
    lost_calls: int = 0


class Note(Record, frozen=True, kw_only=True):
    """A note by somebody."""

    text: str
    author: str


class ArtifactFact(Record, frozen=True, kw_only=True):
    """A file of a run, by digest."""

    path: str
    digest: str
    size_bytes: int


class EdgeFact(Record, frozen=True, kw_only=True):
    """A lineage edge: the run used or produced `target`, a ref or sha256:DIGEST, in a role such as data, train, model.

    is_file: of sha256:DIGEST, that a file of that digest is kept, and needed as long as the run; a frame's digest is that of no file."""

    verb: str
    target: str
    role: str
    is_file: bool = True


class StateFact(Record, frozen=True, kw_only=True):
    """An immutable statement that gates and reports read. subject: what it speaks of, a ref or sha256:DIGEST."""

    kind: str
    subject: str
    body: dict[str, object]
    author: str


class BlobFact(Record, frozen=True, kw_only=True):
    """Names a blob."""

    digest: str


class CaptureFact(Record, frozen=True, kw_only=True):
    """What was captured after the start: a blob, and the digests of the files that it names (said once per process); or seeds.

    begun_by: what was captured of the process that handed the work out. generators: the states of random generators at the start."""

    thorough: BlobFact | None = None
    holds: list[str] = []
    seeds: dict[str, object] | None = None
    begun_by: BlobFact | None = None
    generators: BlobFact | None = None


class MediaFile(Record, frozen=True, kw_only=True):
    """One file of a media item; `path` is its place among the run's artifacts."""

    path: str
    digest: str
    size_bytes: int
    mime: str


class MediaEntry(Record, frozen=True, kw_only=True):
    """One media item, whole enough to be drawn from.

    kind: image, figure, histogram, table, text, json, html, audio, video. mime: of the thing itself. files: the thing first, then
    other forms of it. text: the thing itself where it is small, instead of files. details: by kind: width, height, rows, rate_hz...
    """

    name: str
    kind: str
    mime: str
    caption: str = ""
    files: list[MediaFile] = []
    text: str | None = None
    details: dict[str, object] = {}


class MediaFact(Record, frozen=True, kw_only=True):
    """All that one call logged beside its numbers. step: None for the next one of each name."""

    step: int | None
    entries: list[MediaEntry]


class MetricDefinition(Record, frozen=True, kw_only=True):
    """How a metric, or all whose names match a pattern with `*`, are drawn and summed up.

    x: a metric, "step" or "time"; None for steps. summary: last, first, min, max, mean, best. goal: minimize, maximize or None."""

    name: str
    x: str | None = None
    summary: str = "last"
    goal: str | None = None


class Alert(Record, frozen=True, kw_only=True):
    """What people should look at. level: info, warning, error."""

    title: str
    text: str
    level: str
    author: str


# What settling reads each body as.
BODIES: dict[str, object] = {
    START: Start, PARAMS: dict[str, Scalar], TAGS: dict[str, str | None], NOTE: Note, ARTIFACT: ArtifactFact, EDGE: EdgeFact,
    STATE: StateFact, CAPTURE: CaptureFact, MEDIA: MediaFact,
    DEFINE: MetricDefinition, ALERT: Alert, END: End,
}  # fmt: skip
_decoders: dict[str, msgspec.msgpack.Decoder[object]] = {what: msgspec.msgpack.Decoder(body) for what, body in BODIES.items()}


def in_pieces(values: Mapping[str, V]) -> Iterator[dict[str, V]]:
    """Give params or tags in pieces of which each is settled in one transaction that others can wait for."""
    piece: dict[str, V] = {}
    size = 0
    for name, value in values.items():
        size += len(name) + (len(value) if isinstance(value, str) else 8)
        if piece and (len(piece) >= MOST_NAMES or size > MOST_PIECE_CHARACTERS):
            yield piece
            piece, size = {}, len(name)
        piece[name] = value
    if piece:
        yield piece


def shortened(start: Start) -> tuple[Start, list[tuple[str, Mapping[str, object]]]]:
    """Give a start with the first pieces of its params and tags, and the facts that say the others."""
    params, tags = list(in_pieces(start.params)), list(in_pieces(start.tags))
    if len(params) < 2 and len(tags) < 2:
        return start, []
    rest: list[tuple[str, Mapping[str, object]]] = [*((PARAMS, piece) for piece in params[1:]), *((TAGS, piece) for piece in tags[1:])]
    return msgspec.structs.replace(start, params=params[0] if params else {}, tags=tags[0] if tags else {}), rest


def check_body(what: str, value: object) -> None:
    """Refuse a body that could not be read back from a journal, or not be held by a document. Raises Misuse."""
    try:
        read = _decoders[what].decode(msgspec.msgpack.encode(value))
        msgspec.json.encode(read)
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise Misuse(
            f"a {what} fact cannot hold this: {error}", hint="use texts for names, and texts, numbers, lists and dicts in it"
        ) from error


def flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Join the names of nested mappings by '/'. Raises Misuse for what is no mapping of texts."""
    if not isinstance(values, Mapping):
        raise Misuse(f"{values!r:.60} is not a mapping of names to values", hint='write {"name": value}')
    flat: dict[str, object] = {}
    for name, value in values.items():
        if not isinstance(name, str):
            raise Misuse(f"{name!r} is not a text", hint="names of params and metrics are texts")
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}/"))
        else:
            flat[prefix + name] = value
    return flat


def to_params(values: object) -> dict[str, Scalar]:
    """Turn what a user passes as params into scalars: nested names joined, objects that hold settings taken apart, NumPy scalars
    unwrapped, lists as JSON text. Raises Misuse for what holds no settings."""
    plain = unfolded(values)
    if not isinstance(plain, Mapping):
        raise Misuse(f"{values!r:.60} holds no settings", hint='write {"name": value}, or give a dataclass, a pydantic model or their like')
    params = {}
    for name, value in flatten(plain).items():
        check_name("param", name)
        params[name] = _scalar(value)
    return params


def params_to_json(params: Mapping[str, Scalar]) -> dict[str, object]:
    """Give params as a document holds them: NaN and infinities as {"number": "NaN"}, so that the text "NaN" stays a text."""
    return {
        name: {"number": number_to_json(value)} if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in params.items()
    }


def params_from_json(params: Mapping[str, object]) -> dict[str, object]:
    """Undo `params_to_json`."""
    return {name: number_from_json(value["number"]) if isinstance(value, dict) else value for name, value in params.items()}


def to_tags(values: Mapping[str, object]) -> dict[str, str | None]:
    """Turn what a user passes as tags into texts; None stays, and takes a tag away."""
    tags: dict[str, str | None] = {}
    for name, value in flatten(values).items():
        check_name("tag", name)
        tags[name] = None if value is None else str(value)
    return tags


def check_name(what: str, name: str) -> None:
    """Refuse names that nobody could type or print. Raises Misuse."""
    check_text(what, name)
    if not name or len(name) > 500 or not name.isprintable():
        raise Misuse(f"{name[:60]!r} cannot name the {what}", hint="a name has 1 to 500 printable characters")


def check_text(what: str, value: object) -> None:
    """Refuse what is no text: a fact with another type in it could not be read back. Raises Misuse."""
    if not isinstance(value, str):
        raise Misuse(f"the {what} is a text, not {value!r:.60} of type {type(value).__name__}", hint="write it in quotes, or as str(...)")


def is_long_key(*texts: str) -> bool:
    """Tell whether these texts are more than what something may be looked up by."""
    return sum(len(text.encode(errors="replace")) for text in texts) > MOST_KEY_BYTES


def check_key(what: str, *texts: str) -> None:
    """Refuse texts that are too long to look something up by. Raises Misuse."""
    if is_long_key(*texts):
        longest = max(texts, key=len)
        raise Misuse(
            f"{longest[:60]!r}... is too long for {what}", hint=f"use at most {MOST_KEY_BYTES:,} bytes, and keep long texts in a file"
        )


def check_artifact_path(path: str) -> str:
    """Give the path if it stays inside its run. Raises Misuse for absolute ones, '..', backslashes, odd characters."""
    parts = path.split("/")
    wrong = not path.isprintable() or "\\" in path or any(part in ("", ".", "..") for part in parts)
    if wrong or len(path) > 1000:
        raise Misuse(f"{path[:100]!r} is not a path for an artifact", hint="use a relative path such as 'plots/roc.svg'")
    check_key("the path of an artifact", path)
    return path


def _scalar(value: object) -> Scalar:
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", None) == 0:  # a scalar of NumPy or torch
        value = item()
    if isinstance(value, float) and not math.isfinite(value):
        return value
    if value is None or isinstance(value, bool | int | float | str):
        return value if not isinstance(value, int) or -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, list | tuple | set | frozenset):
        try:
            return to_json(value)
        except (TypeError, msgspec.MsgspecError):
            return str(value)
    return str(value)
