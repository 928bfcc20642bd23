"""What facts mean: each kind's change to the trunk's tables and to the run's row.

Facts of one run may come from several writers, in any order. What can be said again (params, tags, artifacts, the end)
follows the highest (epoch, time); the rest is only ever added.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
from sqlalchemy import Select, and_, bindparam, or_, select, update

from stratal.core.errors import Damaged
from stratal.core.ids import is_id, to_bytes
from stratal.core.records import to_json
from stratal.store.database import Transaction, insert
from stratal.store.frames import Fact
from stratal.store.names import Names, RunRow
from stratal.store.quotas.counting import count_file, count_start
from stratal.store.quotas.holding import check_run
from stratal.store.settling import PlacedFact
from stratal.store.tables import key, metric, run
from stratal.store.uses import use_or_claim
from stratal.tracking.facts import (
    ALERT,
    ARTIFACT,
    BODIES,
    CAPTURE,
    DEFINE,
    EDGE,
    END,
    MEDIA,
    NOTE,
    PARAMS,
    START,
    STATE,
    TAGS,
    Alert,
    ArtifactFact,
    CaptureFact,
    EdgeFact,
    End,
    MediaFact,
    MediaFile,
    MetricDefinition,
    Note,
    Scalar,
    Start,
    StateFact,
    in_pieces,
    is_long_key,
    params_to_json,
)  # fmt: skip
from stratal.tracking.search.evaluation import param_number, param_text
from stratal.tracking.search.words import words_of
from stratal.tracking.store.dialects import among
from stratal.tracking.store.media import add_media
from stratal.tracking.tables import artifact, edge, note, param, statement, tag, word

T = TypeVar("T")

# Values within values of what is stated or captured. Python reads less than a thousand, whoever wrote it.
MOST_DEPTH = 100

_BEGIN = (
    update(run)
    .where(run.c.no == bindparam("run_no"))
    .values({name: bindparam(f"new_{name}") for name in ("experiment", "kind", "parent", "started_ns", "doc")})
)
_NAME_METRICS = update(metric).where(metric.c.run == bindparam("run_no")).values(experiment=bindparam("new_experiment"))
_NAME_PARAMS = update(param).where(param.c.run == bindparam("run_no")).values(experiment=bindparam("new_experiment"))
_EXPERIMENT = select(run.c.experiment).where(run.c.no == bindparam("run_no"))
_RUN_OF = select(run.c.no).where(run.c.experiment == bindparam("named")).limit(1)
_END = (
    update(run)
    .where(run.c.no == bindparam("run_no"), or_(run.c.ended_ns.is_(None), run.c.ended_ns <= bindparam("new_ended_ns")))
    .values(status=bindparam("new_status"), ended_ns=bindparam("new_ended_ns"))
)
_SAID = select(run.c.doc, run.c.experiment).where(run.c.no == bindparam("run_no"))
_DOC = select(run.c.doc).where(run.c.no == bindparam("run_no"))
_SET_DOC = update(run).where(run.c.no == bindparam("run_no")).values(doc=bindparam("new_doc"))
_new_param, _new_tag, _new_artifact = insert(param).excluded, insert(tag).excluded, insert(artifact).excluded
_PARAM = insert(param).on_conflict_do_update(
    index_elements=["run", "key"],
    set_={name: _new_param[name] for name in ("num", "txt", "epoch", "at_ns")},
    where=or_(_new_param.epoch > param.c.epoch, and_(_new_param.epoch == param.c.epoch, _new_param.at_ns >= param.c.at_ns)),
)
_TAG = insert(tag).on_conflict_do_update(
    index_elements=["run", "key"],
    set_={name: _new_tag[name] for name in ("value", "epoch", "at_ns")},
    where=or_(_new_tag.epoch > tag.c.epoch, and_(_new_tag.epoch == tag.c.epoch, _new_tag.at_ns >= tag.c.at_ns)),
)
_ARTIFACT = insert(artifact).on_conflict_do_update(
    index_elements=["run", "path"],
    set_={name: _new_artifact[name] for name in ("digest", "size_bytes", "epoch", "at_ns")},
    where=or_(
        _new_artifact.epoch > artifact.c.epoch,
        and_(_new_artifact.epoch == artifact.c.epoch, _new_artifact.at_ns >= artifact.c.at_ns),
    ),
)
_NOTE = insert(note)
_WORD = insert(word).on_conflict_do_nothing()
_EDGE = insert(edge).on_conflict_do_nothing()
_STATEMENT = insert(statement)
_PARAM_TIMES = select(key.c.name, param.c.epoch, param.c.at_ns).join_from(param, key, key.c.id == param.c.key).where(
    param.c.run == bindparam("run_no"), among(param.c.key, bindparam("keys"))
)  # fmt: skip
_TAG_TIMES = select(key.c.name, tag.c.epoch, tag.c.at_ns).join_from(tag, key, key.c.id == tag.c.key).where(
    tag.c.run == bindparam("run_no"), among(tag.c.key, bindparam("keys"))
)  # fmt: skip
_TAGS = select(key.c.name, tag.c.value).join_from(tag, key, key.c.id == tag.c.key).where(tag.c.run == bindparam("run_no"))

_PARAM_COLUMNS = tuple(c.name for c in param.columns)


class _Docs:
    """The documents of runs that facts change: each is read once and written once, however many facts there are. One that holds all of
    a run's tags, read and written for each of thousands, kept everybody else from writing for hours."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._held: dict[int, dict[str, Any]] = {}

    def of(self, no: int) -> dict[str, Any]:
        """Give a document as it will be."""
        if no not in self._held:
            self._held[no] = msgspec.json.decode(str(self._tx.value(_DOC, run_no=no)))
        return self._held[no]

    def merge(self, no: int, part: str, values: Mapping[str, object]) -> None:
        """Put values over those that a part holds. Raises what JSON cannot hold, before anything is changed."""
        self.of(no).setdefault(part, {}).update(msgspec.json.decode(_json(values)))

    def change(self, no: int, values: Mapping[str, object]) -> None:
        """Put values over those of a document."""
        self.of(no).update(values)

    def retag(self, no: int, tags: Mapping[str, str | None]) -> None:
        """Put tags over those that a document holds; None takes one away."""
        held = self.of(no).setdefault("tags", {})
        held.update(tags)
        for name in [name for name, text in tags.items() if text is None]:
            del held[name]

    def write(self, no: int | None = None) -> None:
        """Write what was changed, of one run or of all."""
        for each in list(self._held) if no is None else [no]:
            if (doc := self._held.pop(each, None)) is None:
                continue
            self._tx.run(_SET_DOC, run_no=each, new_doc=_json(doc))


