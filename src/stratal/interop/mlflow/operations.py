"""What MLflow's clients know of what was imported, beside what runs and the registry keep: numbers and tags of experiments;
descriptions and tags of registered models, and where their versions are from.

What clients have said here since is never changed: a later import of a model tells what is said there now beside what the one before it
found, and only what still stands as that one left it follows.
"""

from collections.abc import Mapping
from typing import NamedTuple

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


class Texts(Record, frozen=True, kw_only=True):
    """What is said of a model, or of a version."""

    description: str = ""
    tags: dict[str, str] = {}


class VersionSaid(Record, frozen=True, kw_only=True):
    """What was said of a version. number: ours; source, run, logged_model: where it came from, '' for what nobody knows.

    author, made_ns: who made it there, and when; None: nobody knows. before: what the last import found; None: there was none."""

    number: int
    description: str
    source: str
    run: str
    logged_model: str
    tags: dict[str, str]
    author: str = ""
    made_ns: int | None = None
    before: Texts | None = None


class MovedModels:
    """What was said of models that were imported."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.CONTRIBUTOR, on="name")
    def describe(
        self, *, name: str, called: str, description: str, tags: dict[str, str], versions: list[VersionSaid], last: int = 0,
        before: Texts | None = None,
    ) -> list[str]:  # fmt: skip
        """Tell what was said of a model, which clients called so, and of versions of it. It is made if it is not there: one may have no
        version. last: the largest number that one ever had there, which none will have here.

        Nothing is told where something was said here already, unless that is what the last import found, `before`. Gives what stays
        as people have said it here, though it was changed there, a line each.

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
            standing = rows.words(tx, [name], [0, *(said.number for said in versions)]).tags
            now = Texts(description=description, tags=tags)
            stays = _tell_model(tx, name, called, now, before, standing.get((name, 0), {}))
            for said in versions:
                stays += _tell_version(tx, name, said, standing.get((name, said.number), {}))
        return stays


def _tell_model(tx: Transaction, name: str, called: str, now: Texts, before: Texts | None, tags: dict[str, str]) -> list[str]:
    """Tell what was said of a model. tags: those that it has here."""
    head = rows.head_of(tx, name)
    if head is None:
        return []
    if head.description is None:
        taken = rows.find_head(tx, called)
        is_its_own = folded(clean_name(called)) == folded(name) and (taken is None or taken.model == name)
        rows.show(tx, head, name=called if is_its_own else name, description=now.description)
        for key, value in now.tags.items():
            rows.set_tag(tx, name, 0, key, value)
        return []
    if before is None:
        return []
    telling = _Telling(Texts(description=head.description, tags=tags), before, now)
    if telling.of_description():
        rows.show(tx, head, name=head.name, description=now.description)
    return _follow_tags(tx, name, 0, telling)


def _tell_version(tx: Transaction, name: str, said: VersionSaid, tags: dict[str, str]) -> list[str]:
    """Tell what was said of a version, and who made it. tags: those that it has here."""
    row = rows.find_version(tx, name, said.number)
    if row is None:
        return []
    stays: list[str] = []
    if not (row.source or row.description or tags):
        rows.say_of_version(
            tx, name, said.number, description=said.description, source=said.source, run=said.run, logged_model=said.logged_model
        )
        for key, value in said.tags.items():
            rows.set_tag(tx, name, said.number, key, value)
    elif said.before is not None:
        now = Texts(description=said.description, tags=said.tags)
        telling = _Telling(Texts(description=row.description, tags=tags), said.before, now)
        if telling.of_description():
            rows.say_of_version(tx, name, said.number, description=said.description)
        stays = _follow_tags(tx, name, said.number, telling)
    if said.made_ns is not None and row.stated_ns is None and row.author == tx.actor.name:
        _state(tx, name, said, said.made_ns)
    return stays


