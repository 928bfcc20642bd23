"""Refs: one text that names anything, `kind:name@selector`, and the table of who resolves which kind.

Selectors exist on dataset, features, model and pipeline, split at the last `@`; the other kinds take the rest
verbatim. A selector is, in this order: a whole number, `latest` or `previous`, a stage (any case), an alias.
`@alias:NAME` reaches an alias whose name is one of those (imports bring such), `@sha256:...` a content digest.
"""

import difflib
import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from stratal.core.errors import Misuse, NotFound
from stratal.core.records import Record

if TYPE_CHECKING:  # a process that only logs never imports the store
    from stratal.store.store import Store

VERSIONED = ("dataset", "features", "model", "pipeline")
VERBATIM = ("run", "experiment", "study", "artifact", "sha256")
KINDS = (*VERSIONED, *VERBATIM)
STAGES = ("Development", "Staging", "Production", "Archived")
_DIGEST = re.compile(r"[0-9a-f]{64}")
# What both databases hold.
_MOST_DIGITS = 18


class Number(Record, frozen=True, kw_only=True, tag="number"):
    """A version by its number."""

    value: int


class Relative(Record, frozen=True, kw_only=True, tag="relative"):
    """`latest`, or `previous`: the one before the latest."""

    word: str


class Stage(Record, frozen=True, kw_only=True, tag="stage"):
    """The version that holds a stage, by the stage's own spelling."""

    name: str


class Alias(Record, frozen=True, kw_only=True, tag="alias"):
    """The version that an alias points to."""

    name: str


class Digest(Record, frozen=True, kw_only=True, tag="digest"):
    """The version with that content: sha256, 64 hex digits."""

    sha256: str


Selector = Number | Relative | Stage | Alias | Digest


