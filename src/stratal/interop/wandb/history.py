"""Rows of a history: numbers become points, media their files, and the rest lines in a file of records."""

from collections.abc import Callable, Mapping
from pathlib import Path

from stratal.core.errors import Misuse
from stratal.interop.bounds import artifact_path, safe_file, to_ns
from stratal.interop.foreign import Held, Logged, Saved, Skipped, Statement
from stratal.interop.wandb.messages import number_of
from stratal.tracking.facts import check_artifact_path

# What W&B adds to each row; the step and the time are where they belong, the runtime follows from the time.
STEP, TIME = "_step", "_timestamp"
_OWN = frozenset((STEP, TIME, "_runtime"))
_DEEPEST = 50


class History:
    """Turns rows into statements. files: the folder of the run's files; keep: takes what has no series."""

    def __init__(self, files: Path, keep: Callable[[dict[str, object]], None]) -> None:
        self.series: set[str] = set()
        self.last_step = 0
        self.saved: set[str] = set()  # paths under files/
        self._files, self._keep = files, keep

    def read(self, row: dict[str, object], step: int | None, last_ns: int) -> tuple[list[Statement], int]:
        """Give what a row says, and its time. step: where the row has none."""
        found = row.get(STEP, step)
        at = int(found) if isinstance(found, int | float) and found == found and abs(found) < 2**63 else None
        stamp = row.get(TIME)
        at_ns = to_ns(float(stamp), last_ns) if isinstance(stamp, int | float) else last_ns
        metrics: dict[str, float] = {}
        said: list[Statement] = []
        for key, value in row.items():
            if key not in _OWN:
                self._value(key, value, metrics, said, at, at_ns, 0)
        self.series.update(metrics)
        if at is not None:
            self.last_step = max(self.last_step, at)
        return ([Logged(metrics=metrics, step=at, at_ns=at_ns), *said] if metrics else said), at_ns

    def _value(
        self, key: str, value: object, metrics: dict[str, float], said: list[Statement], step: int | None, at_ns: int, depth: int
    ) -> None:
        if (number := number_of(value)) is not None:
            metrics[key] = number
        elif value is None:
            said.append(Skipped(what="points", reason="null", by_rule=True))
        elif isinstance(value, dict) and isinstance(kind := value.get("_type"), str):
            said.extend(self._media(key, kind, value, step, at_ns))
        elif isinstance(value, dict) and depth < _DEEPEST:
            for name, inner in value.items():
                self._value(f"{key}/{name}", inner, metrics, said, step, at_ns, depth + 1)
        else:
            self._keep({"kind": "text" if isinstance(value, str) else "value", "key": key, "step": step, "at_ns": at_ns, "value": value})
            said.append(Held(what="texts" if isinstance(value, str) else "values"))

    def _media(self, key: str, kind: str, value: Mapping[str, object], step: int | None, at_ns: int) -> list[Statement]:
        """Save the files of a medium; what is said of it, and media without a file, stand among the records."""
        paths = [path for path in (value.get("path"), *_listed(value.get("filenames"))) if isinstance(path, str) and path]
        self._keep({"kind": kind, "key": key, "step": step, "at_ns": at_ns, "value": dict(value)})
        return [Held(what="histograms" if kind == "histogram" else "media"), *(self.save(path, at_ns) for path in dict.fromkeys(paths))]

    def save(self, path: str, at_ns: int) -> Statement:
        """Save a file of the run's folder."""
        file = safe_file(self._files, path)
        if file is None:
            return Skipped(what="artifacts", reason="the file is not in the run's folder, or is a link", by_rule=False)
        self.saved.add(path)
        try:
            return Saved(path=check_artifact_path(path), data=file, at_ns=at_ns)
        except Misuse:
            return Saved(path=artifact_path("files", path), data=file, at_ns=at_ns)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []
