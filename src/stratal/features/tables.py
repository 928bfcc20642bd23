"""Tables of the room: versions of views, when they were materialised, and one packed row per entity."""

from sqlalchemy import BigInteger, Column, ForeignKey, LargeBinary, Table, Text, UniqueConstraint

from stratal.store.tables import Number, metadata, numbered

feature_view = Table(
    "feature_view",
    metadata,
    numbered(),
    Column("name", Text, nullable=False),
    Column("version", Number, nullable=False),
    Column("digest", Text, nullable=False),  # of the definition
    Column("definition", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    UniqueConstraint("name", "version"),
    UniqueConstraint("name", "digest"),
)

feature_materialisation = Table(
    "feature_materialisation",
    metadata,
    numbered(),
    Column("view", Number, ForeignKey("feature_view.id"), nullable=False, index=True),
    Column("data", Text, nullable=False),  # a ref, or sha256:DIGEST of the frame
    Column("rows", BigInteger, nullable=False),
    Column("layout", Text, nullable=False),  # dtypes of the source's columns and of the features, as JSON
    Column("author", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
)

feature_row = Table(
    "feature_row",
    metadata,
    Column("view", Number, ForeignKey("feature_view.id"), primary_key=True),
    Column("entity", Text, primary_key=True),
    Column("materialisation", Number, ForeignKey("feature_materialisation.id"), nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
