"""Schema: what a table promises, column by column. Written as TOML, equal by content."""

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from stratal.core.errors import Misuse, NotFound
from stratal.data.columns import Column, check_column

FORMAT = 1
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Schema:
    """Promise columns by name: `Schema(tenure=integer(0, 120), churn=boolean(true="Yes", false="No"))`.

    Columns that the schema does not name are left alone, unless it is closed (`Schema.of(columns, closed=True)`).
    """

    __slots__ = ("closed", "columns")

    columns: Mapping[str, Column]
    closed: bool

    def __init__(self, /, **columns: Column) -> None:
        self._fill(columns, closed=False)

    @classmethod
    def of(cls, columns: Mapping[str, Column], *, closed: bool = False) -> "Schema":
        """Make a schema from a mapping. `closed`: a column that the schema does not name is a finding."""
        schema = cls.__new__(cls)
        schema._fill(columns, closed=closed)
        return schema

    def _fill(self, columns: Mapping[str, Column], *, closed: bool) -> None:
        for name, column in columns.items():
            if not isinstance(column, Column):
                raise Misuse(f"column {name!r} is a {type(column).__name__}, not a column", hint="as in Schema(tenure=integer(0, 120))")
        object.__setattr__(self, "columns", dict(columns))
        object.__setattr__(self, "closed", closed)

    def __setattr__(self, name: str, value: object) -> None:
        raise Misuse("a schema does not change", hint="make a new one with schema.replaced(column=...)")

    def __reduce__(self) -> tuple[object, ...]:
        return (Schema.from_toml, (self.to_toml(),))

    def __eq__(self, other: object) -> bool:
        # Order of columns counts: it is part of what people read and of the digest.
        return isinstance(other, Schema) and self.closed == other.closed and list(self.columns.items()) == list(other.columns.items())

    def __hash__(self) -> int:
        return hash(self.digest)

    def __getitem__(self, name: str) -> Column:
        if name not in self.columns:
            near = difflib.get_close_matches(name, self.columns, n=1)
            raise NotFound(f"the schema has no column {name!r}", hint=f"did you mean {near[0]!r}?" if near else "see schema.columns")
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __repr__(self) -> str:
        return f"Schema({', '.join(f'{name}={column.kind}' for name, column in self.columns.items())})"

    @property
    def digest(self) -> str:
        """Give the sha256 of the schema's TOML."""
        return hashlib.sha256(self.to_toml().encode()).hexdigest()

    def replaced(self, **columns: Column) -> "Schema":
        """Give a schema in which these columns are new or different."""
        return Schema.of({**self.columns, **columns}, closed=self.closed)

    def to_toml(self) -> str:
        """Write the schema as TOML. Equal schemas give equal text."""
        lines = [f"format = {FORMAT}"]
        if self.closed:
            lines.append("closed = true")
        for name, column in self.columns.items():
            lines += ["", f"[columns.{_key(name)}]"]
            lines += [f"{key} = {_toml(value)}" for key, value in _set_fields(column).items()]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_toml(cls, text: str) -> "Schema":
        """Read a schema from TOML. Raises Misuse that names the column and the key."""
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise Misuse(f"the schema is not valid TOML: {error}") from error
        if unknown := sorted(set(document) - {"format", "closed", "columns"}):
            raise Misuse(f"the schema has unknown keys: {', '.join(unknown)}", hint="known are: format, closed, columns")
        if document.get("format", FORMAT) != FORMAT:
            raise Misuse(f"schema format {document['format']!r} is unknown", hint=f"this version of Stratal reads format {FORMAT}")
        columns, closed = document.get("columns", {}), document.get("closed", False)
        if not isinstance(columns, dict) or not isinstance(closed, bool):
            raise Misuse("in a schema `columns` is a table of columns and `closed` is true or false")
        return cls.of({name: _column(name, fields) for name, fields in columns.items()}, closed=closed)

    def save(self, path: str | Path) -> None:
        """Write the schema to a TOML file."""
        Path(path).write_text(self.to_toml(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Schema":
        """Read a schema from a TOML file."""
        try:
            return cls.from_toml(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise NotFound(f"no schema file {str(path)!r}", hint="write one with schema.save(path) or `stratal data infer`") from error


def _column(name: str, fields: object) -> Column:
    if not isinstance(fields, dict):
        raise Misuse(f"column {name!r} of the schema is not a table", hint="as in [columns.tenure]")
    if unknown := sorted(set(fields) - set(Column.__struct_fields__)):
        known = ", ".join(Column.__struct_fields__)
        raise Misuse(f"column {name!r} of the schema has unknown keys: {', '.join(unknown)}", hint=f"known are: {known}")
    try:
        return check_column(msgspec.convert(fields, Column, strict=True))
    except (msgspec.ValidationError, Misuse) as error:
        raise Misuse(f"column {name!r} of the schema: {error}") from error


def _set_fields(column: Column) -> dict[str, object]:
    defaults = {"kind": None, "severity": "error", "values": ()}
    fields = {key: getattr(column, key) for key in Column.__struct_fields__}
    # `is not False` and not truth: a bound of 0 is set.
    return {k: v for k, v in fields.items() if k == "kind" or (v is not None and v is not False and v != defaults.get(k))}


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _toml(name)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
