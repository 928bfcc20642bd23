"""Addresses of databases: what a URL says, without the password wherever it is shown, kept or handed on."""

import re
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from stratal.core.errors import Misuse
from stratal.core.records import Record

_POSTGRES = re.compile(r"postgres(?:ql)?://", re.IGNORECASE)
_HINT = "write postgresql://USER@HOST/DATABASE, and ?blobs=/FOLDER or ?blobs=s3://BUCKET/PREFIX for files"
# Passwords that this process was told, by the address without: whoever opens the store again need not say it again.
_passwords: dict[str, str] = {}


class Address(Record, frozen=True, kw_only=True):
    """A database of a PostgreSQL server. url: its one spelling, without password; blobs: where files lie, None: with the journals."""

    url: str
    blobs: str | None

    @property
    def shown(self) -> str:
        """What another process opens the store with. Its password comes from its settings, from PGPASSWORD or from ~/.pgpass."""
        return self._with_blobs(self.url)

    @property
    def whole(self) -> str:
        """What a child of this process opens the store with: a secret, if this process was told a password."""
        return self._with_blobs(self.dsn)

    @property
    def dsn(self) -> str:
        """What libpq connects with, password included if this process was told one."""
        password = _passwords.get(self.url)
        return self.url if password is None else f"{self.url}{'&' if '?' in self.url else '?'}password={quote(password, safe='')}"

    def _with_blobs(self, url: str) -> str:
        if self.blobs is None:
            return url
        return f"{url}{'&' if '?' in url else '?'}{urlencode({'blobs': self.blobs}, safe='/:', quote_via=quote)}"


def database_address(said: str, settings_store: str | None = None) -> Address | None:
    """Read the URL of a database, None for what is none. Raises Misuse for one that cannot be.

    settings_store: what the settings say; if that is the same database, its password counts.
    """
    if not _POSTGRES.match(said):
        return None
    if settings_store and settings_store != said:
        database_address(settings_store)
    try:
        parts = urlsplit(said)
        port = parts.port
        options = (
            dict(parse_qsl(parts.query.replace("+", "%2B"), strict_parsing=True)) if parts.query else {}
        )  # libpq knows no + for a space
    except ValueError as error:
        raise Misuse(f"{_without_password(said)} is not the URL of a database: {error}", hint=_HINT) from error
    database = unquote(parts.path.lstrip("/"))
    if not database or "/" in database or parts.fragment or not said.isprintable():
        raise Misuse(f"{_without_password(said)} names no database", hint=_HINT)
    password = options.pop("password", None) or (unquote(parts.password) if parts.password else None)
    blobs = _blobs(options.pop("blobs", None))
    user = f"{quote(unquote(parts.username), safe='')}@" if parts.username else ""
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    query = f"?{urlencode(sorted(options.items()), safe='/:', quote_via=quote)}" if options else ""
    url = f"postgresql://{user}{host}{f':{port}' if port else ''}/{quote(database, safe='')}{query}"
    if password:
        _passwords[url] = password
    return Address(url=url, blobs=blobs)


def _blobs(said: str | None) -> str | None:
    if said is None:
        return None
    if "://" in said:
        from stratal.store.files.objects import checked_url  # obstore: only for those who have such a place

        return checked_url(said)
    if not said.startswith(("/", "~")):
        raise Misuse(
            f"blobs={said} is not an absolute folder", hint="give what all machines see: ?blobs=s3://BUCKET/PREFIX, or ?blobs=/FOLDER"
        )
    return str(Path(said).expanduser())


def _without_password(said: str) -> str:
    said = re.sub(r"(://[^/@]*?):[^/]*@", r"\1:...@", said)
    return repr(re.sub(r"(password=)[^&]*", r"\1...", said))
