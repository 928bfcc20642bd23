"""What the trunk's own refs stand for: run, experiment, artifact, sha256; and `get`, which resolves any."""

import hashlib

from stratal.core.errors import NotFound
from stratal.core.records import to_json
from stratal.store.store import Store
from stratal.tracking.artifacts import choose, split_name
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import current_store
from stratal.tracking.reading import get_run
from stratal.tracking.refs import Ref, Resolved, parse_ref, resolve


def get(ref: str, *, store: Store | None = None) -> object:
    """Give what a ref stands for: a run that was read, a dataset, a model version ... A bare id is a run's.

    Raises NotFound if it is not there, Misuse if the ref is wrong or ambiguous."""
    return resolve(parse_ref(ref, default_kind="run"), store or current_store()).value


def resolve_run(ref: Ref, store: Store) -> Resolved:
    """Give a ReadRun; its digest is of its row, so it changes while the run goes on."""
    run = get_run(ref.name, store=store)
    return Resolved(ref=Ref(kind="run", name=run.id), digest=_digest(to_json(run.record)), value=run)


def resolve_experiment(ref: Ref, store: Store) -> Resolved:
    """Give the runs of an experiment. Raises NotFound if it has none."""
    runs = find_runs(experiment=ref.name, store=store)
    if not runs:
        raise NotFound(f"there is no experiment {ref.name!r} in this store", hint="`stratal runs` shows the experiments of all runs")
    return Resolved(ref=ref, digest=_digest(to_json([run.record for run in runs])), value=runs)


def resolve_artifact(ref: Ref, store: Store) -> Resolved:
    """Give a handle on a file of a run, or on all its files below a path. Raises NotFound."""
    run, path = split_name(ref.name)
    found = get_run(run, store=store)
    artifact = choose(store, found.id, found.artifacts, path)
    return Resolved(ref=Ref(kind="artifact", name=f"{found.id}/{artifact.path_in_run}"), digest=artifact.digest, value=artifact)


def resolve_sha256(ref: Ref, store: Store) -> Resolved:
    """Give the bytes of a stored file by their digest, verified. Raises NotFound if no file here has them."""
    if not store.blobs.has(ref.name):
        raise NotFound(f"no file in this store has the digest {ref.name[:12]}…", hint=f"`stratal why sha256:{ref.name}` shows who used it")
    return Resolved(ref=ref, digest=ref.name, value=store.blobs.read(ref.name))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
