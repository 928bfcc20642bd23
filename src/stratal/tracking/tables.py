"""Tables of the trunk: what is said about runs, beside the run row, its metrics and its points, which the store keeps."""

from typing import Any

from sqlalchemy import BigInteger, Column, Double, ForeignKey, Index, Integer, Table, Text, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from stratal.store.tables import Number, metadata, numbered


class Beginning(FunctionElement[str]):
    """Argument: a text. Gives what an index holds of it: PostgreSQL's take no row of more than 2,704 bytes, and a name of an experiment
    beside it may have 2,000."""

    type = Text()
    inherit_cache = True
    name = "beginning"


@compiles(Beginning, "sqlite")
def _whole(element: Beginning, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(Beginning, "postgresql")
def _first_characters(element: Beginning, compiler: SQLCompiler, **kw: Any) -> str:
    return f"left({compiler.process(element.clauses, **kw)}, 100)"


param = Table(
    "param",
    metadata,
    Column("run", Number, ForeignKey("run.no"), primary_key=True),
    Column("key", Number, ForeignKey("key.id"), primary_key=True),
    Column("experiment", Text, nullable=False),
    Column("num", Double),  # of numbers and booleans, for ranges
    Column("txt", Text),  # of everything, as it is shown
    Column("epoch", Integer, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    # Two are enough: each one more costs a page per param and commit, which is what a trial's commit mostly consists of.
    Index(
        "param_by_number", "key", "experiment", "num", "run", sqlite_where=text("num IS NOT NULL"), postgresql_where=text("num IS NOT NULL")
    ),
    sqlite_with_rowid=False,
)
Index("param_by_text", param.c.key, param.c.experiment, Beginning(param.c.txt), param.c.run)

tag = Table(
    "tag",
    metadata,
    Column("run", Number, ForeignKey("run.no"), primary_key=True),
    Column("key", Number, ForeignKey("key.id"), primary_key=True),
    Column("value", Text),  # NULL: taken away, at that time
    Column("epoch", Integer, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
Index("tag_by_key_value_run", tag.c.key, Beginning(tag.c.value), tag.c.run)

note = Table(
    "note",
    metadata,
    numbered(),
    Column("run", Number, ForeignKey("run.no"), nullable=False),
    Column("author", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
    Index(None, "run"),
)

word = Table(  # of names and notes: full text search, alike in every database
    "word",
    metadata,
    Column("word", Text().with_variant(Text(collation="C"), "postgresql"), primary_key=True),
    Column("run", Number, ForeignKey("run.no"), primary_key=True),
    sqlite_with_rowid=False,
)

view = Table(
    "view",
    metadata,
    Column("name", Text, primary_key=True),
    Column("query", Text, nullable=False),  # JSON: filter, order, columns
    Column("author", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

artifact = Table(
    "artifact",
    metadata,
    Column("run", Number, ForeignKey("run.no"), primary_key=True),
    Column("path", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Index(None, "digest"),
    sqlite_with_rowid=False,
)

media = Table(
    "media",
    metadata,
    numbered(),
    Column("run", Number, ForeignKey("run.no"), nullable=False),
    Column("key", Number, ForeignKey("key.id"), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("doc", Text, nullable=False),  # the entry of the fact
    Index(None, "run", "key", "epoch", "step"),
)

edge = Table(
    "edge",
    metadata,
    Column("run", Number, ForeignKey("run.no"), primary_key=True),
    Column("verb", Text, primary_key=True),  # used, produced
    Column("target", Text, primary_key=True),  # a ref, or sha256:DIGEST
    Column("role", Text, primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    Index(None, "target"),
    sqlite_with_rowid=False,
)

statement = Table(
    "statement",
    metadata,
    numbered(),
    Column("run", Number, ForeignKey("run.no"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Index(None, "kind", "subject"),
    Index(None, "run", "kind"),
)
