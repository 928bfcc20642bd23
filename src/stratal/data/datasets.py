"""The dataset verb: register a version, check it, read it, split it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import polars as pl

from stratal.core.errors import Misuse, NotFound, Refused
from stratal.data.casting import typed_frame
from stratal.data.columns import Severity
from stratal.data.drift import DriftLimits
from stratal.data.inferring import infer_schema
from stratal.data.profile import Profile, profile_frame
from stratal.data.schema import Schema
from stratal.data.sources import Source, describe, read_frame
from stratal.data.splitting import SplitRule, split_frame
from stratal.data.store import DatasetStore
from stratal.data.validating import Reference, Validation, refusal, validate_frame
from stratal.data.versions import ColumnType, DatasetVersion, Part, Side, check_dataset_name, choose, need_content
from stratal.store.store import Store
from stratal.tracking import values
from stratal.tracking.active import OpenRun, active_run
from stratal.tracking.frames import dtype_text, frame_digest, frame_from_bytes, frame_to_bytes
from stratal.tracking.opening import current_store
from stratal.tracking.refs import Number, Ref, Relative, Resolved, parse_ref
from stratal.tracking.runs import run

# Where the runs of checks outside of any other run are found.
EXPERIMENT = "data"


class Dataset(values.Dataset, frozen=True, kw_only=True, dict=True):
    """One version of a dataset: a handle that travels between steps, and reads from the store it came from.

    In another process it reads from the store of the active run, else from that process's default store.
    """

    @property
    def store(self) -> Store:
        """The store that holds it."""
        chosen = self.__dict__.get("_store")
        return chosen if isinstance(chosen, Store) else _own_store()

    @property
    def record(self) -> DatasetVersion:
        """What the store knows of it now: status, verdict, source, author."""
        return DatasetStore(self.store).find(name=self.name, selector=str(self.version))

    def frame(self) -> pl.DataFrame:
        """Read the rows, as the schema of the last accepted check says ("Yes" is True). Recorded as used by the active run."""
        record = self.record
        _edge(self.store, "used", self.ref)
        frame = _content(self.store, record)
        return typed_frame(frame, Schema.from_toml(record.verdict.schema)) if record.verdict and record.status == "accepted" else frame

    def raw(self) -> pl.DataFrame:
        """Read the rows as they were registered; `digest` speaks of these."""
        return _content(self.store, self.record)

    @cached_property
    def profile(self) -> Profile:
        """The profile of the rows as they were registered."""
        return Profile.from_json(self.store.blobs.read(need_content(self.record).profile))

    def infer(self) -> Schema:
        """Infer a first schema from the rows."""
        return infer_schema(self.raw(), self.profile)

    def validate(
        self,
        schema: Schema | str | Path,
        against: str | None = None,
        *,
        drift: Severity = "warn",
        limits: DriftLimits | None = None,
    ) -> Validation:
        """Look at the rows with a schema, and decide nothing: the version keeps its status, and no run states anything.

        schema: a schema, or the path of its TOML file. against: ref of a version to compare with, as "dataset:churn@previous".
        drift: severity of a move; limits: what counts as one.
        """
        reference = None if against is None else self._reference(against)
        profile = self.profile if reference is not None else None
        return validate_frame(self.raw(), _schema(schema), profile=profile, reference=reference, drift=drift, limits=limits)

    def delete(self) -> None:
        """Hide this version from latest, previous and refs without a selector; its number still names it, and `restore` shows it again."""
        DatasetStore(self.store).delete(name=self.name, version=self.version)

    def restore(self) -> None:
        """Show a deleted version again. Raises NotFound if its content was purged."""
        DatasetStore(self.store).restore(name=self.name, version=self.version)

    def purge(self, *, needed: bool = False) -> None:
        """Give up the rows of a deleted version; `stratal gc` frees the files. Number, digest, schema and verdict stay known.

        Raises Misuse if it is not deleted, Refused if parts or runs need it, unless `needed` says that they are given up, too.
        """
        DatasetStore(self.store).purge(name=self.name, version=self.version, needed=needed)

    def check(
        self,
        schema: Schema | str | Path,
        against: str | None = None,
        *,
        drift: Severity = "warn",
        limits: DriftLimits | None = None,
    ) -> "Dataset":
        """Decide on this version, and give it back if no finding is an error. Arguments as of `validate`.

        The verdict is stated on the active run (else on a run of its own), and kept with the version.
        Raises ValidationFailed with the findings in plain words; the version is then marked refused, and passed over
        by latest, previous and refs without a selector.
        """
        promised = _schema(schema)
        validation = self.validate(promised, against, drift=drift, limits=limits)
        self._decide(validation, promised, against=against)
        if not validation.ok:
            raise refusal(self.ref, validation)
        return self

    def split(self, test: float = 0.25, *, by: str, seed: int) -> "tuple[Dataset, Dataset]":
        """Split by entity into train and test, each a dataset version of its own: `NAME/train` and `NAME/test`.

        The side of an entity depends on its value and the seed only, so that a customer never changes sides.
        Parts are read with the schema of their parent. Raises Misuse for rows without an entity.
        """
        record = self.record
        if record.status == "refused":
            raise Refused(f"{self.ref} was refused by its last check, so it is not split", hint="mend the data, or check it again")
        rule = SplitRule(by=by, test=test, seed=seed)
        train, held_out = split_frame(_content(self.store, record), rule)
        _edge(self.store, "used", self.ref)
        return self._part("train", train, rule, record), self._part("test", held_out, rule, record)

    def _part(self, side: Side, frame: pl.DataFrame, rule: SplitRule, parent: DatasetVersion) -> "Dataset":
        name = f"{self.name}/{side}"
        made = _register(self.store, name, frame, source=f"part of {self.ref}", part=Part(parent=self.ref, side=side, rule=rule))
        if parent.status == "accepted" and parent.verdict is not None and made.record.status == "unchecked":
            # Every rule that holds for all rows holds for some of them, so the verdict of the whole is that of a part.
            made._decide(Validation(ok=True, findings=()), Schema.from_toml(parent.verdict.schema), inherited_from=self.ref)
        return made

    def _decide(self, validation: Validation, schema: Schema, **more: str | None) -> None:
        """State a verdict on a run, and keep it with the version."""
        findings = [{name: getattr(finding, name) for name in finding.__struct_fields__} for finding in validation.findings]
        body = {"ok": validation.ok, "dataset": self.ref, "schema": schema.digest, "findings": findings, **more}
        with _deciding(self.store, f"validate {self.name}@{self.version}") as deciding:
            deciding.state("validation", body, subject=f"sha256:{self.digest}")
            deciding.edge("used", self.ref, role="data")
            DatasetStore(self.store).judge(
                name=self.name,
                version=self.version,
                is_accepted=validation.ok,
                schema=schema.to_toml(),
                findings=list(validation.findings),
                run=deciding.id,
            )

    def _reference(self, against: str) -> Reference:
        ref = parse_ref(against, default_kind="dataset")
        if ref.kind != "dataset":
            raise Misuse(f"{against!r} is no dataset", hint='compare with a dataset, as in against="dataset:churn@previous"')
        try:
            versions = DatasetStore(self.store).versions(name=ref.name)
            if ref.name == self.name and ref.selector == Relative(word="previous"):
                # Before *this* version, whatever came later and whether or not this one was refused before.
                earlier = [version for version in versions if version.version < self.version]
                found = choose(ref.name, earlier, None)
            else:
                found = choose(ref.name, versions, ref.selector)
        except NotFound:
            return Reference(ref=str(ref), profile=None, reason="it does not exist yet")
        if found.digest == self.digest:
            return Reference(ref=found.ref, profile=None, reason="it is the same content")
        return Reference(ref=found.ref, profile=Profile.from_json(self.store.blobs.read(need_content(found).profile)))


def dataset(name: str, source: Source, *, nulls: Sequence[str] = ("",), store: Store | None = None) -> Dataset:
    """Register a table as a version of a dataset; content that is registered already gives the version that it is.

    name: of the dataset, like "churn". source: a CSV, Parquet or Arrow file, a pattern, several files, a file handle,
    or a frame of polars, pandas or Arrow. nulls: texts of CSV fields that mean "no value".
    store: by default that of the active run, else the process's own.
    The version's digest depends on names, types and values, not on the format or the path.
    Raises NotFound for a missing file, Misuse for what is no table.
    """
    check_dataset_name(name)
    return _register(store or _own_store(), name, read_frame(source, nulls=nulls), source=describe(source))


def open_dataset(ref: str, *, store: Store | None = None) -> Dataset:
    """Give a version by its ref, like "dataset:churn@3" or "churn". Raises NotFound, with the nearest name."""
    found = resolve_dataset(parse_ref(ref, default_kind="dataset"), store or _own_store()).value
    assert isinstance(found, Dataset)
    return found


def read_table(names: Sequence[str], *, store: Store | None = None) -> pl.DataFrame:
    """Read files or patterns as one table, or one version as it was registered, by its ref ("dataset:churn@3")."""
    return open_dataset(names[0], store=store).raw() if _is_ref(names) else read_frame(list(names))


def profile_table(names: Sequence[str], *, store: Store | None = None) -> Profile:
    """Profile what `read_table` would read; a version's profile is read and not made again."""
    return open_dataset(names[0], store=store).profile if _is_ref(names) else profile_frame(read_frame(list(names)))


