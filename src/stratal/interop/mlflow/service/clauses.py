"""Clauses: filters and orders of MLflow's searches over models, read once and asked of each of them.

`[entity.]key operator value AND ...`, words in any case. A key that is missing matches nothing but IS NULL.
"""

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from stratal.interop.mlflow.service.errors import invalid
from stratal.tracking.search.grammar import MOST_PATTERN, MOST_PATTERNS

T = TypeVar("T")
Value = str | float | int | None

_KEY = re.compile(r"\s*(?:([A-Za-z]+)\s*\.\s*)?(`[^`]+`|\"[^\"]+\"|[^\s=!<>`\"'()]+)")
_OPERATOR = re.compile(r"\s*(!=|>=|<=|=|>|<|(?:NOT\s+)?IN\b|I?LIKE\b|IS\s+NOT\s+NULL\b|IS\s+NULL\b)", re.IGNORECASE)
_TEXT = re.compile(r"\s*(?:'([^']*)'|\"([^\"]*)\")")
# No text may be read in more than one way: who sends one that fits none would have all of them tried, while everybody waits.
_NUMBER = re.compile(r"\s*([-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)(?=\s|$)")
_ITEM = r"(?:'[^']*'|\"[^\"]*\"|[0-9]+)"
_LIST = re.compile(rf"\s*\((\s*{_ITEM}(?:\s*,\s*{_ITEM})*\s*(?:,\s*)?)\)")
# Characters and clauses of a filter. Thousands of ids fit into a list.
MOST_FILTER, MOST_CLAUSES = 200_000, 100
_AND = re.compile(r"\s+AND\s+|\s*$", re.IGNORECASE)
_TEXTS = ("=", "!=", "LIKE", "ILIKE")
_NUMBERS = ("=", "!=", ">", ">=", "<", "<=")
_MOST_TOKEN = 100


class Words(NamedTuple):
    """What may be asked. texts, numbers: attributes by kind; listed: those of them, and ENTITY.KEY, that take IN; entities: other
    ones, and whether their values are numbers; names: other words for an attribute."""

    texts: frozenset[str]
    numbers: frozenset[str]
    listed: frozenset[str]
    entities: Mapping[str, bool]
    names: Mapping[str, str]


class Clause(NamedTuple):
    """One comparison. entity: "attribute", or one of the words' entities in the plural."""

    entity: str
    key: str
    operator: str
    value: Value | tuple[str, ...]

    def holds(self, found: Value) -> bool:
        """Tell whether a value is what the clause asks for; None: there is none."""
        if self.operator.startswith("IS"):
            return (found is None) == (self.operator == "IS NULL")
        if found is None:
            return False
        if isinstance(self.value, tuple):
            return (str(found) in self.value) == (self.operator == "IN")
        if isinstance(self.value, str) or self.value is None:
            return _text_holds(self.operator, str(found), self.value or "")
        return _number_holds(self.operator, float(found), float(self.value))


def parse(text: str | None, words: Words) -> list[Clause]:
    """Read a filter. Raises MlflowError that says what is wrong."""
    clauses: list[Clause] = []
    text = (text or "").strip()
    if len(text) > MOST_FILTER:
        raise invalid(f"A filter has at most {MOST_FILTER:,} characters, and this one has {len(text):,}")
    at = patterns = 0
    while at < len(text):
        if len(clauses) == MOST_CLAUSES:
            raise invalid(f"A filter has at most {MOST_CLAUSES} clauses")
        clause, at = _clause(text, at, words)
        clauses.append(clause)
        patterns += len(str(clause.value)) if clause.operator in ("LIKE", "ILIKE") else 0
        if patterns > MOST_PATTERNS:
            raise invalid(f"The patterns of a filter have at most {MOST_PATTERNS:,} characters in all")
        end = _AND.match(text, at)
        if end is None:
            raise invalid(f"Invalid clause(s) in filter string: {text[at:][:200]!r}. Clauses are joined by AND, and by nothing else")
        at = end.end()
    return clauses


