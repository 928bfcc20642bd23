"""The store: one folder with journals, a database and blobs, and the two paths into it; or journals here, and the rest behind a URL.

Telemetry goes to the journal of this process and touches no database. Control is a command: one transaction, which first
drains what it depends on. The database, and SQLAlchemy with it, is opened at the first command or query.
"""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from stratal.core.clock import Clock, SystemClock
from stratal.core.errors import Misuse, StoreDown, StratalError
from stratal.core.ids import to_bytes
from stratal.core.people import Identity, current_actor
from stratal.core.settings import Settings, load_settings
from stratal.core.threads import start_aside
from stratal.store.addresses import database_address
from stratal.store.admitting import admitted, tell_made
from stratal.store.callers import current_caller
from stratal.store.compacting import compacting
from stratal.store.files.blobs import Blobs
from stratal.store.files.fetching import RemoteBlobs
from stratal.store.files.placing import blobs_of, blobs_of_database
from stratal.store.journal import Writer, living_writers, segments
from stratal.store.locating import locate
from stratal.store.marks import mark_spool, remote_url, spool_folder
from stratal.store.uploading import Landed, Shipping, Uploader, finish_upload, upload_aside

if TYPE_CHECKING:
    from stratal.store.database import Database, Transaction
    from stratal.store.files.cache import Cache
    from stratal.store.reading import Snapshot
    from stratal.store.remote import Remote
    from stratal.store.settling import FactApplier, Settler

log = logging.getLogger(__name__)

_writers: dict[tuple[Path, bool], Writer] = {}


