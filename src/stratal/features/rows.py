"""One definition, two executions: on a frame, and on one row. A row is cast to the source's schema first.

Laws: 1 a row's values do not depend on the other rows. 2 rows out = rows in, in order. 3 null, NaN and categories of a single
row behave as in the frame.
"""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from stratal.core.errors import Misuse
from stratal.features.definition import Definition, build
from stratal.features.separable import NotSeparable
from stratal.tracking.frames import dtype_text
from stratal.tracking.values import Scalar

# Rows of a frame on which the two executions are compared before its features are used: a few catch what structure missed.
PROBED = 16
# What one packed row can hold.
_KEPT = (pl.Boolean, pl.String, pl.Categorical, pl.Enum, pl.Date, pl.Datetime, pl.Duration, pl.Time, pl.Null)


@dataclass(frozen=True)
class Computation:
    """A definition with its expressions built, ready to run."""

    definition: Definition
    expressions: tuple[pl.Expr, ...]

    @classmethod
    def of(cls, definition: Definition) -> "Computation":
        """Build the expressions of a checked definition."""
        return cls(definition, build(definition))

    def on_frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Give the features of all rows, in order. Raises Misuse for columns that are missing or of a type that does not fit."""
        self._check_columns(frame.columns)
        dense = _dense(frame.select(self.definition.columns))
        try:
            made = dense.select(self.expressions)
        except pl.exceptions.PolarsError as error:
            raise self._unfit(dense, error) from error
        made = made[: frame.height]
        for name, dtype in made.schema.items():
            if not (dtype.is_integer() or dtype.is_float() or isinstance(dtype, _KEPT)):
                raise Misuse(
                    f"the feature {name!r} is {dtype_text(dtype)}", hint="a feature is a number, truth, text, category, date or time"
                )
        return made

    def on_row(self, values: Mapping[str, object], schema: Mapping[str, pl.DataType]) -> dict[str, object]:
        """Give the features of one row. schema: dtypes of the source's columns, as in the frame. Further values are ignored."""
        self._check_columns(values)
        frame = pl.DataFrame([_one_value(name, values[name], schema[name]) for name in self.definition.columns if name in schema])
        return self.on_frame(frame).row(0, named=True)

    def probe(self, frame: pl.DataFrame, features: pl.DataFrame) -> None:
        """Compare both executions on some rows of a frame. Raises NotSeparable naming the feature and the two values."""
        schema = frame.schema
        for index in spread(frame.height, PROBED):
            alone = self.on_row(frame.row(index, named=True), schema)
            for name, value in features.row(index, named=True).items():
                if not same_value(alone[name], value):
                    raise NotSeparable(
                        f"the feature {name!r} of {self.definition.name!r} depends on other rows: row {index} gives {value!r} "
                        f"in the frame, and {alone[name]!r} alone",
                        hint="please report this: its expression passed the check of its structure",
                    )

    def _check_columns(self, given: Iterable[str]) -> None:
        known = list(given)
        if missing := [name for name in self.definition.columns if name not in known]:
            near = difflib.get_close_matches(missing[0], known, n=1)
            hint = f"is it {near[0]!r}?" if near else f"the data has: {', '.join(known[:20])}"
            raise Misuse(f"the feature view {self.definition.name!r} reads columns that are missing: {', '.join(missing)}", hint=hint)

    def _unfit(self, frame: pl.DataFrame, error: Exception) -> Misuse:
        for name, expression in zip(self.definition.names, self.expressions, strict=True):
            try:
                frame.select(expression)
            except pl.exceptions.PolarsError as found:
                return Misuse(f"the feature {name!r} of {self.definition.name!r} cannot be computed: {_first_line(found)}")
        return Misuse(f"the features of {self.definition.name!r} cannot be computed: {_first_line(error)}")


def same_value(one: object, two: object) -> bool:
    """Tell whether two values are the same: also NaN and NaN, but not 0.0 and -0.0, nor 1 and True."""
    if type(one) is not type(two):
        return False
    return repr(one) == repr(two) if isinstance(one, float) else one == two


def spread(height: int, count: int) -> Sequence[int]:
    """Give at most `count` places, evenly over `height`, first and last among them."""
    if height <= count:
        return range(height)
    return sorted({round(i * (height - 1) / (count - 1)) for i in range(count)})


def plain(value: object) -> Scalar:
    """Give what JSON and messages can show of a value."""
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _dense(frame: pl.DataFrame) -> pl.DataFrame:
    """Give the frame in the shape that every computation gets, whatever its height and however it was made.

    polars divides by a constant as it multiplies by its inverse, which differs in the last bit for a third of all numbers, but
    not where all operands have one row; and a column made of a literal counts as a constant. So: two rows at least, and
    columns with all their values."""
    series = frame.get_columns()
    return pl.DataFrame([one.append(one) for one in series] if frame.height == 1 else series)


def _one_value(name: str, value: object, dtype: pl.DataType) -> pl.Series:
    if isinstance(value, float) and math.isnan(value) and not dtype.is_float():
        value = None  # how pandas and NumPy write a missing value
    try:
        return pl.Series(name, [value], dtype=dtype)
    except (pl.exceptions.PolarsError, TypeError, OverflowError, ValueError) as error:
        raise Misuse(f"{name!r} is {dtype_text(dtype)} in the source, and {value!r} is not: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