def parse_order(order_by: Iterable[str] | None, words: Words) -> list[tuple[str, bool]]:
    """Read an order as pairs of an attribute and whether it ascends. Raises MlflowError for what cannot be ordered by."""
    found = []
    for each in order_by or ():
        said, way = each.strip(), "ASC"
        if len(parts := said.rsplit(None, 1)) == 2 and parts[1].upper() in ("ASC", "DESC"):
            said, way = parts[0], parts[1].upper()
        key = _plain(said).removeprefix("attribute.").removeprefix("attributes.")
        key = words.names.get(key, key)
        if key not in words.texts | words.numbers:
            known = ", ".join(sorted(words.texts | words.numbers))
            raise invalid(f"Invalid order_by clause {each[:200]!r}: order by one of {known}, with ASC or DESC behind it")
        found.append((key, way == "ASC"))
    return found


def in_order(things: Sequence[T], order: Sequence[tuple[str, bool]], value: Callable[[T, str], Value]) -> list[T]:
    """Sort by several keys; where a value is missing, or no number, a thing comes last in both directions."""
    found = list(things)
    for key, ascends in reversed(order):

        def place(thing: T, key: str = key) -> tuple[Value]:
            return (value(thing, key),)

        last = [thing for thing in found if (held := value(thing, key)) is None or held != held]
        rest = [thing for thing in found if (held := value(thing, key)) is not None and held == held]
        rest.sort(key=place, reverse=not ascends)
        found = rest + last
    return found


def page(things: Sequence[T], *, max_results: int, most: int, token: str | None) -> tuple[list[T], str | None]:
    """Give one page and the token of the next, None behind the last. Raises MlflowError for a size or token that cannot be."""
    start, max_results = page_at(token, max_results, most)
    end = start + max_results
    return list(things[start:end]), write_token(end) if end < len(things) else None


def size_asked(said: int | None, default: int, most: int) -> int:
    """Give how many things an answer may hold. Raises MlflowError for a size that cannot be."""
    size = default if said is None else said
    if not 1 <= size <= most:
        raise invalid(f"Invalid value {size} for parameter 'max_results' supplied: It must be at least 1 and at most {most}")
    return size


def asks_active(view_type: str | int | None, field: str) -> bool | None:
    """Tell whether active things are asked for, or deleted ones; None for all. Raises MlflowError for what is none of these."""
    match view_type:
        case None | "ACTIVE_ONLY" | 1:
            return True
        case "DELETED_ONLY" | 2:
            return False
        case "ALL" | 3:
            return None
        case _:
            raise invalid(f"Invalid value {view_type!r:.60} for parameter '{field}' supplied: ACTIVE_ONLY, DELETED_ONLY or ALL")


def page_at(token: str | None, max_results: int, most: int) -> tuple[int, int]:
    """Give where a page begins, and how much it holds at most. Raises MlflowError for a size or token that cannot be."""
    if not 1 <= max_results <= most:
        raise invalid(
            f"Invalid value for request parameter max_results. It must be at least 1 and at most {most}, but got value {max_results}"
        )
    return read_token(token) if token else 0, max_results


def _clause(text: str, at: int, words: Words) -> tuple[Clause, int]:
    key = _KEY.match(text, at)
    operator = _OPERATOR.match(text, key.end()) if key else None
    if key is None or operator is None:
        raise invalid(f"Invalid clause(s) in filter string: {text[at:][:200]!r}. Write key, operator and value, as name = 'churn'")
    entity, name = _entity(key[1], _plain(key[2]), words)
    word = re.sub(r"\s+", " ", operator[1].upper())
    is_number = name in words.numbers if entity == "attribute" else words.entities[entity]
    value, end = _value(text, operator.end(), word)
    _check(entity, name, word, value, is_number, (name if entity == "attribute" else f"{entity}.{name}") in words.listed)
    return Clause(entity, name, word, value), end


def _entity(entity: str | None, name: str, words: Words) -> tuple[str, str]:
    if entity is None or entity.lower() in ("attribute", "attributes", "attr", "run"):
        name = words.names.get(name, name)
        if name not in words.texts | words.numbers:
            raise invalid(
                f"Invalid attribute key '{name[:200]}' specified. Valid keys are '{', '.join(sorted(words.texts | words.numbers))}'"
            )
        return "attribute", name
    plural = entity.lower().rstrip("s") + "s"
    plural = {"parameters": "params"}.get(plural, plural)
    if plural not in words.entities:
        raise invalid(f"Invalid entity type '{entity}'. Valid entity types are {', '.join(('attribute', *words.entities))}")
    return plural, name


