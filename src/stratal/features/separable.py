"""Row-separability of expressions, by structure: read the tree, and let pass only what is known to treat each row alone.

An allow-list and not a deny-list: what polars adds tomorrow is refused until somebody has looked at it. The walk also gives
each expression a canonical text of our own, whose digest names a definition whatever the library's version writes.
"""

import functools
import io
import json
import math
from collections.abc import Iterator
from typing import Any

import polars as pl

from stratal.core.errors import Refused
from stratal.tracking.frames import dtype_text

_COMPARE = "Eq NotEq Lt LtEq Gt GtEq EqValidity NotEqValidity"
OPERATORS = frozenset(f"{_COMPARE} Plus Minus Multiply Divide TrueDivide FloorDivide Modulus And Or Xor LogicalAnd LogicalOr".split())

# Functions by family, as the tree names them. "" is the family of those without one.
_FAMILIES = {
    "": "Abs Atan2 Ceil Clip Coalesce Cut Exp FillNull Floor Log Log1p MaxHorizontal MeanHorizontal MinHorizontal Negate Replace "
    "ReplaceStrict Round RoundSF Sign SumHorizontal",
    "Pow": "Cbrt Generic Sqrt",
    "Trigonometry": "ArcCos ArcCosh ArcSin ArcSinh ArcTan ArcTanh Cos Cosh Cot Degrees Radians Sin Sinh Tan Tanh",
    "Bitwise": "CountOnes CountZeros LeadingOnes LeadingZeros TrailingOnes TrailingZeros",
    "Boolean": "AllHorizontal AnyHorizontal IsBetween IsClose IsFinite IsIn IsInfinite IsNan IsNotNan IsNotNull IsNull Not",
    "StringExpr": "ConcatHorizontal Contains ContainsAny CountMatches EndsWith Extract Find Format Head LenBytes LenChars Lowercase "
    "Normalize PadEnd PadStart Replace ReplaceMany Reverse Slice StartsWith StripChars StripCharsEnd StripCharsStart StripPrefix "
    "StripSuffix Strptime Tail Titlecase ToDecimal ToInteger Uppercase ZFill",
    "Categorical": "EndsWith LenBytes LenChars StartsWith",
    "TemporalExpr": "CastTimeUnit Century ConvertTimeZone Date DatetimeFunction Day DaysInMonth Duration Hour IsLeapYear IsoYear "
    "Microsecond Millennium Millisecond Minute Month MonthEnd MonthStart Nanosecond OffsetBy OrdinalDay Quarter ReplaceTimeZone "
    "Round Second Time TimeStamp ToString TotalDays TotalHours TotalMicroseconds TotalMilliseconds TotalMinutes TotalNanoseconds "
    "TotalSeconds Truncate Week WeekDay Year",
}
FUNCTIONS = frozenset((family, name) for family, names in _FAMILIES.items() for name in names.split())
# Their further arguments are sets of values; a column there would mean all of its rows.
_TAKE_SETS = frozenset(
    {("Boolean", "IsIn"), ("", "Replace"), ("", "ReplaceStrict"), ("StringExpr", "ContainsAny"), ("StringExpr", "ReplaceMany")}
)

_REASONS = {
    "Agg": "it aggregates over rows",
    "AnonymousFunction": "it calls a Python function, which can be neither read, stored nor compared",
    "Element": "it speaks of elements of lists",
    "Eval": "it evaluates inside of lists",
    "Explode": "it makes several rows of one",
    "Filter": "it drops rows",
    "Gather": "it takes values of other rows",
    "KeepName": "it renames; the name of a feature is its key in `features`",
    "Len": "it counts rows",
    "Over": "it looks through a window over other rows",
    "RenameAlias": "it renames; the name of a feature is its key in `features`",
    "Rolling": "it looks through a window over other rows",
    "Selector": "it selects several columns; name one with pl.col",
    "Slice": "it picks rows by their place",
    "Sort": "it sorts rows",
    "SortBy": "it sorts rows",
    "Window": "it looks through a window over other rows",
    "Hash": "its values differ between versions of the library",
    "Random": "it is random",
    "ToPhysical": "codes of categories depend on other rows",
    "FillNullWithStrategy": "it fills from other rows",
}

_AGGREGATES = frozenset(
    {"All", "Any", "ApproxNUnique", "ArgMax", "ArgMin", "Entropy", "Kurtosis", "Median", "Mode", "NullCount", "Quantile", "Skew"}
)


class NotSeparable(Refused):
    """An expression whose value for a row may depend on other rows."""


def parse_expression(expression: pl.Expr) -> object:
    """Give the tree of an expression, as polars writes it in JSON."""
    return json.loads(expression.meta.serialize(format="json"))


def build_expression(tree: object) -> pl.Expr:
    """Undo `parse_expression`, for trees that passed `canonical_text`: before, they might hold code. Numbers come back exactly."""
    texts: list[str] = []
    marked = json.dumps(_with_marked_floats(tree, texts))
    for i, text in enumerate(texts):
        marked = marked.replace(json.dumps(_mark(i)), text)
    return pl.Expr.deserialize(io.StringIO(marked), format="json")


