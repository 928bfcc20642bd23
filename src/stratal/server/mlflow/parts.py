"""Files in parts: MLflow's uploads of several parts, and where a file is read by ranges. All of it goes through this server.

What a client presents to begin with, it is told to present with each part: a URL alone grants nothing.
"""

import contextlib
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote
from weakref import WeakValueDictionary

from stratal.core.errors import NotFound
from stratal.core.people import Identity
from stratal.interop.mlflow.service.calls import Answer, Empty
from stratal.interop.mlflow.service.calls import Request as Asked
from stratal.interop.mlflow.service.errors import invalid, missing, required
from stratal.interop.mlflow.service.files import HoldRoom, Opened, SaveFile
from stratal.server.asgi import Request
from stratal.server.linking import note_sent
from stratal.server.mlflow.streaming import COMING, size_of
from stratal.store.files.asides import NamedPart, Upload, begin_upload, drop_parts, drop_upload, find_upload, finish_upload, keep_part
from stratal.store.store import Store

_PROXY = "/api/2.0/mlflow-artifacts"
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")

# Asks whether a file may be saved there, and saves it if it has a digest; keeps or gives back room for one that comes by parts.
Save = Callable[[SaveFile, Identity], object]


class CreateUpload(Asked, frozen=True, kw_only=True):
    """path: of the file on the client's disk; its name counts."""

    path: str | None = None
    num_parts: int | None = None


class SentPart(Asked, frozen=True, kw_only=True):
    part_number: int = 0
    etag: str = ""


class CompleteUpload(Asked, frozen=True, kw_only=True):
    path: str | None = None
    upload_id: str | None = None
    parts: list[SentPart] | None = None


class AbortUpload(Asked, frozen=True, kw_only=True):
    path: str | None = None
    upload_id: str | None = None


class Credential(Answer, frozen=True, kw_only=True):
    """Where a part is sent, and with which headers."""

    url: str
    part_number: int
    headers: dict[str, str]


class CreatedUpload(Answer, frozen=True, kw_only=True):
    upload_id: str
    credentials: list[Credential]


class SignedFile(Answer, frozen=True, kw_only=True):
    """Where a file is read, and with which headers."""

    url: str
    headers: dict[str, str]
    file_size: int


class _Turn:
    """Whose turn it is to finish an upload."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Multipart:
    """Uploads of several parts into one store. Its calls are for threads."""

    def __init__(self, store: Store, save: Save) -> None:
        self._store, self._save = store, save
        self._choosing = threading.Lock()
        self._finishing = WeakValueDictionary[str, _Turn]()  # there for as long as somebody has it, or waits for it

    def create(self, request: Request, folder: str, asked: CreateUpload, sender: Identity) -> CreatedUpload:
        """Begin an upload: parts are sent to this server, each by a request of its own."""
        path = _target(folder, asked.path)
        self._save(SaveFile(path=path), sender)
        count = 1 if asked.num_parts is None else asked.num_parts
        id = begin_upload(self._store.blobs, path, count, sender=sender.name)
        place, headers = f"{_origin(request)}{_PROXY}/mpu/parts/{id}", _credentials(request)
        parts = [Credential(url=f"{place}/{number}", part_number=number, headers=headers) for number in range(1, count + 1)]
        return CreatedUpload(upload_id=id, credentials=parts)

    def find(self, id: str, number: str, sender: Identity) -> int:
        """Give the number of a part that may be sent. Raises MlflowError, or an error of rights."""
        upload = self._find(id, sender)
        if not number.isascii() or not number.isdigit() or len(number) > 9 or not 1 <= int(number) <= upload.parts:
            raise invalid(f"Invalid part {number[:20]!r}: the upload has parts 1 to {upload.parts}")
        self._save(SaveFile(path=upload.path), sender)
        return int(number)

    def keep(self, id: str, number: int, data: bytes | Path, sender: Identity) -> str:
        """Keep a part that may be sent, and give its digest. Raises MlflowError, OverQuota."""
        self._save(HoldRoom(path=self._find(id, sender).path, upload=id, part=number, size_bytes=size_of(data)), sender)
        return keep_part(self._store.blobs, id, number, data)

    def complete(self, folder: str, asked: CompleteUpload, sender: Identity) -> Empty:
        """Put the parts together and save the file. A repeat changes nothing."""
        id, path = asked.upload_id or "", _target(folder, asked.path)
        if asked.parts is None:
            raise required("parts")
        with self._alone(id):
            upload = self._find(id, sender)
            if upload.path != path:
                raise invalid(f"Invalid value {asked.path!r:.100} for parameter 'path' supplied: the upload is of another file")
            self._save(SaveFile(path=path), sender)
            parts = [NamedPart(part.part_number, part.etag.strip('"')) for part in asked.parts]
            aside = self._store.folder / f"{COMING}{secrets.token_hex(8)}"
            done = finish_upload(self._store.blobs, id, upload, parts, aside=aside)
            note_sent(self._store, sender, done.digest)
            self._save(HoldRoom(path=path, upload=id, digest=done.digest, size_bytes=done.size_bytes), sender)
            self._save(SaveFile(path=path, digest=done.digest, size_bytes=done.size_bytes), sender)
            drop_parts(self._store.blobs, id)
        return Empty()

    def abort(self, folder: str, asked: AbortUpload, sender: Identity) -> Empty:
        """Throw an upload away; one that is not there is fine."""
        self._save(SaveFile(path=_target(folder, asked.path)), sender)
        with contextlib.suppress(NotFound), self._alone(asked.upload_id or ""):
            upload = find_upload(self._store.blobs, asked.upload_id or "", sender=sender.name)
            drop_upload(self._store.blobs, asked.upload_id or "")
            self._save(HoldRoom(path=upload.path, upload=asked.upload_id or ""), sender)
        return Empty()

    def _find(self, id: str, sender: Identity) -> Upload:
        try:
            return find_upload(self._store.blobs, id, sender=sender.name)
        except NotFound as error:
            raise missing(f"{error.message}: {id[:60]!r}") from None

    @contextlib.contextmanager
    def _alone(self, id: str) -> Iterator[None]:
        """Let a client that asks again wait for what it has asked before."""
        with self._choosing:
            turn = self._finishing.setdefault(id, _Turn())
        with turn.lock:
            yield


def signed(request: Request, opened: Opened, path: str) -> SignedFile:
    """Say where a file is read: here. Files lie under their digests, large ones in several pieces, which no other URL puts together."""
    return SignedFile(url=f"{_origin(request)}{_PROXY}/artifacts/{quote(path)}", headers=_credentials(request), file_size=opened.size_bytes)


def _target(folder: str, file: str | None) -> str:
    """Give where a file is to be: under its own name in a folder."""
    name = (file or "").rpartition("/" if "/" in (file or "") else "\\")[2]
    if not name:
        raise required("path")
    return f"{folder}/{name}"


def _origin(request: Request) -> str:
    """Give how the client reaches this server."""
    host = request.headers.get("host", "")
    if _HOST.fullmatch(host) is None:
        raise invalid("the request says no host, which parts would be sent to")
    return f"{request.scheme}://{host}"


def _credentials(request: Request) -> dict[str, str]:
    said = request.headers.get("authorization")
    return {} if said is None else {"Authorization": said}
