"""The rules of comparison and lineage, applied to what a store holds."""

from collections.abc import Collection, Sequence

import msgspec

from stratal.core.errors import Damaged, Misuse, NotFound
from stratal.core.records import from_json
from stratal.store.store import Store
from stratal.tracking.capture import Capture, Packages
from stratal.tracking.compare import ComparedRun, Comparison, RunDiff, compare
from stratal.tracking.definitions import definition_of
from stratal.tracking.diffing import diff_files
from stratal.tracking.directions import MAXIMIZE, MINIMIZE
from stratal.tracking.finding import plain_params
from stratal.tracking.lineage import USED, Lineage
from stratal.tracking.opening import current_store
from stratal.tracking.operations.lineage import RunLineage
from stratal.tracking.reading import ReadRun, get_run


def compare_runs(
    runs: Sequence[str | ReadRun],
    *,
    metrics: Collection[str] | None = None,
    minimize: Collection[str] = (),
    maximize: Collection[str] = (),
    diff: bool = False,
    store: Store | None = None,
) -> Comparison:
    """Compare runs that were found, or are named by ids, short forms or refs. Of metrics the last values.

    metrics: only these. minimize, maximize: which way is better, where the name does not say it, or says it wrong.
    diff: also compare the sources that were captured, line by line. Raises NotFound, or Misuse for fewer than two runs or one
    named twice."""
    if isinstance(runs, str):
        raise Misuse(f"runs are a list, not the text {runs!r:.60}", hint=f"write [{runs!r:.60}, ...]")
    store = store or current_store()
    held = [compared(run if isinstance(run, ReadRun) else get_run(run, store=store), store) for run in runs]
    found = compare(held, metrics=metrics, minimize=minimize, maximize=maximize)
    return msgspec.structs.replace(found, diffs=_diffs(held, found, store)) if diff else found


def _diffs(runs: Sequence[ComparedRun], found: Comparison, store: Store) -> tuple[RunDiff, ...]:
    """Compare the sources of each run with those of the first one; runs without a capture are left out."""
    base = runs[0].capture
    if base is None:
        return ()
    pairs = [(column.label, run.capture) for column, run in zip(found.runs[1:], runs[1:], strict=True)]
    held = [(label, diff_files(base.files, capture.files, store.blobs)) for label, capture in pairs if capture is not None]
    return tuple(RunDiff(label=label, files=files) for label, files in held if files)


def compared(run: ReadRun, store: Store) -> ComparedRun:
    """Give what a comparison needs of a run."""
    used: dict[str, tuple[str, ...]] = {}
    for edge in run.edges:
        if edge.verb == USED:
            used[edge.role] = (*used.get(edge.role, ()), edge.target)
    capture = capture_of(run)
    return ComparedRun(
        id=run.id,
        name=run.name or None,
        experiment=run.experiment,
        status=run.status,
        params=plain_params(run),
        metrics=run.metrics if not run.definitions else {name: summary.value for name, summary in run.summary.items()},
        goals=_goals(run),
        used=used,
        capture=capture,
        packages=_packages(capture, store),
    )


def _goals(run: ReadRun) -> dict[str, str]:
    definitions = run.definitions
    said = {name: definition_of(name, definitions) for name in run.metrics} if definitions else {}
    return {name: MINIMIZE if found.goal == "minimize" else MAXIMIZE for name, found in said.items() if found and found.goal}


def capture_of(run: ReadRun) -> Capture | None:
    """Give what was captured of a run, None if nothing was, or an older or newer form of it that cannot be read."""
    try:
        return msgspec.convert(run.capture, Capture) if run.capture else None
    except msgspec.ValidationError:
        return None


def captured_as(run: ReadRun) -> str | None:
    """Give the digest of what was captured of a run that a command has started; None if nothing was."""
    said = run.record.doc.get("capture")
    found = said.get("thorough") if isinstance(said, dict) else None
    return found if isinstance(found, str) else None


def capture_begun_by(run: ReadRun, store: Store) -> Capture | None:
    """Give what was captured of the process that handed a run to the one that did it; None if that was the same."""
    digest = run.capture.get("begun_by")
    try:
        return from_json(store.blobs.read(digest), Capture) if isinstance(digest, str) else None
    except (NotFound, Damaged):
        return None


def explain(ref: str, *, store: Store | None = None) -> Lineage:
    """Give the lineage of anything: a run (by id, short form or ref), a version, a digest, an artifact.

    Raises NotFound if it is not there."""
    return RunLineage(store or current_store()).explain(ref=ref)


def _packages(capture: Capture | None, store: Store) -> dict[str, str]:
    if capture is None or capture.packages is None:
        return {}
    try:
        return from_json(store.blobs.read(capture.packages.digest), Packages).versions
    except (NotFound, Damaged):
        return {}
