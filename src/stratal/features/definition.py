"""Definitions: what a feature view is, as a value with a digest, and back from its stored text."""

import hashlib
import re
from collections.abc import Mapping

import polars as pl

from stratal.core.errors import Damaged, Misuse
from stratal.core.records import Record, from_json, to_json
from stratal.features.separable import NotSeparable, build_expression, canonical_text, columns_of, parse_expression

FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Feature(Record, frozen=True, kw_only=True):
    """One feature. text: our canonical text, of which the digest is made; expression: polars' own tree."""

    name: str
    text: str
    expression: object


class Definition(Record, frozen=True, kw_only=True):
    """Everything that decides the values of a view, as it is stored."""

    name: str
    source: str
    entity: str
    features: tuple[Feature, ...]
    format: int = FORMAT

    @property
    def digest(self) -> str:
        """Digest of name, source, entity and the features' texts, in their order."""
        parts = [self.format, self.name, self.source, self.entity, [[feature.name, feature.text] for feature in self.features]]
        return hashlib.sha256(to_json(parts).encode()).hexdigest()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the source that are read, the entity first."""
        read = set().union(*(columns_of(feature.expression) for feature in self.features))
        return (self.entity, *sorted(read - {self.entity}))

    def encode(self) -> str:
        """Give the text that is stored."""
        return to_json(self)


def define(name: str, *, source: str, entity: str, features: Mapping[str, pl.Expr]) -> Definition:
    """Check names and expressions, and make a definition. Raises Misuse, or NotSeparable naming the feature and the reason."""
    if _NAME.fullmatch(name) is None:
        raise Misuse(f"{name!r} cannot name a feature view", hint="use letters, digits, '_', '-' and '.', as in 'customer'")
    if not features:
        raise Misuse(f"the feature view {name!r} has no features", hint='features={"tenure": pl.col("tenure")}')
    made = tuple(_feature(name, key, expression, entity) for key, expression in features.items())
    return Definition(name=name, source=source, entity=entity, features=made)


def decode_definition(text: str | bytes) -> Definition:
    """Undo `encode`, checking each expression again: nothing stored is built before it was read.

    Raises Damaged for other texts, Misuse for a format of a later release."""
    definition = from_json(text, Definition)
    if definition.format > FORMAT:
        raise Misuse(f"this feature view has format {definition.format}, and only formats up to {FORMAT} are known", hint="update stratal")
    for feature in definition.features:
        if canonical_text(feature.expression) != feature.text:
            raise Damaged(f"the feature {feature.name!r} of {definition.name!r} is not what its text says")
    return definition


def build(definition: Definition) -> tuple[pl.Expr, ...]:
    """Give the expressions of a definition that was checked, each under its feature's name."""
    return tuple(build_expression(feature.expression).alias(feature.name) for feature in definition.features)


def _feature(view: str, name: str, expression: pl.Expr, entity: str) -> Feature:
    if not isinstance(expression, pl.Expr):
        raise Misuse(f"the feature {name!r} of {view!r} is a {type(expression).__name__}", hint=f'write an expression: pl.col("{name}")')
    if not name or name == entity:
        raise Misuse(f"a feature cannot be named {name!r}", hint="the entity's name is taken by its key" if name else "give it a name")
    try:
        tree = parse_expression(expression)
        text = canonical_text(tree)
        if parse_expression(build_expression(tree)) != tree:
            raise Misuse(f"the feature {name!r} of {view!r} cannot be stored exactly", hint=f"the expression was: {expression}")
    except NotSeparable as error:
        raise NotSeparable(
            f"the feature {name!r} of {view!r} may depend on other rows: {error.message}",
            hint=f"the expression was: {expression}. Aggregate before, into a column of the source",
        ) from None
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise Misuse(f"the feature {name!r} of {view!r} cannot be stored: {error}") from error
    if not columns_of(tree):
        raise Misuse(f"the feature {name!r} of {view!r} reads no column, so it is the same for all", hint="leave it out")
    return Feature(name=name, text=text, expression=tree)
