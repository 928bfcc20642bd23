"""Signatures: what a model takes and gives, as column names and dtypes, without any frame library."""

from stratal.core.records import Record

# What a class label may be. bool before int: msgspec keeps JSON's true apart from 1.
Label = bool | int | float | str


class Column(Record, frozen=True, kw_only=True):
    """One column: its name, and its dtype in our words (see `stratal.tracking.frames.dtype_text`)."""

    name: str
    dtype: str


class Signature(Record, frozen=True, kw_only=True):
    """Inputs in the order the model wants them, and outputs.

    container: what the model was fitted on and is given again: "polars", "pandas" or "numpy".
    classes: of a classifier, in the order of its probabilities; the last of two is the positive one. Empty for others.
    """

    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...] = ()
    container: str = "polars"
    classes: tuple[Label, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        return tuple(column.name for column in self.inputs)
