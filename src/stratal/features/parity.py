"""Parity: proof that serving gives what training saw. Each sampled entity is computed three ways, and all values compared."""

from collections.abc import Mapping

import polars as pl

from stratal.core.errors import NotFound
from stratal.core.places import place_of
from stratal.core.records import Record
from stratal.features.online import Entity, OnlineReader
from stratal.features.rows import Computation, plain, same_value
from stratal.tracking.values import Scalar


class Mismatch(Record, frozen=True, kw_only=True):
    """One value that differs. way: 'row' (computed from one row alone) or 'online' (read from the online store)."""

    entity: str
    feature: str
    way: str
    in_frame: Scalar
    there: Scalar


class Parity(Record, frozen=True, kw_only=True):
    """What was compared. equal: entities of which every value of both ways was the frame's. missing: those without a row online."""

    view: str
    sampled: int
    equal: int
    missing: tuple[str, ...]
    mismatches: tuple[Mismatch, ...]

    @property
    def ok(self) -> bool:
        """True if all sampled entities are equal; a sample of none proves nothing."""
        return self.sampled > 0 and self.equal == self.sampled

    def __str__(self) -> str:
        text = f"{self.view}: online = offline for {self.equal} of {self.sampled}"
        if self.missing:
            text += f"; {len(self.missing)} have no row online ({', '.join(self.missing[:3])})"
        if self.mismatches:
            first = self.mismatches[0]
            text += f"; {first.feature} of {first.entity} is {first.in_frame!r} in the frame and {first.there!r} by {first.way}"
        return text


def compare(view: str, computation: Computation, reader: OnlineReader, frame: pl.DataFrame, *, sample: int, seed: int) -> Parity:
    """Compare up to `sample` entities of a frame, chosen by a keyed hash. Raises NotFound if nothing was materialised."""
    schema = reader.schema()
    features = computation.on_frame(frame)
    entities = frame[computation.definition.entity]
    chosen = sorted(range(frame.height), key=lambda i: place_of(entities[i], seed))[:sample]
    missing, mismatches = [], []
    for i in chosen:
        expected = features.row(i, named=True)
        mismatches += _differences(entities[i], "row", expected, computation.on_row(frame.row(i, named=True), schema))
        try:
            mismatches += _differences(entities[i], "online", expected, _read(reader, entities[i]))
        except NotFound:
            missing.append(str(entities[i]))
    unequal = set(missing) | {mismatch.entity for mismatch in mismatches}
    return Parity(
        view=view,
        sampled=len(chosen),
        equal=len(chosen) - len(unequal),
        missing=tuple(missing),
        mismatches=tuple(mismatches),
    )


def _read(reader: OnlineReader, entity: Entity) -> Mapping[str, object]:
    return reader.get(entity)


def _differences(entity: object, way: str, expected: Mapping[str, object], given: Mapping[str, object]) -> list[Mismatch]:
    return [
        Mismatch(entity=str(entity), feature=name, way=way, in_frame=plain(value), there=plain(given.get(name)))
        for name, value in expected.items()
        if not same_value(value, given.get(name))
    ]
