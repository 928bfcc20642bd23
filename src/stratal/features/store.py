"""All SQL of the room: versions of feature views, and the rows that are served."""

from sqlalchemy import bindparam, delete, func, select

from stratal.core.errors import Misuse, NotFound
from stratal.core.people import Role
from stratal.core.records import Record, from_json, to_json
from stratal.features.definition import decode_definition
from stratal.features.tables import feature_materialisation, feature_row, feature_view
from stratal.store.database import Row, Transaction, insert
from stratal.store.operations import operation
from stratal.store.store import Store
from stratal.tracking.signatures import Column

_VERSION = (
    feature_view.c.name,
    feature_view.c.version,
    feature_view.c.digest,
    feature_view.c.definition,
    feature_view.c.author,
    feature_view.c.at_ns,
)
_BY_DIGEST = select(*_VERSION).where(feature_view.c.name == bindparam("of"), feature_view.c.digest == bindparam("by"))
_BY_NUMBER = select(*_VERSION).where(feature_view.c.name == bindparam("of"), feature_view.c.version == bindparam("by"))
_OF_NAME = select(*_VERSION).where(feature_view.c.name == bindparam("of")).order_by(feature_view.c.version)
_NEWEST = select(func.max(feature_view.c.version)).where(feature_view.c.name == bindparam("of"))
_NEWEST_OF_EACH = select(feature_view.c.name, func.max(feature_view.c.version).label("version")).group_by(feature_view.c.name).subquery()
_LATEST = (
    select(*_VERSION)
    .join(_NEWEST_OF_EACH, (feature_view.c.name == _NEWEST_OF_EACH.c.name) & (feature_view.c.version == _NEWEST_OF_EACH.c.version))
    .order_by(feature_view.c.name)
)
_ADD_VIEW = insert(feature_view)
_VIEW_ID = select(feature_view.c.id).where(feature_view.c.name == bindparam("of"), feature_view.c.version == bindparam("by"))

_m = feature_materialisation.c
_ADD_MATERIALISATION = insert(feature_materialisation).returning(_m.id)
_NEWEST_MATERIALISATION = (
    select(_m.id, _m.data, _m.rows, _m.layout, _m.author, _m.at_ns)
    .join(feature_view, feature_view.c.id == _m.view)
    .where(feature_view.c.name == bindparam("of"), feature_view.c.version == bindparam("by"))
    .order_by(_m.id.desc())
    .limit(1)
)
_DROP_ROWS = delete(feature_row).where(feature_row.c.view == bindparam("view_id"))
_ADD_ROW = insert(feature_row)
_ROW_COLUMNS = ("view", "entity", "materialisation", "body")
_ROW = (
    select(feature_row.c.materialisation, feature_row.c.body)
    .join(feature_view, feature_view.c.id == feature_row.c.view)
    .where(feature_view.c.name == bindparam("of"), feature_view.c.version == bindparam("by"), feature_row.c.entity == bindparam("key"))
)


class FeatureVersion(Record, frozen=True, kw_only=True):
    """One version of a feature view. digest: of its definition."""

    name: str
    version: int
    digest: str
    definition: str
    author: str
    at_ns: int

    @property
    def ref(self) -> str:
        """Its ref, like 'features:customer@2'."""
        return f"features:{self.name}@{self.version}"


class Layout(Record, frozen=True, kw_only=True):
    """What packed rows hold: dtypes of the source's columns, the entity first, and of the features in order."""

    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]


class PackedRow(Record, frozen=True, kw_only=True):
    """The features of one entity. body: a msgpack array in the order of the layout's outputs."""

    entity: str
    body: bytes


class ServedRow(Record, frozen=True, kw_only=True):
    """A packed row, and the number of the materialisation that wrote it, whose layout reads it."""

    materialisation: int
    body: bytes


class Materialisation(Record, frozen=True, kw_only=True):
    """When a version was last written for serving, and from what data (a ref, or sha256:DIGEST of the frame)."""

    number: int
    data: str
    rows: int
    layout: Layout
    author: str
    at_ns: int


