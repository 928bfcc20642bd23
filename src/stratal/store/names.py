"""Ids for names: metric keys, tuples of names (shapes) and runs, cached per process.

Ids given inside a transaction that was rolled back are void: whoever rolls back calls `forget`.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from sqlalchemy import bindparam, func, select

from stratal.core.errors import Conflict, NotFound
from stratal.core.ids import short
from stratal.store.columns import Fork, Takeover
from stratal.store.database import Transaction, insert
from stratal.store.frames import decode_names, encode_names
from stratal.store.series import Keys
from stratal.store.tables import epoch, key, participant, run, segment, shape, tombstone

_U64 = struct.Struct("<Q")
_ADD_KEY = insert(key).on_conflict_do_nothing()
_KEY = select(key.c.id).where(key.c.name == bindparam("name"))
_KEYS = select(key.c.name, key.c.id)
_LAST_KEY = select(func.max(key.c.id))
_ADD_SHAPE = insert(shape).on_conflict_do_nothing()
_SHAPE = select(shape.c.names).where(shape.c.digest == bindparam("digest"))
_ADD_RUN = insert(run).on_conflict_do_nothing().returning(run.c.no)
_RUN = select(run.c.no, run.c.epoch, run.c.experiment, run.c.is_lagging, run.c.fork_of, run.c.fork_step, run.c.fork_epoch).where(
    run.c.id == bindparam("id")
)
_BURIED = select(tombstone.c.at_ns).where(tombstone.c.run == bindparam("id"))
_TAKEOVERS = select(epoch.c.epoch, epoch.c.from_step, epoch.c.at_ns).where(epoch.c.run == bindparam("no"))
_ADD_PARTICIPANT = insert(participant).on_conflict_do_nothing()
_PARTICIPANT_COLUMNS = ("run", "writer")
OFFSET = select(segment.c.offset).where(segment.c.name == bindparam("segment_name"))
# Above this, one read of the whole table is quicker than a look-up per name, unless the table has so many times as many names.
_MANY, _TIMES = 300, 20


class RunRow(NamedTuple):
    """What settling must know of a run. is_new: its row was made in this transaction."""

    no: int
    id: bytes
    epoch: int
    experiment: str
    is_lagging: bool
    is_new: bool
    takeovers: tuple[Takeover, ...]
    fork: Fork | None = None


class Names:
    """The caches of one process."""

    def __init__(self) -> None:
        self._keys: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._shapes: dict[int, Keys] = {}

    def forget(self) -> None:
        """Drop everything: some of it may never have been committed."""
        self._keys.clear()
        self._names.clear()
        self._shapes.clear()

    def key_ids(self, tx: Transaction, names: Sequence[str]) -> list[int]:
        """Give ids of metric names, making those that are missing."""
        missing = [name for name in names if name not in self._keys]
        if missing:
            tx.many_tuples(_ADD_KEY, ("name",), [(name,) for name in missing])
            if len(missing) > _MANY and len(missing) * _TIMES > tx.value(_LAST_KEY):
                self._keys.update(tx.rows(_KEYS))
            else:
                for at in range(0, len(missing), _MANY):
                    some = missing[at : at + _MANY]
                    found = tx.together(*((_KEY, {"name": name}) for name in some))
                    self._keys.update({name: rows[0][0] for name, rows in zip(some, found, strict=True)})
        return [self._keys[name] for name in names]

    def names_of(self, tx: Transaction, ids: Sequence[int]) -> list[str]:
        """Give the names of ids, reading the table only when one is not known yet."""
        if len(self._names) != len(self._keys) or any(id not in self._names for id in ids):
            self._names = key_names(tx)
            self._keys = {name: id for id, name in self._names.items()}
        return [self._names[id] for id in ids]

    def define(self, tx: Transaction, shape_id: int, names: tuple[str, ...]) -> None:
        """Remember the names of a shape."""
        if shape_id not in self._shapes:
            tx.run(_ADD_SHAPE, digest=_U64.pack(shape_id), names=encode_names(names))
            self._shapes[shape_id] = np.array(self.key_ids(tx, names), np.int32)

    def keys_of(self, tx: Transaction, shape_id: int) -> Keys | None:
        """Give the key ids of a shape, None if nobody ever named it."""
        if shape_id not in self._shapes:
            names = names_of_shape(tx, shape_id)
            if names is None:
                return None
            self._shapes[shape_id] = np.array(self.key_ids(tx, names), np.int32)
        return self._shapes[shape_id]


def names_of_shape(tx: Transaction, shape_id: int) -> tuple[str, ...] | None:
    """Give the names of a shape, None if the database does not know it."""
    found = tx.value(_SHAPE, digest=_U64.pack(shape_id))
    return decode_names(found) if isinstance(found, bytes) else None


def all_keys(tx: Transaction) -> dict[str, int]:
    """Give all metric names with their ids."""
    return dict(tx.rows(_KEYS))


def key_names(tx: Transaction) -> dict[int, str]:
    """Give the names of all metrics by id."""
    return {id: name for name, id in tx.rows(_KEYS)}


def find_run(tx: Transaction, id: bytes) -> RunRow | None:
    """Give a run's row, None if it was never seen."""
    found = tx.row(_RUN, id=id)
    if found is None:
        return None
    no, now, experiment, is_lagging, of, step, epoch = found
    takeovers = _takeovers(tx, int(no)) if now else ()
    fork = None if of is None else Fork(bytes(of), step, epoch)
    if fork is not None:  # its first epoch takes over from what it inherits
        takeovers = (Takeover(0, fork.step, 0), *takeovers)
    return RunRow(no, id, now, experiment, bool(is_lagging), False, takeovers, fork)


def ensure_run(tx: Transaction, id: bytes) -> RunRow:
    """Give a run's row, making one for a run that is seen for the first time. Raises NotFound if it was purged."""
    if (found := find_run(tx, id)) is not None:
        return found
    if is_buried(tx, id):
        raise NotFound(f"run {short(id.hex())} was purged", hint="its id cannot be used again; start another run")
    return add_run(tx, id)


def add_run(tx: Transaction, id: bytes) -> RunRow:
    """Make the row of a run that was never seen. Raises Conflict if it was."""
    no = tx.value(_ADD_RUN, id=id, short=short(id.hex()))
    if no is None:
        raise Conflict(f"there is a run {short(id.hex())} already", hint="resume it, or take another id")
    return RunRow(no, id, 0, "", False, True, ())


def ensure_runs(tx: Transaction, ids: Iterable[bytes]) -> dict[bytes, RunRow]:
    """Give the rows of many runs, without those that were purged."""
    rows = {}
    for id in ids:
        if (found := find_run(tx, id)) is not None or not is_buried(tx, id):
            rows[id] = found or add_run(tx, id)
    return rows


def is_buried(tx: Transaction, id: bytes) -> bool:
    """Tell whether a run was purged."""
    return tx.value(_BURIED, id=id) is not None


def offset_of(tx: Transaction, segment_name: str) -> int:
    """Give how much of a segment is applied, in bytes."""
    return int(tx.value(OFFSET, segment_name=segment_name) or 0)


def join_runs(tx: Transaction, pairs: Iterable[tuple[bytes, str]]) -> None:
    """Register writers of runs, each pair (run, writer) once: commands about a run drain their journals."""
    tx.many_tuples(_ADD_PARTICIPANT, _PARTICIPANT_COLUMNS, list(pairs))


def _takeovers(tx: Transaction, no: int) -> tuple[Takeover, ...]:
    return tuple(Takeover(*row) for row in tx.rows(_TAKEOVERS, no=no))
