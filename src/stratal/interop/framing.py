"""Framing: what a source says, as bodies of journal frames. What cannot be held is counted as lost, and takes nothing else with it."""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from stratal.core.errors import Misuse, NotFound
from stratal.interop.batches import Body, SourceId
from stratal.interop.bounds import MOST_TEXT, artifact_path, is_storable
from stratal.interop.foreign import (
    Alerted,
    Began,
    Defined,
    Deleted,
    Ended,
    Held,
    Linked,
    Logged,
    Params,
    Remarked,
    Saved,
    Shown,
    Skipped,
    Stated,
    Statement,
    Tags,
)
from stratal.interop.report import Tally
from stratal.store.frames import FACT, NAMED, NO_STEP, POINTS, SIZE, check_metric_names, encode_fact, encode_names, points_packer, shape_of
from stratal.store.store import Store
from stratal.tracking.definitions import define
from stratal.tracking.facts import (
    ALERT,
    ARTIFACT,
    DEFINE,
    EDGE,
    END,
    KINDS,
    MEDIA,
    NOTE,
    PARAMS,
    STATE,
    STATUSES,
    TAGS,
    Alert,
    ArtifactFact,
    EdgeFact,
    MediaFact,
    Note,
    Scalar,
    StateFact,
    check_artifact_path,
    check_body,
    check_name,
    to_params,
    to_tags,
)  # fmt: skip
from stratal.tracking.facts import End as EndFact
from stratal.tracking.media.writing import entries, split

# One transaction's share: some hundred milliseconds of settling at most. Guesses.
MOST_VALUES, MOST_BYTES = 50_000, 4 << 20
# Different sets of names that one source may log under; more of them are logged name by name.
MOST_SHAPES = 512
_LOWEST_STEP, _HIGHEST_STEP = NO_STEP + 1, 2**63 - 1


class Framed(NamedTuple):
    """What was said: how the run began, and came into the bin, if it did; all else; and the digests of files in it."""

    began: Began | None
    deleted: Deleted | None
    bodies: list[Body]
    files: list[str]


