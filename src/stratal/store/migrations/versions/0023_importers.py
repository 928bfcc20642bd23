"""Who has imported a source: authors in it are those that the source names."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.add_column("import_mark", sa.Column("sender", sa.Text(), nullable=False, server_default=""))