def resolve_dataset(ref: Ref, store: Store) -> Resolved:
    """Resolve a dataset ref for the resolver table; the ref that it gives names the version by number."""
    if ref.kind != "dataset":
        raise Misuse(f"{ref} is no dataset", hint="write dataset:NAME@VERSION")
    found = choose(ref.name, DatasetStore(store).versions(name=ref.name), ref.selector)
    exact = Ref(kind="dataset", name=found.name, selector=Number(value=found.version))
    return Resolved(ref=exact, digest=found.digest, value=_handle(store, found))


def _own_store() -> Store:
    active = active_run()
    return current_store() if active is None else active.store


def _is_ref(names: Sequence[str]) -> bool:
    is_ref = any(name.startswith("dataset:") for name in names)
    if is_ref and len(names) > 1:
        raise Misuse("a dataset ref stands alone", hint="give one ref, or files only")
    return is_ref


def _register(store: Store, name: str, frame: pl.DataFrame, *, source: str = "", part: Part | None = None) -> Dataset:
    if not frame.width:
        raise Misuse("a table without columns is no dataset", hint="give at least one column")
    digest = frame_digest(frame)
    datasets = DatasetStore(store)
    found = datasets.find_digest(name=name, digest=digest)
    if found is None or found.deletion is not None:
        found = datasets.add_version(
            name=name,
            digest=digest,
            rows=frame.height,
            columns=[ColumnType(name=column, type=dtype_text(dtype)) for column, dtype in frame.schema.items()],
            content=store.blobs.put(frame_to_bytes(frame)),
            profile=store.blobs.put(profile_frame(frame).to_json().encode()),
            source=source,
            part=part,
        )
    _edge(store, "produced", found.ref)
    return _handle(store, found)


def _handle(store: Store, version: DatasetVersion) -> Dataset:
    made = Dataset(
        ref=version.ref,
        name=version.name,
        version=version.version,
        digest=version.digest,
        rows=version.rows,
        columns=tuple(column.name for column in version.columns),
    )
    # Beside the fields: where a store lies is no part of what a version is, and does not travel.
    made.__dict__["_store"] = store
    return made


def _content(store: Store, version: DatasetVersion) -> pl.DataFrame:
    return frame_from_bytes(store.blobs.read(need_content(version).content))


def _schema(schema: Schema | str | Path) -> Schema:
    return schema if isinstance(schema, Schema) else Schema.load(schema)


def _edge(store: Store, verb: str, ref: str) -> None:
    active = active_run()
    if active is not None and active.store.folder == store.folder:
        active.edge(verb, ref, role="data")


@contextmanager
def _deciding(store: Store, name: str) -> Iterator[OpenRun]:
    """Give the active run if it is in this store, else a run of its own for the block."""
    active = active_run()
    if active is not None and active.store.folder == store.folder:
        yield active
        return
    with run(EXPERIMENT, name=name, kind="evaluation", store=store) as own:
        yield own