class _Telling(NamedTuple):
    """What is said here, what the last import found there, and what is said there now."""

    standing: Texts
    before: Texts
    now: Texts

    def of_description(self) -> bool | None:
        """Tell whether the description is to follow: see `_follows`."""
        return _follows(self.standing.description, self.before.description, self.now.description)

    def of_tag(self, key: str) -> bool | None:
        """Tell whether a tag is to follow."""
        return _follows(self.standing.tags.get(key), self.before.tags.get(key), self.now.tags.get(key))


def _follows(standing: str | None, before: str | None, now: str | None) -> bool | None:
    """Tell whether a text is to become what it became there, as nobody has changed it here; None: there is nothing to do."""
    return None if now in (before, standing) else standing == before


def _follow_tags(tx: Transaction, name: str, number: int, telling: _Telling) -> list[str]:
    """Let the tags of a version (0: of the model) become what they became there; give what stays, its description too."""
    ref = f"model:{name}@{number}" if number else f"model:{name}"
    stays = [] if telling.of_description() is not False else [f"the description of {ref} stays, as it was written here"]
    for key in sorted(telling.before.tags.keys() | telling.now.tags.keys()):
        follows, now = telling.of_tag(key), telling.now.tags.get(key)
        if follows and now is not None:
            rows.set_tag(tx, name, number, key, now)
        elif follows:
            rows.drop_tag(tx, name, number, key)
        elif follows is False:
            stays.append(f"the tag {key!r:.60} of {ref} stays, as it was set here")
    return stays


def _state(tx: Transaction, name: str, said: VersionSaid, made_ns: int) -> None:
    """Write who made a version, and by whose word; the log has it, too."""
    rows.state_of_version(tx, name, said.number, author=said.author, made_ns=made_ns)
    rows.set_tag(tx, name, said.number, rows.STATED_BY, tx.actor.name)
    by = f" by {said.author!r:.100}" if said.author else ""
    when = f"{to_utc(made_ns):%Y-%m-%d %H:%M:%S} UTC"
    logs.append(tx, "state", name, {"of": said.number, "reason": f"version {said.number} was made{by} at {when}, says its import"})


def describe(store: Store, name: str, numbers: Mapping[int, int], row: ModelRow, before: Mapping[int, Texts]) -> list[str]:
    """Tell what is said in a store of MLflow, and give what stays as it was said here. numbers: ours, by those that versions have there;
    before: what the last import found, by those (0: of the model)."""
    said = [_said(version, numbers[version.number], before) for version in row.versions if version.number in numbers]
    last = min(max((version.number for version in row.versions), default=0), MOST_VERSION)
    stays: list[str] = []
    for start in range(0, max(len(said), 1), MOST_VERSIONS):
        stays += MovedModels(store).describe(
            name=name, called=_text(row.name), description=_text(row.description), tags=texts_to_keep(row.tags),
            versions=said[start : start + MOST_VERSIONS], last=last, before=_kept(before.get(0)) if start == 0 else None,
        )  # fmt: skip
    return stays


def _said(version: VersionRow, number: int, before: Mapping[int, Texts]) -> VersionSaid:
    source = _text(version.source)
    logged = source.removeprefix("models:/").strip("/")
    return VersionSaid(
        number=number, description=_text(version.description), source=source, run=_text(version.run),
        logged_model=logged if logged.startswith("m-") else "", tags=texts_to_keep(version.tags),
        author=_text(version.user), made_ns=to_ns(version.created_ms, 0) or None, before=_kept(before.get(version.number)),
    )  # fmt: skip


def _check(*texts: str) -> None:
    for text in texts:
        if len(text) > MOST_TEXT or not is_storable(text):
            raise Misuse(f"{text!r:.60} cannot be kept", hint=f"texts have at most {MOST_TEXT:,} characters, and no NUL")


def _kept(texts: Texts | None) -> Texts | None:
    return texts and Texts(description=_text(texts.description), tags=texts_to_keep(texts.tags))


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "?")[:MOST_TEXT]


def texts_to_keep(tags: Mapping[str, str]) -> dict[str, str]:
    """Give tags as they can be kept: no NUL in them, and none too long."""
    return {_text(key): _text(value) for key, value in tags.items()}
