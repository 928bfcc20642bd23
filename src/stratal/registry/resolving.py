"""Refs of models: "model:NAME@SELECTOR" to a version, and to the handle and digest that other rooms work with."""

from stratal.core.errors import Misuse, NotFound
from stratal.core.ids import short
from stratal.core.records import from_json
from stratal.registry.manifests import read_manifest
from stratal.registry.store import ModelStore
from stratal.registry.versions import Version
from stratal.store.store import Store
from stratal.tracking.operations.reading import RunReads
from stratal.tracking.refs import Number, Ref, Resolved, format_selector, parse_ref
from stratal.tracking.runs import find_id
from stratal.tracking.values import Model, Signature

KIND = "model"
# What a run states of each model that it logged.
LOGGED = "model"


def find_version(models: ModelStore, version: Version | Ref | str) -> Version:
    """Give the version that a ref names; without a selector the latest. Raises NotFound, or Misuse if it is wrong or ambiguous."""
    if isinstance(version, Version):
        return version
    ref = parse_ref(version, default_kind=KIND) if isinstance(version, str) else version
    if ref.kind != KIND:
        raise Misuse(f"{str(ref)[:200]} is no model", hint="write for example model:churn@7, model:churn@production")
    return models.find(name=ref.name, selector="latest" if ref.selector is None else format_selector(ref.selector))


def model_name(text: str) -> str:
    """Give the name of a model from itself or from a ref. Raises Misuse for a ref of something else."""
    ref = parse_ref(text, default_kind=KIND)
    if ref.kind != KIND:
        raise Misuse(f"{text[:200]!r} is no model", hint="write a name, as churn, or model:churn")
    return ref.name


def to_handle(version: Version) -> Model:
    """Give the handle of a version."""
    return Model(
        run=version.run,
        path=version.path,
        digest=version.digest,
        flavor=version.flavor,
        signature=None if version.signature is None else from_json(version.signature, Signature),
        features=version.features,
    )


def resolve_model(ref: Ref, store: Store) -> Resolved:
    """Resolve a ref of kind `model`; the composition of the product registers this. The value is a `Model` handle."""
    version = find_version(ModelStore(store), ref)
    fixed = Ref(kind=KIND, name=version.name, selector=Number(value=version.number))
    return Resolved(ref=fixed, digest=version.digest, value=to_handle(version))


def find_logged_model(store: Store, text: str) -> Model:
    """Give the model that a run logged: "run:ID" if it logged one, else "artifact:ID/PATH". Raises NotFound, Misuse for several."""
    ref = parse_ref(text, default_kind="run")
    if ref.kind not in ("run", "artifact"):
        raise Misuse(f"{text[:200]!r} is neither a run nor an artifact", hint="write run:7c41e09b or artifact:7c41e09b/model")
    run_text, _, path = ref.name.partition("/")
    run = find_id(store, run_text)
    stated = RunReads(store).statements(run=run, kind=LOGGED)
    # A path that was logged twice holds the later model.
    by_path = {str(each.body.get("path")): each.subject.removeprefix("sha256:") for each in stated}
    if ref.kind == "artifact":
        by_path = {known: digest for known, digest in by_path.items() if known == path}
    if not by_path:
        raise NotFound(f"{text} holds no model", hint="models are logged by run.log_model(NAME, model)")
    if len(by_path) > 1:
        refs = ", ".join(f"artifact:{short(run)}/{known}" for known in sorted(by_path))
        raise Misuse(f"run {short(run)} logged {len(by_path)} models", hint=f"name one of: {refs}")
    ((found, digest),) = by_path.items()
    manifest = read_manifest(store.blobs, digest)
    features = None if manifest.features is None else manifest.features.ref
    return Model(run=run, path=found, digest=digest, flavor=manifest.flavor, signature=manifest.signature, features=features)
