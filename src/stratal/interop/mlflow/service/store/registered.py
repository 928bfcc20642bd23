"""Rows of registered models: what clients call them and say of them, beside the registry's own rows."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import and_, bindparam, case, delete, exists, or_, select

from stratal.core.records import to_json
from stratal.interop.tables import mlflow_model as shown
from stratal.interop.tables import mlflow_tag as tag
from stratal.interop.tables import mlflow_version as said
from stratal.registry import Stage
from stratal.registry.tables import alias, audit, model, standing, version
from stratal.store.database import Row, Transaction, insert
from stratal.tracking.store.dialects import among, among_listed

# A name that a client gave comes before the registry's own, which may since have been taken by another model.
NAMED = case((shown.c.model.is_(None), model.c.name), else_=shown.c.name)
# Each change of a model is an entry of the log: its last one says when the model has changed.
CHANGED = select(audit.c.at_ns).where(audit.c.model == model.c.name).order_by(audit.c.seq.desc()).limit(1).scalar_subquery()
_HEAD = (
    select(model.c.name, NAMED, model.c.owner, model.c.at_ns, shown.c.description, shown.c.updated_ns, CHANGED)
    .join_from(model, shown, shown.c.model == model.c.name, isouter=True)
    .where(or_(shown.c.model.is_(None), shown.c.name.is_not(None)))
)
_FIND_HEAD = _HEAD.where(
    or_(shown.c.name == bindparam("wanted"), and_(shown.c.model.is_(None), model.c.name == bindparam("wanted")))
).order_by(shown.c.model.is_(None))
_HEADS_OF = _HEAD.where(among_listed(model.c.name, bindparam("models")))
SELECT_VERSIONS = (
    select(
        version.c.model, version.c.number, version.c.run, version.c.path, version.c.author, version.c.at_ns, version.c.digest,
        standing.c.stage, standing.c.since_ns, said.c.description, said.c.source, said.c.run, said.c.run_link, said.c.logged_model,
        said.c.updated_ns, said.c.stated_author, said.c.stated_ns,
    )
    .join_from(version, standing, and_(standing.c.model == version.c.model, standing.c.number == version.c.number))
    .join(said, and_(said.c.model == version.c.model, said.c.number == version.c.number), isouter=True)
    .where(or_(said.c.is_deleted.is_(None), said.c.is_deleted == 0))
)  # fmt: skip
_ONE_VERSION = SELECT_VERSIONS.where(version.c.model == bindparam("of_model"), version.c.number == bindparam("of_number"))
_VERSIONS_OF = SELECT_VERSIONS.where(version.c.model == bindparam("of_model")).order_by(version.c.number.desc())
# Slots of a stage rise with the numbers, and there is an index of them: nothing is sorted, however many versions there are.
_its = standing.alias("its_standing")
_gone = exists().where(said.c.model == _its.c.model, said.c.number == _its.c.number, said.c.is_deleted == 1)
_slot = (
    select(_its.c.slot)
    .where(_its.c.model == model.c.name, _its.c.stage == bindparam("of_stage"), ~_gone)
    .order_by(_its.c.slot.desc())
    .limit(1)
)
_last = select(model.c.name, _slot.scalar_subquery().label("slot")).where(among_listed(model.c.name, bindparam("models"))).subquery()
_NEWEST = SELECT_VERSIONS.join(_last, and_(standing.c.model == _last.c.name, standing.c.slot == _last.c.slot)).where(
    standing.c.stage == bindparam("of_stage")
)
_TAGS = (
    select(tag.c.model, tag.c.number, tag.c.key, tag.c.value)
    .where(among_listed(tag.c.model, bindparam("models")), among(tag.c.number, bindparam("numbers")))
    .order_by(tag.c.key)
)
_ALIASES = (
    select(alias.c.model, alias.c.number, alias.c.alias).where(among_listed(alias.c.model, bindparam("models"))).order_by(alias.c.alias)
)
_SHOW = insert(shown).on_conflict_do_update(
    index_elements=[shown.c.model], set_={key: insert(shown).excluded[key] for key in ("name", "description", "updated_ns")}
)
_SAY = insert(said).on_conflict_do_update(
    index_elements=[said.c.model, said.c.number],
    set_={key: insert(said).excluded[key] for key in ("description", "is_deleted", "updated_ns")},
)
_STATE = insert(said).on_conflict_do_update(
    index_elements=[said.c.model, said.c.number],
    set_={key: insert(said).excluded[key] for key in ("stated_author", "stated_ns")},
)
_SET_TAG = insert(tag).on_conflict_do_update(
    index_elements=[tag.c.model, tag.c.number, tag.c.key], set_={"value": insert(tag).excluded.value}
)
_DROP_TAG = delete(tag).where(
    tag.c.model == bindparam("of_model"), tag.c.number == bindparam("of_number"), tag.c.key == bindparam("of_key")
)

# The tag of a version by which clients see that somebody stated who made it, and when.
STATED_BY = "imported.by"


class Head(NamedTuple):
    """A model: its name in the registry, what clients call it, and what is said of it. description None: nothing ever was."""

    model: str
    name: str
    owner: str
    at_ns: int
    description: str | None
    updated_ns: int


class VersionRow(NamedTuple):
    """A version with where it stands and what is said of it. source, run: '' for what was registered by us.

    author, at_ns: who registered it here, and when; stated_author, stated_ns: who made it where it was imported from, '' and None
    for what was made here."""

    model: str
    number: int
    home: str
    path: str
    author: str
    at_ns: int
    digest: str
    stage: Stage
    description: str
    source: str
    run: str
    run_link: str
    logged_model: str
    updated_ns: int
    stated_author: str
    stated_ns: int | None

    @property
    def shown_author(self) -> str:
        """Who made it, to clients."""
        return self.author if self.stated_ns is None else self.stated_author

    @property
    def stated(self) -> dict[str, str]:
        """The tag that tells who stated who made it: nobody else can state it, and nobody can hide that they did."""
        return {} if self.stated_ns is None else {STATED_BY: self.author}

    @property
    def shown_ns(self) -> int:
        """When it was made, to clients."""
        return self.at_ns if self.stated_ns is None else self.stated_ns


class Words(NamedTuple):
    """Tags and aliases, by model and number (0: of the model itself)."""

    tags: Mapping[tuple[str, int], dict[str, str]]
    aliases: Mapping[tuple[str, int], list[str]]
    of_model: Mapping[str, dict[str, int]]


def find_head(tx: Transaction, name: str) -> Head | None:
    """Give the model that clients call so."""
    row = tx.row(_FIND_HEAD, wanted=name)
    return None if row is None else _head(row)


def head_of(tx: Transaction, model: str) -> Head | None:
    """Give a model by its name in the registry, unless clients have deleted it."""
    row = tx.row(_HEADS_OF, models=to_json([model]))
    return None if row is None else _head(row)


def heads_of(tx: Transaction, models: Sequence[str]) -> list[Head]:
    """Give models by their names in the registry, in that order."""
    found = {row[0]: _head(row) for row in tx.rows(_HEADS_OF, models=to_json(list(models)))}
    return [found[name] for name in models]


def show(tx: Transaction, head: Head, *, name: str | None, description: str | None = None) -> None:
    """Write what a model is called (None: it is deleted) and what is said of it. Key: the model."""
    text = head.description or "" if description is None else description
    tx.run(_SHOW, model=head.model, name=name, description=text, updated_ns=tx.now_ns)


def find_version(tx: Transaction, model: str, number: int) -> VersionRow | None:
    """Give a version that is not deleted."""
    row = tx.row(_ONE_VERSION, of_model=model, of_number=number) if abs(number) < 2**31 else None
    return None if row is None else to_version_row(row)


def versions_of(tx: Transaction, model: str) -> list[VersionRow]:
    """List a model's versions, the newest first."""
    return [to_version_row(row) for row in tx.rows(_VERSIONS_OF, of_model=model)]


