"""Tables of webhooks."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text, text

from stratal.store.tables import metadata

webhook = Table(
    "webhook",
    metadata,
    Column("name", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False),  # as it is: a signature needs it; no record that is shown holds it
    Column("events", Text, nullable=False),  # JSON: ["version=Production", "alert"], empty for all
    Column("belongs", Text, nullable=False),  # JSON: ["experiment:churn"], empty for all
    Column("seq", BigInteger, nullable=False),  # the last event that was looked at for it
    Column("author", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("paused_ns", BigInteger),  # since when nothing is sent, None while it is
    sqlite_with_rowid=False,
)

delivery = Table(
    "webhook_delivery",
    metadata,
    Column("id", Text, primary_key=True),
    Column("webhook", Text, ForeignKey("webhook.name"), nullable=False),
    Column("event", BigInteger, nullable=False),  # its number; 0 for a trial
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),  # what is sent, to the byte, however often
    Column("state", Text, nullable=False),  # waiting, delivered, dead
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("due_ns", BigInteger, nullable=False),
    Column("status", Integer),  # the last answer's
    Column("error", Text, nullable=False, server_default=""),
    Column("at_ns", BigInteger, nullable=False),
    Column("done_ns", BigInteger),
    Index(None, "webhook", "id"),
    Index("webhook_waiting", "webhook", "due_ns", sqlite_where=text("state = 'waiting'"), postgresql_where=text("state = 'waiting'")),
    sqlite_with_rowid=False,
)
