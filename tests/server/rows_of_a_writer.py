"""Rows that a writer logs, and those that a store has of a run."""

from stratal.core.ids import to_bytes
from stratal.store.journal import Writer
from stratal.store.store import Store


def log_rows(writer: Writer, id: str, rows: range) -> None:
    for step in rows:
        writer.log(to_bytes(id), 0, {"a": float(step)}, step)


def steps(store: Store, id: str) -> list[int]:
    with store.snapshot() as snapshot:
        return snapshot.series(to_bytes(id), "a").steps.tolist()
