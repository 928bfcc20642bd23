"""When a segment was sealed: the parts that it arrived in are dropped some time after. Those that are sealed already count from now."""

import time

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"

_ARRIVED = "UPDATE segment SET sealed_ns = :now WHERE state = 'done' AND name IN (SELECT segment FROM shipment)"


def upgrade() -> None:
    op.add_column("segment", sa.Column("sealed_ns", sa.BigInteger()))
    op.get_bind().execute(sa.text(_ARRIVED), {"now": time.time_ns()})
