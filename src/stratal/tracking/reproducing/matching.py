"""Which run of a replay answers to which run of the original: by what they are called and where they stand. Pure.

A label says where a run stands: "pipeline churn / step trained / train churn", with a number where several have the same. A study
stands by itself, because a replay may have its trials' params before the run that it was part of begins.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from stratal.core.records import Record

_IDS = re.compile(r"\brun:[0-9a-f]{8,32}\b")


class Standing(Record, frozen=True, kw_only=True):
    """What matching needs of a run."""

    id: str
    parent: str | None
    kind: str
    experiment: str
    name: str
    started_ns: int


def labels(runs: Iterable[Standing]) -> dict[str, str]:
    """Give the label of each run, by id. A run whose parent is not among them stands by itself."""
    known = {run.id: run for run in sorted(runs, key=lambda run: (run.started_ns, run.id))}
    found: dict[str, str] = {}
    counts: dict[str, int] = {}
    for run in known.values():
        _label(run, known, found, counts)
    return found


def tree_of(top: str, runs: Sequence[Standing]) -> list[str]:
    """List a run and all that is part of it, each after what it is part of."""
    children: dict[str, list[Standing]] = {}
    for run in runs:
        if run.parent is not None:
            children.setdefault(run.parent, []).append(run)
    found, waiting = [], [top]
    while waiting:
        found.append(waiting.pop(0))
        waiting.extend(run.id for run in sorted(children.get(found[-1], []), key=lambda run: (run.started_ns, run.id)))
    return found


def _label(run: Standing, known: Mapping[str, Standing], found: dict[str, str], counts: dict[str, int]) -> str:
    if run.id in found:
        return found[run.id]
    above = known.get(run.parent) if run.parent is not None and run.kind != "study" else None
    before = f"{_label(above, known, found, counts)} / " if above is not None else ""
    name = run.name or run.experiment
    if (above is None or above.experiment != run.experiment) and run.experiment not in name.split():
        name = f"{run.experiment} {name}"
    name = _IDS.sub("run", name)  # a name may speak of another run, which has another id each time
    plain = f"{before}{name}" if name.startswith(run.kind) else f"{before}{run.kind} {name}"
    number = counts[plain] = counts.get(plain, 0) + 1
    found[run.id] = plain if number == 1 else f"{plain} ({number})"
    return found[run.id]
