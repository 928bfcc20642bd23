"""What the caller, the supervisor and the ranks say to each other over pipes: msgspec records, one per message."""

from multiprocessing.connection import Connection
from typing import TypeVar

import msgspec

from stratal.core.records import Record
from stratal.training.ranks import OpenedJob

T = TypeVar("T")


class Request(Record, frozen=True, kw_only=True):
    """Caller to supervisor: run this on so many ranks. Either `program` (function and arguments, pickled) or `script`."""

    program: bytes = b""
    script: str = ""
    arguments: tuple[str, ...] = ()
    workers: int
    restarts: int
    # CPU threads for each rank.
    threads: int
    # The caller's folder, variables and import path: ranks see what the caller saw.
    folder: str
    environ: dict[str, str]
    import_path: tuple[str, ...]
    # The caller's store, and its active run, which jobs become part of.
    store: str
    parent: str | None = None
    # The program that the ranks work for, as `origin_text` gives it.
    origin: str = ""


class Opened(Record, frozen=True, kw_only=True, tag=True):
    """Rank to supervisor: the program has opened a job."""

    job: OpenedJob


class Returned(Record, frozen=True, kw_only=True, tag=True):
    """Rank to supervisor: the program has ended well. `value` is what it returned, pickled; empty on other ranks than 0."""

    value: bytes = b""


class Raised(Record, frozen=True, kw_only=True, tag=True):
    """Rank to supervisor: the program has ended badly. `is_consequence`: only because another rank had gone."""

    text: str
    exit_code: int = 1
    is_consequence: bool = False


Report = Opened | Returned | Raised


class Outcome(Record, frozen=True, kw_only=True):
    """Supervisor to caller: how it ended. `failure` is empty if it ended well, and then `value` is what rank 0 returned."""

    value: bytes = b""
    failure: str = ""
    hint: str = ""
    exit_code: int = 0
    rank: int | None = None
    generations: int = 1


def send(connection: Connection, message: Record) -> None:
    """Send one message."""
    connection.send_bytes(msgspec.msgpack.encode(message))


def receive(connection: Connection, kind: type[T]) -> T:
    """Wait for one message. Raises EOFError when the other side is gone."""
    return msgspec.msgpack.decode(connection.recv_bytes(), type=kind)


def receive_report(connection: Connection) -> Report:
    """Wait for one report of a rank. Raises EOFError when the rank is gone."""
    report: Report = msgspec.msgpack.decode(connection.recv_bytes(), type=Opened | Returned | Raised)
    return report
