"""The search space: named dimensions, what they allow, and how values become columns.

A plain dict of dimensions is a space. Numbers become columns on the unit interval (logarithms first where asked), choices become
codes. An integer is the middle of a cell of width 1, so that both ends are as likely as the rest.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stratal.core.errors import Misuse
from stratal.core.records import Record, to_json
from stratal.tracking.values import Params, Scalar

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

_HINT = "a dimension is st.uniform, st.log_uniform, st.integers, st.log_integers or st.choice"


class Range(Record, frozen=True, kw_only=True, tag="range"):
    """Numbers from low to high, both included. Integers if `whole`; equal ratios are equally likely if `log`."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


class Choice(Record, frozen=True, kw_only=True, tag="choice"):
    """One of a few values without an order."""

    options: tuple[Scalar, ...]


Dimension = Range | Choice
SpaceLike = Mapping[str, Dimension]


def uniform(low: float, high: float) -> Range:
    """Let a number lie anywhere between low and high."""
    return _range("uniform", low, high)


def log_uniform(low: float, high: float) -> Range:
    """Let a positive number lie between low and high, equal ratios equally likely: learning rates, penalties."""
    return _range("log_uniform", low, high, log=True)


def integers(low: int, high: int) -> Range:
    """Let a whole number lie between low and high, both included."""
    return _range("integers", low, high, whole=True)


def log_integers(low: int, high: int) -> Range:
    """Let a positive whole number lie between low and high, equal ratios about equally likely: widths, batch sizes."""
    return _range("log_integers", low, high, log=True, whole=True)


def choice(*options: Scalar) -> Choice:
    """Let the value be one of these texts, numbers, booleans or None, without an order."""
    for option in options:
        if not isinstance(option, bool | int | float | str | None):
            raise Misuse(
                f"choice() got a {type(option).__name__}: {option!r}",
                hint="options are text, numbers, booleans or None, given one by one; look up objects by name in the objective",
            )
        if isinstance(option, float) and not math.isfinite(option):
            raise Misuse(f"choice() got {option}", hint="name it as text, e.g. 'none', and translate it in the objective")
    if len({_key(option) for option in options}) != len(options):
        raise Misuse(f"choice() got the same option twice: {options!r}")
    if len(options) < 2:
        raise Misuse(f"choice() got {len(options)} option(s)", hint="give two or more; what does not vary is no part of the space")
    return Choice(options=options)


@dataclass(frozen=True)
class Space:
    """A checked space, in the order of its names, so that the order of a dict never matters."""

    dimensions: tuple[tuple[str, Dimension], ...]

    @property
    def ranges(self) -> tuple[tuple[str, Range], ...]:
        return tuple((name, d) for name, d in self.dimensions if isinstance(d, Range))

    @property
    def choices(self) -> tuple[tuple[str, Choice], ...]:
        return tuple((name, d) for name, d in self.dimensions if isinstance(d, Choice))

    def to_json(self) -> str:
        """Encode; equal spaces give equal text."""
        return to_json(dict(self.dimensions))

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def check(self, params: Mapping[str, Scalar]) -> None:
        """Raise Misuse unless the params name every dimension, no other, and lie in it."""
        if set(params) != {name for name, _ in self.dimensions}:
            raise Misuse(f"params name {sorted(params)}, the space names {[name for name, _ in self.dimensions]}")
        for name, dimension in self.dimensions:
            if not contains(dimension, params[name]):
                raise Misuse(f"{name} = {params[name]!r} lies outside of {to_json(dimension)}")

    def encode(self, rows: Sequence[Mapping[str, Scalar]]) -> tuple[Floats, Codes]:
        """Give (n, ranges) columns on the unit interval and (n, choices) codes."""
        columns = np.empty((len(rows), len(self.ranges)))
        codes = np.empty((len(rows), len(self.choices)), dtype=np.int64)
        for j, (name, dimension) in enumerate(self.ranges):
            columns[:, j] = to_unit(dimension, np.array([row[name] for row in rows], dtype=np.float64))
        for j, (name, options) in enumerate(self.choices):
            known = {_key(option): code for code, option in enumerate(options.options)}
            codes[:, j] = [known[_key(row[name])] for row in rows]
        return columns, codes

    def decode(self, columns: Floats, codes: Codes) -> Params:
        """Give the params of one row: (ranges,) numbers and (choices,) codes."""
        values: Params = {name: _decoded(d, float(columns[j])) for j, (name, d) in enumerate(self.ranges)}
        values |= {name: d.options[int(codes[j])] for j, (name, d) in enumerate(self.choices)}
        return {name: values[name] for name, _ in self.dimensions}


