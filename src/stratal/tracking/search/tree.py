"""The tree of a filter: frozen records, the same for every reader (SQL, evaluation on one run, a remote store)."""

import re

from stratal.core.records import Record

# What a run has by itself, and how it compares.
TEXT = "text"
TIME = "time"  # nanoseconds since 1970 in UTC
SECONDS = "seconds"
WORDS = "words"  # of name and notes
ATTRIBUTES = {
    "id": TEXT,
    "name": TEXT,
    "experiment": TEXT,
    "kind": TEXT,
    "status": TEXT,
    "user": TEXT,
    "group": TEXT,
    "job_type": TEXT,
    "parent": TEXT,
    "started": TIME,
    "ended": TIME,
    "duration": SECONDS,
    "deleted": TIME,
    "text": WORDS,
}
# What is kept of each series besides its last value: the smallest and largest finite value, the last step, the number of points.
PARTS = ("last", "min", "max", "step", "points")

# A name that needs no backticks.
_BARE = re.compile(r"[\w/:@\-.]+")

Literal = bool | int | float | str


class Key(Record, frozen=True, kw_only=True):
    """What is compared. entity: attributes, params, metrics or tags. part: of a metric's series, one of PARTS."""

    entity: str
    name: str
    part: str = "last"

    def __str__(self) -> str:
        if self.entity == "attributes":
            return self.name
        name = self.name if _BARE.fullmatch(self.name) else "`" + self.name.replace("`", "``") + "`"
        return f"{self.entity}.{name}" if self.part == "last" else f"{self.part}({self.entity}.{name})"


class Compare(Record, frozen=True, kw_only=True, tag="compare"):
    """op: one of = != < <= > >=. A run that lacks the key never matches."""

    key: Key
    op: str
    value: Literal


class Between(Record, frozen=True, kw_only=True, tag="between"):
    """low <= value <= high."""

    key: Key
    low: Literal
    high: Literal
    is_negated: bool = False


class In(Record, frozen=True, kw_only=True, tag="in"):
    """The value is one of these, or (negated) is there and none of these."""

    key: Key
    values: tuple[Literal, ...]
    is_negated: bool = False


class Like(Record, frozen=True, kw_only=True, tag="like"):
    """`%` any text, `_` one character, over the whole value. Without case: of the letters a to z."""

    key: Key
    pattern: str
    has_case: bool
    is_negated: bool = False


class Contains(Record, frozen=True, kw_only=True, tag="contains"):
    """Each of these words begins a word of the run's name or notes, without case."""

    key: Key
    words: str
    is_negated: bool = False


class Null(Record, frozen=True, kw_only=True, tag="null"):
    """The run lacks the key, or (negated) has it."""

    key: Key
    is_negated: bool = False


class Not(Record, frozen=True, kw_only=True, tag="not"):
    """The part does not hold; so a run that lacks a key matches `not (params.x = 1)`."""

    part: "Condition"


class And(Record, frozen=True, kw_only=True, tag="and"):
    """All parts hold. Without parts: every run."""

    parts: "tuple[Condition, ...]" = ()


class Or(Record, frozen=True, kw_only=True, tag="or"):
    """At least one part holds."""

    parts: "tuple[Condition, ...]"


Condition = Compare | Between | In | Like | Contains | Null | Not | And | Or


class OrderKey(Record, frozen=True, kw_only=True):
    """One key of an order. Runs that lack it come last in both directions, NaN before them."""

    key: Key
    is_descending: bool = False


def speaks_of(condition: Condition, attribute: str) -> bool:
    """Tell whether a filter mentions an attribute."""
    match condition:
        case And(parts=parts) | Or(parts=parts):
            return any(speaks_of(part, attribute) for part in parts)
        case Not(part=part):
            return speaks_of(part, attribute)
        case _:
            return condition.key == Key(entity="attributes", name=attribute)
