"""Feature frames: the features of many rows beside entity and label, and their split into parts that evaluation knows."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from stratal.core.errors import Misuse
from stratal.features.online import entity_keys
from stratal.features.rows import Computation
from stratal.features.splitting import split_by
from stratal.tracking.active import active_run
from stratal.tracking.frames import frame_digest, frame_to_bytes

# The kind of statement that says which frames a split made.
STATEMENT = "split"


@dataclass(frozen=True)
class FeatureFrame:
    """A frame of features. Columns: the entity, the features, kept columns, the label.

    view: ref or name of the feature view; data: ref or digest of what they were computed from."""

    frame: pl.DataFrame
    view: str
    data: str
    entity: str
    features: tuple[str, ...]
    kept: tuple[str, ...]
    label: str | None

    def __len__(self) -> int:
        return self.frame.height

    @property
    def columns(self) -> list[str]:
        """Names of all columns."""
        return self.frame.columns

    def to_polars(self) -> pl.DataFrame:
        """Give the plain frame."""
        return self.frame

    def split(self, *, test: float = 0.25, by: str | None = None, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Give training and test rows as plain frames: each entity is in one part, by a keyed hash of it.

        by: the column that is hashed, by default the entity. test: the expected share; the real one varies as that of coins.
        Inside a run both parts are stored and stated, so that an evaluation can tell which rows were trained on."""
        by = by or self.entity
        train, held_out = split_by(self.frame, by=by, test=test, seed=seed)
        if train.is_empty() or held_out.is_empty():
            raise Misuse(
                f"splitting {self.frame.height} rows by {by!r} leaves {train.height} for training and {held_out.height} for the test",
                hint="take more rows, or another share",
            )
        self._state({"train": train, "test": held_out}, rule=f"hash({by}) < {test}", seed=seed)
        return train, held_out

    def _state(self, parts: dict[str, pl.DataFrame], *, rule: str, seed: int) -> None:
        run = active_run()
        if run is None:
            return
        digests = {name: frame_digest(frame) for name, frame in parts.items()}
        blobs = {
            name: run.save_bytes(f"split/{name}-{digests[name][:12]}.arrow", frame_to_bytes(frame)).digest for name, frame in parts.items()
        }
        body = {
            "parts": digests,
            "rows": {name: frame.height for name, frame in parts.items()},
            "blobs": blobs,  # of Arrow IPC bytes, which are the frame's content but not what its digest is made of
            "rule": rule,
            "seed": seed,
            "view": self.view,
            "data": self.data,
        }
        for digest in digests.values():
            run.edge("produced", f"sha256:{digest}", role="split", is_file=False)
            run.state(STATEMENT, body, subject=f"sha256:{digest}")


def feature_frame(
    computation: Computation, frame: pl.DataFrame, *, view: str, data: str, label: str | None, keep: Sequence[str]
) -> FeatureFrame:
    """Compute the features of all rows of a frame, and put them beside entity, kept columns and label.

    Raises Misuse for missing columns, repeated entities, and a label among the features."""
    definition = computation.definition
    _check_beside(computation, frame, label, keep)
    features = computation.on_frame(frame)
    computation.probe(frame, features)
    entity_keys(frame, definition.entity, view=definition.name)
    kept = tuple(name for name in dict.fromkeys(keep) if name not in (definition.entity, label) and name not in definition.names)
    beside = [*kept, *([label] if label else [])]
    made = pl.DataFrame([frame[definition.entity], *features, *(frame[name] for name in beside)])
    return FeatureFrame(frame=made, view=view, data=data, entity=definition.entity, features=definition.names, kept=kept, label=label)


def _check_beside(computation: Computation, frame: pl.DataFrame, label: str | None, keep: Sequence[str]) -> None:
    definition = computation.definition
    if isinstance(keep, str):
        raise Misuse(f"keep={keep!r} is one text", hint=f'give a list: keep=["{keep}"]')
    if missing := [name for name in (*keep, *([label] if label else [])) if name not in frame.columns]:
        raise Misuse(f"the data has no column {', '.join(missing)}", hint=f"it has: {', '.join(frame.columns[:20])}")
    if label is not None and (label in definition.names or label in definition.columns):
        raise Misuse(f"the label {label!r} is read by the features of {definition.name!r}", hint="a model would only learn to copy it")
    for feature in definition.features:
        if feature.name in keep and feature.text != f'col("{feature.name}")':
            raise Misuse(f"{feature.name!r} is a feature and also a column to keep, and they differ", hint="name the feature otherwise")