class FeatureStore:
    """The room's operations on one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.CONTRIBUTOR, on="name")
    def register(self, *, name: str, definition: str) -> FeatureVersion:
        """Give the version of a definition; a new one if it is new. Idempotent by the definition's digest.

        Raises NotSeparable or Damaged if the definition is none, Misuse if it is another view's."""
        decoded = decode_definition(definition)
        if decoded.name != name:
            raise Misuse(f"this definition speaks of {decoded.name!r}, not of {name!r}", hint="register it under its own name")
        digest = decoded.digest
        with self._store.command() as tx:
            if found := tx.row(_BY_DIGEST, of=name, by=digest):
                return _version(found)
            number = (tx.value(_NEWEST, of=name) or 0) + 1
            tx.run(_ADD_VIEW, name=name, version=number, digest=digest, definition=definition, author=tx.actor.name, at_ns=tx.now_ns)
            tx.emit("features registered", f"features:{name}@{number}", to_json({"digest": digest}))
            return FeatureVersion(name=name, version=number, digest=digest, definition=definition, author=tx.actor.name, at_ns=tx.now_ns)

    @operation(needs=Role.VIEWER)
    def views(self) -> list[FeatureVersion]:
        """List the latest version of each view, by name."""
        with self._store.query() as tx:
            return [_version(row) for row in tx.rows(_LATEST)]

    @operation(needs=Role.VIEWER)
    def versions(self, *, name: str) -> list[FeatureVersion]:
        """List the versions of a view, oldest first. Raises NotFound if there is none."""
        with self._store.query() as tx:
            return _versions(tx, name)

    @operation(needs=Role.VIEWER)
    def find(self, *, name: str, version: int | None = None, digest: str | None = None) -> FeatureVersion:
        """Give a version by its number or its definition's digest; without both, the latest. Raises NotFound."""
        with self._store.query() as tx:
            if version is None and digest is None:
                return _versions(tx, name)[-1]
            found = tx.row(_BY_NUMBER, of=name, by=version) if digest is None else tx.row(_BY_DIGEST, of=name, by=digest)
            if found is None:
                known = ", ".join(str(other.version) for other in _versions(tx, name))
                raise NotFound(f"features:{name} has no version {digest or version}", hint=f"it has: {known}")
            return _version(found)

    @operation(needs=Role.CONTRIBUTOR, on="name")
    def replace_rows(self, *, name: str, version: int, data: str, layout: Layout, rows: list[PackedRow]) -> Materialisation:
        """Replace all rows of a version, in one transaction: readers see the old rows or the new ones. Raises NotFound."""
        with self._store.command() as tx:
            view = _view_id(tx, name, version)
            number = tx.value(
                _ADD_MATERIALISATION, view=view, data=data, rows=len(rows), layout=to_json(layout), author=tx.actor.name, at_ns=tx.now_ns
            )
            tx.run(_DROP_ROWS, view_id=view)
            tx.many_tuples(_ADD_ROW, _ROW_COLUMNS, [(view, row.entity, number, row.body) for row in rows])
            tx.emit("features materialised", f"features:{name}@{version}", to_json({"rows": len(rows), "data": data}))
            return Materialisation(number=number, data=data, rows=len(rows), layout=layout, author=tx.actor.name, at_ns=tx.now_ns)

    @operation(needs=Role.VIEWER)
    def materialisation(self, *, name: str, version: int) -> Materialisation | None:
        """Give the newest materialisation of a version, None if there is none."""
        with self._store.query() as tx:
            found = tx.row(_NEWEST_MATERIALISATION, of=name, by=version)
        if found is None:
            return None
        number, data, rows, layout, author, at_ns = found
        return Materialisation(number=number, data=data, rows=rows, layout=from_json(layout, Layout), author=author, at_ns=at_ns)

    @operation(needs=Role.VIEWER)
    def served_row(self, *, name: str, version: int, entity: str) -> ServedRow | None:
        """Give the packed row of an entity, None if it has none. Microseconds: what serving calls."""
        # Not `query`, which settles the journals first: these rows come from commands only.
        with self._store.glance() as tx:
            found = tx.row(_ROW, of=name, by=version, key=entity)
        return None if found is None else ServedRow(materialisation=found[0], body=found[1])


def _versions(tx: Transaction, name: str) -> list[FeatureVersion]:
    if found := tx.rows(_OF_NAME, of=name):
        return [_version(row) for row in found]
    known = [row[0] for row in tx.rows(_LATEST)]
    raise NotFound(
        f"there is no feature view {name!r} in this store", hint=f"there are: {', '.join(known)}" if known else "there are none yet"
    )


def _view_id(tx: Transaction, name: str, version: int) -> int:
    found = tx.value(_VIEW_ID, of=name, by=version)
    if found is None:
        raise NotFound(f"features:{name} has no version {version}", hint="register the view first")
    return int(found)


def _version(row: Row) -> FeatureVersion:
    name, version, digest, definition, author, at_ns = row
    return FeatureVersion(name=name, version=version, digest=digest, definition=definition, author=author, at_ns=at_ns)
