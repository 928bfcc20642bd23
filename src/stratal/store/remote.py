"""Remote: calls the operations of a store at its server, so that rooms need not know where their store lies.

Before an operation everything that this machine has logged for the server is shipped, and applied there: reading sees what
was written, and commands decide on it. Sent again is only what cannot have been done: queries, and what no connection took.
"""

import logging
import os
import random
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import quote

import msgspec

from stratal.core.errors import Misuse, OutcomeUnknown, Refused, StoreDown, StratalError
from stratal.core.people import Identity
from stratal.core.settings import Settings
from stratal.store.between import UNREACHED, strange
from stratal.store.calling import Busy, open_client, said_in, silence, work_timeout
from stratal.store.hypertext import httpx
from stratal.store.journal import segments
from stratal.store.operations import Operation, all_operations, room_of
from stratal.store.patience import patiently
from stratal.store.shipments import USER
from stratal.store.shipping import digests_in
from stratal.store.telling import Failure, told
from stratal.store.trusting import advice
from stratal.store.uploading import Landed
from stratal.store.wire import BLOBS, HOLDER, MSGPACK, PREFIX, pack, unpack

log = logging.getLogger(__name__)

# Tries of what may be sent again, and the first pause between two; it doubles. Guesses: a server that starts anew takes a second or two.
TRIES, PAUSE_S = 5, 0.1
# Seconds that a call waits, all together, for a server that is busy.
BUSY_S = 60.0


class Spool(Protocol):
    """What is asked of a store behind a URL: who calls from here, and what was logged here for it."""

    remote: str | None
    settings: Settings
    journals: Path

    @property
    def holder(self) -> str: ...

    def ship_now(self, blobs: Iterable[str], *, must: bool = True) -> Landed: ...

    def actor(self) -> Identity: ...