class Framer:
    """Turns statements into bodies, batch by batch. Files go into the store's blobs at once."""

    def __init__(self, store: Store, tally: Tally) -> None:
        self._store, self._blobs = store, store.blobs
        self._tally = tally
        self._shapes: set[tuple[str, ...]] = set()
        self._bad_names: dict[str, str] = {}
        self._verbs: dict[type, Callable[..., None]] = {
            Params: self._params, Tags: self._tags, Remarked: self._note, Logged: self._logged, Saved: self._saved, Shown: self._shown,
            Linked: self._linked, Stated: self._stated, Defined: self._defined, Alerted: self._alerted, Ended: self._ended,
            Skipped: self._tally.skipped, Held: lambda held: self._tally.imported(held.what),
        }  # fmt: skip
        self._began: Began | None = None
        self._deleted: Deleted | None = None
        self._bodies: list[Body] = []
        self._named: dict[tuple[str, ...], int] = {}  # sets of names that this batch has defined, and their shapes
        self._files: list[str] = []
        self._size = self._values = 0

    def take(self) -> Framed:
        """Give what was said since the last time."""
        taken = Framed(self._began, self._deleted, self._bodies, self._files)
        self._began, self._deleted, self._bodies, self._files, self._named, self._size, self._values = None, None, [], [], {}, 0, 0
        return taken

    @property
    def is_full(self) -> bool:
        """Tell whether what was said is worth a transaction."""
        return self._values >= MOST_VALUES or self._size >= MOST_BYTES

    def say(self, statement: Statement) -> None:
        """Add a statement."""
        if isinstance(statement, Began):
            self._began = self._checked(statement)
        elif isinstance(statement, Deleted):
            self._deleted = statement
            self._tally.imported("deletions")
        else:
            self._verbs[type(statement)](statement)

    def _checked(self, began: Began) -> Began:
        check_name("experiment", began.experiment)
        texts = (began.experiment, began.name, began.group, began.job_type, began.user)
        if began.kind not in KINDS or not all(is_storable(text) for text in texts):
            raise Misuse(f"a run called {began.name!r:.60} cannot be held", hint="its names hold NUL, or its kind is none of ours")
        return began

    def _params(self, said: Params) -> None:
        params: dict[str, Scalar] = {}
        for name, value in said.values.items():
            try:
                for flat, scalar in to_params({name: value}).items():
                    if self._may_stand("params", f"params/{flat}", scalar, said.at_ns):
                        params[flat] = scalar
            except (Misuse, RecursionError) as error:
                self._lose("params", error)
        self._fact(PARAMS, params, said.at_ns, "params", len(params))

    def _tags(self, said: Tags) -> None:
        tags: dict[str, str | None] = {}
        for name, value in said.values.items():
            try:
                for flat, text in to_tags({name: value}).items():
                    if self._may_stand("tags", f"tags/{flat}", text, said.at_ns):
                        tags[flat] = text
            except Misuse as error:
                self._lose("tags", error)
        self._fact(TAGS, tags, said.at_ns, "tags", len(tags))

    def _note(self, said: Remarked) -> None:
        if not is_storable(said.text) or not is_storable(said.author):
            self._skip("notes", "holds NUL or half characters")
        elif said.text:
            self._fact(NOTE, Note(text=said.text, author=said.author), said.at_ns, "notes")

    def _logged(self, said: Logged) -> None:
        if said.step is not None and not _LOWEST_STEP <= said.step <= _HIGHEST_STEP:
            self._skip("points", "the step is no integer of 64 bits", len(said.metrics))
            return
        metrics = self._good(said.metrics)
        if not metrics:
            return
        names = tuple(metrics)
        if names in self._shapes or len(self._shapes) < MOST_SHAPES:
            self._row(names, metrics, said)
        else:
            for name in names:
                self._row((name,), metrics, said)
        self._tally.imported("points", len(metrics))

    def _good(self, metrics: Mapping[str, float]) -> dict[str, float]:
        good: dict[str, float] = {}
        for name, value in metrics.items():
            if name not in self._bad_names:
                self._bad_names[name] = check_metric_names((name,))
            if wrong := self._bad_names[name]:
                self._skip("points", wrong)
                continue
            try:
                good[name] = float(value)
            except (OverflowError, TypeError, ValueError):
                self._skip("points", "no number that 64 bits hold")
        return good

    def _row(self, names: tuple[str, ...], metrics: Mapping[str, float], said: Logged) -> None:
        self._shapes.add(names)
        known, head = self._named.get(names), b""
        if known is None:
            encoded = encode_names(names)
            known = self._named[names] = shape_of(encoded)
            head = SIZE.pack(len(encoded)) + encoded
        step = NO_STEP if said.step is None else said.step
        values = points_packer(len(names)).pack(known, step, said.at_ns, *(metrics[name] for name in names))
        self._add(NAMED if head else POINTS, head + values)
        self._values += len(names)

    def _saved(self, said: Saved) -> None:
        try:
            check_artifact_path(said.path)
            digest = self._blobs.put(said.data) if isinstance(said.data, bytes) else self._blobs.put_file(said.data)
        except Misuse as error:
            self._lose("artifacts", error)
            return
        self._files.append(digest)
        fact = ArtifactFact(path=said.path, digest=digest, size_bytes=self._blobs.size_bytes(digest))
        self._fact(ARTIFACT, fact, said.at_ns, "artifacts")

    def _shown(self, said: Shown) -> None:
        try:
            items = split({said.name: said.value}, said.step).items
            fact = MediaFact(step=said.step, entries=entries(self._store, items))
        except (Misuse, NotFound, RecursionError, OverflowError, ValueError) as error:
            if not said.otherwise:
                self._lose("media", error)
            for statement in said.otherwise:
                self.say(statement)
            return
        self._files += [file.digest for entry in fact.entries for file in entry.files]
        self._fact(MEDIA, fact, said.at_ns, "media", len(items))

    def _linked(self, said: Linked) -> None:
        if is_storable(said.target):
            self._fact(EDGE, EdgeFact(verb=said.verb, target=said.target, role=said.role), said.at_ns, "edges")
        else:
            self._skip("edges", "holds NUL or half characters")

    def _stated(self, said: Stated) -> None:
        if not is_storable(said.subject) or not is_storable(msgspec.json.encode(said.body).decode("utf-8", "replace")):
            self._skip("statements", "holds NUL or half characters")
            return
        self._fact(STATE, StateFact(kind=said.kind, subject=said.subject, body=said.body, author=said.author), said.at_ns, "statements")

    def _defined(self, said: Defined) -> None:
        try:
            definition = define(said.name, said.x, said.summary, said.goal)
        except Misuse as error:
            self._lose("definitions", error)
            return
        self._fact(DEFINE, definition, said.at_ns, "definitions")

    def _alerted(self, said: Alerted) -> None:
        if all(map(is_storable, (said.title, said.text, said.author))):
            alert = Alert(title=said.title, text=said.text, level=said.level, author=said.author)
            self._fact(ALERT, alert, said.at_ns, "alerts")
        else:
            self._skip("alerts", "holds NUL or half characters")

    def _ended(self, said: Ended) -> None:
        status = said.status if said.status in STATUSES else "failed"
        error = said.error if is_storable(said.error) else ""
        self._fact(END, EndFact(status=status, error=error), said.at_ns, "")

    def _may_stand(self, what: str, name: str, value: object, at_ns: int) -> bool:
        """Tell whether a param or tag can be held; what is too long for tables is saved as a file."""
        if not isinstance(value, str):
            return True
        if not is_storable(value):
            self._skip(what, "holds NUL or half characters")
            return False
        if len(value) > MOST_TEXT:
            self._saved(Saved(path=artifact_path("long", name, ".txt"), data=value.encode(), at_ns=at_ns))
            self._tally.skipped(Skipped(what=what, reason=f"over {MOST_TEXT:,} characters, saved under long/ instead", by_rule=True))
            return False
        return True

    def _fact(self, what: str, value: object, at_ns: int, counted: str, count: int = 1) -> None:
        if not count:
            return
        try:
            check_body(what, msgspec.to_builtins(value))
            self._add(FACT, encode_fact(what, at_ns, value))
        except (Misuse, ValueError, OverflowError, TypeError, RecursionError) as error:
            self._lose(counted or what, error)
            return
        if counted:
            self._tally.imported(counted, count)

    def _add(self, kind: int, data: bytes) -> None:
        self._bodies.append(Body(kind, data))
        self._size += len(data)

    def _lose(self, what: str, error: Exception) -> None:
        self._skip(what, error.message if isinstance(error, Misuse) else str(error)[:200])

    def _skip(self, what: str, reason: str, count: int = 1) -> None:
        self._tally.skipped(Skipped(what=what, reason=reason, by_rule=False, count=count))


def writer_of(source: SourceId) -> str:
    """Give the writer under which a source's frames are applied: 16 hex digits, as all writers have."""
    return blake2b(f"{source.foreign.tool}\0{source.foreign.digest}\0".encode() + source.part, digest_size=8).hexdigest()