def canonical_text(tree: object) -> str:
    """Check that an expression treats each row alone, and give its text. Raises NotSeparable with the reason."""
    kind, body = _split(tree)
    match kind:
        case "Column":
            return f"col({json.dumps(body, ensure_ascii=False)})"
        case "Literal":
            return _literal(tree, body)
        case "Alias":
            return canonical_text(body[0])
        case "Cast":
            return f"cast({canonical_text(body['expr'])}, {_cast_dtype(body)}, {body['options']})"
        case "BinaryExpr":
            if body["op"] not in OPERATORS:
                raise NotSeparable(f"the operator {body['op']} is not among those known to treat each row alone")
            return f"({canonical_text(body['left'])} {body['op']} {canonical_text(body['right'])})"
        case "Ternary":
            return "when({})".format(", ".join(canonical_text(body[part]) for part in ("predicate", "truthy", "falsy")))
        case "Function":
            return _function(body)
    raise NotSeparable(_reason(kind, body))


def columns_of(tree: object) -> set[str]:
    """Give the names of the columns that an expression reads."""
    if isinstance(tree, dict):
        own = {tree["Column"]} if set(tree) == {"Column"} and isinstance(tree["Column"], str) else set()
        return own.union(*(columns_of(part) for part in tree.values()))
    return set().union(*(columns_of(part) for part in tree if isinstance(part, dict | list))) if isinstance(tree, list) else set()


def _mark(i: int) -> str:
    return f"\0float {i}\0"  # no name or text that people write


def _with_marked_floats(part: object, texts: list[str]) -> object:
    if isinstance(part, float):
        texts.append(_exact_text(part))
        return _mark(len(texts) - 1)
    if isinstance(part, dict):
        return {key: _with_marked_floats(value, texts) for key, value in part.items()}
    return [_with_marked_floats(value, texts) for value in part] if isinstance(part, list) else part


@functools.lru_cache(maxsize=1024)
def _exact_text(number: float) -> str:
    """Give digits that polars reads as this number: its reader is off by a few bits, so digits of a neighbour may be what it needs.

    Raises ValueError if there are none: one in thousands, of extreme size."""
    for value in _neighbours(number):
        for text in (repr(value), *(f"{value:.{digits}e}" for digits in (16, 17, 18, 19))):
            found = pl.Expr.deserialize(io.StringIO(f'{{"Literal":{{"Dyn":{{"Float":{text}}}}}}}'), format="json")
            if parse_expression(found) == {"Literal": {"Dyn": {"Float": number}}}:
                return text
    raise ValueError(f"the number {number!r} cannot be kept exactly; round it")


def _neighbours(number: float) -> Iterator[float]:
    """Give the number, and then those around it, nearest first."""
    yield number
    up = down = number
    for _ in range(12):
        up, down = math.nextafter(up, math.inf), math.nextafter(down, -math.inf)
        yield from (up, down)


def _function(body: dict[str, Any]) -> str:
    family, name, options = _function_name(body["function"])
    if (family, name) not in FUNCTIONS:
        raise NotSeparable(_reason(name, None))
    if (family, name) == ("StringExpr", "Strptime") and "'format': None" in str(options):
        raise NotSeparable("it guesses the format from the first rows; give one, as in str.to_date('%Y-%m-%d')")
    if (family, name) in _TAKE_SETS and any(_split(part)[0] != "Literal" for part in body["input"][1:]):
        raise NotSeparable(f"{name} compares with all rows of a column; give the values as a list")
    inputs = ", ".join(canonical_text(part) for part in body["input"])
    settings = "" if options is None else f"; {json.dumps(options, sort_keys=True, ensure_ascii=False)}"
    return f"{family + '.' if family else ''}{name}({inputs}{settings})"


def _function_name(function: object) -> tuple[str, str, object]:
    if isinstance(function, str):
        return "", function, None
    outer, inner = _split(function)
    if outer not in _FAMILIES:
        return "", outer, inner
    if isinstance(inner, str):
        return outer, inner, None
    name, options = _split(inner)
    return outer, name, options


def _literal(tree: object, body: object) -> str:
    how, value = _split(body)
    if how == "Dyn":
        word, number = _split(value)
        if number is None:
            raise NotSeparable("it holds an infinite number or NaN as a literal, which is not kept; compare with is_finite() or is_nan()")
        return f"{number!r}" if word in ("Int", "Float") else f"{word}:{number!r}"
    if how != "Scalar":
        raise NotSeparable("it holds a whole column as a literal; give the values as a list")
    word, inner = _split(value)
    if inner is None:
        raise NotSeparable("it holds an infinite number or NaN as a literal, which is not kept; compare with is_finite() or is_nan()")
    series = pl.select(build_expression(tree)).to_series()  # a literal builds nothing but itself
    return f"lit({series.to_list()[0]!r}, {dtype_text(series.dtype)})"


def _cast_dtype(body: dict[str, Any]) -> str:
    nothing = {"Literal": {"Scalar": {"Null": "Null"}}}
    made = pl.select(build_expression({"Cast": {"expr": nothing, "dtype": body["dtype"], "options": "NonStrict"}}))
    return dtype_text(made.dtypes[0])


def _split(part: object) -> tuple[str, Any]:
    """Give a node's one key and what is under it; JSON of another author has no static type."""
    if isinstance(part, str):
        return part, None
    if isinstance(part, dict) and len(part) == 1:
        ((kind, body),) = part.items()
        return str(kind), body
    return f"{type(part).__name__}", part


def _reason(kind: str, body: object) -> str:
    if kind in _REASONS:
        inner = f" ({_split(body)[0]})" if kind == "Agg" else ""
        return _REASONS[kind] + inner
    if kind in _AGGREGATES:
        return f"it aggregates over rows ({kind})"
    if kind.startswith(("Cum", "Ewm", "Rolling", "Shift", "Diff", "PctChange", "Interpolate", "Rank", "Reverse", "Unique")):
        return f"{kind} takes values of other rows"
    return f"{kind} is not among the functions known to treat each row alone"
