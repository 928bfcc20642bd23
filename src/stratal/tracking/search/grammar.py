"""The grammar, by recursive descent:

    filter    := [ either ]
    either    := both { "or" both }
    both      := one { "and" one }
    one       := "not" one | "(" either ")" | condition
    condition := key ( op literal | ["not"] "in" "(" literal {"," literal} ")" | "is" ["not"] "null"
                     | ["not"] ("like" | "ilike") text | ["not"] "between" literal "and" literal )
               | "text" ["not"] "contains" text
    key       := attribute | entity "." name | part "(" "metrics" "." name ")"
    part      := "last" | "min" | "max" | "best" | "step" | "points"
    op        := "=" | "!=" | "<" | "<=" | ">" | ">="
    literal   := number | text | "true" | "false"
    order     := key ["asc" | "desc"] { "," key ["asc" | "desc"] }
    columns   := column { "," column }
    column    := key | entity "." "*" | ( "min_step" | "max_step" | "best_step" ) "(" "metrics" "." name ")"

docs/filter-language.md says what each of them means, and is tested against this file. All that MLflow's filters can say
about runs means the same here; their names of entities and attributes are read too.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from stratal.core.errors import Misuse
from stratal.core.ids import is_id
from stratal.core.records import Record
from stratal.tracking.directions import UNSURE, agreed_direction
from stratal.tracking.search.errors import bad_filter, nearest, nearest_stored
from stratal.tracking.search.lexer import WORDS, Token, tokens
from stratal.tracking.search.times import parse_duration, parse_time
from stratal.tracking.search.tree import (
    ATTRIBUTES,
    PARTS,
    SECONDS,
    TEXT,
    TIME,
    And,
    Between,
    Compare,
    Condition,
    Contains,
    In,
    Key,
    Like,
    Literal,
    Not,
    Null,
    Or,
    OrderKey,
)  # fmt: skip
from stratal.tracking.search.words import words_of

TEXT_KEY = Key(entity="attributes", name="text")
DEEPEST = 50  # parentheses and nots within each other; Python's own stack ends near 1000 frames
MOST_COLUMNS = 500
# Parts that only columns have: finding their step reads the series.
_STEPS = ("min_step", "max_step", "best_step")
MOST_DIGITS = 300  # of a whole number; with a few more it is past all numbers that a value can be
MOST = 100  # conditions; SQLite refuses trees deeper than 1000
MOST_VALUES, MOST_IDS = 500, 10_000  # in the lists of a filter: they are part of such a tree, but for ids, which are looked up
# Characters of a text, of a pattern, and of all patterns of a filter: a text is compared with a pattern from each of its characters on,
# while nobody can end it.
MOST_TEXT, MOST_PATTERN, MOST_PATTERNS = 500_000, 500, 5000
_ENTITIES = {
    "attributes": "attributes", "attribute": "attributes", "attr": "attributes", "run": "attributes",
    "params": "params", "param": "params", "parameter": "params", "parameters": "params",
    "metrics": "metrics", "metric": "metrics", "tags": "tags", "tag": "tags",
}  # fmt: skip
# MLflow's names. Its times are milliseconds, as are ours where a number is given.
_ALIASES = {
    "run_id": "id", "run_name": "name", "run name": "name", "user_id": "user", "start_time": "started", "end_time": "ended",
    "created": "started", "parent_id": "parent", "experiment_name": "experiment",
}  # fmt: skip
_STATUSES = {"killed": "stopped", "scheduled": "running"}
_FLIPPED_OPS = {"==": "=", "<>": "!="}
_ORDERED = ("<", "<=", ">", ">=")
_NS_PER_MS = 1_000_000


class Place(NamedTuple):
    """Where a key was named: in which text, and at which character."""

    key: Key
    text: str
    at: int


class Names:
    """What the reader of a text is told about the store, and what it tells of the text."""

    def __init__(self, known: Callable[[], Iterable[str]] = tuple, goals: Callable[[str], Collection[str]] = lambda _metric: ()) -> None:
        """known: gives the keys that the store has, such as params.lr and metrics.auc; called only for a mistake.
        goals: gives which way runs define a metric to be better, "min" or "max"; called only where that is asked."""
        self.known = known
        self.goals = goals
        self.places: list[Place] = []


class Column(Record, frozen=True, kw_only=True):
    """A column of a table of runs. name: its heading. key.name `*` with is_all: all that the runs have of the entity."""

    name: str
    key: Key
    is_all: bool = False


def parse_filter(text: str, *, now_ns: int, names: Names | None = None) -> Condition:
    """Parse a filter; an empty one lets every run pass. now_ns: what `'-7d'` counts from. Raises Misuse, with the place."""
    reader = _Reader(text, "filter", now_ns, names)
    if reader.next.kind == "end":
        return And()
    condition = reader.either(0)
    reader.expect_end()
    return condition


def parse_order(order: str | Sequence[str], *, names: Names | None = None) -> tuple[OrderKey, ...]:
    """Parse `metrics.auc desc, started`, as one text or as a list of such. Raises Misuse, with the place."""
    keys: list[OrderKey] = []
    for text in _texts(order, "order"):
        reader = _Reader(text, "order", 0, names)
        if reader.next.kind != "end":
            keys.extend(reader.order())
    if len(keys) > 8:
        raise Misuse(f"{len(keys)} keys are too many for an order", hint="give at most 8")
    return tuple(keys)


def parse_columns(columns: str | Sequence[str], *, names: Names | None = None) -> tuple[Column, ...]:
    """Parse `name, params.lr, max(metrics.auc), tags.*`, as one text or as a list of such. Raises Misuse, with the place."""
    found: list[Column] = []
    for text in _texts(columns, "column"):
        reader = _Reader(text, "column", 0, names)
        if reader.next.kind != "end":
            found.extend(reader.columns())
    if len(found) > MOST_COLUMNS:
        raise Misuse(f"{len(found)} columns are too many", hint=f"name at most {MOST_COLUMNS}, or all of a kind with params.*")
    return tuple({column.name: column for column in found}.values())


def _texts(given: str | Sequence[str], subject: str) -> Sequence[str]:
    if isinstance(given, str):
        return [given]
    if not isinstance(given, Sequence):
        raise Misuse(f"{given!r:.60} is no {subject}", hint="give a text, or a list of texts")
    return given


class _Reader:
    """A text, and how far it has been read."""

    def __init__(self, text: str, subject: str, now_ns: int, names: Names | None) -> None:
        if not isinstance(text, str):
            raise Misuse(f"this {subject} is no text: {text!r:.60}", hint='for example "metrics.auc > 0.9"')
        if len(text) > MOST_TEXT:
            raise Misuse(f"this {subject} has {len(text):,} characters", hint=f"at most {MOST_TEXT:,} are read")
        self._text = text
        self._subject = subject
        self._now_ns = now_ns
        self._names = names or Names()
        self._tokens = tokens(text, subject)
        self._at = 0
        self._count = 0
        self._values = self._patterns = 0

    @property
    def next(self) -> Token:
        return self._tokens[self._at]

    def either(self, depth: int) -> Condition:
        parts = [self._both(depth)]
        while self._took("or"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else Or(parts=tuple(parts))

    def order(self) -> list[OrderKey]:
        keys = []
        while True:
            key, place = self._key()
            if key == TEXT_KEY:
                raise self._wrong(place, "text has no order", hint="sort by name")
            is_descending = self._took("desc")
            if not is_descending:
                self._took("asc")
            keys.append(OrderKey(key=self._named(key, place), is_descending=is_descending))
            if self.next.value != "," or self.next.kind != "mark":
                self.expect_end("a comma, asc or desc")
                return keys
            self._take()

    def columns(self) -> list[Column]:
        found = []
        while True:
            key, place = self._key(is_column=True)
            self._names.places.append(Place(key, self._text, place.at))
            if key == TEXT_KEY:
                raise self._wrong(place, "text is no column", hint="name is one; notes are read with st.get(...).notes")
            is_all = key.name == "*" and place.kind == "key"
            name = f"{key.entity}.*" if is_all else str(key)
            found.append(Column(name=name, key=self._resolved(key, place), is_all=is_all))
            if self.next.value != "," or self.next.kind != "mark":
                self.expect_end("a comma")
                return found
            self._take()

    def expect_end(self, wanted: str = "and, or") -> None:
        if self.next.kind != "end":
            raise self._wrong(self.next, f"{wanted} or the end is expected, not {self.next.value!r}")

    def _both(self, depth: int) -> Condition:
        parts = [self._one(depth)]
        while self._took("and"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else And(parts=tuple(parts))

    def _one(self, depth: int) -> Condition:
        if depth > DEEPEST:
            raise self._wrong(self.next, f"more than {DEEPEST} levels of parentheses")
        if self._took("not"):
            return Not(part=self._one(depth + 1))
        opening = self.next
        if opening.kind == "mark" and opening.value == "(":
            self._take()
            inside = self.either(depth + 1)
            if self.next.value != ")":
                raise self._wrong(opening, "this parenthesis is never closed", hint="add a )")
            self._take()
            return inside
        return self._condition()

    def _condition(self) -> Condition:
        self._count += 1
        if self._count > MOST:
            raise self._wrong(self.next, f"more than {MOST} conditions", hint="params.x in (1, 2, 3) is one condition")
        key, place = self._key()
        if key == TEXT_KEY:
            return self._contains(key)
        key = self._named(key, place)
        if self.next.kind == "op":
            return self._comparison(key)
        if self._took("is"):
            is_negated = self._took("not")
            if not self._took("null"):
                raise self._wrong(self.next, "after `is` comes null or not null")
            return Null(key=key, is_negated=is_negated)
        is_negated = self._took("not")
        if self._took("in"):
            return In(key=key, values=self._list(key), is_negated=is_negated)
        for word in ("like", "ilike"):
            if self._took(word):
                return Like(key=key, pattern=self._pattern(key, place), has_case=word == "like", is_negated=is_negated)
        if self._took("between"):
            low = self._literal(key)
            if not self._took("and"):
                raise self._wrong(self.next, "after `between` come two values joined by and")
            return Between(key=key, low=low, high=self._literal(key), is_negated=is_negated)
        found = self.next
        shown = repr(found.value) if found.kind != "end" else "the end"
        near = nearest(found.value, ("like", "ilike", "in", "is", "between")) if found.value else ""
        raise self._wrong(
            found, f"a comparison is expected after {key}, not {shown}", hint=f"{near}use = != < <= > >= in, like, between or is null"
        )

    def _comparison(self, key: Key) -> Condition:
        token = self._take()
        op = _FLIPPED_OPS.get(token.value, token.value)
        if op in _ORDERED and key.entity == "attributes" and ATTRIBUTES[key.name] == TEXT:
            raise self._wrong(token, f"{key.name} is a text and has no order", hint="use = != in or like")
        value = self._literal(key)
        if op in _ORDERED and (isinstance(value, bool) or (isinstance(value, str) and key.entity == "tags")):
            raise self._wrong(token, f"{value!r} has no order", hint="use = or !=")
        return Compare(key=key, op=op, value=value)

    def _contains(self, key: Key) -> Condition:
        is_negated = self._took("not")
        if not self._took("contains"):
            raise self._wrong(self.next, "after text comes contains", hint="write text contains 'cosine warmup', or name like '%warm%'")
        token = self._take()
        if token.kind != "text" or not words_of(token.value):
            raise self._wrong(token, "words are expected, in quotes", hint="for example text contains 'cosine warmup'")
        return Contains(key=key, words=token.value, is_negated=is_negated)

    def _named(self, key: Key, place: Token) -> Key:
        """Remember where a key was named, and give it as it is compared."""
        if key.part in _STEPS:
            raise self._wrong(place, f"{key.part} is only a column", hint="compare min, max, best, step, points, or the last value")
        self._names.places.append(Place(key, self._text, place.at))
        return self._resolved(key, place)

    def _resolved(self, key: Key, place: Token) -> Key:
        """Turn best into min or max."""
        if not key.part.startswith("best"):
            return key
        direction = agreed_direction(key.name, self._names.goals(key.name))
        if direction in UNSURE:
            hint = f"say it: min(metrics.{key.name}) or max(metrics.{key.name})"
            raise self._wrong(place, f"{UNSURE[direction]} which way {key.name} is better", hint=hint)
        return Key(entity=key.entity, name=key.name, part=key.part.replace("best", direction))

    def _key(self, *, is_column: bool = False) -> tuple[Key, Token]:
        following = self._tokens[min(self._at + 1, len(self._tokens) - 1)]
        if self.next.kind == "name" and following.kind == "mark" and following.value == "(":
            return self._part()
        key, place = self._plain_key()
        if key.name == "*" and place.kind == "key" and not is_column:
            raise self._wrong(place, "* stands for all only among columns", hint=f"name one: {key.entity}.x")
        return key, place

    def _part(self) -> tuple[Key, Token]:
        word = self._take()
        part = word.value.lower()
        if part not in (*PARTS, "best", *_STEPS):
            near = nearest(part, (*PARTS, "best", *_STEPS))
            raise self._wrong(
                word, f"{word.value!r} is no part of a metric", hint=f"{near}known are {', '.join((*PARTS, 'best', *_STEPS))}"
            )
        opening = self._take()
        key, place = self._plain_key()
        if key.entity != "metrics" or (key.name == "*" and place.kind == "key"):
            raise self._wrong(place, f"only a metric has a {part}", hint=f"for example {part}(metrics.loss)")
        if self.next.value != ")":
            raise self._wrong(opening, "this parenthesis is never closed", hint="add a )")
        self._take()
        return Key(entity="metrics", name=key.name, part=part), place

    def _plain_key(self) -> tuple[Key, Token]:
        first = self._take()
        if first.kind in ("text", "back"):
            return self._attribute(first, first.value), first
        if first.kind != "name" or first.value.lower() in WORDS:
            shown = "the end" if first.kind == "end" else repr(first.value)
            raise self._wrong(
                first, f"a name is expected, not {shown}", hint="name params.x, metrics.x, tags.x, or status, started, name ..."
            )
        if self.next.kind != "dot":
            return self._attribute(first, first.value), first
        entity = _ENTITIES.get(first.value.lower())
        if entity is None:
            hint = f"{nearest(first.value, _ENTITIES.values())}known are attributes, params, metrics and tags"
            raise self._wrong(first, f"{first.value!r} is nothing that runs have", hint=hint)
        self._take()
        second = self._take()
        if second.kind not in ("key", "text", "back") or not second.value:
            raise self._wrong(second, f"a name is expected after {first.value}.", hint="odd names go in backticks: params.`my param`")
        return (self._attribute(second, second.value) if entity == "attributes" else Key(entity=entity, name=second.value)), second

    def _attribute(self, token: Token, name: str) -> Key:
        known = _ALIASES.get(name.lower(), name.lower())
        if known not in ATTRIBUTES:
            near = nearest_stored(name, self._names.known()) or nearest(name, [*ATTRIBUTES, *_ENTITIES.values()])
            example = "params.x" if near else f"params.{name}"
            hint = f"{near}runs have {', '.join(ATTRIBUTES)}; params, metrics and tags are written {example}"
            raise self._wrong(token, f"runs have no attribute {name!r}", hint=hint)
        return Key(entity="attributes", name=known)

    def _list(self, key: Key) -> tuple[Literal, ...]:
        opening = self.next
        if opening.value != "(" or opening.kind != "mark":
            raise self._wrong(opening, "after `in` comes a list in parentheses")
        self._take()
        values = [self._literal(key)]
        while self.next.kind == "mark" and self.next.value == ",":
            self._take()
            values.append(self._literal(key))
        is_of_ids = key.entity == "attributes" and key.name in ("id", "parent") and all(is_id(str(value)) for value in values)
        self._values += 0 if is_of_ids else len(values)
        if self._values > MOST_VALUES or len(values) > MOST_IDS:
            raise self._wrong(opening, f"more than {MOST_VALUES} values in lists, or {MOST_IDS:,} ids", hint="ask for some at a time")
        if self.next.value != ")":
            raise self._wrong(opening, "this parenthesis is never closed", hint="add a )")
        self._take()
        return tuple(values)

    def _pattern(self, key: Key, place: Token) -> str:
        if key.entity == "metrics" or (key.entity == "attributes" and ATTRIBUTES[key.name] != TEXT):
            raise self._wrong(place, f"{key} is no text, so it has no pattern")
        token = self._take()
        if token.kind != "text":
            raise self._wrong(token, "a pattern is a quoted text", hint="for example like 'gbm%'")
        self._patterns += len(token.value)
        if len(token.value) > MOST_PATTERN or self._patterns > MOST_PATTERNS:
            wrong = f"a pattern of more than {MOST_PATTERN} characters, or more than {MOST_PATTERNS:,} in all"
            raise self._wrong(token, wrong, hint="write its beginning, and % behind it")
        return token.value

    def _literal(self, key: Key) -> Literal:
        token = self._take()
        word = token.value.lower() if token.kind == "name" else ""
        value: Literal
        if token.kind == "number":
            value = _number(token.value)
        elif token.kind == "text":
            value = token.value
        elif word in ("true", "false"):
            value = word == "true"
        elif word in ("inf", "infinity"):
            value = math.inf
        elif word == "null":
            raise self._wrong(token, "null is not compared", hint=f"write {key} is null, or is not null")
        else:
            shown = "the end" if token.kind == "end" else repr(token.value)
            hint = f"a text is quoted: '{token.value}'" if token.kind == "name" else "give a number or a quoted text"
            raise self._wrong(token, f"a value is expected, not {shown}", hint=hint)
        return self._fitting(key, value, token)

    def _fitting(self, key: Key, value: Literal, token: Token) -> Literal:
        """Bring a literal to the type of its key."""
        if key.entity == "metrics":
            if isinstance(value, bool | str):
                raise self._wrong(token, f"{key} is a number", hint="compare it with a number, without quotes")
            return value
        if key.entity == "params":
            return value
        if key.entity == "tags" or ATTRIBUTES[key.name] == TEXT:
            if not isinstance(value, str):
                raise self._wrong(token, f"{key} is a text", hint=f"quote it: '{token.value}'")
            return _STATUSES.get(value.lower(), value.lower()) if key == Key(entity="attributes", name="status") else value
        return self._moment(key, value, token) if ATTRIBUTES[key.name] == TIME else self._seconds(key, value, token)

    def _moment(self, key: Key, value: Literal, token: Token) -> int:
        if isinstance(value, str):
            at_ns = parse_time(value, self._now_ns)
            if at_ns is None:
                raise self._wrong(
                    token, f"{value!r} is no time", hint="write '2026-11-01', '2026-11-01T08:30', '-7d', '2 hours ago' or 'today'"
                )
            return at_ns
        if isinstance(value, bool) or not math.isfinite(value):
            raise self._wrong(token, f"{key} is a time", hint="write '2026-11-01', or milliseconds since 1970")
        return round(value * _NS_PER_MS)

    def _seconds(self, key: Key, value: Literal, token: Token) -> float:
        assert ATTRIBUTES[key.name] == SECONDS
        seconds = parse_duration(value) if isinstance(value, str) else None if isinstance(value, bool) else float(value)
        if seconds is None:
            raise self._wrong(token, f"{token.value!r} is no duration", hint="write seconds, or '5m', '1h30m', '2 days'")
        return seconds

    def _took(self, word: str) -> bool:
        if self.next.kind == "name" and self.next.value.lower() == word:
            self._at += 1
            return True
        return False

    def _take(self) -> Token:
        token = self.next
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _wrong(self, token: Token, what: str, *, hint: str = "") -> Misuse:
        return bad_filter(self._text, token.at, what, hint=hint, subject=self._subject)


def _number(text: str) -> int | float:
    if text.endswith("inf"):
        return -math.inf if text.startswith("-") else math.inf
    is_whole = len(text) <= MOST_DIGITS and not any(mark in text for mark in ".eE")
    return int(text) if is_whole else float(text)
