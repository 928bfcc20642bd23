"""Syncing: bring what was logged here to a server, now or until somebody says stop."""

import time
from collections.abc import Callable

from stratal.core.clock import SECOND_NS
from stratal.core.errors import Misuse, StoreDown
from stratal.core.records import Record
from stratal.store.calling import Busy, Server
from stratal.store.marks import mark_remote, remote_url, shipped_to, spool_url
from stratal.store.shipping import Shipper
from stratal.store.store import Store
from stratal.tracking.capturing import wait_for_captures
from stratal.tracking.opening import current_store
from stratal.tracking.output import deliver_left
from stratal.tracking.store.leftovers import runs_by_command, runs_without_journals

# How long blobs of a spool stay after they were written, though the server has them: a program may be about to read one back.
KEEP_BLOBS_S = 3600
# Refusals to wait for in a row before a sync gives up, and the pause between two passes of a watch, or after another process's.
MOST_BUSY, PAUSE_S = 10, 1.0

_DELETED = "a journal of their process was settled and deleted before this store was shipped; what it held of them cannot be sent"
_COMMANDED = "what commands decided (starts, results, takeovers of trials, steps and jobs) stays here; only what was logged was sent"


class Left(Record, frozen=True, kw_only=True):
    """Runs that are not whole on the server, by whole id, and why."""

    why: str
    runs: list[str]


class Synced(Record, frozen=True, kw_only=True):
    """What a sync did. segments: those that have ended and are whole there.

    waiting_bytes: of journals, not on the server yet. refused: what it will never take, and why."""

    url: str
    frames: int
    size_bytes: int
    blobs: int
    blob_bytes: int
    segments: int
    waiting_bytes: int
    refused: list[str]
    left: list[Left]


class Progress(Record, frozen=True, kw_only=True):
    """Where a sync is: bytes that went out, of those that waited when it began (blobs come on top). problem: why it waits."""

    sent_bytes: int
    waiting_bytes: int
    problem: str = ""


def sync(
    to: str | None = None,
    *,
    store: Store | None = None,
    watch: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Synced:
    """Ship everything that was logged into a store, or into the spool of one behind a URL, to a server.

    to: the server; needed once for a store in a folder, which keeps its journals from then on until they are shipped.
    watch: go on until interrupted, also while the server is away. progress: is told what happens.
    Raises StoreDown if the server is not reached, Misuse if there is none; nothing is lost, and the next try goes on.
    """
    store = store or current_store()
    url, is_spool = server_of(store, to)
    wait_for_captures()  # what was captured about a run that has just begun is said a moment later
    deliver_left(store)
    sent = waiting = 0

    def told(size: int, problem: str = "") -> None:
        nonlocal sent
        sent += size
        if progress is not None:
            progress(Progress(sent_bytes=sent, waiting_bytes=waiting, problem=problem))

    server = Server(url, store.settings.user, store.settings.token, store.settings.answer_s)
    shipper = Shipper(store.folder, server, keeps=not is_spool, told=told)
    waiting = shipper.waiting_bytes()
    try:
        if not is_spool:
            if shipped_to(store.folder) is None:
                server.greet()  # a store must not keep its journals for a server that never was there
            mark_remote(store.folder, url)
        if watch:
            _watch(shipper, told)
        _ship(shipper, told)
        if is_spool and shipper.waiting_bytes() == 0:  # what waits may name blobs that nothing there keeps
            shipper.drop_blobs(store.clock.now_ns() - KEEP_BLOBS_S * SECOND_NS)
    finally:
        server.close()
    done = shipper.done
    return Synced(
        url=url, frames=done.frames, size_bytes=done.size_bytes, blobs=done.blobs, blob_bytes=done.blob_bytes, segments=done.segments,
        waiting_bytes=shipper.waiting_bytes(), refused=done.refused, left=[] if is_spool else _left(store),
    )  # fmt: skip


def server_of(store: Store, to: str | None) -> tuple[str, bool]:
    """Give the URL to ship to, and whether the store is a spool."""
    spool = store.remote or spool_url(store.folder)
    said = to or spool or shipped_to(store.folder)
    if said is None:
        raise Misuse(f"{store.folder} is shipped to nowhere yet", hint="say to which server: stratal sync --to http://127.0.0.1:4117")
    url = remote_url(said)
    if url is None:
        raise Misuse(f"{said!r:.100} is not the URL of a server", hint="write http://127.0.0.1:4117")
    return url, spool is not None


def _ship(shipper: Shipper, told: Callable[[int, str], None]) -> None:
    """Make one whole pass, waiting for other processes and for a server that asks for it."""
    refusals, before = 0, -1
    while True:
        try:
            if shipper.ship():
                return
            time.sleep(PAUSE_S)
        except Busy as error:
            refusals = refusals + 1 if shipper.done.size_bytes == before else 0
            before = shipper.done.size_bytes
            if refusals >= MOST_BUSY:
                raise
            told(0, error.message)
            time.sleep(error.wait_s)


def _watch(shipper: Shipper, told: Callable[[int, str], None]) -> None:
    try:
        while True:
            wait_s = PAUSE_S
            try:
                shipper.ship(insists=False)
                shipper.beat()
                told(0, "; ".join(shipper.done.refused))
            except StoreDown as error:
                told(0, error.message)
                wait_s = error.wait_s if isinstance(error, Busy) else 5 * PAUSE_S
            time.sleep(wait_s)
    except KeyboardInterrupt:
        return


def _left(store: Store) -> list[Left]:
    store.settle()
    with store.query() as tx:
        deleted, commanded = runs_without_journals(tx), runs_by_command(tx)
    found = [Left(why=_DELETED, runs=list(deleted)), Left(why=_COMMANDED, runs=list(commanded))]
    return [left for left in found if left.runs]
