"""Lineage of what a store holds: the edges of runs, versions, digests and artifacts, walked where they lie."""

from stratal.core.errors import NotFound, StratalError
from stratal.core.ids import is_id
from stratal.core.people import EVERYTHING, Role
from stratal.store.operations import operation
from stratal.store.store import Store
from stratal.tracking.artifacts import ArtifactFile, choose, split_name
from stratal.tracking.lineage import PART_OF, PRODUCED, Edge, Lineage, why
from stratal.tracking.operations.reading import RunReads
from stratal.tracking.refs import VERSIONED, Ref, format_ref, parse_ref, resolve
from stratal.tracking.store import lineage as stored

# What has no rights of its own is for who may view everything.
_OF_ALL = ("dataset", "features")


class RunLineage:
    """Explains where things came from, and what came of them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.VIEWER, is_scoped=True)
    def explain(self, *, ref: str) -> Lineage:
        """Give the lineage of a run (by id, short form or ref), a version, a digest or an artifact. Raises NotFound."""
        parsed = parse_ref(ref, default_kind="run")
        edges = _Edges(self._store)
        if parsed.kind == "run":
            return why(f"run:{RunReads(self._store).find(text=parsed.name)}", edges.of)
        if parsed.kind == "artifact":
            return why(_artifact_ref(parsed.name, self._store), edges.of)
        if parsed.kind in ("model", *_OF_ALL):
            self._check_seen(parsed)
        if parsed.kind not in VERSIONED:
            return why(format_ref(parsed), edges.of)
        return why(format_ref(resolve(parsed, self._store).ref), edges.of)

    def _check_seen(self, ref: Ref) -> None:
        """Raise NotFound for what may not be viewed, before anything is looked up: what is near to it has a name, too."""
        on = f"model:{ref.name}" if ref.kind == "model" else EVERYTHING
        with self._store.glance() as tx:
            if tx.may_view is not None and not tx.may_view(on):
                raise NotFound(f"there is no {format_ref(ref)} here that you may view", hint="an admin can give a role: stratal grant add")


def _artifact_ref(name: str, store: Store) -> str:
    """Give what edges call `RUN/path`: the digest of a file, a folder by its run's whole id."""
    run, path = split_name(name)
    reads = RunReads(store)
    id = reads.find(text=run)
    artifact = choose(store, id, reads.artifacts(run=id), path)
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
            return [edge for edge in found if stored.may_name(tx, edge.target)]

    def _digest_of(self, ref: str) -> str:
        try:
            return f"sha256:{resolve(ref, self._store).digest.removeprefix('sha256:')}"
        except StratalError:  # of another store, or gone: its name is all there is
            return ref
