"""Feature views: versions, materialisations, and packed rows for serving."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "feature_view",
        sa.Column("id", NUMBER, sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", NUMBER, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="feature_view_key"),
        sa.UniqueConstraint("name", "version", name="feature_view_unique_name_version"),
        sa.UniqueConstraint("name", "digest", name="feature_view_unique_name_digest"),
    )
    op.create_table(
        "feature_materialisation",
        sa.Column("id", NUMBER, sa.Identity(always=False), nullable=False),
        sa.Column("view", NUMBER, nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("layout", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["view"], ["feature_view.id"], name="feature_materialisation_to_feature_view"),
        sa.PrimaryKeyConstraint("id", name="feature_materialisation_key"),
    )
    op.create_index("feature_materialisation_by_view", "feature_materialisation", ["view"], unique=False)
    op.create_table(
        "feature_row",
        sa.Column("view", NUMBER, nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("materialisation", NUMBER, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["materialisation"], ["feature_materialisation.id"], name="feature_row_to_feature_materialisation"),
        sa.ForeignKeyConstraint(["view"], ["feature_view.id"], name="feature_row_to_feature_view"),
        sa.PrimaryKeyConstraint("view", "entity", name="feature_row_key"),
        sqlite_with_rowid=False,
    )
