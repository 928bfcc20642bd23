"""Tables of people, their tokens and sessions, and the log. Grants are in the store's own table `access_grant`."""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, Text

from stratal.store.tables import metadata, numbered

person = Table(
    "access_person",
    metadata,
    Column("name", Text, primary_key=True),
    Column("folded", Text, nullable=False, unique=True),  # letter case and width make nobody else
    Column("kind", Text, nullable=False),  # person, service
    Column("display", Text, nullable=False, server_default=""),
    Column("subject", Text, unique=True),  # who that is for an OIDC provider: issuer, blank, subject
    Column("password", Text),  # as argon2 writes it: with its salt and costs
    Column("is_disabled", Integer, nullable=False, server_default="0"),
    Column("valid_from_ns", BigInteger, nullable=False),  # who signed in with a name before, signs in again
    Column("created_by", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

token = Table(
    "access_token",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("person", Text, nullable=False),
    Column("title", Text, nullable=False, server_default=""),
    Column("role", Text, nullable=False),  # the most that it may do, whatever its person may
    Column("objects", Text, nullable=False),  # JSON: where it may do it
    Column("created_by", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("expires_ns", BigInteger),
    Column("used_ns", BigInteger),  # to the minute
    Column("revoked_ns", BigInteger),
    Index(None, "person"),
    sqlite_with_rowid=False,
)

session = Table(
    "access_session",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("person", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("signed_in_ns", BigInteger, nullable=False),  # of the first session of a chain: a new id is no new sign-in
    Column("expires_ns", BigInteger, nullable=False),
    Index(None, "person"),
    Index(None, "expires_ns"),
    sqlite_with_rowid=False,
)

change = Table(  # only ever added to
    "access_change",
    metadata,
    numbered(),
    Column("at_ns", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("is_authenticated", Integer, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Index(None, "subject"),
)

refusal = Table(  # counted by the hour: who is refused a million times makes one row
    "access_refusal",
    metadata,
    Column("hour", BigInteger, primary_key=True),
    Column("person", Text, primary_key=True),
    Column("action", Text, primary_key=True),
    Column("object", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("last_ns", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
