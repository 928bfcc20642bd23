"""Holding a replay against the original: runs are matched, their series and files compared, causes sought where they differ."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from stratal.core.errors import StratalError
from stratal.core.ids import is_id
from stratal.core.records import from_json
from stratal.store.store import Store
from stratal.tracking.capture import Capture, Packages
from stratal.tracking.explaining import capture_of
from stratal.tracking.finding import find_runs
from stratal.tracking.reading import ReadRun, get_run
from stratal.tracking.reproducing.alone import OUTPUT
from stratal.tracking.reproducing.causes import Cause, Side, likely_causes
from stratal.tracking.reproducing.matching import Standing, labels, tree_of
from stratal.tracking.reproducing.records import FAILED, NOTHING, ArtifactVerdict
from stratal.tracking.reproducing.verdicts import (
    DIVERGES,
    IDENTICAL,
    Points,
    SeriesVerdict,
    Tolerance,
    first_divergence,
    judge,
    overall,
)

# A program makes the same runs again, whatever was deleted of them since, by itself or by people.
_ALSO_DELETED = "(deleted is null or deleted is not null)"


@dataclass(frozen=True, kw_only=True)
class Family:
    """A run, all that is part of it, and all that its program did: their labels, and where each stands."""

    run: ReadRun
    top: ReadRun
    tree: tuple[ReadRun, ...]
    runs: tuple[ReadRun, ...]
    labels: dict[str, str]
    capture: Capture


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What came out of holding a replay against the original."""

    verdict: str
    replay: str
    series: tuple[SeriesVerdict, ...]
    artifacts: tuple[ArtifactVerdict, ...]
    causes: tuple[Cause, ...]
    first: SeriesVerdict | None
    notes: tuple[str, ...]


def chain_of(run: ReadRun, store: Store) -> list[ReadRun]:
    """List a run and what it is part of, the outermost last."""
    chain = [run]
    while (parent := chain[-1].parent) is not None:
        try:
            chain.append(get_run(parent, store=store))
        except StratalError:  # of another store, or gone
            break
    return chain


def family_of(run: ReadRun, chain: Sequence[ReadRun], capture: Capture, store: Store) -> Family:
    """Read the runs of the program that a run belongs to."""
    top = chain[-1]
    beside = _of_same_program(top, capture, store)
    runs: dict[str, ReadRun] = {each.id: each for each in beside}
    waiting = list(beside)
    while waiting:
        for child in waiting.pop().children:
            if child not in runs:
                runs[child] = get_run(child, store=store)
                waiting.append(runs[child])
    standings = [_standing(each) for each in runs.values()]
    tree = tuple(runs[id] for id in tree_of(run.id, standings))
    return Family(run=run, top=top, tree=tree, runs=tuple(runs.values()), labels=labels(standings), capture=capture)


def judge_replay(family: Family, original: Store, replayed: Store, tolerance: Tolerance) -> Judgement:
    """Hold the runs of a replay's store against the original's."""
    found = list(find_runs(_ALSO_DELETED, order_by="started", store=replayed))
    names = labels([_standing(each) for each in found])
    by_label = {names[each.id]: each for each in found}
    own = family.labels[family.run.id]
    answer = by_label.get(own)
    series: list[SeriesVerdict] = []
    artifacts: list[ArtifactVerdict] = []
    notes: list[str] = []
    for run in family.tree:
        label = family.labels[run.id]
        other, shown = by_label.get(label), _shown(label, own)
        series += _series(run, other, shown, tolerance)
        artifacts += _artifacts(run, other, shown)
        notes += _told_notes(other)
        if other is None:
            notes.append(f"{label}: it did not run again")
        elif "lost" not in (run.status, other.status) and run.status != other.status:
            notes.append(f"{label}: it {run.status} then, and {other.status} now{f': {other.error}' if other.error else ''}")
    order = {_shown(family.labels[run.id], own): place for place, run in enumerate(family.tree)}
    first = first_divergence(series, order)
    verdict = _verdict(family.run, answer, series, artifacts)
    causes = () if verdict in (IDENTICAL, NOTHING) else _causes(family, by_label, found, original, replayed, first)
    if verdict == NOTHING:
        notes.append("it has no metrics and no files: if steps came from the cache, reproduce the run that made them")
    if verdict == FAILED:  # what only may be a reason speaks of numbers, and there are none
        causes = tuple(cause for cause in causes if cause.is_known)
    return Judgement(
        verdict=verdict,
        replay=answer.id if answer is not None else "",
        series=tuple(series),
        artifacts=tuple(artifacts),
        causes=causes,
        first=first,
        notes=tuple(notes),
    )


