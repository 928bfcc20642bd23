"""Refs of feature views: "features:NAME@SELECTOR" to a version, and to the view that users work with."""

from stratal.core.errors import Misuse, NotFound
from stratal.features.store import FeatureStore, FeatureVersion
from stratal.features.view import view_of
from stratal.store.store import Store
from stratal.tracking.refs import Digest, Number, Ref, Relative, Resolved, format_selector, parse_ref

KIND = "features"


def find_features(store: Store, ref: Ref | str) -> FeatureVersion:
    """Give the version that a ref or a bare name means; without a selector the latest. Raises NotFound, Misuse."""
    parsed = parse_ref(ref, default_kind=KIND) if isinstance(ref, str) else ref
    if parsed.kind != KIND:
        raise Misuse(f"{str(parsed)[:200]!r} is no feature view", hint="write a name, as customer, or features:customer@2")
    rooms = FeatureStore(store)
    match parsed.selector:
        case None | Relative(word="latest"):
            return rooms.find(name=parsed.name)
        case Number(value=number):
            return rooms.find(name=parsed.name, version=number)
        case Digest(sha256=digest):
            return rooms.find(name=parsed.name, digest=digest)
        case Relative():
            versions = rooms.versions(name=parsed.name)
            if len(versions) < 2:
                raise NotFound(f"features:{parsed.name} has one version, and so none before the latest")
            return versions[-2]
        case other:
            raise Misuse(
                f"feature views have no stages and no aliases, so {format_selector(other)!r} means nothing here",
                hint=f"write features:{parsed.name}@2, or @latest, @previous, @sha256:...",
            )


def resolve_features(ref: Ref, store: Store) -> Resolved:
    """Resolve a ref of kind `features`; the composition of the product registers this. The value is a `FeatureView`."""
    version = find_features(store, ref)
    fixed = Ref(kind=KIND, name=version.name, selector=Number(value=version.version))
    return Resolved(ref=fixed, digest=version.digest, value=view_of(version))
