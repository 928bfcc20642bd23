"""Long params and tags: PostgreSQL's indexes hold how a text begins, since they take no row of more than 2,704 bytes."""

from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    if op.get_context().dialect.name != "postgresql":
        return  # SQLite's take texts of any length
    op.drop_index("param_by_text", "param")
    op.drop_index("tag_by_key_value_run", "tag")
    op.execute("CREATE INDEX param_by_text ON param (key, experiment, left(txt, 100), run)")
    op.execute("CREATE INDEX tag_by_key_value_run ON tag (key, left(value, 100), run)")
