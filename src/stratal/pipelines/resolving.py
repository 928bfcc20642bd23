"""What `pipeline:NAME@SELECTOR` stands for: a run of that pipeline. Numbers count its runs from 1, the oldest."""

import hashlib

from stratal.core.errors import Misuse, NotFound
from stratal.core.records import to_json
from stratal.pipelines.rows import PipelineRow
from stratal.pipelines.store import PipelineStore
from stratal.store.store import Store
from stratal.tracking.refs import Digest, Number, Ref, Relative, Resolved, Selector

# More runs of one pipeline than anybody numbers; the query stays bounded.
_MOST = 1_000_000


def resolve_pipeline(ref: Ref, store: Store) -> Resolved:
    """Find a run of a pipeline, the newest one if the ref has no selector; `value` is its row.

    Raises NotFound if there is none, Misuse for a stage or an alias: pipelines have neither."""
    rows = PipelineStore(store)
    runs = rows.recent(pipeline=ref.name, limit=_MOST)
    if not runs:
        raise NotFound(f"there is no run of a pipeline {ref.name!r} in this store", hint="run it once: " + ref.name + ".run(...)")
    if isinstance(ref.selector, Digest):
        for run in runs:
            if digest_of(row := rows.pipeline_run(run=run)) == ref.selector.sha256:
                return Resolved(ref=ref, digest=digest_of(row), value=row)
        raise NotFound(f"no run of pipeline {ref.name!r} has that digest", hint=f"it has {len(runs)} runs")
    row = rows.pipeline_run(run=_chosen(ref.name, ref.selector, runs))
    return Resolved(ref=ref, digest=digest_of(row), value=row)


def digest_of(row: PipelineRow) -> str:
    """Give the digest of what was asked for: the pipeline, its graph and the contents of its parameters. Equal runs have equal ones."""
    params = {name: payload.digest for name, payload in row.params.items()}
    return hashlib.sha256(to_json([row.pipeline, row.nodes, params]).encode()).hexdigest()


def _chosen(name: str, selector: Selector | None, runs: tuple[str, ...]) -> str:
    if selector is None:
        return runs[0]
    if isinstance(selector, Relative):
        place = {"latest": 0, "previous": 1}[selector.word]
    elif isinstance(selector, Number):
        place = len(runs) - selector.value
    else:
        raise Misuse(f"pipeline {name!r} has no stages and no aliases", hint="select by latest, previous, or a run's number")
    if not 0 <= place < len(runs):
        raise NotFound(f"pipeline {name!r} has {len(runs)} runs, so there is no such one", hint=f"write pipeline:{name}@latest")
    return runs[place]
