"""The rules of comparison and lineage, applied to what a store holds."""

from collections.abc import Collection, Sequence

import msgspec

from stratal.core.errors import Damaged, Misuse, NotFound, StratalError
from stratal.core.ids import is_id
from stratal.core.records import from_json
from stratal.store.store import Store
from stratal.tracking.artifacts import ArtifactFile, choose, split_name
from stratal.tracking.capture import Capture, Packages
from stratal.tracking.compare import ComparedRun, Comparison, RunDiff, compare
from stratal.tracking.definitions import definition_of
from stratal.tracking.diffing import diff_files
from stratal.tracking.directions import MAXIMIZE, MINIMIZE
from stratal.tracking.finding import plain_params
from stratal.tracking.lineage import PART_OF, PRODUCED, USED, Edge, Lineage, why
from stratal.tracking.opening import current_store
from stratal.tracking.reading import ReadRun, get_run
from stratal.tracking.refs import VERSIONED, format_ref, parse_ref, resolve
from stratal.tracking.runs import find_id
from stratal.tracking.store import lineage as stored


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


def explain(ref: str, *, store: Store | None = None) -> Lineage:
    """Give the lineage of anything: a run (by id, short form or ref), a version, a digest, an artifact.

    Raises NotFound if it is not there."""
    store = store or current_store()
    parsed = parse_ref(ref, default_kind="run")
    if parsed.kind == "run":
        return why(f"run:{find_id(store, parsed.name)}", _Edges(store).of)
    if parsed.kind == "artifact":
        return why(_artifact_ref(parsed.name, store), _Edges(store).of)
    if parsed.kind not in VERSIONED:
        return why(format_ref(parsed), _Edges(store).of)
    return why(format_ref(resolve(parsed, store).ref), _Edges(store).of)


def _artifact_ref(name: str, store: Store) -> str:
    """Give what edges call `RUN/path`: the digest of a file, a folder by its run's whole id."""
    run, path = split_name(name)
    found = get_run(run, store=store)
    artifact = choose(store, found.id, found.artifacts, path)
    return f"sha256:{artifact.digest}" if isinstance(artifact, ArtifactFile) else artifact.ref


class _Edges:
    """The edges of a store. What a version came from is also written under the digest of its content."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, ref: str) -> list[Edge]:
        """List all edges of a ref. A file that no edge says was produced was produced by the runs that hold it."""
        kind, _, name = ref.partition(":")
        same = self._digest_of(ref) if kind in ("dataset", "model") else ref
        with self._store.query() as tx:
            found = stored.edges_at(tx, ref)
            if kind == "run" and is_id(name):
                found += stored.edges_of_run(tx, name)
                parent = stored.parent_of(tx, name)
                found += [Edge(run=name, verb=PART_OF, target=f"run:{parent}")] if parent else []
                found += stored.used_artifacts_of(tx, name)
            if kind == "artifact" and is_id(name.partition("/")[0]):
                found.append(Edge(run=name.partition("/")[0], verb=PRODUCED, target=ref, role="artifacts"))
            if same != ref:
                found += [Edge(run=edge.run, verb=edge.verb, target=ref, role=edge.role) for edge in stored.edges_at(tx, same)]
            if same.startswith("sha256:") and not any(edge.verb == PRODUCED for edge in found):
                holding = stored.runs_holding(tx, same.removeprefix("sha256:"))
                found += [Edge(run=run, verb=PRODUCED, target=ref, role=f"artifact {path}") for run, path in holding]
        return found

    def _digest_of(self, ref: str) -> str:
        try:
            return f"sha256:{resolve(ref, self._store).digest.removeprefix('sha256:')}"
        except StratalError:  # of another store, or gone: its name is all there is
            return ref


def _packages(capture: Capture | None, store: Store) -> dict[str, str]:
    if capture is None or capture.packages is None:
        return {}
    try:
        return from_json(store.blobs.read(capture.packages.digest), Packages).versions
    except (NotFound, Damaged):
        return {}