class _Batch(NamedTuple):
    """What is shared by facts that are applied together."""

    names: Names
    docs: _Docs


class TrunkFacts:
    """Applies the trunk's facts."""

    kinds = frozenset((START, PARAMS, TAGS, NOTE, ARTIFACT, EDGE, STATE, CAPTURE, MEDIA, DEFINE, ALERT, END))

    def __init__(self) -> None:
        self._verbs: dict[str, Callable[[Transaction, PlacedFact, _Batch], None]] = {
            START: self._start, PARAMS: self._params, TAGS: self._tags, NOTE: self._note, ARTIFACT: self._artifact,
            EDGE: self._edge, STATE: self._state, CAPTURE: self._capture, MEDIA: self._media,
            DEFINE: self._define, ALERT: self._alert, END: self._end,
        }  # fmt: skip

    def apply(self, tx: Transaction, facts: Sequence[PlacedFact], names: Names) -> list[Fact]:
        """Apply facts in the order given, and give those whose bodies are not what they should be."""
        unreadable, batch = [], _Batch(names, _Docs(tx))
        for placed in facts:
            try:
                self._verbs[placed.fact.what](tx, placed, batch)
            except (Damaged, msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
                # Raised before anything of it is written. One odd body must not stop the journals of a whole store.
                unreadable.append(placed.fact)
        batch.docs.write()
        return unreadable

    def pieces(self, fact: Fact) -> list[Fact]:
        """Give params or tags in pieces of a bounded size; what else there is, whole."""
        if fact.what not in (PARAMS, TAGS):
            return [fact]
        try:
            read = msgspec.convert(fact.value, BODIES[fact.what])
        except msgspec.ValidationError:
            return [fact]
        return [fact._replace(value=piece) for piece in in_pieces(cast("dict[str, object]", read))] or [fact]

    def start(self, tx: Transaction, row: RunRow, start: Start, *, at_ns: int, epoch: int, names: Names) -> None:
        """Begin a run by a command. Raises OverQuota where its experiment has no room for it."""
        if start.experiment != tx.value(_EXPERIMENT, run_no=row.no):
            check_run(tx, start.experiment)
        self._begin(tx, row, start, at_ns=at_ns, epoch=epoch, names=names)

    def _begin(self, tx: Transaction, row: RunRow, start: Start, *, at_ns: int, epoch: int, names: Names) -> bool:
        """Begin a run; tell whether its experiment had room for it."""
        check_depth(start.capture)
        doc: dict[str, object] = {
            "name": start.name, "group": start.group, "job_type": start.job_type, "user": start.user,
            "params": params_to_json(start.params), "tags": start.tags, "capture": start.capture,
        }  # fmt: skip
        parent = to_bytes(start.parent) if start.parent and is_id(start.parent) else None  # an odd one costs no run its start
        if tx.made is not None and start.experiment and tx.value(_RUN_OF, named=start.experiment) is None:
            tx.made.append(f"experiment:{start.experiment}")
        said, before = tx.row(_SAID, run_no=row.no) or ("{}", "")
        has_room = count_start(tx, _holder(row), before, start.experiment)
        tx.run(
            _BEGIN, run_no=row.no, new_experiment=start.experiment, new_kind=start.kind, new_started_ns=at_ns, new_doc=_json(doc),
            new_parent=parent,
        )  # fmt: skip
        _write_params(tx, row, start.experiment, start.params, _Said(epoch, at_ns, names))
        _write_tags(tx, row, start.tags, _Said(epoch, at_ns, names))
        write_words(tx, row.no, start.name)
        if row.is_new and said == "{}":
            return has_room
        # Points or facts of another writer came first.
        tx.run(_NAME_METRICS, run_no=row.no, new_experiment=start.experiment)
        tx.run(_NAME_PARAMS, run_no=row.no, new_experiment=start.experiment)
        earlier = msgspec.json.decode(said)
        doc["params"] = {**params_to_json(start.params), **earlier.get("params", {})}
        doc["capture"] = {**start.capture, **earlier.get("capture", {})}
        doc["tags"] = _tags_of(tx, row.no)
        tx.run(_SET_DOC, run_no=row.no, new_doc=_json({**earlier, **doc}))
        return has_room

    def _start(self, tx: Transaction, placed: PlacedFact, batch: _Batch) -> None:
        fact, row, sender = placed
        start = _body(fact.value, Start)
        if sender:
            start = msgspec.structs.replace(start, user=sender)
        batch.docs.write(row.no)
        if not self._begin(tx, row, start, at_ns=fact.at_ns, epoch=fact.epoch, names=batch.names) and tx.crowded is not None:
            tx.crowded.append(fact.sequence)

    def _end(self, tx: Transaction, placed: PlacedFact, batch: _Batch) -> None:
        end = _body(placed.fact.value, End)
        if placed.fact.epoch < placed.run.epoch:
            return  # how an epoch ended says nothing about the one that took over
        if tx.run(_END, run_no=placed.run.no, new_status=end.status, new_ended_ns=placed.fact.at_ns):
            if batch.docs.of(placed.run.no).get("error", "") != end.error:
                batch.docs.change(placed.run.no, {"error": end.error})
            tell_end(tx, placed.run.id.hex(), end.status, end.error)
        if end.lost_calls:
            lost = batch.docs.of(placed.run.no).get("lost_calls", 0)
            batch.docs.change(placed.run.no, {"lost_calls": lost + end.lost_calls})

    def _params(self, tx: Transaction, placed: PlacedFact, batch: _Batch) -> None:
        fact, row, _ = placed
        params = msgspec.convert(fact.value, dict[str, Scalar])
        newer = _newer(tx, _PARAM_TIMES, placed, params, batch.names)
        _write_params(tx, row, str(tx.value(_EXPERIMENT, run_no=row.no)), params, _Said(fact.epoch, fact.at_ns, batch.names))
        batch.docs.merge(row.no, "params", params_to_json({name: value for name, value in params.items() if name not in newer}))

    def _tags(self, tx: Transaction, placed: PlacedFact, batch: _Batch) -> None:
        fact, row, _ = placed
        tags = msgspec.convert(fact.value, dict[str, str | None])
        newer = _newer(tx, _TAG_TIMES, placed, tags, batch.names)
        _write_tags(tx, row, tags, _Said(fact.epoch, fact.at_ns, batch.names))
        batch.docs.retag(row.no, {name: value for name, value in tags.items() if name not in newer})

    def _note(self, tx: Transaction, placed: PlacedFact, _batch: _Batch) -> None:
        body = _body(placed.fact.value, Note)
        tx.run(_NOTE, run=placed.run.no, author=placed.sender or body.author, at_ns=placed.fact.at_ns, text=body.text)
        write_words(tx, placed.run.no, body.text)

    def _artifact(self, tx: Transaction, placed: PlacedFact, _batch: _Batch) -> None:
        body = _body(placed.fact.value, ArtifactFact)
        _check_key(body.path)
        self._add_artifact(tx, placed, body)

    def _add_artifact(self, tx: Transaction, placed: PlacedFact, body: ArtifactFact | MediaFile) -> None:
        fact = placed.fact
        tx.run(
            _ARTIFACT, run=placed.run.no, path=body.path, digest=body.digest, size_bytes=body.size_bytes, epoch=fact.epoch,
            at_ns=fact.at_ns,
        )  # fmt: skip
        _hold(tx, placed.run, body.digest, placed.sender, body.size_bytes)

    def _media(self, tx: Transaction, placed: PlacedFact, batch: _Batch) -> None:
        body = _body(placed.fact.value, MediaFact)
        check_depth([entry.details for entry in body.entries])
        for path in {file.path for entry in body.entries for file in entry.files}:
            _check_key(path)
        add_media(tx, placed, body, batch.names)
        for entry in body.entries:
            for file in entry.files:
                self._add_artifact(tx, placed, file)

    def _edge(self, tx: Transaction, placed: PlacedFact, _batch: _Batch) -> None:
        body = _body(placed.fact.value, EdgeFact)
        _check_key(body.verb, body.target, body.role)
        add_edge(tx, placed.run.no, body, at_ns=placed.fact.at_ns)
        if body.is_file and body.target.startswith("sha256:"):  # of a file that was used, its content is needed, too
            _hold(tx, placed.run, body.target.removeprefix("sha256:"), placed.sender)

    def _state(self, tx: Transaction, placed: PlacedFact, _batch: _Batch) -> None:
        body = _body(placed.fact.value, StateFact)
        if body.kind == ALERT:
            raise Damaged("an alert is a fact of its own: its author is who sent it, whatever it says")
        check_depth(body.body)
        _check_key(body.kind, body.subject)
        tx.run(
            _STATEMENT, run=placed.run.no, kind=body.kind, subject=body.subject, author=placed.sender or body.author,
            at_ns=placed.fact.at_ns, body=_json(body.body),
        )  # fmt: skip

    def _alert(self, tx: Transaction, placed: PlacedFact, _batch: _Batch) -> None:
        alert = _body(placed.fact.value, Alert)
        body = _json(msgspec.structs.replace(alert, author=placed.sender or alert.author))
        tx.run(_STATEMENT, run=placed.run.no, kind=ALERT, subject="", author="", at_ns=placed.fact.at_ns, body=body)
        tx.emit("alert", placed.run.id.hex(), body)

    def _define(self, tx: Transaction, placed: PlacedFact, batch: _Batch) -> None:
        fact, body = placed.fact, _body(placed.fact.value, MetricDefinition)
        said = batch.docs.of(placed.run.no).get("definitions", {}).get(body.name, {})
        if (said.get("epoch", -1), said.get("at_ns", 0)) <= (fact.epoch, fact.at_ns):
            batch.docs.merge(
                placed.run.no, "definitions", {body.name: {**msgspec.to_builtins(body), "epoch": fact.epoch, "at_ns": fact.at_ns}}
            )

    def _capture(self, tx: Transaction, placed: PlacedFact, batch: _Batch) -> None:
        captured = _body(placed.fact.value, CaptureFact)
        check_depth(captured.seeds)
        if captured.seeds is not None:
            batch.docs.merge(placed.run.no, "capture", {"seeds": captured.seeds})
        for name, blob in (("begun_by", captured.begun_by), ("generators", captured.generators)):
            if blob is not None:
                _hold(tx, placed.run, blob.digest, placed.sender)
                batch.docs.merge(placed.run.no, "capture", {name: blob.digest})
        if captured.thorough is None:
            return
        holder = f"capture:{captured.thorough.digest}"
        _hold(tx, placed.run, captured.thorough.digest, placed.sender)
        for digest in captured.holds:
            use_or_claim(tx, digest, holder, placed.sender)
        batch.docs.merge(placed.run.no, "capture", {"thorough": captured.thorough.digest})


def _holder(row: RunRow) -> str:
    return f"run:{row.id.hex()}"


def _hold(tx: Transaction, row: RunRow, digest: str, sender: str, size_bytes: int = 0) -> None:
    """Let a run hold a file, or claim it, and count it. size_bytes: 0 where the run does not say it."""
    is_new = use_or_claim(tx, digest, _holder(row), sender)
    if is_new or size_bytes:
        count_file(tx, str(tx.value(_EXPERIMENT, run_no=row.no)), digest, size_bytes, is_new=is_new)


class _Said(NamedTuple):
    """When something was said, and the ids of names to say it with."""

    epoch: int
    at_ns: int
    names: Names


def _newer(tx: Transaction, times: Select[Any], placed: PlacedFact, said: Mapping[str, object], names: Names) -> set[str]:
    """Give the names of which something was said later than by this fact."""
    fact, keys = placed.fact, to_json(names.key_ids(tx, list(said)))
    found = tx.rows(times, run_no=placed.run.no, keys=keys)
    return {name for name, epoch, at_ns in found if (epoch, at_ns) > (fact.epoch, fact.at_ns)}


def _write_params(tx: Transaction, row: RunRow, experiment: str, params: Mapping[str, Scalar], said: _Said) -> None:
    ids = said.names.key_ids(tx, list(params))
    rows = [(row.no, id, experiment, _number(v), _text(v), said.epoch, said.at_ns) for id, v in zip(ids, params.values(), strict=True)]
    tx.many_tuples(_PARAM, _PARAM_COLUMNS, rows)


def _write_tags(tx: Transaction, row: RunRow, tags: Mapping[str, str | None], said: _Said) -> None:
    ids = said.names.key_ids(tx, list(tags))
    rows = [
        {"run": row.no, "key": id, "value": v, "epoch": said.epoch, "at_ns": said.at_ns} for id, v in zip(ids, tags.values(), strict=True)
    ]
    tx.many(_TAG, rows)


def add_edge(tx: Transaction, no: int, body: EdgeFact, *, at_ns: int) -> None:
    """Add a lineage edge; one that is there stays as it is."""
    tx.run(_EDGE, run=no, verb=body.verb, target=body.target, role=body.role, at_ns=at_ns)


def check_depth(value: object) -> None:
    """Refuse what lies too deep within itself: who lists runs reads all their documents, and would fail at that of one. Raises Damaged."""
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [
            item for each in level if isinstance(each, dict | list | tuple) for item in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise Damaged(f"a fact holds values within values, more than {MOST_DEPTH} deep")


def _check_key(*texts: str) -> None:
    """Refuse what no index of PostgreSQL would take: a store whose journal holds it could settle nothing any more. Raises Damaged."""
    if is_long_key(*texts):
        raise Damaged("a fact holds a text by which something is looked up, and which is too long for that")


def _tags_of(tx: Transaction, no: int) -> dict[str, str]:
    return {name: value for name, value in tx.rows(_TAGS, run_no=no) if value is not None}


def write_words(tx: Transaction, no: int, text: str) -> None:
    """Let a run be found by the words of a text."""
    tx.many_tuples(_WORD, ("word", "run"), [(word, no) for word in sorted(words_of(text))])


def say_error(tx: Transaction, no: int, error: str) -> None:
    """Say of what a run failed; '' takes it back."""
    if msgspec.json.decode(str(tx.value(_DOC, run_no=no))).get("error", "") != error:
        change_doc(tx, no, {"error": error})


def tell_end(tx: Transaction, id: str, status: str, error: str) -> None:
    """Tell who follows that a run has ended, and how."""
    tx.emit("run ended", id, _json({"status": status, "error": error[:500]}))


def _body(value: object, type: type[T]) -> T:
    try:
        return msgspec.convert(value, type)
    except msgspec.ValidationError as error:
        raise Damaged(f"a journal holds a {type.__name__} that is none: {error}") from error


def merge_doc(tx: Transaction, no: int, part: str, values: Mapping[str, object]) -> None:
    """Put values over those that a part of a run's document holds."""
    doc = msgspec.json.decode(str(tx.value(_DOC, run_no=no)))
    doc[part] = {**doc.get(part, {}), **values}
    tx.run(_SET_DOC, run_no=no, new_doc=_json(doc))


def change_doc(tx: Transaction, no: int, values: Mapping[str, object]) -> None:
    """Put values over those of a run's document."""
    doc = msgspec.json.decode(str(tx.value(_DOC, run_no=no)))
    tx.run(_SET_DOC, run_no=no, new_doc=_json({**doc, **values}))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _number(value: Scalar) -> float | None:
    number = param_number(value)
    return None if number != number else number


def _text(value: Scalar) -> str | None:
    return None if value is None else param_text(value)
