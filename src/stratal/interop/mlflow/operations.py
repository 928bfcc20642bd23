"""What MLflow's clients know of what was imported, beside what runs and the registry keep: numbers and tags of experiments;
descriptions and tags of registered models, and where their versions are from.

It is told once: what clients have said here since is never changed.
"""

from collections.abc import Mapping

from stratal.core.clock import to_utc
from stratal.core.errors import Misuse
from stratal.core.people import Role
from stratal.core.records import Record
from stratal.interop.bounds import is_storable
from stratal.interop.foreign import LAST_NS
from stratal.interop.mlflow.records import ModelRow, VersionRow, to_ns
from stratal.interop.mlflow.service.store import experiments as numbered
from stratal.interop.mlflow.service.store import registered as rows
from stratal.interop.operations import MOST_VERSION
from stratal.interop.registering import clean_name
from stratal.registry.names import check_model_name, folded
from stratal.registry.store import adding, logs
from stratal.registry.store.rows import reserve_numbers
from stratal.store.database import Transaction
from stratal.store.operations import operation
from stratal.store.store import Store
from stratal.tracking.facts import check_name

# Versions that are told at a time, characters of one text, and the largest number of an experiment of MLflow: its folders have
# random numbers of 18 digits. Above it there is room for experiments to come.
MOST_VERSIONS, MOST_TEXT, MOST_NUMBER = 500, 100_000, 10**18 - 1


class Kept(Record, frozen=True, kw_only=True):
    """What became of an experiment. number: by which clients know it here; is_new: it was not in the store before."""

    number: int
    is_new: bool
    is_deleted: bool


class MovedExperiments:
    """What was known of experiments that were imported."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.CONTRIBUTOR, on="experiment", is_repeatable=True)
    def keep_experiment(
        self, *, experiment: str, number: int | None, last: int, tags: dict[str, str], created_ns: int, changed_ns: int, is_deleted: bool
    ) -> Kept:
        """Give an experiment the number that it had, if that is free and it has none here, and its tags, if it has none. Key: experiment.

        last: the largest number there, below which it takes none but its own: so it takes none of its siblings'.
        Only one that is new here can come as deleted."""
        check_name("experiment", experiment)
        _check(experiment, *tags, *tags.values())
        if (
            not (number is None or 0 <= number <= MOST_NUMBER)
            or not 0 <= last <= MOST_NUMBER
            or not 0 <= created_ns <= LAST_NS
            or not 0 <= changed_ns <= LAST_NS
        ):
            raise Misuse(f"{experiment!r:.60} has a number or a time that MLflow does not give")
        with self._store.command() as tx:
            row = numbered.by_name(tx, experiment)
            is_new = row is None and not numbered.has_runs(tx, experiment)
            if row is None:
                row = numbered.keep(
                    tx, experiment, number, last=last, created_ns=created_ns, changed_ns=changed_ns, is_deleted=is_deleted and is_new
                )
            if not numbered.tags_of(tx, [row.id])[row.id]:
                numbered.set_tags(tx, row.id, tags)
            if is_new:
                if tx.made is not None:
                    tx.made.append(row.ref)
                tx.emit("experiment", row.ref)
        return Kept(number=row.id, is_new=is_new, is_deleted=row.deleted_ns is not None)


class VersionSaid(Record, frozen=True, kw_only=True):
    """What was said of a version. number: ours; source, run, logged_model: where it came from, '' for what nobody knows.

    author, made_ns: who made it there, and when; None: nobody knows."""

    number: int
    description: str
    source: str
    run: str
    logged_model: str
    tags: dict[str, str]
    author: str = ""
    made_ns: int | None = None


class MovedModels:
    """What was said of models that were imported."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.CONTRIBUTOR, on="name")
    def describe(
        self, *, name: str, called: str, description: str, tags: dict[str, str], versions: list[VersionSaid], last: int = 0
    ) -> None:
        """Tell what was said of a model, which clients called so, and of versions of it, unless something was said here already. It is made
        if it is not there: one may have no version. last: the largest number that one ever had there, which none will have here.

        Who made a version, and when, is stated by who registered it, once; clients see it beside the tag that says who stated it. The
        registry and its log keep who registered it.
        It is called so again if the registry would make this name of it: who may contribute to one name gives out no other."""
        check_model_name(name)
        if not 0 <= last <= MOST_VERSION:
            raise Misuse(f"{last!r:.40} is no number of a version", hint=f"they go from 1 to {MOST_VERSION:,}")
        _check(called, description, *tags, *tags.values())
        if len(versions) > MOST_VERSIONS:
            raise Misuse(f"{len(versions):,} versions are too many at once", hint=f"describe at most {MOST_VERSIONS}")
        for said in versions:
            _check(said.description, said.source, said.run, said.logged_model, said.author, *said.tags, *said.tags.values())
            if said.made_ns is not None and not 0 <= said.made_ns <= LAST_NS:
                raise Misuse(f"version {said.number} was made at no time that can be kept")
        with self._store.command() as tx:
            adding.ensure_model(tx, name)
            reserve_numbers(tx, name, last)
            if (head := rows.find_head(tx, name)) is not None and head.model == name and head.description is None:
                taken = rows.find_head(tx, called)
                is_its_own = folded(clean_name(called)) == folded(name) and (taken is None or taken.model == name)
                rows.show(tx, head, name=called if is_its_own else name, description=description)
                for key, value in tags.items():
                    rows.set_tag(tx, name, 0, key, value)
            known = rows.words(tx, [name], [said.number for said in versions]).tags
            for said in versions:
                row = rows.find_version(tx, name, said.number)
                if row is None:
                    continue
                if not (row.source or row.description or (name, said.number) in known):
                    rows.say_of_version(
                        tx, name, said.number, description=said.description, source=said.source, run=said.run,
                        logged_model=said.logged_model,
                    )  # fmt: skip
                    for key, value in said.tags.items():
                        rows.set_tag(tx, name, said.number, key, value)
                if said.made_ns is not None and row.stated_ns is None and row.author == tx.actor.name:
                    _state(tx, name, said, said.made_ns)