class Remote:
    """The server of one store, for any number of threads."""

    def __init__(self, store: Spool) -> None:
        self._store = store
        self._url = str(store.remote)
        self._http, self._pid = self._open(), os.getpid()
        self._missing = ""  # why answers lack something, as was said last

    def call(self, kind: type, name: str, values: Mapping[str, object]) -> object:
        """Call an operation of a room's store. Raises what it raises there; StoreDown if the server is not reached,
        OutcomeUnknown if it was lost during a command."""
        operation = all_operations(kind)[name]
        if unknown := set(values) - set(operation.arguments):
            raise TypeError(f"{name}() got an unexpected keyword argument {sorted(unknown)[0]!r}")
        try:
            body, encoding = pack(values)
            plain = msgspec.to_builtins(values, builtin_types=(bytes,))
        except TypeError as error:
            raise Misuse(f"{name} was given what cannot travel: {error}", hint="use texts, numbers and records") from error

        def ask() -> object:
            self._ship(operation, digests_in(plain) if operation.is_command else ())
            answer = self._send(operation, f"{PREFIX}/{room_of(kind)}/{name}", body, encoding)
            return self._read(answer, operation)

        return patiently(ask, is_repeatable=operation.is_repeatable)

    def fetch(self, digest: str, aside: Path) -> None:
        """Write a blob's bytes to a file, going on where a connection broke. Raises NotFound, StoreDown."""
        patiently(lambda: self._fetch(digest, aside), is_repeatable=True)

    def _fetch(self, digest: str, aside: Path) -> None:
        tries = 0
        with aside.open("ab") as file:
            while True:
                tries, at = tries + 1, file.tell()
                try:
                    return self._download(digest, file)
                except (httpx.TransportError, httpx.DecodingError) as error:
                    if tries >= TRIES or (isinstance(error, httpx.TimeoutException) and file.tell() == at):
                        raise self._away(error) from error
                    time.sleep(PAUSE_S * 2**tries)

    def size_of(self, digest: str) -> int | None:
        """Give a blob's size, None if it is not there, or may not be seen. Raises StoreDown."""
        return patiently(lambda: self._size_of(digest), is_repeatable=True)

    def _size_of(self, digest: str) -> int | None:
        try:
            answer = self._client().head(f"{self._url}{BLOBS}/{digest}", headers=self._headers())
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise self._away(error) from error
        if answer.status_code == 200:
            return int(answer.headers.get("content-length", 0))
        if answer.status_code == 404:
            return None
        raise self._refused(answer, f"a look at blob {digest[:12]}…")

    def _download(self, digest: str, file: BinaryIO) -> None:
        at = file.tell()
        headers = {**self._headers(), **({"range": f"bytes={at}-"} if at else {})}
        with self._client().stream("GET", f"{self._url}{BLOBS}/{digest}", headers=headers) as answer:
            if answer.status_code not in (200, 206):
                answer.read()
                raise self._refused(answer, f"blob {digest[:12]}…")
            if answer.status_code == 200:
                file.truncate(0)  # all of it comes again
            for piece in answer.iter_raw():
                file.write(piece)
            file.flush()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _ship(self, operation: Operation, named: Iterable[str]) -> None:
        """Bring to the server what was logged here, and the blobs that a command names."""
        digests = list(dict.fromkeys(named))
        if not digests and not segments(self._store.journals):
            return
        landed = self._store.ship_now(digests, must=operation.is_command)
        if landed.refused and operation.is_command:
            raise Refused(
                f"the server does not take what this process has logged, and {operation.name} may depend on it: {landed.refused}",
                hint="`stratal sync --status` shows what waits, and `stratal sync --set-aside RUN` goes on without it",
            )
        self._say_what_is_missing(landed.refused or landed.waits)

    def _say_what_is_missing(self, why: str) -> None:
        """Warn that answers lack something that was logged here, whenever the reason is another one."""
        if why and why != self._missing:
            log.warning("not all that was logged here is on %s yet, and what is read there lacks it: %s", self._url, why)
        self._missing = why

    def _send(self, operation: Operation, path: str, body: bytes, encoding: str) -> httpx.Response:
        headers = {**self._headers(), "content-type": encoding, "accept": MSGPACK}
        timeout = self._client().timeout
        if operation.is_command or operation.takes_long:
            timeout = work_timeout(self._store.settings.answer_s, is_whole=operation.takes_long)
        ends_s, tries = time.monotonic() + BUSY_S, 0
        while True:
            tries += 1
            try:
                answer = self._client().post(f"{self._url}{path}", content=body, headers=headers, timeout=timeout)
            except (httpx.TransportError, httpx.DecodingError) as error:
                is_safe = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
                if not is_safe and operation.is_command:
                    raise self._lost(operation, error) from error
                if tries >= TRIES or isinstance(error, httpx.TimeoutException):
                    raise self._away(error, timeout.read) from error
                _pause(tries)
                continue
            if answer.status_code in UNREACHED and not operation.is_command and tries < TRIES and not self._failure(answer).error:
                _pause(tries)
                continue
            if answer.status_code != 429 or time.monotonic() > ends_s:
                return answer
            time.sleep(min(_seconds(answer), BUSY_S))  # it was turned away before anything was done

    def _headers(self) -> dict[str, str]:
        return {USER: quote(self._store.actor().name), HOLDER: self._store.holder}

    def _client(self) -> httpx.Client:
        if self._pid != os.getpid():  # a child must not talk on its parent's connections
            self._http, self._pid = self._open(), os.getpid()
        return self._http

    def _open(self) -> httpx.Client:
        settings = self._store.settings
        return open_client(self._url, settings.user, settings.token, settings.answer_s)

    def _read(self, answer: httpx.Response, operation: Operation) -> object:
        if answer.status_code != 200:
            raise self._error(answer, operation)
        try:
            return unpack(answer.content, _encoding(answer), operation.returns)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StoreDown(
                f"{self._url} gave an answer to {operation.name} that cannot be read: {error}",
                hint="is it a Stratal server, and of this version?",
            ) from error

    def _error(self, answer: httpx.Response, operation: Operation) -> StratalError:
        failure = self._failure(answer)
        if answer.status_code == 404 and failure.error in ("", "no-route"):
            return Misuse(f"{self._url} has no operation {operation.name}", hint="it is a Stratal server of another version, or none")
        if (error := told(failure)) is not None:
            return error
        if answer.status_code >= 500 and operation.is_command:
            return OutcomeUnknown(f"{operation.name}: {failure.message}", hint=_LOOK)
        return self._refused(answer, operation.name)

    def _refused(self, answer: httpx.Response, what: str) -> StratalError:
        failure = self._failure(answer)
        if answer.status_code == 429:
            return Busy(failure.message, hint=failure.hint)
        kind = StoreDown if answer.status_code >= 500 else Misuse
        return told(failure) or kind(f"{what}: {failure.message}", hint=failure.hint)

    def _failure(self, answer: httpx.Response) -> Failure:
        try:
            failure: Failure = unpack(said_in(answer), _encoding(answer), Failure)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            message, hint = strange(self._url, answer)
            return Failure(error="", message=message, hint=hint)
        return failure

    def _lost(self, operation: Operation, error: Exception) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"{self._url} was lost during {operation.name}: {str(error) or type(error).__name__}", hint=advice(error, _LOOK)
        )

    def _away(self, error: Exception, waited_s: float | None = None) -> StoreDown:
        why, helps = silence(self._url, error, waited_s or self._store.settings.answer_s)
        start = "start it (`stratal server`), or see whether STRATAL_STORE names the right one; what was logged waits here"
        return StoreDown(why, hint=advice(error, helps or start))


_LOOK = "nobody knows whether it was done: look before you do it again"


def _encoding(answer: httpx.Response) -> str:
    said: str = answer.headers.get("content-type", "")
    return said.partition(";")[0].strip()


def _pause(tries: int) -> None:
    time.sleep(PAUSE_S * 2**tries * random.uniform(0.5, 1))  # not all clients of a server at once


def _seconds(answer: httpx.Response) -> float:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isdigit() else 1.0
