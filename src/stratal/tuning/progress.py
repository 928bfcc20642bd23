"""How a study goes: counts, the best so far, and how to draw it with characters."""

from collections import Counter
from collections.abc import Iterable, Sequence

from stratal.tuning.trials import StudyVersion, Trial, best_of

_DOT = "•"


def counts(trials: Iterable[Trial]) -> dict[str, int]:
    """Count trials by status, all four of them."""
    found = Counter(trial.status for trial in trials)
    return {status: found[status] for status in ("finished", "stopped", "failed", "running")}


def ranked(version: StudyVersion, trials: Iterable[Trial]) -> list[Trial]:
    """Give finished trials, the best first."""
    left = [trial for trial in trials if trial.status == "finished" and trial.value is not None]
    return sorted(left, key=lambda trial: (version.loss(trial.value), trial.number))


def best_so_far(version: StudyVersion, trials: Sequence[Trial]) -> list[float]:
    """Give the best value after each result that finished, in the order of telling."""
    told = sorted((trial for trial in trials if trial.told is not None), key=lambda trial: trial.told or 0)
    best: list[float] = []
    so_far: Trial | None = None
    for trial in told:
        better = best_of(version, [trial] if so_far is None else [so_far, trial])
        if better is not None and better.value is not None and trial.status == "finished":
            so_far = better
            best.append(better.value)
    return best


def draw(values: Sequence[float], *, width: int = 60, height: int = 8) -> list[str]:
    """Draw values as lines of text, the highest on top, each line with its value. Infinite ones are left out."""
    shown = [value for value in values if abs(value) < float("inf")]
    if not shown:
        return []
    columns = [shown[len(shown) * i // min(width, len(shown))] for i in range(min(width, len(shown)))]
    columns[-1] = shown[-1]
    low, high = min(columns), max(columns)
    step = (high - low) / (height - 1)
    if not step > 0:
        return [f"{low:>10.4g} ┤{_DOT * len(columns)}"]
    rows = [round((value - low) / step) for value in columns]
    return [
        f"{low + row * step:>10.4g} ┤" + "".join(_DOT if at == row else " " for at in rows).rstrip() for row in range(height - 1, -1, -1)
    ]
