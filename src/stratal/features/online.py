"""The online store: one packed row per entity in the database, read in microseconds as the dict that a model takes.

A row is a msgpack array in the order of the layout. Dates and times are kept as whole numbers, in the layout's unit.
"""

from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta

import msgspec
import polars as pl

from stratal.core.errors import Misuse, NotFound
from stratal.features.rows import Computation
from stratal.features.store import FeatureStore, FeatureVersion, Layout, Materialisation, PackedRow
from stratal.tracking.frames import dtype_from_text, dtype_text
from stratal.tracking.signatures import Column

Entity = str | int
Value = bool | int | float | str | date | datetime | time | timedelta | None
_EPOCH = datetime(1970, 1, 1)
_EPOCH_DAY = _EPOCH.toordinal()
_TIMES = (pl.Date, pl.Datetime, pl.Duration, pl.Time)
_decode = msgspec.msgpack.Decoder(list[object]).decode
_encode = msgspec.msgpack.Encoder().encode


def entity_text(entity: object, *, view: str) -> str:
    """Give the key of an entity. Whole numbers and texts only: what looks alike must be alike. Raises Misuse."""
    if isinstance(entity, bool) or not isinstance(entity, str | int):
        raise Misuse(f"{entity!r} cannot name an entity of {view!r}", hint="entities are texts or whole numbers")
    return str(entity)


def entity_keys(frame: pl.DataFrame, column: str, *, view: str) -> list[str]:
    """Give the keys of a frame's entities, in order. Raises Misuse for missing and repeated ones, and for other types."""
    entities = frame[column]
    if not (isinstance(entities.dtype, pl.String | pl.Categorical | pl.Enum) or entities.dtype.is_integer()):
        raise Misuse(f"the entity {column!r} of {view!r} is {dtype_text(entities.dtype)}", hint="entities are texts or whole numbers")
    if nulls := entities.null_count():
        raise Misuse(f"{nulls} rows have no {column!r}, the entity of {view!r}", hint="drop these rows, or give them an entity")
    if entities.n_unique() < entities.len():
        twice = entities.cast(pl.String).value_counts(sort=True, name="rows").row(0)
        raise Misuse(
            f"{column!r} = {twice[0]!r} is in {twice[1]} rows; {view!r} has one row per entity", hint="aggregate or drop the others"
        )
    return entities.cast(pl.String).to_list()


def materialise(store: FeatureStore, version: FeatureVersion, computation: Computation, frame: pl.DataFrame, data: str) -> Materialisation:
    """Compute the features of a frame and replace all rows of the version by them, at once. Raises as `Computation.on_frame`."""
    features = computation.on_frame(frame)
    computation.probe(frame, features)
    definition = computation.definition
    keys = entity_keys(frame, definition.entity, view=definition.name)
    layout = Layout(
        inputs=tuple(Column(name=name, dtype=dtype_text(frame.schema[name])) for name in definition.columns),
        outputs=tuple(Column(name=name, dtype=dtype_text(dtype)) for name, dtype in features.schema.items()),
    )
    rows = [PackedRow(entity=key, body=_encode(values)) for key, values in zip(keys, _packable(features).iter_rows(), strict=True)]
    return store.replace_rows(name=version.name, version=version.version, data=data, layout=layout, rows=rows)


class OnlineReader:
    """Reads rows of one version of a view. Cheap to call; safe for threads; sees each new materialisation at once."""

    def __init__(self, store: FeatureStore, version: FeatureVersion, entity: str) -> None:
        self._store = store
        self._version = version
        self._entity = entity
        self._unpackers: dict[int, tuple[str, Callable[[bytes], dict[str, Value]]]] = {}

    def get(self, entity: Entity) -> dict[str, Value]:
        """Give the features of an entity. Raises NotFound if it has no row."""
        name, number = self._version.name, self._version.version
        row = self._store.served_row(name=name, version=number, entity=entity_text(entity, view=name))
        if row is None:
            raise self._missing(entity)
        known = self._unpackers.get(row.materialisation)
        if known is None:
            layout = self._newest().layout
            known = self._unpackers[row.materialisation] = (layout.inputs[0].dtype, _unpacker(layout))
        kind, unpack = known
        if isinstance(entity, str) == kind.startswith(("int", "uint")):
            raise Misuse(f"{self._entity!r} is {kind} in {self._version.ref}, and {entity!r} is not")
        return unpack(row.body)

    def get_many(self, entities: Iterable[Entity]) -> list[dict[str, Value]]:
        """Give the features of several entities, in their order. Raises NotFound naming the first that has no row."""
        return [self.get(entity) for entity in entities]

    def schema(self) -> dict[str, pl.DataType]:
        """Give the dtypes of the source's columns, as they were when the rows were written."""
        return {column.name: dtype_from_text(column.dtype) for column in self._newest().layout.inputs}

    def _newest(self) -> Materialisation:
        found = self._store.materialisation(name=self._version.name, version=self._version.version)
        if found is None:
            raise NotFound(f"{self._version.ref} is not materialised", hint="call .materialise(data) of the feature view first")
        return found

    def _missing(self, entity: Entity) -> NotFound:
        known = self._newest()
        return NotFound(
            f"{self._version.ref} has no row for {self._entity} = {entity!r}",
            hint=f"it was last materialised from {known.data}, with {known.rows} rows",
        )


def _unpacker(layout: Layout) -> Callable[[bytes], dict[str, Value]]:
    names = tuple(column.name for column in layout.outputs)
    dtypes = [(column.name, dtype_from_text(column.dtype)) for column in layout.outputs]
    times = [(name, _time_from(dtype)) for name, dtype in dtypes if isinstance(dtype, _TIMES)]

    def unpack(body: bytes) -> dict[str, Value]:
        values = dict(zip(names, _decode(body), strict=True))
        for name, read in times:
            if (whole := values[name]) is not None:
                values[name] = read(whole)  # type: ignore[arg-type]  # the layout says that it is a whole number
        return values  # type: ignore[return-value]  # the layout's types are these

    return unpack


def _time_from(dtype: pl.DataType) -> Callable[[int], Value]:
    """Give what polars gives for a whole number of a time's unit; by itself where that is slow, 30 µs against 1."""
    if isinstance(dtype, pl.Date):
        return lambda days: date.fromordinal(days + _EPOCH_DAY)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is None and dtype.time_unit == "us":
        return lambda us: _EPOCH + timedelta(microseconds=us)
    if isinstance(dtype, pl.Duration) and dtype.time_unit == "us":
        return lambda us: timedelta(microseconds=us)
    return lambda whole: pl.Series([whole], dtype=pl.Int64).cast(dtype).item()


def _packable(features: pl.DataFrame) -> pl.DataFrame:
    times = [name for name, dtype in features.schema.items() if isinstance(dtype, _TIMES)]
    return features.with_columns(pl.col(name).to_physical().cast(pl.Int64) for name in times)