class Store:
    """A store on a local disk. Cheap to open; safe for threads, and for forked children."""

    def __init__(
        self,
        url: str | Path | None = None,
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
        applier: "Callable[[], FactApplier] | None" = None,
    ) -> None:
        """applier: makes what gives facts their meaning, when the database is opened. None: facts are kept raw."""
        self._applier = applier
        self._aside: threading.Thread | None = None
        self.settings = settings or load_settings()
        self.clock = clock or SystemClock()
        # The server that this is a spool for, None for a store that lies in its folder.
        said = str(url) if url is not None else self.settings.store or ""
        self.remote = remote_url(said)
        # The database of a server that this store is in; its journals lie here.
        self.address = database_address(said, self.settings.store)
        if away := self.remote or (self.address and self.address.url):
            self.folder = locate(str(spool_folder(away, self.settings.state_home)), self.settings, Path.cwd())
        else:
            self.folder = locate(str(url) if url is not None else None, self.settings, Path.cwd())
        self.is_power_safe = self.settings.durability == "power"
        self.journals = self.folder / "journal"
        self.blobs = self._open_blobs(url)
        try:
            self._make()
        except StoreDown:
            if self.settings.on_error == "raise":
                raise  # else a run warns of it, and all else raises it when the database is opened

    @property
    def url(self) -> str:
        """What another process opens this store with."""
        return self.remote or (self.address.shown if self.address else str(self.folder))

    @property
    def writer(self) -> Writer:
        """This process's writer: one per folder, shared by all its threads and Store objects."""
        writer = self._writer()
        if self.remote:
            self._upload_aside(self.remote)
        elif self.address and self._applier is not None:
            upload_aside(writer, partial(compacting, writer, self.settle, self._say_alive))
        elif writer.on_full is None and self._applier is not None:
            writer.on_full = self._settle_aside
        return writer

    @property
    def uploader(self) -> Uploader:
        """What ships the spool of a store behind a URL."""
        return self._upload_aside(str(self.remote))

    def ship_now(self, blobs: Iterable[str], *, must: bool = True) -> Landed:
        """Ship to the server what was logged here until now, and blobs; say what has become of it. must: all of it, or StoreDown."""
        return cast("Shipping", self.uploader.make_pass).ship_now(blobs, must=must)

    @property
    def holder(self) -> str:
        """How this process signs leases, or the one elsewhere that calls."""
        caller = current_caller()
        return caller.holder if caller is not None else f"{socket.gethostname()}:{os.getpid()}:{self._writer().id}"

    def is_dead(self, holder: str) -> bool:
        """Tell whether a process that signed a lease is surely gone: of this machine, with neither a journal here nor a process."""
        host, pid, writer = holder.rsplit(":", 2)
        if host != socket.gethostname() or not pid.isdigit() or writer in living_writers(self.journals):
            return False
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            pass
        return False

    @property
    def writer_id(self) -> str:
        """The writer that joins the runs of this process, or of the one elsewhere that calls."""
        caller = current_caller()
        return caller.writer if caller is not None else self.writer.id

    def actor(self) -> Identity:
        """Give who acts now."""
        return current_actor(self.settings.user)

    @contextlib.contextmanager
    def command(self, runs: Iterable[str] = ()) -> Iterator["Transaction"]:
        """Open one write transaction that sees everything logged so far by this process, and by all writers of `runs`.

        Raises StoreDown if the store cannot be written; then nothing has changed.
        """
        from stratal.store.settling import MOST_DRAINED_BYTES  # SQLAlchemy: not for processes that only log

        ids = [to_bytes(run) for run in runs]
        self.settler.leave_much()
        for most_bytes in (MOST_DRAINED_BYTES, None):
            with self.settler.transaction(self.actor()) as tx:
                if self.settler.drain(tx, {self.writer_id} | self.settler.participants(tx, ids), most_bytes=most_bytes):
                    yield admitted(tx)
                    tell_made(tx)
                    return
            self.settler.settle()  # in many transactions: others write in between

    @contextlib.contextmanager
    def query(self) -> Iterator["Transaction"]:
        """Open one read snapshot of what is settled; settles first, so that it holds all that was logged before."""
        self.settle()
        with self.glance() as tx:
            yield tx

    @contextlib.contextmanager
    def glance(self) -> Iterator["Transaction"]:
        """Open one read snapshot of what was settled before."""
        with self.database.read(self.actor()) as tx:
            yield admitted(tx)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator["Snapshot"]:
        """Open one snapshot of database and journals together, for series and for values of live runs."""
        from stratal.store.reading import snapshot  # as above: not for processes that only log

        with snapshot(self.journals, self.database, self.actor()) as found:
            admitted(found.tx)
            yield found

    def living(self) -> set[str]:
        """Give the writers whose processes are alive: here, or on a machine that said so a moment ago."""
        from stratal.store.arriving import alive_elsewhere  # as above

        with self.database.read(self.actor()) as tx:
            elsewhere = alive_elsewhere(tx)
        here = {name[:16] for name in segments(self.journals)} if elsewhere else set()  # of these the files say it, at once
        return living_writers(self.journals) | (elsewhere - here)

    def settle(self) -> int:
        """Settle all journals now, and give the number of frames; unlinks dead segments when there are many."""
        frames = self.settler.settle()
        self.settler.sweep()
        return frames

    def _open_blobs(self, url: str | Path | None) -> Blobs:
        if self.remote:
            return RemoteBlobs(self.folder / "blobs", lambda: cast("Remote", self.operations_there), power=self.is_power_safe)
        if self.address:
            said = self.address.blobs or self.settings.blobs
            return blobs_of_database(self.address.url, said, self.folder / "blobs", cache=self.cache, power=self.is_power_safe)
        is_settings_own = url is None or str(url) == self.settings.store
        return blobs_of(self.folder, self.settings.blobs, must_agree=is_settings_own, cache=self.cache, power=self.is_power_safe)

    def _upload_aside(self, url: str) -> Uploader:
        writer = self._writer()
        return upload_aside(writer, lambda: Shipping(writer, url, self.settings))

    def _writer(self) -> Writer:
        place = (self.journals, self.is_power_safe)
        return _writers.get(place) or _writers.setdefault(place, Writer(self.journals, power=self.is_power_safe))

    def _make(self) -> None:
        try:
            self.journals.mkdir(parents=True, exist_ok=True)
            if self.remote:
                mark_spool(self.folder, self.remote)
        except OSError as error:
            raise StoreDown(
                f"the store {self.folder} cannot be made: {error.strerror}", hint="choose another folder with STRATAL_STORE"
            ) from error

    def _say_alive(self, is_alive: bool) -> None:
        from stratal.store.arriving import keep_alive  # as above

        with self.settler.transaction(self.actor()) as tx:
            keep_alive(tx, self.writer.id, is_alive=is_alive)

    def _settle_aside(self) -> None:
        """Settle in a thread of its own: a process that logs without end, and that nobody reads, must not fill the disk."""
        if self._aside is None or not self._aside.is_alive():
            self._aside = start_aside(self._settle_quietly, "stratal-settle")

    def _settle_quietly(self) -> None:
        try:
            self.settle()
        except StratalError as error:  # the journals keep it all, and the next full segment tries again
            log.warning("not settled store=%s error=%s", self.folder, error.message)

    @cached_property
    def operations_there(self) -> "Remote | None":
        """Where operations are called: at the server; None for a store that lies here."""
        if self.remote is None:
            return None
        from stratal.store.remote import Remote  # HTTP: not for processes that only log

        return Remote(self)

    @cached_property
    def database(self) -> "Database":
        """The database, made or migrated when it is opened first."""
        from stratal.store.migrating import open_database, open_service  # SQLAlchemy: a process that only logs must not pay for it

        if self.remote:
            raise Misuse(
                f"this works only where the store lies, and {self.remote} is a server",
                hint="do it on the server's machine, with --store FOLDER",
            )
        self._make()
        if self.address:
            return open_service(self.address.dsn, self.address.url, clock=self.clock)
        return open_database(self.folder / "stratal.db", power=self.is_power_safe, clock=self.clock)

    @cached_property
    def settler(self) -> "Settler":
        """The compactor of this store."""
        from stratal.store.settling import Meaningless, Settler  # as above

        return Settler(self.journals, self.database, self._applier() if self._applier else Meaningless())

    @cached_property
    def cache(self) -> "Cache":
        """The user's cache of files under their own names."""
        from stratal.store.files.cache import Cache  # as above

        return Cache(self.settings.cache.expanduser(), limit_bytes=self.settings.cache_gib << 30)

    def close(self) -> None:
        """Close the database's connections and this process's segment."""
        if self._aside is not None and self._aside is not threading.current_thread():
            self._aside.join()  # it would find its connections closed under its hands
        writer = self._writer()  # not `writer`, which sees to it that a thread brings away what it writes
        if self.address:
            finish_upload(writer)  # as above
        writer.close()
        if "database" in self.__dict__:
            self.database.close()
        if (remote := self.__dict__.get("operations_there")) is not None:
            remote.close()