def _causes(
    family: Family, by_label: dict[str, ReadRun], found: Sequence[ReadRun], original: Store, replayed: Store, first: SeriesVerdict | None
) -> tuple[Cause, ...]:
    """Compare where the first difference is; where nothing answers to that run, the nearest one that it is part of."""
    own = family.labels[family.run.id]
    at = next((run for run in family.tree if first is not None and _shown(family.labels[run.id], own) == first.run), family.run)
    known = {run.id: run for run in family.tree}
    while (other := by_label.get(family.labels[at.id])) is None and at.parent in known:
        at = known[at.parent]
    now = _capture_near(other, found)
    there = Side(capture=now, packages=_packages(now, replayed)) if other is None else _side(other, found, now, replayed)
    here = _side(at, family.tree, family.capture, original)
    return likely_causes(here if other is not None else msgspec.structs.replace(here, params={}), there, size=_size(first))


def _of_same_program(top: ReadRun, capture: Capture, store: Store) -> list[ReadRun]:
    """The outermost runs that the same execution of a program made, in the experiment of this one."""
    if not capture.program:
        return [top]
    beside = find_runs(f"kind = '{top.kind}' and {_ALSO_DELETED}", experiment=top.experiment, order_by="started", store=store)
    begun_ns = program_start_ns(capture)
    return [
        each
        for each in beside
        if each.id == top.id
        or (each.parent is None and (each.record.started_ns or 0) >= begun_ns and each.capture.get("program") == capture.program)
    ]


def program_start_ns(capture: Capture) -> int:
    """Give when a program began, by its id; when the run began for captures that name none."""
    return int(capture.program[:12], 16) * 1_000_000 if is_id(capture.program) else capture.at_ns


def _standing(run: ReadRun) -> Standing:
    return Standing(
        id=run.id, parent=run.parent, kind=run.kind, experiment=run.experiment, name=run.name, started_ns=run.record.started_ns or 0
    )


def _shown(label: str, own: str) -> str:
    return "" if label == own else label.removeprefix(f"{own} / ")


def _series(run: ReadRun, other: ReadRun | None, label: str, tolerance: Tolerance) -> list[SeriesVerdict]:
    return [
        judge(label, name, _points(run, name), _points(other, name) if other is not None and name in other.metrics else None, tolerance)
        for name in sorted(run.metrics)
    ]


def _points(run: ReadRun, name: str) -> Points:
    series = run.series(name)
    return Points(steps=series.steps, values=series.values)


def _artifacts(run: ReadRun, other: ReadRun | None, label: str) -> list[ArtifactVerdict]:
    held = {each.path: each.digest for each in other.artifacts} if other is not None else {}
    files = [ArtifactVerdict(run=label, path=each.path, is_equal=held.get(each.path) == each.digest) for each in run.artifacts]
    stated = other.statements(OUTPUT) if other is not None else []
    return files + [ArtifactVerdict(run=label, path="(output)", is_equal=bool(each.body.get("is_equal"))) for each in stated]


def _told_notes(other: ReadRun | None) -> list[str]:
    """What a run that was replayed alone says of how it went."""
    said = [each.body.get("notes") for each in other.statements(OUTPUT)] if other is not None else []
    return [str(note) for notes in said if isinstance(notes, list) for note in notes]


def _verdict(run: ReadRun, answer: ReadRun | None, series: list[SeriesVerdict], artifacts: list[ArtifactVerdict]) -> str:
    if answer is None:
        return FAILED
    if "lost" not in (run.status, answer.status) and run.status != answer.status:
        return DIVERGES
    said = overall(series)
    if said == NOTHING and artifacts:
        return IDENTICAL if all(each.is_equal for each in artifacts) else DIVERGES
    return said


def _side(run: ReadRun, runs: Sequence[ReadRun], capture: Capture | None, store: Store) -> Side:
    own = capture_of(run) or capture
    is_seeded = (own is not None and own.seeds is not None and own.seeds.seed is not None) or any(
        each.kind in ("study", "job") or "generators" in each.capture for each in runs
    )
    used = frozenset((edge.role, edge.target) for edge in run.edges if edge.verb == "used" and not edge.target.startswith("run:"))
    return Side(capture=own, packages=_packages(own, store), params=run.params, used=used, is_seeded=is_seeded)


def _capture_near(run: ReadRun | None, runs: Sequence[ReadRun]) -> Capture | None:
    """The capture of a run, of what it is part of, or of any run of its program."""
    by_id: dict[str, ReadRun] = {each.id: each for each in runs}
    while run is not None:
        if (found := capture_of(run)) is not None:
            return found
        run = by_id.get(run.parent) if run.parent is not None else None
    return next((found for each in runs if (found := capture_of(each)) is not None), None)


def _packages(capture: Capture | None, store: Store) -> dict[str, str]:
    if capture is None or capture.packages is None or not store.blobs.has(capture.packages.digest):
        return {}
    return from_json(store.blobs.read(capture.packages.digest), Packages).versions


def _size(first: SeriesVerdict | None) -> float | None:
    if first is None or first.original is None or first.replayed is None:
        return None
    scale = max(abs(first.original), abs(first.replayed))
    return abs(first.original - first.replayed) / scale if scale else 0.0
