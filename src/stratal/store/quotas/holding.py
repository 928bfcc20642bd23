"""Holding experiments to their quotas: new runs and new files are refused where there is no room, and nothing else ever is.

A server does so for whoever comes through it. Who has the store itself is counted, and not refused.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from stratal.store.database import Transaction
from stratal.store.quotas.counting import find_file
from stratal.store.quotas.rows import usage
from stratal.store.quotas.rules import OverQuota, shown_bytes

_is_held: ContextVar[bool] = ContextVar("stratal_quotas_are_held", default=False)
_HINT = "an admin raises it (stratal quota set), or makes room: stratal delete, stratal purge"


@contextmanager
def holding_quotas() -> Iterator[None]:
    """Refuse what goes beyond quotas inside the block."""
    token = _is_held.set(True)
    try:
        yield
    finally:
        _is_held.reset(token)


def check_run(tx: Transaction, experiment: str) -> None:
    """Raise OverQuota if one more run goes beyond its experiment's quota, where quotas are held."""
    if _is_held.get():
        _check_runs(tx, experiment, more=1)


def check_placed(tx: Transaction, experiments: Iterable[str]) -> None:
    """Raise OverQuota if runs that this transaction has put into experiments go beyond the quota of one."""
    for experiment in experiments:
        _check_runs(tx, experiment, more=0)


def check_file(tx: Transaction, experiment: str, digest: str, size_bytes: int) -> None:
    """Raise OverQuota if a file goes beyond its experiment's quota, where quotas are held.

    digest: '' if it is not known yet: then it may be one that the experiment holds, and only what never fits is refused."""
    if not _is_held.get():
        return
    now = usage(tx, experiment)
    if now.most_bytes is None or (now.size_bytes if digest else 0) + size_bytes <= now.most_bytes:
        return
    if digest and (known := find_file(tx, experiment, digest)) is not None and not known.is_waiting:
        return  # it is counted
    raise _no_room(experiment, "a file", size_bytes, now.size_bytes, now.most_bytes)


def check_files(tx: Transaction, experiment: str, sizes: Mapping[str, int]) -> None:
    """Raise OverQuota if files, all together, go beyond their experiment's quota, where quotas are held. sizes: by digest."""
    now = usage(tx, experiment)
    if not _is_held.get() or now.most_bytes is None:
        return
    known = {digest: find_file(tx, experiment, digest) for digest in sizes}
    more = sum(size for digest, size in sizes.items() if (file := known[digest]) is None or file.is_waiting)
    if more and now.size_bytes + more > now.most_bytes:
        raise _no_room(experiment, "files", more, now.size_bytes, now.most_bytes)


def check_grown(tx: Transaction, experiment: str, before_bytes: int) -> None:
    """Raise OverQuota if files that this transaction has added go beyond their experiment's quota, where quotas are held."""
    now = usage(tx, experiment)
    if _is_held.get() and now.most_bytes is not None and now.size_bytes > max(now.most_bytes, before_bytes):
        raise _no_room(experiment, "files", now.size_bytes - before_bytes, before_bytes, now.most_bytes)


def _no_room(experiment: str, what: str, more_bytes: int, held_bytes: int, most_bytes: int) -> OverQuota:
    return OverQuota(
        f"experiment:{experiment} has no room for {what} of {shown_bytes(more_bytes)}: it holds {shown_bytes(held_bytes)}, "
        f"and its quota is {shown_bytes(most_bytes)}",
        hint=_HINT,
    )


def _check_runs(tx: Transaction, experiment: str, *, more: int) -> None:
    now = usage(tx, experiment)
    if now.most_runs is not None and now.runs + more > now.most_runs:
        raise OverQuota(
            f"experiment:{experiment} has no room for another run: it holds {now.runs + more - 1:,}, and its quota is {now.most_runs:,}",
            hint=_HINT,
        )
