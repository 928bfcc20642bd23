"""Validating: rules and drift together give a verdict."""

from dataclasses import dataclass

import polars as pl

from stratal.core.errors import Refused
from stratal.core.records import Record
from stratal.data.columns import Severity
from stratal.data.drift import DriftLimits, compare
from stratal.data.findings import Finding, from_drift, from_violation, ordered
from stratal.data.profile import Profile
from stratal.data.rules import violations
from stratal.data.schema import Schema

# Lines of an error message; a broken export of a wide table would fill the screen.
_MOST_LINES = 20


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What to compare with: its ref and its profile, or None and why there is none."""

    ref: str
    profile: Profile | None
    reason: str = ""


class Validation(Record, frozen=True, kw_only=True):
    """The verdict: `ok` unless a finding of severity "error" exists; findings, the worst first."""

    ok: bool
    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        return "\n".join(str(finding) for finding in self.findings) or "nothing found"


class ValidationFailed(Refused):
    """The data breaks its schema. `findings` says how."""

    def __init__(self, message: str, *, hint: str = "", findings: tuple[Finding, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.findings = findings


def validate_frame(
    frame: pl.DataFrame,
    schema: Schema,
    *,
    profile: Profile | None = None,
    reference: Reference | None = None,
    drift: Severity = "warn",
    limits: DriftLimits | None = None,
) -> Validation:
    """Check a frame against a schema and, with `reference`, for drift.

    profile: of the frame, needed with a reference. drift: severity of a move; "error" refuses data that has moved.
    """
    found = [from_violation(violation, schema, frame.columns) for violation in violations(frame, schema)]
    if reference is not None:
        found += _against(profile or Profile(), reference, schema, drift, limits)
    return Validation(ok=all(finding.severity != "error" for finding in found), findings=tuple(ordered(found)))


def refusal(ref: str, validation: Validation) -> ValidationFailed:
    """Make the error for a verdict that is not ok."""
    errors = sum(finding.severity == "error" for finding in validation.findings)
    lines = [str(finding) for finding in validation.findings]
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"… and {len(lines) - _MOST_LINES:,} more"]
    head = f"{ref} was refused: {errors} error{'' if errors == 1 else 's'}"
    return ValidationFailed(
        "\n  ".join([head, *lines]),
        hint="mend the data, or change the schema if the data is right; the version is kept, marked refused",
        findings=validation.findings,
    )


def _against(profile: Profile, reference: Reference, schema: Schema, drift: Severity, limits: DriftLimits | None) -> list[Finding]:
    if reference.profile is None:
        return [_whole("info", f"not compared with {reference.ref}: {reference.reason}")]
    # Identifiers are new in every batch; the schema says which columns are some.
    skipped = [name for name, column in schema.columns.items() if column.unique]
    moved = [from_drift(one, drift) for one in compare(reference.profile, profile, limits=limits, skip=skipped)]
    gone = [name for name in reference.profile.columns if name not in profile.columns and name not in schema.columns]
    new = [name for name in profile.columns if name not in reference.profile.columns]
    return [
        *(finding for finding in moved if finding is not None),
        *(Finding(column=name, check="drift", severity=drift, message=f"is gone, {reference.ref} has it") for name in gone),
        *(Finding(column=name, check="drift", severity="info", message=f"is new, {reference.ref} has no such column") for name in new),
    ]


def _whole(severity: Severity, message: str) -> Finding:
    return Finding(column="", check="reference", severity=severity, message=message)
