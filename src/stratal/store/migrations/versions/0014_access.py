"""People, tokens, sessions, and the log of access."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "access_person",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("folded", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("display", sa.Text(), server_default="", nullable=False),
        sa.Column("subject", sa.Text()),
        sa.Column("password", sa.Text()),
        sa.Column("is_disabled", sa.Integer(), server_default="0", nullable=False),
        sa.Column("valid_from_ns", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="access_person_key"),
        sa.UniqueConstraint("folded", name="access_person_unique_folded"),
        sa.UniqueConstraint("subject", name="access_person_unique_subject"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "access_token",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("objects", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("expires_ns", sa.BigInteger()),
        sa.Column("used_ns", sa.BigInteger()),
        sa.Column("revoked_ns", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="access_token_key"),
        sa.UniqueConstraint("digest", name="access_token_unique_digest"),
        sqlite_with_rowid=False,
    )
    op.create_index("access_token_by_person", "access_token", ["person"])
    op.create_table(
        "access_session",
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("signed_in_ns", sa.BigInteger(), nullable=False),
        sa.Column("expires_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="access_session_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("access_session_by_person", "access_session", ["person"])
    op.create_index("access_session_by_expires_ns", "access_session", ["expires_ns"])
    op.create_table(
        "access_change",
        sa.Column("id", NUMBER, sa.Identity(always=False), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("is_authenticated", sa.Integer(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="access_change_key"),
    )
    op.create_index("access_change_by_subject", "access_change", ["subject"])
    op.create_table(
        "access_refusal",
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("last_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "person", "action", "object", name="access_refusal_key"),
        sqlite_with_rowid=False,
    )
