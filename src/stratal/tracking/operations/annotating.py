"""Annotating: tags and notes that people put on a run, whether it goes on or ended long ago. Each is one transaction."""

from stratal.core.errors import Misuse
from stratal.core.ids import RunId, to_bytes
from stratal.core.people import Role
from stratal.store.database import Transaction
from stratal.store.frames import Fact
from stratal.store.names import find_run
from stratal.store.operations import operation
from stratal.store.settling import PlacedFact
from stratal.store.store import Store
from stratal.tracking.facts import MOST_NAMES, NOTE, TAGS, check_text, to_tags
from stratal.tracking.operations.forking import check_there
from stratal.tracking.store import runs as rows
from stratal.tracking.store.settling import TrunkFacts


class RunRemarks:
    """Says of a run what its own process did not. Of a tag that both say, the later one counts."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.CONTRIBUTOR, on="run", is_repeatable=True)
    def tag(self, *, run: RunId, tags: dict[str, str | None]) -> None:
        """Set tags of a run; None takes one away. Raises NotFound, or Misuse for a name that cannot be one, for more than 20,000 and for a
        deleted run."""
        said = to_tags(tags)
        if len(said) > MOST_NAMES:
            raise Misuse(
                f"{len(said):,} tags are more than one call may set: others could not write meanwhile",
                hint=f"set at most {MOST_NAMES:,} by each call, or let the run set them: run.set_tags",
            )
        with self._store.command(runs=[run]) as tx:
            self._say(tx, run, TAGS, said)

    @operation(needs=Role.CONTRIBUTOR, on="run")
    def note(self, *, run: RunId, text: str) -> None:
        """Add a note to a run, with author and time. Raises NotFound, or Misuse for an empty one and for a deleted run."""
        check_text("note", text)
        if not text.strip():
            raise Misuse("the note is empty", hint="write what the next reader should know")
        with self._store.command(runs=[run]) as tx:
            self._say(tx, run, NOTE, {"text": text, "author": tx.actor.name})

    def _say(self, tx: Transaction, id: RunId, what: str, value: object) -> None:
        record, row = rows.get_record(tx, id), find_run(tx, to_bytes(id))
        check_there(record.id, record.deleted_ns)
        assert row is not None  # its record was read
        fact = Fact(self._store.writer_id, 0, row.id, record.epoch, what, tx.now_ns, value)
        if TrunkFacts().apply(tx, [PlacedFact(fact, row)], self._store.settler.names):
            raise Misuse(f"these {what} cannot be kept", hint="use texts")
        tx.emit("run", record.id)
