"""What a run uses: anything that can be named by ref or digest, resolved, recorded as a lineage edge, and given back."""

from pathlib import Path

from stratal.core.errors import Misuse, StoreDown
from stratal.tracking.active import OpenRun
from stratal.tracking.artifacts import ArtifactFile
from stratal.tracking.refs import KINDS, format_ref, parse_ref, resolve
from stratal.tracking.values import File, Model


def use(run: OpenRun, target: object, *, role: str = "data") -> object:
    """Record that a run uses a target, and give the thing itself.

    target: a ref ("dataset:churn@3", "artifact:RUN/path") gives what it stands for; a file (path or st.File) gives the file by
    content; a handle or a polars frame is given back. role: what it is for: data, train, test, model, features.
    Raises NotFound for what is not there, Misuse for what has no name.
    """
    if isinstance(target, str) and target.partition(":")[0] in KINDS:
        found = resolve(parse_ref(target), run.store)
        # of a file what counts is its content, whichever run it was taken from
        target = f"sha256:{found.digest}" if isinstance(found.value, ArtifactFile) else format_ref(found.ref)
        if target.startswith("sha256:"):
            _renew(run, found.digest)
        run.edge("used", target, role)
        return found.value
    if isinstance(target, str | Path):
        target = File(str(target))
    if isinstance(target, File):
        try:
            run.store.blobs.put_file(Path(target.path))
        except StoreDown as error:
            run.lose("file that is used", error)
        run.edge("used", f"sha256:{target.digest}", role)
        return target
    if isinstance(target, Model):
        _renew(run, target.digest)
        run.edge("used", f"sha256:{target.digest}", role)
        return target
    if isinstance(ref := getattr(target, "ref", None), str):
        run.edge("used", ref, role)
        return target
    if type(target).__module__.partition(".")[0] == "polars":
        from stratal.tracking.frames import digest_of_any  # polars: only for those who use frames

        run.edge("used", f"sha256:{digest_of_any(target)}", role, is_file=False)
        return target
    raise Misuse(
        f"a {type(target).__name__} has no name that a run could record", hint="use a ref, a file, a dataset, a model or a polars frame"
    )


def _renew(run: OpenRun, digest: str) -> None:
    """Keep a blob young until the edge, which holds it, is settled."""
    try:
        run.store.blobs.renew(digest)
    except StoreDown as error:
        run.lose("use of what is stored", error)
