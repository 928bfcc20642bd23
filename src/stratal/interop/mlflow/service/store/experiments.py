"""Rows of experiments: their numbers, what clients say of them, and the runs that they take along."""

from collections.abc import Collection, Mapping, Sequence
from typing import cast

import msgspec
from sqlalchemy import and_, bindparam, delete, exists, func, select, update

from stratal.core.records import Record, to_json
from stratal.interop.tables import mlflow_experiment as t
from stratal.interop.tables import mlflow_experiment_tag as experiment_tag
from stratal.store.database import Row, Transaction, insert
from stratal.store.quotas.counting import count_rename
from stratal.store.tables import deletion, grant, metric, run
from stratal.tracking.store.dialects import among
from stratal.tracking.tables import param

_EVERY = select(t.c.id, t.c.name, t.c.location, t.c.created_ns, t.c.changed_ns, t.c.deleted_ns)
_BY_ID = _EVERY.where(t.c.id == bindparam("at_id"))
_BY_NAME = _EVERY.where(t.c.name == bindparam("at_name"))
_FIRST_RUN = select(run.c.started_ns).where(run.c.experiment == bindparam("at_name")).order_by(run.c.started_ns).limit(1)
# Experiments that runs have and no client has asked for yet.
_UNNUMBERED = (
    select(run.c.experiment)
    .where(run.c.experiment != "", ~exists().where(t.c.name == run.c.experiment))
    .distinct()
    .order_by(run.c.experiment)
)
_ADD = insert(t).on_conflict_do_nothing()
# Counted here, not by the database: what was imported kept its number, and PostgreSQL's counter knows nothing of these.
_NEXT = select(func.max(t.c.id) + 1)
_RENAME = update(t).where(t.c.id == bindparam("at_id")).values(name=bindparam("new_name"), changed_ns=bindparam("now"))
_MARK = update(t).where(t.c.id == bindparam("at_id")).values(deleted_ns=bindparam("at"), changed_ns=bindparam("now"))
_TOUCH = update(t).where(t.c.id == bindparam("at_id")).values(changed_ns=bindparam("now"))
_MOVES = [update(table).where(table.c.experiment == bindparam("old")).values(experiment=bindparam("new")) for table in (run, metric, param)]
_held = grant.alias("held")
_DROP_GRANTS = delete(grant).where(
    grant.c.object == bindparam("new"),
    exists().where(_held.c.object == bindparam("old"), _held.c.person == grant.c.person, _held.c.role == grant.c.role),
)
_MOVE_GRANTS = update(grant).where(grant.c.object == bindparam("old")).values(object=bindparam("new"))
_RUNS = select(run.c.no).where(run.c.experiment == bindparam("of_experiment"), ~exists().where(deletion.c.run == run.c.no))
_GONE_WITH_IT = (
    select(run.c.no)
    .join_from(run, deletion, deletion.c.run == run.c.no)
    .where(run.c.experiment == bindparam("of_experiment"), deletion.c.at_ns == bindparam("at"))
)
_TAGS = select(experiment_tag.c.experiment, experiment_tag.c.name, experiment_tag.c.value).where(
    among(experiment_tag.c.experiment, bindparam("numbers"))
).order_by(experiment_tag.c.experiment, experiment_tag.c.name)  # fmt: skip
_SET_TAG = insert(experiment_tag)
_SET_TAG = _SET_TAG.on_conflict_do_update(index_elements=["experiment", "name"], set_={"value": _SET_TAG.excluded.value})
_DROP_TAG = delete(experiment_tag).where(
    and_(experiment_tag.c.experiment == bindparam("of_experiment"), experiment_tag.c.name == bindparam("tag_name"))
)


class ExperimentRow(Record, frozen=True, kw_only=True):
    """An experiment with its number. location: of artifacts, '' for ours."""

    id: int
    name: str
    location: str
    created_ns: int
    changed_ns: int
    deleted_ns: int | None

    @property
    def ref(self) -> str:
        """What rights are given on."""
        return f"experiment:{self.name}"


def by_id(tx: Transaction, id: int) -> ExperimentRow | None:
    """Give an experiment by its number, None if there is none."""
    row = tx.row(_BY_ID, at_id=id)
    return _experiment(row) if row else None


def by_name(tx: Transaction, name: str) -> ExperimentRow | None:
    """Give an experiment that has a number by its name, None if there is none."""
    row = tx.row(_BY_NAME, at_name=name)
    return _experiment(row) if row else None


