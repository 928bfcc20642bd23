"""Object stores (S3, GCS, Azure) through obstore: a few verbs, bounded retries with growing pauses, and errors without secrets.

The only file that imports obstore. Credentials are what obstore finds in the environment or at the instance; none is read here.
"""

import contextlib
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar
from urllib.parse import urlsplit

import obstore
from obstore import exceptions
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store, from_url

from stratal.core.errors import Misuse, NotFound, StoreDown
from stratal.core.settings import endpoint_of

if TYPE_CHECKING:
    from obstore import ObjectMeta  # not there at run time

# Bytes of one request: below the 100 MB that proxies take, and few enough for a minute on a slow line.
CHUNK = 8 << 20
# Seconds for which an object store may be away before a call fails; requests are repeated until then. Longer than most restarts.
PATIENCE_S = 120.0
# Seconds that a request with a file may take, one without, and a connection.
_REQUEST_S, QUICK_S, _CONNECT_S = 60.0, 15.0, 5.0
_AT_ONCE = 8
# Seconds between two tries, doubled from the first to the last.
_FIRST_WAIT_S, _LAST_WAIT_S = 0.05, 2.0
_NO_PLACE = ("NoSuchBucket", "ContainerNotFound")
_PASSING = ("InternalError", "ServiceUnavailable", "SlowDown", "ServerBusy", "RequestTimeout")

_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_STATUS = re.compile(r"(?:status code: |\(code: )(\d{3})")
# The runtime below obstore lives in the process that used it first, and does not survive a fork: its calls would wait for ever.
_used_by: list[int] = []


T = TypeVar("T")


class Held(StoreDown):
    """An object stays as it is, whoever asks again: somebody has archived it, or keeps it by a lease or a snapshot (Azure)."""

    retryable = False


class Object(NamedTuple):
    """An object. changed_ns: by the object store's clock, often in whole seconds."""

    name: str
    size_bytes: int
    changed_ns: int


