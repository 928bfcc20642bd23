"""Versions of a model, and where they stand."""

from collections.abc import Sequence

from stratal.core.records import Record
from stratal.registry.stages import Stage, Verb


class Version(Record, frozen=True, kw_only=True):
    """One version. It never changes: what moves is its standing, what is said of it are facts.

    digest: of the manifest of the model's files; run, path: where they were logged; signature: JSON, or None.
    """

    name: str
    number: int
    digest: str
    run: str
    path: str
    flavor: str
    features: str | None = None
    signature: str | None = None
    author: str
    is_authenticated: bool
    at_ns: int

    @property
    def ref(self) -> str:
        return f"model:{self.name}@{self.number}"


class Standing(Record, frozen=True, kw_only=True):
    """Where a version stands. `slot` is 1..limit in a limited stage of a governed model, else the version's number."""

    number: int
    stage: Stage
    slot: int
    since_ns: int


class ModelSummary(Record, frozen=True, kw_only=True):
    """A model at a glance. `policy`: the digest of the one in force, None: ungoverned. `production`: versions that serve."""

    name: str
    owner: str
    versions: int
    production: tuple[int, ...]
    policy: str | None
    at_ns: int


class Move(Record, frozen=True, kw_only=True):
    """One version's step from stage to stage, as it stands in the audit log. `source` None: it was new."""

    number: int
    source: Stage | None
    target: Stage
    slot: int


def predecessors(changes: Sequence[tuple[str, Sequence[Move]]]) -> list[int]:
    """Give the versions that a rollback may go back to, the nearest first, and among them those that serve now.

    changes: verb and moves of each audited change, oldest first. Who comes into Production is put on top of a stack; who
    leaves it by a rollback, or with nobody in its place, was not good, and is not gone back to.
    """
    stack: list[int] = []
    for verb, moves in changes:
        came = [move.number for move in moves if move.target is Stage.PRODUCTION]
        left = [move.number for move in moves if move.source is Stage.PRODUCTION and move.target is not Stage.PRODUCTION]
        if verb == Verb.ROLLBACK or not came:
            stack = [number for number in stack if number not in left]
        stack = [number for number in stack if number not in came] + came
    return stack[::-1]
