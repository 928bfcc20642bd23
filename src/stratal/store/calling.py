"""Calling a server: the ingest protocol as a client speaks it, its answers as records or errors of ours."""

import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

import msgspec
import zstandard

from stratal.core.errors import Damaged, Forbidden, Misuse, NotFound, StoreDown, StratalError
from stratal.store.between import strange
from stratal.store.hypertext import httpx
from stratal.store.marks import is_loopback
from stratal.store.quotas.rules import OverQuota
from stratal.store.shipments import (
    COMPLAINT,
    DAMAGE,
    DIGEST,
    EXPERIMENT,
    NO_ROOM,
    OFFSET,
    PREFIX,
    RUN,
    SIZE,
    USER,
    Accepted,
    Beat,
    Complaint,
    Home,
    OtherBytes,
    OtherOffset,
    OtherOwner,
    Seal,
    SegmentParts,
    WriterState,
    digest_of_shipment,
    write_ranges,
)
from stratal.store.trusting import advice, authorities

log = logging.getLogger(__name__)

T = TypeVar("T")
Content = bytes | Iterator[bytes] | None

# Seconds until a server that does not answer at all is taken for away, one that was asked, one that is at work: on a command, or with
# the bytes of a file that it verifies; and one that goes through a whole store. Guesses.
CONNECT_S, ANSWER_S, WORK_S, WHOLE_S = 5.0, 30.0, 120.0, 3600.0
_PIECE = 1 << 20


class Busy(StoreDown):
    """The server asks to come again after `wait_s` seconds, or something was spoilt on the way."""

    wait_s: float = 1.0


class Overtaken(Busy):
    """Somebody else is at the very same thing at this moment: no reason to worry anybody, the next try goes on."""


def open_client(url: str, user: str, token: str | None = None, answer_s: float = ANSWER_S) -> httpx.Client:
    """Open a pool of connections to a server, as somebody. answer_s: of silence; 0 for no bound."""
    if token:
        _warn_of_plain(url)
    return httpx.Client(
        headers={USER: quote(user), **({"authorization": f"Bearer {token}"} if token else {})},
        timeout=httpx.Timeout(answer_s or None, connect=CONNECT_S),
        # Idle ones are dropped before the server does it (5 s): one that it closes under a request leaves open what became of that.
        limits=httpx.Limits(max_connections=32, max_keepalive_connections=8, keepalive_expiry=4.0),
        trust_env=False,  # proxies of the environment are not for a server that one names
        verify=authorities() if url.startswith("https:") else False,
    )


def work_timeout(answer_s: float, *, is_whole: bool = False) -> httpx.Timeout:
    """Give how long to wait for what takes long. is_whole: it goes through a whole store."""
    return httpx.Timeout(max(answer_s, WHOLE_S if is_whole else WORK_S) if answer_s else None, connect=CONNECT_S)


def said_in(answer: httpx.Response) -> bytes:
    """Give the body of an answer; of a refusal of HEAD what it would be."""
    return answer.content or unquote_to_bytes(answer.headers.get(COMPLAINT, ""))


def silence(url: str, error: Exception, answer_s: float) -> tuple[str, str]:
    """Say why a server is not reached, and what helps, '' if only the caller knows."""
    if isinstance(error, httpx.ReadTimeout):
        return (
            f"{url} took the request, and said nothing for {answer_s:g} s",
            "it may hang, or be at work on much: see its log, and ask again; STRATAL_ANSWER_S, or answer_s in stratal.toml, waits longer",
        )
    return f"{url} is not reached: {str(error) or type(error).__name__}", ""


@functools.cache
def _warn_of_plain(url: str) -> None:
    """Warn, once for each server, that whoever sits on the way can read the token."""
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        log.warning(
            "the token goes to %s unencrypted, and whoever listens on the way can use it: use https:// (stratal server --tls-cert,"
            " or a proxy before it), or a tunnel to 127.0.0.1 (ssh -L); a token that was sent so is best revoked",
            url,
        )