def as_space(space: SpaceLike | Space) -> Space:
    """Check a dict of dimensions. Raises Misuse with what is wrong where."""
    if isinstance(space, Space):
        return space
    given: object = space  # what a user wrote, whatever the annotation says
    if not isinstance(given, Mapping):
        raise Misuse(f"the space is a {type(given).__name__}, not a dict", hint=_HINT)
    if not given:
        raise Misuse("the space is empty", hint=_HINT)
    for name, dimension in given.items():
        if not isinstance(name, str) or not name:
            raise Misuse(f"a dimension is named {name!r}", hint="names are text")
        if not isinstance(dimension, Range | Choice):
            raise Misuse(f"{name} is a {type(dimension).__name__}: {dimension!r}", hint=_HINT)
    return Space(tuple(sorted(space.items())))


def contains(dimension: Dimension, value: Scalar) -> bool:
    """Tell whether the value lies in the dimension and has its type."""
    if isinstance(dimension, Choice):
        return _key(value) in {_key(option) for option in dimension.options}
    if isinstance(value, bool) or not isinstance(value, int if dimension.whole else int | float):
        return False
    return dimension.low <= value <= dimension.high


def bounds(dimension: Range) -> tuple[float, float]:
    """Give the ends of the dimension on its own scale, half a cell outside for whole numbers."""
    margin = 0.5 if dimension.whole else 0.0
    low, high = dimension.low - margin, dimension.high + margin
    return (math.log(low), math.log(high)) if dimension.log else (low, high)


def to_unit(dimension: Range, values: Floats) -> Floats:
    """Map values of the dimension to the unit interval."""
    low, high = bounds(dimension)
    scaled = np.log(values) if dimension.log else values
    unit: Floats = (scaled - low) / (high - low)
    return unit


def from_unit(dimension: Range, unit: Floats) -> Floats:
    """Map the unit interval to values of the dimension; whole numbers by the cell that holds the point."""
    low, high = bounds(dimension)
    values = unit * (high - low) + low
    values = np.exp(values) if dimension.log else values
    return np.clip(np.rint(values) if dimension.whole else values, dimension.low, dimension.high)


def _decoded(dimension: Range, unit: float) -> Scalar:
    value = float(from_unit(dimension, np.array([unit]))[0])
    return int(value) if dimension.whole else value


def _range(verb: str, low: float, high: float, *, log: bool = False, whole: bool = False) -> Range:
    said = f"{verb}({low!r}, {high!r})"
    ends: tuple[object, ...] = (low, high)
    for end in ends:
        if isinstance(end, bool) or not isinstance(end, int | float) or not math.isfinite(end):
            raise Misuse(f"{said}: {end!r} is not a finite number")
        if whole and (int(end) != end or abs(end) > 2**53):
            raise Misuse(f"{said}: {end!r} is not a whole number up to 2**53", hint="use st.uniform for fractions")
    if not low < high:
        raise Misuse(f"{said}: low must be less than high", hint="what does not vary is no part of the space")
    if log and low <= 0:
        raise Misuse(f"{said}: a logarithmic range begins above 0", hint="use st.uniform or st.integers, or begin with a small number")
    if not math.isfinite(float(high) - float(low)):
        raise Misuse(f"{said}: the range is wider than a number can say")
    return Range(low=float(low), high=float(high), log=log, whole=whole)


def _key(value: Scalar) -> tuple[str, Scalar]:
    return type(value).__name__, value  # True, 1 and 1.0 are equal in Python, and three options here
