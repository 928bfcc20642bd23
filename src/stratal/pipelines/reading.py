"""Runs of pipelines as they are read: how a run stands, and why a step ran. Values for the command line and for people."""

import difflib
from typing import cast

from stratal.core.errors import NotFound
from stratal.core.ids import short
from stratal.pipelines.rows import Explanation, PipelineRow, StepRow
from stratal.pipelines.states import SKIPPED
from stratal.pipelines.store import PipelineStore
from stratal.store.store import Store
from stratal.tracking.refs import resolve
from stratal.tracking.runs import find_id


def read_pipeline(run: str, store: Store) -> tuple[PipelineRow, dict[str, StepRow]]:
    """Give a run's graph, and the last attempt at each step that has one. Raises NotFound if it is no run of a pipeline."""
    rows = PipelineStore(store)
    row = rows.pipeline_run(run=find_pipeline_run(run, store))
    last = {step.path: step for step in sorted(rows.steps(run=row.run), key=lambda step: step.attempt)}
    return row, last


def find_pipeline_run(run: str, store: Store) -> str:
    """Give the id of a run by its id, short form or ref: run:7c41e09b, or pipeline:churn@latest."""
    if run.startswith("pipeline:"):
        return cast(PipelineRow, resolve(run, store).value).run
    return find_id(store, run)


def explain_step(run: str, path: str, store: Store) -> Explanation:
    """Say why a step ran or did not: the differences to the last time as they were found when it began, its attempts, its key.

    Raises NotFound, with the nearest path, if the run has no such step."""
    row, last = read_pipeline(run, store)
    known = [node.path for node in row.nodes]
    if path not in known:
        near = difflib.get_close_matches(path, known, n=1, cutoff=0.3) or known[:1]
        hint = f"did you mean {near[0]!r}? it has: {', '.join(known)}" if near else "its graph is empty"
        raise NotFound(f"run {short(row.run)} has no step {path!r}", hint=hint)
    if path not in last:
        return Explanation(path=path, state="waiting", why=("it has not begun",), attempts=(), parts=())
    rows = PipelineStore(store)
    attempts = tuple(step for step in rows.steps(run=row.run) if step.path == path)
    # Later attempts say why there was another one; the first that ran says why the cache had nothing.
    told = next((step for step in attempts if step.state != SKIPPED), attempts[-1])
    return Explanation(path=path, state=last[path].state, why=told.why, attempts=attempts, parts=rows.parts(key=last[path].key))


def ranks(row: PipelineRow) -> dict[str, int]:
    """Give for each step the length of the longest way to it: 0 for one that waits for nothing."""
    found: dict[str, int] = {}
    for node in row.nodes:
        found[node.path] = max((found[before] + 1 for before in node.depends_on), default=0)
    return found