class Objects:
    """The objects below one prefix. Safe for threads."""

    def __init__(self, store: ObjectStore, name: str, *, patience_s: float = PATIENCE_S, quick: ObjectStore | None = None) -> None:
        """name: the URL, for messages; it holds no secret. patience_s: for how long an object store may be away before calls fail.
        quick: the same store, for requests without a file."""
        self._store, self._quick = store, quick or store
        self.patience_s = patience_s
        self.name = name
        # Since when it is away, as far as this process knows; and the one call that looks whether it is back, when it was long.
        self._away_since_s: float | None = None
        self._looking = threading.Lock()

    def for_a_look(self, patience_s: float) -> "Objects":
        """Give the same objects for who reads a small one, and does not wait for long."""
        return Objects(self._quick, self.name, patience_s=patience_s)

    def put(self, name: str, data: bytes) -> None:
        """Write an object, whole or not at all. Raises StoreDown."""
        large = len(data) > CHUNK
        self._ask("written", lambda: obstore.put(self._store, name, data, use_multipart=large, chunk_size=CHUNK, max_concurrency=_AT_ONCE))

    def put_first(self, name: str, data: bytes) -> bool:
        """Write an object unless it is there. Raises StoreDown."""
        try:
            self._ask("claimed", lambda: obstore.put(self._quick, name, data, mode="create", use_multipart=False))
        except exceptions.AlreadyExistsError:
            return False
        return True

    def read(self, name: str) -> bytes:
        """Give a small object. Raises NotFound, StoreDown."""
        return self._ask("read", lambda: bytes(obstore.get(self._store, name).bytes()))

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Give the bytes from `start` to before `stop`, which are there. Raises NotFound, StoreDown."""
        if stop <= start:
            return b""
        return self._ask("read", lambda: bytes(obstore.get_range(self._store, name, start=start, end=stop)))

    def below(self, folder: str) -> list[Object]:
        """List all objects below a folder, in any order. Raises StoreDown."""

        def ask() -> list[Object]:
            return [_object(each) for some in obstore.list(self._quick, prefix=folder, chunk_size=1000) for each in some]

        return self._ask("listed", ask)

    def folders(self) -> list[str]:
        """List the folders on top. Raises StoreDown."""
        return self._ask("listed", lambda: sorted(str(folder) for folder in obstore.list_with_delimiter(self._quick)["common_prefixes"]))

    def head(self, name: str) -> Object:
        """Give what is known of an object. Raises NotFound, StoreDown."""
        return self._ask("read", lambda: _object(obstore.head(self._quick, name)))

    def delete(self, name: str) -> None:
        """Delete an object; it may be gone already. Raises StoreDown."""
        with contextlib.suppress(NotFound):
            self._ask("deleted", lambda: obstore.delete(self._quick, name))

    def copy(self, name: str, target: str) -> None:
        """Copy an object inside the object store. Raises NotFound, StoreDown."""
        self._ask("copied", lambda: obstore.copy(self._store, name, target))

    def sign(self, method: Literal["PUT", "GET"], names: Sequence[str], seconds: float) -> list[str] | None:
        """Give URLs with which anybody may send one request each, for some time; None if this kind of store signs none.

        Whoever has such a URL has the right: it belongs into no log."""
        store = self._store
        if not isinstance(store, (S3Store, GCSStore, AzureStore)):
            return None
        return self._ask("signed", lambda: list(obstore.sign(store, method, names, timedelta(seconds=seconds))))

    @property
    def put_headers(self) -> dict[str, str]:
        """What is to be sent along with a PUT to a signed URL, besides the bytes."""
        return {"x-ms-blob-type": "BlockBlob"} if isinstance(self._store, AzureStore) else {}

    def _ask(self, done: str, call: Callable[[], T]) -> T:
        """Call until it is answered, or until the object store has been away for as long as the patience lasts. Errors are told without
        their text: it may hold what the server sent, such as ids of keys and strings that were signed."""
        _check_process()
        wait_s = _FIRST_WAIT_S
        with self._turn(done):
            while True:
                began_s = time.monotonic()
                try:
                    answer = call()
                except exceptions.AlreadyExistsError as error:
                    if done == "claimed":
                        self._away_since_s = None
                        raise
                    self._judge(error, done, began_s, wait_s)  # Azure's 409: of a part that somebody has archived, or keeps by a snapshot
                except (exceptions.BaseError, OSError, ValueError) as error:
                    self._judge(error, done, began_s, wait_s)
                else:
                    self._away_since_s = None
                    return answer
                time.sleep(wait_s * (0.5 + random.random() / 2))  # not all at once, when it is back
                wait_s = min(2 * wait_s, _LAST_WAIT_S)

    def _judge(self, error: Exception, done: str, began_s: float, wait_s: float) -> None:
        """Return if asking again after `wait_s` may help. Raises NotFound, and StoreDown where it cannot, or could not for long."""
        why = _why(error)
        is_missing = isinstance(error, FileNotFoundError) and why not in _NO_PLACE
        if is_missing or not _may_pass(why):
            self._away_since_s = None  # it has answered
        if is_missing:
            raise NotFound(f"there is no such object in {self.name}") from None
        if _may_pass(why):
            since_s = self._away_since_s = self._away_since_s or began_s
            if time.monotonic() + wait_s <= since_s + self.patience_s:
                return
        if isinstance(error, exceptions.AlreadyExistsError | exceptions.PreconditionError) or why in ("status 409", "status 412"):
            raise Held(f"blobs in {self.name} cannot be {done}: {why}", hint="somebody keeps one there: look who, and let it go") from None
        raise StoreDown(f"blobs in {self.name} cannot be {done}: {why}", hint=_hint(why)) from None

    @contextlib.contextmanager
    def _turn(self, done: str) -> Iterator[None]:
        """Let one call at a time look for an object store that has been away for longer than the patience, which may answer nothing for a
        minute; the others are told at once, so that it holds one thread of a server and not all."""
        since_s = self._away_since_s
        if since_s is None or time.monotonic() < since_s + self.patience_s:
            yield
        elif self._looking.acquire(blocking=False):
            try:
                yield
            finally:
                self._looking.release()
        else:
            raise StoreDown(f"blobs in {self.name} cannot be {done}: it is away, and is being looked for", hint=_hint(""))


def open_objects(url: str, *, patience_s: float = PATIENCE_S) -> Objects:
    """Open what a URL names: s3://bucket/prefix, gs://bucket/prefix, az://container/prefix. Raises Misuse for a URL that cannot be."""
    name = checked_url(url)
    endpoint = endpoint_of(urlsplit(name).scheme)
    client = {"connect_timeout": timedelta(seconds=_CONNECT_S)}
    retries = {
        "max_retries": 2,  # of its own; the others are ours, which also begin anew when an answer breaks off
        "retry_timeout": timedelta(seconds=min(patience_s, 10.0)),
        "backoff": {"init_backoff": timedelta(seconds=_FIRST_WAIT_S), "max_backoff": timedelta(seconds=_LAST_WAIT_S), "base": 2},
    }
    if endpoint.startswith("http://"):
        client["allow_http"] = True  # type: ignore[assignment]  # a development server; never for an endpoint with TLS
    try:
        store, quick = (
            from_url(name, client_options={**client, "timeout": timedelta(seconds=each_s)}, retry_config=retries)  # type: ignore[call-overload]  # texts, for all kinds
            for each_s in (_REQUEST_S, QUICK_S)
        )
    except (exceptions.BaseError, ValueError) as error:
        raise Misuse(f"{name} cannot be opened: {type(error).__name__}", hint="look at the variables AWS_*, GOOGLE_* or AZURE_*") from None
    return Objects(store, name, patience_s=patience_s, quick=quick)


