"""Marks: which server a folder's journals are shipped to, and which of its dead segments that server has.

A spool (journals of a store behind a URL) says its URL in `url`; its segments are deleted when they are shipped. A full
store that is also shipped says the URL in `remote`; its segments stay until they are settled here and marked as shipped.
"""

import contextlib
import ipaddress
import re
import secrets
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from stratal.core.errors import Misuse

_HTTP = re.compile(r"https?://", re.IGNORECASE)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a host."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def remote_url(said: str) -> str | None:
    """Give the URL of a server in its one spelling, None for what is no http URL. Raises Misuse for one that cannot be."""
    if not _HTTP.match(said):
        return None
    parts = urlsplit(said)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if not parts.hostname or port == -1 or parts.username is not None or parts.query or parts.fragment or not said.isprintable():
        raise Misuse(f"{said!r:.100} is not the URL of a server", hint="write http://127.0.0.1:4117")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


def spool_folder(url: str, state_home: Path) -> Path:
    """Give the folder of the journals that wait for a server: always on a local disk, one per URL."""
    return state_home.expanduser().absolute() / "stratal" / sha256(url.encode()).hexdigest()[:16]


def spool_url(folder: Path) -> str | None:
    """Give the URL that a spool belongs to, None if the folder is no spool."""
    return _read(folder / "url")


def mark_spool(folder: Path, url: str) -> None:
    """Say what a spool belongs to."""
    if spool_url(folder) != url:
        _write(folder / "url", url)


def shipped_to(folder: Path) -> str | None:
    """Give the URL that a full store is shipped to, None if to nowhere."""
    return _read(folder / "remote")


def mark_remote(folder: Path, url: str) -> None:
    """Keep dead segments from now on until this server has them. Raises Misuse if they are kept for another one."""
    known = shipped_to(folder)
    if known is None:
        _write(folder / "remote", url)
    elif known != url:
        raise Misuse(f"{folder} is shipped to {known}, not to {url}", hint=f"to change that, delete the file {folder / 'remote'}")


def mark_shipped(journals: Path, name: str) -> None:
    """Say that the server has a dead segment, whole."""
    _mark(journals, name).touch()


def is_shipped(journals: Path, name: str) -> bool:
    """Tell whether the server has a dead segment, whole."""
    return _mark(journals, name).exists()


def forget_shipped(journals: Path, name: str) -> None:
    """Drop the mark of a segment whose file is gone."""
    _mark(journals, name).unlink(missing_ok=True)


def _mark(journals: Path, name: str) -> Path:
    return journals / f"{name}.shipped"


def _read(path: Path) -> str | None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return path.read_text(encoding="utf-8").strip() or None
    return None


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    aside.write_text(text + "\n", encoding="utf-8")
    aside.rename(path)
