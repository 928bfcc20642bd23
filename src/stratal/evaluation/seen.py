"""Which of the judged rows were trained on: the rows of the training frame, found through lineage, are counted among them.

The training frame is known when the run that made the model (or one it is part of) used a frame or dataset whose content is
kept: a part of a split (whose content the split kept), or a dataset version. Rows are compared by the columns both have.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from stratal.core.errors import NotFound
from stratal.evaluation.inputs import HasFrame
from stratal.store.store import Store
from stratal.tracking.frames import frame_from_bytes
from stratal.tracking.operations.reading import RunReads
from stratal.tracking.reading import ReadRun, get_run
from stratal.tracking.refs import parse_ref, resolve

# The kind of statement by which a split tells the digests of its parts and the blobs that hold them.
SPLIT = "split"
TRAINING = "train"
# Runs inside runs that are walked up: a step in a pipeline in a study is three.
HIGHEST = 8
# What a column may be called by those who hold rows out.
HELD_OUT = ("test", "valid", "eval", "holdout", "held_out")


@dataclass(frozen=True)
class Seen:
    """How many of the rows training has seen; None if nobody can tell, and the reason."""

    rows: int | None
    reason: str | None = None


def rows_seen(frame: pl.DataFrame, run_id: str | None, store: Store) -> Seen:
    """Count the rows of a frame that the run's training frames hold."""
    if run_id is None:
        return Seen(None, "it is not known which run made this model")
    training = training_frames(run_id, store)
    if not training:
        return Seen(None, f"lineage of run:{run_id[-8:]} leads to no training rows that are kept")
    counts = [count_shared(frame, part) for part in training]
    if any(count is None for count in counts):
        return Seen(None, "the training rows and these have no column in common that can be compared")
    return Seen(max(count for count in counts if count is not None))


def count_shared(frame: pl.DataFrame, training: pl.DataFrame) -> int | None:
    """Count rows of a frame that occur in another, by all columns that both have; None if there is none. Null equals null."""
    common = [name for name in frame.columns if name in training.columns and _is_comparable(frame.schema[name], training.schema[name])]
    if not common:
        return None
    ours = frame.select(_alike(frame.schema[name], training.schema[name], name) for name in common)
    theirs = training.select(_alike(frame.schema[name], training.schema[name], name) for name in common).unique()
    return ours.join(theirs, on=common, how="semi", nulls_equal=True).height


def training_frames(run_id: str, store: Store) -> list[pl.DataFrame]:
    """Find the frames that a run trained on: its own, else those of the run it is part of."""
    run: str | None = run_id
    for _ in range(HIGHEST):
        if run is None:
            break
        try:
            read = get_run(run, store=store)
        except NotFound:
            break
        if found := list(_used_by(read, store)) or list(_split_by(read, store)):
            return found
        run = read.parent
    return []


def _used_by(read: ReadRun, store: Store) -> Iterator[pl.DataFrame]:
    """Give frames that the run used for training: by the role of the edge, by the part of a split, by a dataset's name."""
    for edge in read.edges:
        if edge.verb != "used" or edge.role.startswith(HELD_OUT):
            continue
        says_training = edge.role.startswith(TRAINING)
        if edge.target.startswith("sha256:"):
            yield from _part(edge.target, says_training, store)
        elif edge.target.startswith("dataset:") and (says_training or parse_ref(edge.target).name.endswith(f"/{TRAINING}")):
            value = resolve(edge.target, store).value
            if isinstance(value, HasFrame):
                yield value.frame()


def _part(target: str, says_training: bool, store: Store) -> Iterator[pl.DataFrame]:
    for statement in RunReads(store).stated(kind=SPLIT, subject=target)[-1:]:
        for name, digest in _texts(statement.body, "parts").items():
            if target == f"sha256:{digest}" and (says_training or name == TRAINING):
                yield from _content(statement.body, name, store)


def _split_by(read: ReadRun, store: Store) -> Iterator[pl.DataFrame]:
    """Give the training parts of splits that the run made itself: it made them to train on one."""
    for blob in sorted({_texts(stated.body, "blobs").get(TRAINING, "") for stated in read.statements(SPLIT)} - {""}):
        if store.blobs.has(blob):
            yield frame_from_bytes(store.blobs.read(blob))


def _content(body: Mapping[str, object], part: str, store: Store) -> Iterator[pl.DataFrame]:
    blob = _texts(body, "blobs").get(part)
    if blob is not None and store.blobs.has(blob):
        yield frame_from_bytes(store.blobs.read(blob))


def _texts(body: Mapping[str, object], key: str) -> dict[str, str]:
    found = body.get(key)
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, Mapping) else {}


def _is_comparable(one: pl.DataType, other: pl.DataType) -> bool:
    if one.is_nested() or other.is_nested() or pl.Object in (one, other):
        return False
    return one == other or (one.is_numeric() and other.is_numeric()) or (_is_text(one) and _is_text(other))


def _is_text(dtype: pl.DataType) -> bool:
    return dtype in (pl.String, pl.Categorical) or isinstance(dtype, pl.Enum)


def _alike(one: pl.DataType, other: pl.DataType, name: str) -> pl.Expr:
    """Bring a column of both frames to one dtype."""
    if _is_text(one):
        return pl.col(name).cast(pl.String)
    return pl.col(name) if one == other else pl.col(name).cast(pl.Float64)
