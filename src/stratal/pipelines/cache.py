"""The cache key, part by part, and the difference between two keys in words. Pure.

A key is made of: code (each part that the step reaches), inputs (content digests; values given in the pipeline and outputs of other
steps alike), and the environment (Python's minor version, versions of the installed packages that the code names). Names of steps,
paths of files, times, machines and the options of a step are not in it.
"""

import hashlib
import sys
from collections.abc import Mapping, Sequence

from stratal.core.records import Record, to_json
from stratal.pipelines.code import StepCode
from stratal.pipelines.payloads import Payload


class KeyPart(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that the result depends on. `kind`: code kinds (function, class, ...), "input" or "environment"; `shown`: for people."""

    kind: str
    name: str
    digest: str
    shown: str = ""
    source: str = ""


class Key(Record, frozen=True, kw_only=True):
    """The digest under which a result is found, and what it was made of."""

    digest: str
    parts: tuple[KeyPart, ...]


def key_of(code: StepCode, inputs: Mapping[str, Payload], sources: Mapping[str, str]) -> Key:
    """Make the key of one step call. `sources`: which node's output an input is, for people."""
    parts = [KeyPart(kind=part.kind, name=part.name, digest=part.digest) for part in code.parts]
    parts += [
        KeyPart(kind="input", name=name, digest=payload.digest, shown=payload.shown, source=sources.get(name, ""))
        for name, payload in sorted(inputs.items())
    ]
    versions = {"python": f"{sys.version_info[0]}.{sys.version_info[1]}", **code.libraries}
    parts += [KeyPart(kind="environment", name=name, digest=version, shown=version) for name, version in versions.items()]
    # Modules are left out of the names: a script that was run and the same script imported have the same key.
    content = sorted(
        [part.kind, part.name if part.kind in ("input", "environment") else part.name.rsplit(".", 1)[-1], part.digest] for part in parts
    )
    return Key(digest=hashlib.sha256(to_json(content).encode()).hexdigest(), parts=tuple(parts))


def differences(now: Sequence[KeyPart], before: Sequence[KeyPart]) -> list[str]:
    """Say what is different, one sentence per part: changed first, then new, then gone. Empty: the keys are equal."""
    old = {(part.kind, part.name): part for part in before}
    new = {(part.kind, part.name): part for part in now}
    changed = [_changed(part, old[place]) for place, part in new.items() if place in old and old[place].digest != part.digest]
    added = [f"{_called(part)} is new" for place, part in new.items() if place not in old]
    gone = [f"{_called(part)} is no longer used" for place, part in old.items() if place not in new]
    return changed + added + gone


def _changed(now: KeyPart, before: KeyPart) -> str:
    if now.kind == "environment":
        return f"{now.name} {before.shown or '?'} became {now.shown or '?'}"
    if now.kind == "input" and now.shown and before.shown and now.shown != before.shown:
        return f"{_called(now)} was {before.shown}, is {now.shown}"
    return f"{_called(now)} changed ({before.digest[:8]} -> {now.digest[:8]})"


def _called(part: KeyPart) -> str:
    return f"{part.kind} {part.name}" + (f" (from {part.source})" if part.source else "")