def by_names(tx: Transaction, names: Sequence[str]) -> list[ExperimentRow]:
    """Give those of these experiments that have a number."""
    return [row for name in names if (row := by_name(tx, name)) is not None]


def every(tx: Transaction) -> list[ExperimentRow]:
    """List all experiments that have a number, deleted ones too."""
    return [_experiment(row) for row in tx.rows(_EVERY)]


def has_runs(tx: Transaction, name: str) -> bool:
    """Tell whether runs were put under a name."""
    return tx.row(_FIRST_RUN, at_name=name) is not None


def unnumbered(tx: Transaction) -> list[str]:
    """List the experiments that runs have and that have no number yet."""
    return [name for (name,) in tx.rows(_UNNUMBERED)]


def number(tx: Transaction, names: Collection[str]) -> None:
    """Give numbers to experiments that runs have: each is as old as its first run."""
    for name in names:
        born = tx.value(_FIRST_RUN, at_name=name) or tx.now_ns
        tx.run(_ADD, id=tx.value(_NEXT), name=name, location="", created_ns=born, changed_ns=born)


def add(tx: Transaction, name: str, location: str) -> bool:
    """Make an experiment; False if its name is taken."""
    return tx.run(_ADD, id=tx.value(_NEXT), name=name, location=location, created_ns=tx.now_ns, changed_ns=tx.now_ns) == 1


def keep(tx: Transaction, name: str, number: int | None, *, last: int, created_ns: int, changed_ns: int, is_deleted: bool) -> ExperimentRow:
    """Make an experiment that was made elsewhere, under the number that it had there if that is free, else under one above `last`.

    Key: name."""
    id = number if number is not None and by_id(tx, number) is None else max(cast("int", tx.value(_NEXT)), last + 1)
    row = ExperimentRow(
        id=id, name=name, location="", created_ns=created_ns, changed_ns=changed_ns, deleted_ns=tx.now_ns if is_deleted else None
    )
    tx.run(_ADD, **msgspec.structs.asdict(row))
    return row


def rename(tx: Transaction, row: ExperimentRow, name: str) -> None:
    """Rename an experiment, in each of its runs, and in what people may do."""
    tx.run(_RENAME, at_id=row.id, new_name=name, now=tx.now_ns)
    for statement in _MOVES:
        tx.run(statement, old=row.name, new=name)
    count_rename(tx, row.name, name)
    for statement_ in (_DROP_GRANTS, _MOVE_GRANTS):
        tx.run(statement_, old=row.ref, new=f"experiment:{name}")


def mark_deleted(tx: Transaction, row: ExperimentRow) -> list[int]:
    """Hide an experiment, and give the numbers of the runs that go with it: those that were not deleted before."""
    tx.run(_MARK, at_id=row.id, at=tx.now_ns, now=tx.now_ns)
    return [no for (no,) in tx.rows(_RUNS, of_experiment=row.name)]


def unmark_deleted(tx: Transaction, row: ExperimentRow) -> list[int]:
    """Show an experiment again, and give the numbers of the runs that went with it."""
    tx.run(_MARK, at_id=row.id, at=None, now=tx.now_ns)
    return [no for (no,) in tx.rows(_GONE_WITH_IT, of_experiment=row.name, at=row.deleted_ns)]


def tags_of(tx: Transaction, ids: Sequence[int]) -> dict[int, dict[str, str]]:
    """Give the tags of experiments."""
    found: dict[int, dict[str, str]] = {id: {} for id in ids}
    for id, name, value in tx.rows(_TAGS, numbers=to_json(list(ids))):
        found[id][name] = value
    return found


def set_tags(tx: Transaction, id: int, tags: Mapping[str, str]) -> None:
    """Set tags of an experiment that were set elsewhere: it has not changed by that."""
    for name, value in tags.items():
        tx.run(_SET_TAG, experiment=id, name=name, value=value)


def set_tag(tx: Transaction, id: int, name: str, value: str) -> None:
    """Set a tag of an experiment."""
    set_tags(tx, id, {name: value})
    tx.run(_TOUCH, at_id=id, now=tx.now_ns)


def drop_tag(tx: Transaction, id: int, name: str) -> bool:
    """Take a tag of an experiment away; False if it has none."""
    tx.run(_TOUCH, at_id=id, now=tx.now_ns)
    return tx.run(_DROP_TAG, of_experiment=id, tag_name=name) == 1


def _experiment(row: Row) -> ExperimentRow:
    return ExperimentRow(**dict(zip(ExperimentRow.__struct_fields__, row, strict=True)))
