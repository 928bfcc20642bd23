"""Stages and the transitions between them, as a table. The rules read the table; nothing else knows a stage by name.

(new) ──register──▶ Development ──promote──▶ Staging ──promote──▶ Production
                      ▲   ▲  ◀────return──────┘                        │
                      │   └───────revive──────┐                        │
                      │                    Archived ◀─────archive──────┤ (also from Development and Staging)
                                              └─────────rollback──────▶┘
"""

import difflib
from enum import StrEnum

from stratal.core.errors import Misuse
from stratal.core.records import Record


class Stage(StrEnum):
    """Where a version stands. Exactly one stage per version."""

    DEVELOPMENT = "Development"
    STAGING = "Staging"
    PRODUCTION = "Production"
    ARCHIVED = "Archived"


class Verb(StrEnum):
    """What moves a version."""

    REGISTER = "register"
    PROMOTE = "promote"
    RETURN = "return"
    ARCHIVE = "archive"
    ROLLBACK = "rollback"
    REVIVE = "revive"


class Transition(Record, frozen=True, kw_only=True):
    """One row of the table. `source` is None where a version begins."""

    source: Stage | None
    verb: Verb
    target: Stage
    needs_reason: bool = False


TRANSITIONS: tuple[Transition, ...] = (
    Transition(source=None, verb=Verb.REGISTER, target=Stage.DEVELOPMENT),
    Transition(source=Stage.DEVELOPMENT, verb=Verb.PROMOTE, target=Stage.STAGING),
    Transition(source=Stage.STAGING, verb=Verb.PROMOTE, target=Stage.PRODUCTION),
    Transition(source=Stage.STAGING, verb=Verb.RETURN, target=Stage.DEVELOPMENT, needs_reason=True),
    Transition(source=Stage.DEVELOPMENT, verb=Verb.ARCHIVE, target=Stage.ARCHIVED, needs_reason=True),
    Transition(source=Stage.STAGING, verb=Verb.ARCHIVE, target=Stage.ARCHIVED, needs_reason=True),
    Transition(source=Stage.PRODUCTION, verb=Verb.ARCHIVE, target=Stage.ARCHIVED, needs_reason=True),
    Transition(source=Stage.ARCHIVED, verb=Verb.ROLLBACK, target=Stage.PRODUCTION, needs_reason=True),
    Transition(source=Stage.ARCHIVED, verb=Verb.REVIVE, target=Stage.DEVELOPMENT, needs_reason=True),
)

# How many versions of a governed model may stand in a stage at once. A stage that is not named has no limit.
LIMITS: dict[Stage, int] = {Stage.PRODUCTION: 1}

# The way up. A stage's position in it says what "already passed" means; Archived is on no way.
LADDER: tuple[Stage, ...] = (Stage.DEVELOPMENT, Stage.STAGING, Stage.PRODUCTION)

# Selectors of a ref that no alias may be, beside integers and the stages.
RESERVED: frozenset[str] = frozenset({"latest", "previous", "champion"})


def to_stage(text: str) -> Stage:
    """Read a stage in any case. Raises Misuse that names the nearest one."""
    stage = find_stage(text)
    if stage is not None:
        return stage
    near = difflib.get_close_matches(text.capitalize(), list(Stage), n=1, cutoff=0.5)
    guess = f"did you mean {near[0]}? " if near else ""
    raise Misuse(f"{text!r} is not a stage", hint=f"{guess}stages are: {', '.join(Stage)}")


def find_stage(text: str) -> Stage | None:
    """Give the stage of that name in any case, or None."""
    return next((stage for stage in Stage if stage.lower() == text.lower()), None)


def find_transition(source: Stage | None, verb: Verb, target: Stage) -> Transition:
    """Give the row of the table. Raises Misuse that names what is allowed from there."""
    for row in TRANSITIONS:
        if (row.source, row.verb, row.target) == (source, verb, target):
            return row
    allowed = [f"{row.verb} to {row.target}" for row in TRANSITIONS if row.source == source]
    raise Misuse(
        f"there is no {verb} from {source or 'nowhere'} to {target}",
        hint=f"from {source or 'nowhere'} the allowed ones are: {', '.join(allowed)}",
    )


def has_passed(stage: Stage, target: Stage) -> bool:
    """Tell whether a version in `stage` holds `target` or has it behind it, so that promoting there changes nothing."""
    if stage == target:
        return True
    return stage in LADDER and target in LADDER and LADDER.index(stage) > LADDER.index(target)


def way_to(target: Stage) -> tuple[Stage, ...]:
    """Give the stages whose demands must hold for `target`: those below it on the ladder, and itself."""
    return LADDER[: LADDER.index(target) + 1] if target in LADDER else ()