def newest_by_stage(tx: Transaction, models: Collection[str]) -> dict[str, list[VersionRow]]:
    """Give of each of these models the newest version of each stage that has one."""
    found: dict[str, list[VersionRow]] = {name: [] for name in models}
    for stage in Stage if models else ():
        for row in tx.rows(_NEWEST, models=to_json(list(models)), of_stage=stage.value):
            found[row[0]].append(to_version_row(row))
    return found


def say_of_version(
    tx: Transaction, model: str, number: int, *, description: str = "", is_deleted: bool = False, source: str = "", run: str = "",
    run_link: str = "", logged_model: str = "",
) -> None:  # fmt: skip
    """Write what is said of a version. Key: (model, number); where it came from is written once."""
    tx.run(
        _SAY, model=model, number=number, description=description, source=source, run=run, run_link=run_link,
        logged_model=logged_model, is_deleted=int(is_deleted), updated_ns=tx.now_ns,
    )  # fmt: skip


def state_of_version(tx: Transaction, model: str, number: int, *, author: str, made_ns: int) -> None:
    """Write who made a version where it came from, and when. Key: (model, number)."""
    tx.run(
        _STATE, model=model, number=number, description="", source="", run="", run_link="", logged_model="", is_deleted=0,
        updated_ns=tx.now_ns, stated_author=author, stated_ns=made_ns,
    )  # fmt: skip


def words(tx: Transaction, models: Collection[str], numbers: Iterable[int]) -> Words:
    """Give the tags of versions (0: of models themselves), and all aliases, of some models."""
    named = to_json(list(models))
    found = tx.rows(_TAGS, models=named, numbers=to_json(sorted(set(numbers))))
    tags: dict[tuple[str, int], dict[str, str]] = {}
    for of, number, key, value in found:
        tags.setdefault((of, number), {})[key] = value
    aliases: dict[tuple[str, int], list[str]] = {}
    of_model: dict[str, dict[str, int]] = {}
    for of, number, word in tx.rows(_ALIASES, models=named):
        aliases.setdefault((of, number), []).append(word)
        of_model.setdefault(of, {})[word] = number
    return Words(tags, aliases, of_model)


def set_tag(tx: Transaction, model: str, number: int, key: str, value: str) -> None:
    """Key: (model, number, key)."""
    tx.run(_SET_TAG, model=model, number=number, key=key, value=value)


def drop_tag(tx: Transaction, model: str, number: int, key: str) -> None:
    tx.run(_DROP_TAG, of_model=model, of_number=number, of_key=key)


def _head(row: Row) -> Head:
    of, name, owner, at_ns, description, updated_ns, changed_ns = row
    return Head(of, name, owner, at_ns, description, max(at_ns, updated_ns or 0, changed_ns or 0))


def to_version_row(row: Row) -> VersionRow:
    of, number, home, path, author, at_ns, digest, stage, since_ns, *said, updated_ns, stated_author, stated_ns = row
    description, source, run, link, logged = (text or "" for text in said)
    return VersionRow(
        of, number, home, path, author, at_ns, digest, Stage(stage), description, source, run, link, logged,
        max(at_ns, since_ns, updated_ns or 0), stated_author or "", stated_ns,
    )  # fmt: skip
