"""Finding: words of names and notes, saved views, params that are numbers though logged as texts; which runs lag, by an index."""

import json
import math
import re

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_NUMERAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_WORD = re.compile(r"\w+")


def upgrade() -> None:
    op.create_table(
        "word",
        sa.Column("word", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("run", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("word", "run", name="word_key"),
        sa.ForeignKeyConstraint(["run"], ["run.no"], name="word_to_run"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "view",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="view_key"),
        sqlite_with_rowid=False,
    )
    lagging = sa.text("is_lagging = 1")
    op.create_index("run_lagging", "run", ["is_lagging"], sqlite_where=lagging, postgresql_where=lagging)
    _fill_words()
    _number_texts()
    _mark_odd_numbers()


def _fill_words() -> None:
    bind = op.get_bind()
    add = sa.text("INSERT INTO word (word, run) VALUES (:word, :run) ON CONFLICT DO NOTHING")
    texts = [
        *((no, json.loads(doc).get("name", "")) for no, doc in bind.execute(sa.text("SELECT no, doc FROM run"))),
        *bind.execute(sa.text("SELECT run, text FROM note")),
    ]
    rows = [{"word": word[:40], "run": no} for no, text in texts for word in _WORD.findall(text.casefold())]
    if rows:
        bind.execute(add, rows)


def _number_texts() -> None:
    bind = op.get_bind()
    found = bind.execute(sa.text("SELECT run, key, txt FROM param WHERE num IS NULL AND txt IS NOT NULL AND length(txt) <= 400"))
    numerals = [(run, key, float(txt)) for run, key, txt in found if _NUMERAL.fullmatch(txt)]
    rows = [{"run": run, "key": key, "num": number} for run, key, number in numerals if math.isfinite(number)]
    if rows:
        bind.execute(sa.text("UPDATE param SET num = :num WHERE run = :run AND key = :key"), rows)


def _mark_odd_numbers() -> None:
    bind = op.get_bind()
    found = bind.execute(
        sa.text(
            "SELECT run.no, run.doc, key.name FROM param JOIN run ON run.no = param.run JOIN key ON key.id = param.key"
            " WHERE param.txt IN ('nan', 'inf', '-inf')"
        )
    )
    docs: dict[int, dict[str, dict[str, object]]] = {}
    for no, doc, name in found:
        params = docs.setdefault(no, json.loads(doc)).get("params", {})
        if params.get(name) in ("NaN", "Infinity", "-Infinity"):  # a text of the user's would be 'nan' here too
            params[name] = {"number": params[name]}
    rows = [{"run": no, "doc": json.dumps(doc, ensure_ascii=False, separators=(",", ":"))} for no, doc in docs.items()]
    if rows:
        bind.execute(sa.text("UPDATE run SET doc = :doc WHERE no = :run"), rows)
