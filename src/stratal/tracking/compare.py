"""Compare any number of runs: what differs in params, metrics, environment, code and data. Pure: values in, a value out."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec

from stratal.core.errors import Misuse
from stratal.core.ids import short
from stratal.core.records import Record, to_json
from stratal.tracking.capture import Capture
from stratal.tracking.diffing import FileDiff
from stratal.tracking.directions import MAXIMIZE, MINIMIZE, UNKNOWN, direction_of
from stratal.tracking.facts import SYSTEM

if TYPE_CHECKING:  # a frame costs an import of 0.2 s, and is asked for last
    import polars as pl

T = TypeVar("T")
Value = bool | int | float | str | None


class ComparedRun(Record, frozen=True, kw_only=True):
    """What a comparison needs of a run. metrics: the values that stand for each. used: refs or digests of data, with their roles."""

    id: str
    name: str | None = None
    experiment: str = ""
    status: str = ""
    params: Mapping[str, Value] = msgspec.field(default_factory=dict)
    metrics: Mapping[str, float] = msgspec.field(default_factory=dict)
    used: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)  # role -> refs
    capture: Capture | None = None
    packages: Mapping[str, str] = msgspec.field(default_factory=dict)  # of the capture's list
    goals: Mapping[str, str] = msgspec.field(default_factory=dict)  # metric -> MINIMIZE or MAXIMIZE, where the run says so


class Column(Record, frozen=True, kw_only=True):
    """One run of the comparison."""

    id: str
    label: str
    experiment: str
    status: str


class Row(Record, frozen=True, kw_only=True):
    """One thing that differs: a value per run, None where a run lacks it."""

    name: str
    values: tuple[Value, ...]


class MetricRow(Record, frozen=True, kw_only=True):
    """One metric. deltas: difference to the first run. best: positions of the best value (several if equal), none if
    nobody knows which way is better or only one run has it. NaN is never best. is_guessed: nobody said which way is better,
    its name did."""

    name: str
    direction: str
    values: tuple[float | None, ...]
    deltas: tuple[float | None, ...]
    best: tuple[int, ...]
    is_guessed: bool = False


class RunDiff(Record, frozen=True, kw_only=True):
    """What differs in the code of a run from that of the first one."""

    label: str
    files: tuple[FileDiff, ...]


class Comparison(Record, frozen=True, kw_only=True):
    """What differs between runs; each part holds only what differs, but `metrics` holds all."""

    runs: tuple[Column, ...]
    params: tuple[Row, ...]
    equal_params: int
    metrics: tuple[MetricRow, ...]
    environment: tuple[Row, ...]
    packages: tuple[Row, ...]
    code: tuple[Row, ...]
    data: tuple[Row, ...]
    not_captured: tuple[str, ...]  # labels of runs without a capture: their environment and code are not known
    cut_short: tuple[str, ...] = ()  # labels of runs that ended before their packages, code and machine were read
    diffs: tuple[RunDiff, ...] = ()  # only if they were asked for

    def to_polars(self, part: str = "metrics") -> "pl.DataFrame":
        """Give a part as a frame: name, then a column per run; metrics also say which way is better.

        part: metrics, params, environment, packages, code or data. Raises Misuse for another one."""
        from stratal.tracking.frames import columns_to_polars  # polars: only for those who ask for a frame

        if part not in PARTS:
            raise Misuse(f"a comparison has no part {part!r}", hint=f"it has: {', '.join(PARTS)}")
        found: tuple[Row | MetricRow, ...] = getattr(self, part)
        columns: dict[str, list[object]] = {"name": [row.name for row in found]}
        if part == "metrics":
            columns["better"] = [row.direction for row in self.metrics]
        labels = [column.label for column in self.runs]
        columns.update({label: [row.values[at] for row in found] for at, label in enumerate(labels)})
        return columns_to_polars(columns)


PARTS = ("metrics", "params", "environment", "packages", "code", "data")


def compare(
    runs: Sequence[ComparedRun],
    *,
    metrics: Collection[str] | None = None,
    minimize: Collection[str] = (),
    maximize: Collection[str] = (),
) -> Comparison:
    """Compare runs, the first being the base of differences. metrics: only these; None: all.

    minimize, maximize: metrics whose better direction is said here instead of by their runs, or guessed from their names.
    Raises Misuse for fewer than two runs, one named twice, or a metric in both lists."""
    _check(runs, minimize, maximize)
    named = sorted({name for run in runs for name in run.metrics})
    if unknown := sorted(set(metrics or ()) - set(named)):
        raise Misuse(f"none of these runs has the metric {unknown[0]!r}", hint=f"they have: {', '.join(named[:12]) or 'none'}")
    labels = _labels(runs)
    captures = [run.capture for run in runs]
    is_known = [capture is not None for capture in captures]
    is_whole = [capture is not None and not is_cut_short(capture) for capture in captures]
    differing = _rows((run.params for run in runs), _value)
    return Comparison(
        runs=tuple(
            Column(id=run.id, label=label, experiment=run.experiment, status=run.status) for run, label in zip(runs, labels, strict=True)
        ),
        params=differing,
        equal_params=len({name for run in runs for name in run.params}) - len(differing),
        metrics=tuple(_metric(name, runs, minimize, maximize) for name in (_in_order(runs) if metrics is None else dict.fromkeys(metrics))),
        environment=_both(_rows(map(_start, captures), _value, is_known), _rows(map(_machine, captures), _value, is_whole)),
        packages=_rows((run.packages for run in runs), _value, [bool(run.packages) for run in runs]),
        code=_both(_rows(map(_command, captures), _value, is_known), _rows(map(_code, captures), _value, is_whole)),
        data=_rows(({role: ", ".join(refs) for role, refs in run.used.items()} for run in runs), _value),
        not_captured=tuple(label for label, capture in zip(labels, captures, strict=True) if capture is None),
        cut_short=tuple(label for label, capture in zip(labels, captures, strict=True) if capture is not None and is_cut_short(capture)),
    )


def _check(runs: Sequence[ComparedRun], minimize: Collection[str], maximize: Collection[str]) -> None:
    ids = [run.id for run in runs]
    if len(ids) < 2:
        raise Misuse("one run alone cannot be compared" if ids else "no run is named", hint="name two runs or more")
    if twice := sorted({id for id in ids if ids.count(id) > 1}):
        raise Misuse(f"run {short(twice[0])} is named twice", hint="name each run once")
    if both := sorted(set(minimize) & set(maximize)):
        raise Misuse(f"{both[0]!r} is to be minimized and maximized", hint="name it in one list only")


def _in_order(runs: Sequence[ComparedRun]) -> list[str]:
    """Results first, then how busy the machine was."""
    return sorted({name for run in runs for name in run.metrics}, key=lambda name: (name.startswith(SYSTEM), name))


def _labels(runs: Sequence[ComparedRun]) -> list[str]:
    """A run goes by its name where that is its own, else by its short id."""
    names = [run.name for run in runs]
    return [run.name if run.name and names.count(run.name) == 1 else short(run.id) for run in runs]


def _metric(name: str, runs: Sequence[ComparedRun], minimize: Collection[str], maximize: Collection[str]) -> MetricRow:
    values = tuple(run.metrics.get(name) for run in runs)
    goals = {run.goals[name] for run in runs if name in run.goals}
    stated = goals.pop() if len(goals) == 1 else None  # runs that contradict each other say nothing
    said = MINIMIZE if name in minimize else MAXIMIZE if name in maximize else stated
    direction = said or direction_of(name)
    base = values[0]
    return MetricRow(
        name=name,
        direction=direction,
        values=values,
        deltas=tuple(None if value is None or base is None else value - base for value in values),
        best=_best(values, direction),
        is_guessed=said is None and direction != UNKNOWN,
    )


def _best(values: Sequence[float | None], direction: str) -> tuple[int, ...]:
    known = [value for value in values if value is not None and not math.isnan(value)]
    if direction == UNKNOWN or len(known) < 2:
        return ()
    best = min(known) if direction == MINIMIZE else max(known)
    return tuple(position for position, value in enumerate(values) if value == best)


def _rows(columns: Iterable[Mapping[str, T]], show: Callable[[T | None], Value], is_known: Sequence[bool] | None = None) -> tuple[Row, ...]:
    """Give a row for each name whose values are not the same in all columns of which anything is known."""
    held = list(columns)
    judged = [at for at in range(len(held)) if is_known is None or is_known[at]]
    names = sorted({name for column in held for name in column})
    rows = ((name, [column.get(name) for column in held], [name in column for column in held]) for name in names)
    return tuple(
        Row(name=name, values=tuple(show(value) for value in values))
        for name, values, present in rows
        if not all(present[at] for at in judged) or any(_differs(values[at], values[judged[0]]) for at in judged)
    )


def _differs(left: object, right: object) -> bool:
    """True and 1 differ; 1 and 1.0 do not; NaN equals NaN."""
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right):
        return False
    return left != right or isinstance(left, bool) != isinstance(right, bool)


def _value(value: object) -> Value:
    return value if value is None or isinstance(value, bool | int | float | str) else to_json(value)


def is_cut_short(capture: Capture) -> bool:
    """Say whether the process ended before the thorough part was read: of that, nothing is known."""
    return capture.packages is None and capture.hardware is None and capture.environment is None and not capture.files


def _both(some: tuple[Row, ...], others: tuple[Row, ...]) -> tuple[Row, ...]:
    return tuple(sorted((*some, *others), key=lambda row: row.name))


def _start(capture: Capture | None) -> dict[str, Value]:
    """What the first moment of a run says of its environment."""
    if capture is None:
        return {}
    found: dict[str, Value] = {"python": f"{capture.implementation} {capture.python}", "system": capture.system, "host": capture.host}
    if capture.seeds is not None:
        found["seed"] = capture.seeds.seed
        found.update({f"torch {name}": value for name, value in capture.seeds.torch.items()})
    found.update({f"variable {name}": value for name, value in capture.threads.items()})
    return found


def _machine(capture: Capture | None) -> dict[str, Value]:
    """What was read of it beside the run."""
    if capture is None:
        return {}
    found: dict[str, Value] = {
        f"variable {name}": value for name, value in (capture.environment or {}).items() if name not in capture.threads
    }
    if capture.hardware is not None:
        hardware = capture.hardware
        found.update(processor=hardware.processor, cores=hardware.usable_cores, memory_bytes=hardware.memory_bytes, blas=hardware.blas)
        found["gpus"] = ", ".join(gpu.name for gpu in hardware.gpus) or None
        found.update({f"threads {name}": count for name, count in hardware.threads.items()})
    return found


def _command(capture: Capture | None) -> dict[str, Value]:
    if capture is None:
        return {}
    return {"entry": f"{capture.entry.kind} {capture.entry.target}".strip(), "arguments": " ".join(capture.entry.argv)}


def _code(capture: Capture | None) -> dict[str, Value]:
    if capture is None:
        return {}
    found: dict[str, Value] = {}
    if capture.git is not None:
        found.update(commit=capture.git.commit, branch=capture.git.branch, is_dirty=capture.git.is_dirty)
    found.update({f"file {name}": (file.original or file.digest)[:12] for name, file in capture.files.items()})
    return found