def _value(text: str, at: int, operator: str) -> tuple[Value | tuple[str, ...], int]:
    if operator.startswith("IS"):
        return None, at
    if operator.endswith("IN"):
        if (found := _LIST.match(text, at)) is None:
            raise invalid(f"Expected a list of quoted values behind {operator}: {text[at:][:200]!r}")
        return tuple(a or b or c for a, b, c in re.findall(r"'([^']*)'|\"([^\"]*)\"|([0-9]+)", found[1])), found.end()
    if (found := _TEXT.match(text, at)) is not None:
        return found[1] if found[1] is not None else found[2], found.end()
    if (found := _NUMBER.match(text, at)) is not None:
        return float(found[1]), found.end()
    raise invalid(f"Expected a quoted string value or a number behind {operator}: {text[at:][:200]!r}")


def _check(entity: str, name: str, operator: str, value: object, is_number: bool, is_listed: bool) -> None:
    if operator.startswith("IS"):
        if entity == "attribute":
            raise invalid(f"Invalid comparator '{operator}' for the attribute {name}")
        return
    if isinstance(value, tuple):
        if not is_listed:
            raise invalid(f"{operator} is not possible for {name[:200]!r}")
        return
    if operator in ("LIKE", "ILIKE") and len(str(value)) > MOST_PATTERN:
        raise invalid(f"A pattern has at most {MOST_PATTERN} characters, and the one for {name[:200]!r} has {len(str(value)):,}")
    allowed = _NUMBERS if is_number else _TEXTS
    if operator not in allowed:
        raise invalid(f"Invalid comparator '{operator}' not one of '{', '.join(allowed)}'")
    if isinstance(value, str) == is_number:
        raise invalid(f"Expected a {'number' if is_number else 'quoted string value'} for {entity} {name[:200]!r}")


def _text_holds(operator: str, found: str, asked: str) -> bool:
    match operator:
        case "=":
            return found == asked
        case "!=":
            return found != asked
        case _:
            return _is_like(found, asked, re.DOTALL | (re.IGNORECASE if operator == "ILIKE" else 0))


def _is_like(text: str, pattern: str, flags: int) -> bool:
    """Tell whether all of a text matches a pattern of `%` and `_`. O(text x pattern): what lies between two `%` is looked for once, from
    the left; a regular expression of many `.*` would try all places of each."""
    pieces = [re.compile("".join("." if mark == "_" else re.escape(mark) for mark in piece), flags) for piece in pattern.split("%")]
    if len(pieces) == 1:
        return pieces[0].fullmatch(text) is not None
    at = 0
    for number, piece in enumerate(pieces[:-1]):
        found = piece.search(text, at) if number else piece.match(text)
        if found is None:
            return False
        at = found.end()
    start = len(text) - len(pattern.rpartition("%")[2])  # each character of a pattern stands for one
    return start >= at and pieces[-1].fullmatch(text, start) is not None


def _number_holds(operator: str, found: float, asked: float) -> bool:
    match operator:
        case "=":
            return found == asked
        case "!=":
            return found != asked
        case ">":
            return found > asked
        case ">=":
            return found >= asked
        case "<":
            return found < asked
        case _:
            return found <= asked


def _plain(key: str) -> str:
    key = key.strip()
    return key[1:-1] if len(key) > 1 and key[0] == key[-1] and key[0] in '`"' else key.replace("`", "")


def write_token(offset: int) -> str:
    """Give the token of a page that begins behind so many things."""
    return base64.urlsafe_b64encode(f"after {offset}".encode()).decode()


def read_token(token: str) -> int:
    """Undo `write_token`. Raises MlflowError for what is none."""
    try:
        word, number = base64.urlsafe_b64decode(token[:_MOST_TOKEN].encode()).decode().split(" ")
        if word != "after" or not number.isascii() or not number.isdigit():
            raise ValueError(token)
        return min(int(number), 2**53)
    except ValueError:  # of base64, of the split, and of ours
        raise invalid("Invalid page token: use the next_page_token of an earlier answer, as it came") from None
