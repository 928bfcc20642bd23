"""The tree of a filter: frozen records, the same for every reader (SQL, evaluation on one run, a remote store)."""

from stratal.core.records import Record

# What a run has by itself, and how it compares.
TEXT = "text"
TIME = "time"  # nanoseconds since 1970 in UTC
SECONDS = "seconds"
ATTRIBUTES = {
    "id": TEXT,
    "name": TEXT,
    "experiment": TEXT,
    "kind": TEXT,
    "status": TEXT,
    "user": TEXT,
    "group": TEXT,
    "parent": TEXT,
    "started": TIME,
    "ended": TIME,
    "duration": SECONDS,
}

Literal = bool | int | float | str


class Key(Record, frozen=True, kw_only=True):
    """What is compared. entity: attributes, params, metrics or tags."""

    entity: str
    name: str

    def __str__(self) -> str:
        return self.name if self.entity == "attributes" else f"{self.entity}.{self.name}"


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


Condition = Compare | Between | In | Like | Null | Not | And | Or


class OrderKey(Record, frozen=True, kw_only=True):
    """One key of an order. Runs that lack it come last in both directions, NaN before them."""

    key: Key
    is_descending: bool = False