def checked_url(url: str) -> str:
    """Give the one spelling of a URL of blobs. Raises Misuse, which repeats nothing that might be a secret."""
    parts = urlsplit(url)
    if parts.scheme not in ("s3", "gs", "az") or not parts.netloc or not url.isprintable():
        raise Misuse("blobs lie in a folder, or at s3://bucket/prefix, gs://bucket/prefix or az://container/prefix")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise Misuse(
            f"the URL of blobs at {parts.scheme}:// has more than a bucket and a prefix",
            hint="credentials come from the environment or the instance, never from a URL",
        )
    if ".." in parts.path.split("/"):
        raise Misuse(f"{url!r:.100} is not the place of blobs", hint="write s3://bucket/prefix")
    return f"{parts.scheme}://{parts.netloc}{'/' + path if (path := parts.path.strip('/')) else ''}"


def _check_process() -> None:
    if not _used_by:
        _used_by.append(os.getpid())
    if _used_by[0] != os.getpid():
        raise Misuse(
            "an object store cannot be used in a process that was forked from one that used it",
            hint="start processes by 'spawn' or 'forkserver', or fork before the first file is saved or read",
        )


def _object(found: "ObjectMeta") -> Object:
    return Object(found["path"], found["size"], int(found["last_modified"].timestamp() * 1e9))


def _why(error: Exception) -> str:
    text = str(error)
    code, status = _CODE.search(text), _STATUS.search(text)
    return code[1] if code else f"status {status[1]}" if status else f"no answer ({type(error).__name__})"


def _may_pass(why: str) -> bool:
    """Tell whether asking again may help: nobody answered, or who did has too much to do."""
    return why.startswith(("no answer", "status 5", "status 429")) or why in _PASSING


def _hint(why: str) -> str:
    if why in _NO_PLACE:
        return "make the bucket, or mend its name; then call again"
    if why in ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "status 401", "status 403") or "Auth" in why:
        return "the credentials of this process are not taken there: look at AWS_*, GOOGLE_* or AZURE_*; then call again"
    return "it is away, or cannot be reached from here; call again when it is back"