class Ref(Record, frozen=True, kw_only=True):
    """A parsed ref. Laws: `parse_ref(format_ref(r)) == r`; two spellings of one thing parse to equal refs."""

    kind: str
    name: str
    selector: Selector | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise Misuse(f"the ref {self.kind + ':'!r} names nothing", hint=f"write it as {_example(self.kind)}")
        if self.selector is not None and self.kind not in VERSIONED:
            raise Misuse(f"{self.kind} has no versions, so it takes no selector", hint=f"selectors exist on {', '.join(VERSIONED)}")
        if self.selector is None and self.kind in VERSIONED and "@" in self.name:
            raise Misuse(
                f"the {self.kind} name {self.name!r} holds an '@', so it needs a selector", hint=f"write {self.kind}:{self.name}@latest"
            )
        if isinstance(self.selector, Number) and self.selector.value < 0:
            raise Misuse(f"{self.selector.value} is no version number", hint="numbers start at 1")
        if isinstance(self.selector, Alias) and (not self.selector.name or "@" in self.selector.name):
            raise Misuse(f"{self.selector.name!r} cannot be an alias", hint="an alias is not empty and holds no '@'")

    def __str__(self) -> str:
        return format_ref(self)


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What a ref stood for at that moment. `ref` names it for good, by its number (`model:churn@7`); `digest` is of the
    content; `value` is what the room gives for it."""

    ref: Ref
    digest: str
    value: object


Resolver = Callable[[Ref, "Store"], Resolved]

# A resolver may be given as "module:function", which is imported when a ref of its kind is resolved first.
_resolvers: dict[str, Resolver | str] = {
    kind: f"stratal.tracking.resolving:resolve_{kind}" for kind in ("run", "experiment", "artifact", "sha256")
}
_watchers: ContextVar[tuple[list[tuple[str, str]], ...]] = ContextVar("stratal_watchers", default=())


def parse_ref(text: str, *, default_kind: str | None = None, stages: Sequence[str] = STAGES) -> Ref:
    """Parse a ref. `default_kind` is taken where the text names no known kind (`7c41e09b` for a run); ids hold no colon, so
    `modle:churn` is no run, but a mistake.

    stages: the names that count as stages, for policies with their own. Raises Misuse, with the nearest kind."""
    kind, colon, rest = text.partition(":")
    if not colon or kind not in KINDS:
        if default_kind is None or (colon and default_kind not in VERSIONED):  # names of versions may hold a colon
            raise _unknown_kind(text, kind if colon else "")
        kind, rest = default_kind, text
    if kind == "sha256" and _DIGEST.fullmatch(rest) is None:
        raise Misuse(f"{text!r} is not a digest", hint="sha256: is followed by 64 hex digits, in lower case")
    if kind not in VERSIONED or "@" not in rest:
        return Ref(kind=kind, name=rest)
    name, _, selector = rest.rpartition("@")
    return Ref(kind=kind, name=name, selector=parse_selector(selector, stages=stages))


def parse_selector(text: str, *, stages: Sequence[str] = STAGES) -> Selector:
    """Parse what follows the `@`. Raises Misuse."""
    if not text:
        raise Misuse("nothing follows the '@'", hint="a selector is a version number, latest, previous, a stage or an alias")
    if text.isascii() and text.isdigit():
        if len(text) > _MOST_DIGITS:
            raise Misuse(f"{text[:20]}... is no number of a version", hint=f"it has at most {_MOST_DIGITS} digits")
        return Number(value=int(text))
    if text in ("latest", "previous"):
        return Relative(word=text)
    for stage in stages:
        if stage.lower() == text.lower():
            return Stage(name=stage)
    if text.startswith("alias:"):
        return Alias(name=text.removeprefix("alias:"))
    if text.startswith("sha256:"):
        digest = text.removeprefix("sha256:")
        if _DIGEST.fullmatch(digest) is None:
            raise Misuse(f"{text!r} is not a digest", hint="sha256: is followed by 64 hex digits, in lower case")
        return Digest(sha256=digest)
    return Alias(name=text)


def format_ref(ref: Ref) -> str:
    """Give the shortest text that parses to this ref."""
    return f"{ref.kind}:{ref.name}" if ref.selector is None else f"{ref.kind}:{ref.name}@{format_selector(ref.selector)}"


def format_selector(selector: Selector) -> str:
    """Give the text after the `@`."""
    match selector:
        case Number(value=value):
            return str(value)
        case Relative(word=word):
            return word
        case Stage(name=name):
            return name
        case Digest(sha256=digest):
            return f"sha256:{digest}"
        case Alias(name=name):
            is_plain = not name.startswith(("alias:", "sha256:")) and parse_selector(name) == selector
            return name if is_plain else f"alias:{name}"


def register_resolver(kind: str, resolver: Resolver | str) -> None:
    """Say who resolves refs of a kind. The composition of the product does this once; the last one counts.

    resolver: a function, or "module:function", which costs no import until it is needed."""
    if kind not in KINDS:
        raise _unknown_kind(f"{kind}:", kind)
    _resolvers[kind] = resolver


def resolve(ref: Ref | str, store: "Store") -> Resolved:
    """Find what a ref stands for now. Raises NotFound if it is not there, Misuse if the ref is wrong or ambiguous.

    Watchers hear of it too when it is not there, with the digest "": what was done without it may be done otherwise later."""
    parsed = parse_ref(ref) if isinstance(ref, str) else ref
    try:
        resolved = _resolver(parsed.kind)(parsed, store)
    except NotFound:
        _tell(parsed, "")
        raise
    _tell(parsed, resolved.digest)
    return resolved


def _tell(ref: Ref, digest: str) -> None:
    for seen in _watchers.get():
        seen.append((format_ref(ref), digest))


@contextmanager
def watching_resolutions() -> Iterator[list[tuple[str, str]]]:
    """Record each (ref, digest) that is resolved inside the block, in order, repeats included. Blocks nest.

    A thread that the block starts is watched if it runs in a copy of the block's context."""
    seen: list[tuple[str, str]] = []
    token = _watchers.set((*_watchers.get(), seen))
    try:
        yield seen
    finally:
        _watchers.reset(token)


def _resolver(kind: str) -> Resolver:
    found = _resolvers.get(kind)
    if found is None:
        raise Misuse(f"nothing here resolves {kind} refs", hint="`import stratal` registers all kinds; import it first")
    if isinstance(found, str):
        module, _, name = found.partition(":")
        found = _resolvers[kind] = cast(Resolver, getattr(importlib.import_module(module), name))
    return found


def _unknown_kind(text: str, kind: str) -> Misuse:
    near = difflib.get_close_matches(kind.lower(), KINDS, n=1)
    nearest = f"did you mean {near[0]}:{text.partition(':')[2]}? " if near else ""
    what = f"{text!r} starts with no known kind" if kind else f"{text!r} is not a ref: it names no kind"
    return Misuse(what, hint=f"{nearest}write kind:name, where kind is one of {', '.join(KINDS)}")


def _example(kind: str) -> str:
    return f"{kind}:churn@latest" if kind in VERSIONED else f"{kind}:7c41e09b" if kind == "run" else f"{kind}:churn"
