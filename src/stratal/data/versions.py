"""Versions: what is kept of a dataset version, and which one a selector means."""

import difflib
from collections.abc import Sequence
from typing import Literal

from stratal.core.clock import to_utc
from stratal.core.errors import Misuse, NotFound
from stratal.core.records import Record
from stratal.data.findings import Finding
from stratal.data.splitting import SplitRule
from stratal.tracking.refs import Alias, Digest, Number, Relative, Selector, Stage

Side = Literal["train", "test"]
Status = Literal["unchecked", "accepted", "refused"]

_MOST_CHARS = 200


class ColumnType(Record, frozen=True, kw_only=True):
    """A column and its type, like "int64" or "datetime[us, UTC]"."""

    name: str
    type: str


class Part(Record, frozen=True, kw_only=True):
    """Which part of a split a version is: `parent` is its ref, like "dataset:churn@3"."""

    parent: str
    side: Side
    rule: SplitRule


class Verdict(Record, frozen=True, kw_only=True):
    """What the last check said: the schema as TOML, the findings, the run that states it."""

    schema: str
    findings: tuple[Finding, ...]
    run: str
    at_ns: int


class Deletion(Record, frozen=True, kw_only=True):
    """Who hid a version and when, and when its content was purged; None: it can still be read, and restored."""

    by: str
    at_ns: int
    purged_ns: int | None = None


class DatasetVersion(Record, frozen=True, kw_only=True):
    """One immutable content under a name and a number; only its status and verdict follow the last check, and it can be deleted.

    digest: of the content. content, profile: digests of the blobs that hold them.
    """

    name: str
    version: int
    digest: str
    rows: int
    columns: tuple[ColumnType, ...]
    content: str
    profile: str
    source: str = ""
    part: Part | None = None
    author: str
    at_ns: int
    status: Status = "unchecked"
    verdict: Verdict | None = None
    deletion: Deletion | None = None

    @property
    def ref(self) -> str:
        """What names this version anywhere."""
        return f"dataset:{self.name}@{self.version}"


def choose(name: str, versions: Sequence[DatasetVersion], selector: Selector | None) -> DatasetVersion:
    """Give the version that a selector means; without one, the latest. Refused and deleted ones are met by number and digest only.

    Raises NotFound with what there is, Misuse for selectors that datasets do not have.
    """
    usable = sorted((v for v in versions if v.status != "refused" and v.deletion is None), key=lambda v: v.version)
    match selector:
        case None | Relative(word="latest"):
            found = usable[-1:]
        case Relative():
            found = usable[-2:-1]
        case Number(value=value):
            found = [v for v in versions if v.version == value]
        case Digest(sha256=digest):
            found = [v for v in versions if v.digest == digest]
        case Stage(name=word) | Alias(name=word):
            raise Misuse(f"a dataset has no {word!r}", hint=f"write dataset:{name}@latest, @previous or a number")
    if found:
        return found[0]
    wanted = (
        "version" if selector is None else str(getattr(selector, "word", "") or f"version {getattr(selector, 'value', 'of that digest')}")
    )
    raise NotFound(f"dataset {name!r} has no {wanted}", hint=_present(versions))


def need_content(version: DatasetVersion) -> DatasetVersion:
    """Give the version if its rows are still there. Raises NotFound that says who gave them up, and when."""
    if version.deletion is not None and version.deletion.purged_ns is not None:
        day = to_utc(version.deletion.purged_ns).date()
        raise NotFound(
            f"the content of {version.ref} was deleted by {version.deletion.by} and purged on {day}",
            hint="registering the same content again brings it back; its digest and schema are still known",
        )
    return version


def check_dataset_name(name: str) -> str:
    """Give the name if it can be one. Raises Misuse."""
    if not name or len(name) > _MOST_CHARS or not name.isprintable() or name != name.strip():
        raise Misuse(f"{name[:60]!r} is not a name for a dataset", hint=f"a name has 1 to {_MOST_CHARS} printable characters")
    if "@" in name:
        raise Misuse(f"the dataset name {name!r} holds an '@'", hint="what follows an '@' is a version; choose another name")
    return name


def unknown_name(name: str, names: Sequence[str]) -> NotFound:
    """Make the error for a dataset that is not there, with the nearest name."""
    near = difflib.get_close_matches(name, names, n=1)
    hint = (
        f"did you mean {near[0]!r}?"
        if near
        else f"there are: {', '.join(names[:10])}"
        if names
        else "register one with st.dataset(name, file)"
    )
    return NotFound(f"there is no dataset {name!r} in this store", hint=hint)


def _present(versions: Sequence[DatasetVersion]) -> str:
    shown = [f"{v.version}{_standing(v)}" for v in sorted(versions, key=lambda v: v.version)[-10:]]
    return f"there are: {', '.join(shown)}"


def _standing(version: DatasetVersion) -> str:
    return " (deleted)" if version.deletion is not None else " (refused)" if version.status == "refused" else ""
