"""URIs of the plug-in: `stratal:///folder` names a store, `stratal:///folder/-/PATH` an artifact in it.

Answers of the service name artifacts as a server would (`mlflow-artifacts:/PATH`); in a process there is no server to ask, so those
URIs are turned into ours on the way out, and back on the way in.
"""

from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from stratal.core.errors import Misuse
from stratal.interop.mlflow.service.calls import Service
from stratal.tracking.opening import current_store, open_store

SCHEME = "stratal"
_MARK = "/-/"
_PROXY = "mlflow-artifacts:/"
# Fields of messages that hold places of artifacts.
_PLACES = frozenset(("artifact_uri", "artifact_location", "source", "root_uri"))


class Home:
    """A store, and the beginning of all URIs of its artifacts."""

    def __init__(self, service: Service) -> None:
        self.service = service
        folder = service.store.folder.as_posix()
        self._prefix, self._short = f"{SCHEME}://{folder}{_MARK}", f"{SCHEME}:{folder}{_MARK}"

    def outward(self, value: object) -> object:
        """Give a message with places as this process's MLflow can open them."""
        return _replaced(value, _PROXY, self._prefix)

    def inward(self, value: object) -> object:
        """Give a message with places as the service knows them."""
        # MLflow joins paths to them by urllib, which drops the two slashes of no host.
        inward = _replaced(_replaced(value, self._prefix, _PROXY), self._short, _PROXY)
        if isinstance(inward, dict) and isinstance(said := inward.get("filter"), str):
            inward["filter"] = said.replace(self._prefix, _PROXY).replace(self._short, _PROXY)
        return inward


def home_of(uri: str) -> Home:
    """Give the store that a URI names: an absolute folder, or none for the default one. Raises Misuse."""
    parts = urlsplit(uri)
    if parts.netloc:
        raise Misuse(
            f"{uri[:200]!r} names a host: this plug-in opens folders",
            hint="write stratal:///folder, or the http:// URL of a Stratal server",
        )
    path = unquote(parts.path).partition(_MARK)[0]
    return _opened(str(Path(path).absolute()) if path.strip("/") else current_store().url)


def path_of(uri: str) -> str:
    """Give the path of an artifact behind its store. Raises Misuse."""
    _, mark, path = unquote(urlsplit(uri).path).partition(_MARK)
    if not mark:
        raise Misuse(f"{uri[:200]!r} names no artifact", hint="artifacts of a store are stratal:///folder/-/PATH, as MLflow's answers say")
    return path.strip("/")


@lru_cache(maxsize=100)
def _opened(folder: str) -> Home:
    return Home(Service(open_store(folder)))


def _replaced(value: object, old: str, new: str) -> object:
    if isinstance(value, dict):
        return {
            key: new + inner.removeprefix(old)
            if key in _PLACES and isinstance(inner, str) and inner.startswith(old)
            else _replaced(inner, old, new)
            for key, inner in value.items()
        }
    return [_replaced(inner, old, new) for inner in value] if isinstance(value, list) else value
