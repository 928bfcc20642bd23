"""Feature views, as users hold them: a definition, and the verbs on it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from stratal.core.errors import Misuse
from stratal.features.definition import Definition, decode_definition, define
from stratal.features.frame import FeatureFrame, feature_frame
from stratal.features.online import Entity, OnlineReader, Value, materialise
from stratal.features.parity import Parity, compare
from stratal.features.rows import Computation
from stratal.features.store import FeatureStore, FeatureVersion, Materialisation
from stratal.store.store import Store
from stratal.tracking.active import active_run
from stratal.tracking.frames import frame_digest
from stratal.tracking.opening import current_store
from stratal.tracking.refs import resolve

# Versions that this process has registered or read, by URL and digest: a definition never changes, so one look per store is enough.
# With the store that was asked: one that is opened anew may be another one behind the same URL.
_versions: dict[tuple[str, str], tuple[Store, FeatureVersion]] = {}
_readers: dict[tuple[str, str], tuple[Store, OnlineReader]] = {}


def feature_view(name: str, *, source: str, entity: str, features: Mapping[str, pl.Expr]) -> "FeatureView":
    """Define a timeless feature view: named columns over a source, one row per entity.

    source: what the columns come from, as 'dataset:churn'. entity: the column that names a row.
    features: name to expression; each must treat every row alone. Raises NotSeparable naming the feature and the reason."""
    return FeatureView(define(name, source=source, entity=entity, features=features))


@dataclass(frozen=True, eq=False, repr=False)
class FeatureView:
    """One definition for frames in training and single rows in serving.

    `data` of its verbs: a polars frame, a ref such as "dataset:churn@latest", or whatever has `.frame()`, as a dataset version.
    `store`: by default that of the active run, else the process's own."""

    definition: Definition

    @property
    def name(self) -> str:
        """Its name."""
        return self.definition.name

    @cached_property
    def digest(self) -> str:
        """Digest of the definition."""
        return self.definition.digest

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return self.definition.names

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the source that are read, the entity first."""
        return self.definition.columns

    def version(self, *, store: Store | None = None) -> FeatureVersion:
        """Give the version of this very definition, which is registered if it was not. Idempotent."""
        place = store or _store()
        key = (place.url, self.digest)
        asked, version = _versions.get(key, (None, None))
        if version is None or asked is not place:
            version = FeatureStore(place).register(name=self.name, definition=self.definition.encode())
            _versions[key] = (place, version)
        return version

    def ref(self, *, store: Store | None = None) -> str:
        """Give the ref of this very definition, like 'features:customer@2'."""
        return self.version(store=store).ref

    def frame(self, data: object, *, label: str | None = None, keep: Sequence[str] = ()) -> FeatureFrame:
        """Compute the features of all rows, beside the entity, the columns to keep and the label.

        Inside a run the use of the view is recorded. Raises Misuse for missing columns, repeated entities, or a label that the
        features read."""
        frame, named = _frame_of(data)
        run = active_run()
        if run is not None:
            run.edge("used", self.ref(store=run.store), role="features")
        return feature_frame(self._computation, frame, view=self.name, data=named(), label=label, keep=keep)

    def row(self, values: Mapping[str, object], *, store: Store | None = None) -> dict[str, object]:
        """Compute the features of one raw row of the source, cast to the schema that was materialised. Raises NotFound without."""
        return self._computation.on_row(values, self._reader(store).schema())

    def materialise(self, data: object, *, store: Store | None = None) -> Materialisation:
        """Write one packed row per entity for serving, replacing those of this version at once.

        Raises Misuse as `frame` does. The whole frame is computed in memory."""
        place = store or _store()
        frame, named = _frame_of(data)
        done = materialise(FeatureStore(place), self.version(store=place), self._computation, frame, named())
        run = active_run()
        if run is not None and run.store.url == place.url:
            run.edge("used", self.ref(store=place), role="online")
            run.state("materialisation", {"rows": done.rows, "data": done.data}, subject=self.ref(store=place))
        return done

    def online(self, entity: Entity, *, store: Store | None = None) -> dict[str, Value]:
        """Give the features of one entity from the online store, as a model takes them. Raises NotFound if it has no row."""
        return self._reader(store).get(entity)

    def reader(self, *, store: Store | None = None) -> OnlineReader:
        """Give a reader for serving loops: it looks up store and version once."""
        return self._reader(store)

    def parity(self, data: object, *, sample: int = 500, seed: int = 0, store: Store | None = None) -> Parity:
        """Compare up to `sample` entities three ways: in the frame, from one row alone, and from the online store.

        Inside a run the outcome is stated, as 'parity', about this version. Raises NotFound if nothing was materialised."""
        place = store or _store()
        frame, _ = _frame_of(data)
        outcome = compare(self.ref(store=place), self._computation, self._reader(place), frame, sample=sample, seed=seed)
        run = active_run()
        if run is not None:
            body = {"ok": outcome.ok, "sampled": outcome.sampled, "equal": outcome.equal, "missing": len(outcome.missing)}
            run.state("parity", {**body, "mismatches": len(outcome.mismatches)}, subject=outcome.view)
        return outcome

    @cached_property
    def _computation(self) -> Computation:
        return Computation.of(self.definition)

    def _reader(self, store: Store | None) -> OnlineReader:
        place = store or _store()
        key = (place.url, self.digest)
        asked, reader = _readers.get(key, (None, None))
        if reader is None or asked is not place:
            reader = OnlineReader(FeatureStore(place), self.version(store=place), self.definition.entity)
            _readers[key] = (place, reader)
        return reader

    def __repr__(self) -> str:
        features = ", ".join(f"{feature.name} = {feature.text}" for feature in self.definition.features)
        return f"<FeatureView {self.name!r} of {self.definition.source} by {self.definition.entity}: {features}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FeatureView) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __getstate__(self) -> dict[str, object]:
        return {"definition": self.definition.encode()}

    def __setstate__(self, state: dict[str, str]) -> None:
        object.__setattr__(self, "definition", decode_definition(state["definition"]))


def view_of(version: FeatureVersion) -> FeatureView:
    """Give a stored version as a view; its expressions are checked before they are built."""
    return FeatureView(decode_definition(version.definition))


def _store() -> Store:
    run = active_run()
    return run.store if run is not None else current_store()


def _frame_of(data: object) -> tuple[pl.DataFrame, Callable[[], str]]:
    """Give the frame, and what gives its name: naming a plain frame costs its digest."""
    if isinstance(data, str):
        return _frame_of(resolve(data, _store()).value)
    if isinstance(data, pl.DataFrame):
        return data, lambda: f"sha256:{frame_digest(data)}"
    if callable(getattr(data, "frame", None)):
        frame = data.frame()  # type: ignore[attr-defined]  # it was asked for just now
        if isinstance(frame, pl.DataFrame):
            return frame, lambda: str(getattr(data, "ref", "")) or f"sha256:{frame_digest(frame)}"
    raise Misuse(
        f"features are computed of a polars frame or a dataset, not of a {type(data).__name__}",
        hint='give st.dataset("churn") or pl.DataFrame(...)',
    )