def _state(tx: Transaction, name: str, said: VersionSaid, made_ns: int) -> None:
    """Write who made a version, and by whose word; the log has it, too."""
    rows.state_of_version(tx, name, said.number, author=said.author, made_ns=made_ns)
    rows.set_tag(tx, name, said.number, rows.STATED_BY, tx.actor.name)
    by = f" by {said.author!r:.100}" if said.author else ""
    when = f"{to_utc(made_ns):%Y-%m-%d %H:%M:%S} UTC"
    logs.append(tx, "state", name, {"of": said.number, "reason": f"version {said.number} was made{by} at {when}, says its import"})


def describe(store: Store, name: str, numbers: Mapping[int, int], row: ModelRow) -> None:
    """Tell what is said in a store of MLflow. numbers: ours, by those that versions have there."""
    said = [_said(version, numbers[version.number]) for version in row.versions if version.number in numbers]
    last = min(max((version.number for version in row.versions), default=0), MOST_VERSION)
    for start in range(0, max(len(said), 1), MOST_VERSIONS):
        MovedModels(store).describe(
            name=name, called=_text(row.name), description=_text(row.description), tags=texts_to_keep(row.tags),
            versions=said[start : start + MOST_VERSIONS], last=last,
        )  # fmt: skip


def _said(version: VersionRow, number: int) -> VersionSaid:
    source = _text(version.source)
    logged = source.removeprefix("models:/").strip("/")
    return VersionSaid(
        number=number, description=_text(version.description), source=source, run=_text(version.run),
        logged_model=logged if logged.startswith("m-") else "", tags=texts_to_keep(version.tags),
        author=_text(version.user), made_ns=to_ns(version.created_ms, 0) or None,
    )  # fmt: skip


def _check(*texts: str) -> None:
    for text in texts:
        if len(text) > MOST_TEXT or not is_storable(text):
            raise Misuse(f"{text!r:.60} cannot be kept", hint=f"texts have at most {MOST_TEXT:,} characters, and no NUL")


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "?")[:MOST_TEXT]


def texts_to_keep(tags: Mapping[str, str]) -> dict[str, str]:
    """Give tags as they can be kept: no NUL in them, and none too long."""
    return {_text(key): _text(value) for key, value in tags.items()}