class Server:
    """A server as one sender sees it. Not for several threads at once."""

    def __init__(self, url: str, user: str, token: str | None = None, answer_s: float = ANSWER_S) -> None:
        self.url = url
        self._user, self._answer_s = quote(user), answer_s
        self._http = open_client(url, user, token, answer_s)
        self._pack = zstandard.ZstdCompressor(level=1).compress

    def greet(self) -> None:
        """See whether a server is there. Raises StoreDown."""
        self._ask("GET", f"/writers/{'0' * 16}", WriterState)

    def parts(self, name: str, since: int) -> SegmentParts:
        """Give the parts of a segment from `since` on. Raises NotFound if the server never heard of its writer."""
        return self._ask("GET", f"/segments/{name}?since={since}", SegmentParts)

    def ship(self, name: str, offset: int, data: bytes, damage: Sequence[tuple[int, int]]) -> int:
        """Send frames; give the offset that the server acknowledges."""
        ranges = write_ranges(damage)
        digest = digest_of_shipment(name, offset, ranges, self._user, data)
        headers = {OFFSET: str(offset), SIZE: str(len(data)), DAMAGE: ranges, DIGEST: digest, "content-encoding": "zstd"}
        return self._ask("PUT", f"/segments/{name}", Accepted, content=self._pack(data), headers=headers).offset

    def seal(self, name: str, seal: Seal) -> int:
        """Say that a segment has ended."""
        return self._ask("POST", f"/segments/{name}/seal", Accepted, content=msgspec.json.encode(seal)).offset

    def beat(self, writers: Sequence[str]) -> None:
        """Say that these writers' processes are alive."""
        self._send("POST", "/beat", content=msgspec.json.encode(Beat(writers=list(writers))))

    def received(self, digest: str, home: Home | None = None, size: int = 0) -> int | None:
        """Give how much of a blob is there, None for all of it. home: the run that it is a file of; raises OverQuota without room."""
        answer = self._send("HEAD", f"/blobs/{digest}", headers={SIZE: str(size), **_homely(home)}, may_be=(404,))
        if answer.status_code == 200:
            return None
        if why := unquote(answer.headers.get(NO_ROOM, "")):
            raise OverQuota(why)
        text = answer.headers.get(OFFSET, "0")
        return int(text) if text.isdigit() else 0

    def put_blob(self, path: Path, digest: str, offset: int, told: Callable[[int], None], home: Home | None = None) -> int:
        """Send a blob's bytes from an offset on; give how much of it is there now. told: is told bytes that went out. home: as above."""
        size = path.stat().st_size
        headers = {SIZE: str(size), OFFSET: str(offset), "content-length": str(size - offset), **_homely(home)}

        def pieces() -> Iterator[bytes]:
            with path.open("rb") as file:
                file.seek(offset)
                while piece := file.read(_PIECE):
                    yield piece
                    told(len(piece))

        return self._ask("PUT", f"/blobs/{digest}", Accepted, content=pieces(), headers=headers).offset

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _ask(self, method: str, path: str, type: type[T], *, content: Content = None, headers: Mapping[str, str] | None = None) -> T:
        answer = self._send(method, path, content=content, headers=headers)
        try:
            return msgspec.json.decode(answer.content, type=type)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Busy(f"{self.url} gave an answer that cannot be read", hint="is it a Stratal server?") from error

    def _send(
        self, method: str, path: str, *, content: Content = None, headers: Mapping[str, str] | None = None, may_be: tuple[int, ...] = ()
    ) -> httpx.Response:
        is_file = method == "PUT" and path.startswith("/blobs/")
        timeout = work_timeout(self._answer_s) if is_file else self._http.timeout
        try:
            answer = self._http.request(method, f"{self.url}{PREFIX}{path}", content=content, headers=headers, timeout=timeout)
        except (httpx.TransportError, httpx.DecodingError) as error:
            why, helps = silence(self.url, error, timeout.read or 0)
            kept = "nothing is lost: what was logged waits here, and is shipped by the next `stratal sync`"
            raise StoreDown(why, hint=advice(error, f"{kept}; {helps}" if helps else kept)) from error
        if answer.status_code in (200, 204, *may_be):
            return answer
        raise self._error(answer)

    def _error(self, answer: httpx.Response) -> StratalError:
        try:
            said = msgspec.json.decode(said_in(answer), type=Complaint)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            message, hint = strange(self.url, answer)
            said = Complaint(error="", message=message, hint=hint)
        match answer.status_code, said.error:
            case 409, "offset" if said.offset is not None:
                return OtherOffset(said.message, said.offset)
            case 409, "conflict":
                return Overtaken(said.message, hint=said.hint)
            case 409, "other-bytes":
                return OtherBytes(said.message, hint=said.hint)
            case 403, "other-owner":
                return OtherOwner(said.message, hint=said.hint)
            case ((401 | 403), _):
                return Forbidden(said.message, hint=said.hint)
            case 404, "not-found":
                return NotFound(said.message, hint=said.hint)
            case 422, "quota":
                return OverQuota(said.message, hint=said.hint)
            case 422, "damaged":
                return Damaged(said.message, hint=said.hint)
            case ((413 | 422), _) if said.error:
                return Misuse(said.message, hint=said.hint)
            case _:
                # Whose disk is full, and whose database is away, must be clear to who reads it on another machine.
                busy = Busy(f"{self.url} says: {said.message}" if said.error else said.message, hint=said.hint)
                wait = answer.headers.get("retry-after", "")
                busy.wait_s = min(float(wait), 60.0) if wait.isdigit() else 1.0
                return busy


def _homely(home: Home | None) -> dict[str, str]:
    return {} if home is None else {RUN: home.run, EXPERIMENT: quote(home.experiment)}
