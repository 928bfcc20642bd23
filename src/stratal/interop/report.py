"""What became of an import: per kind what was imported, was there already, was left out by rule, or was lost, and why."""

import msgspec

from stratal.core.ids import RunId
from stratal.core.records import Record
from stratal.interop.foreign import Remark, Skipped


class Counts(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Of one kind of thing: how many were imported now, and before; reason to number of what was left out, and lost."""

    imported: int = 0
    already: int = 0
    left_out: dict[str, int] = {}
    lost: dict[str, int] = {}


class ImportedRun(Record, frozen=True, kw_only=True):
    """A run that was met: its id here and there. is_new: it was not in the store before."""

    id: RunId
    foreign: str
    is_new: bool


class ImportReport(Record, frozen=True, kw_only=True):
    """What became of an import. counts: kind of thing to its counts. losses: what could not be read, in words."""

    tool: str
    path: str
    runs: list[ImportedRun]
    sources: int
    unchanged: int
    counts: dict[str, Counts]
    remarks: list[str]
    losses: list[str]

    @property
    def is_complete(self) -> bool:
        """Tell whether everything that was read is here, or was left out by a rule that docs/importing.md states."""
        return not self.losses and not any(counts.lost for counts in self.counts.values())

    def __repr__(self) -> str:
        imported = ", ".join(f"{counts.imported} {what}" for what, counts in self.counts.items() if counts.imported)
        return f"<import of {len(self.runs)} runs: {imported or 'nothing new'}{'' if self.is_complete else '; not all of it'}>"


class Tally:
    """Counts of one source, or of all."""

    def __init__(self, counts: dict[str, Counts] | None = None) -> None:
        self.counts = counts or {}

    @classmethod
    def earlier(cls, stored: str) -> "Tally":
        """Go on counting where the last import of a source stopped."""
        counts = msgspec.json.decode(stored, type=dict[str, Counts])
        for one in counts.values():
            one.already, one.imported = one.already + one.imported, 0
        return cls(counts)

    def imported(self, what: str, count: int = 1) -> None:
        """Count what was imported."""
        self._of(what).imported += count

    def met(self, what: str, count: int = 1) -> None:
        """Count what was here already."""
        self._of(what).already += count

    def skipped(self, skipped: Skipped) -> None:
        """Count what was not."""
        into = self._of(skipped.what).left_out if skipped.by_rule else self._of(skipped.what).lost
        into[skipped.reason] = into.get(skipped.reason, 0) + skipped.count

    def add(self, other: "Tally") -> None:
        """Add the counts of a source."""
        for what, counts in other.counts.items():
            mine = self._of(what)
            mine.imported, mine.already = mine.imported + counts.imported, mine.already + counts.already
            for into, found in ((mine.left_out, counts.left_out), (mine.lost, counts.lost)):
                for reason, count in found.items():
                    into[reason] = into.get(reason, 0) + count

    def stored(self) -> str:
        """Give the counts as they stand in a mark."""
        return msgspec.json.encode(self.counts).decode()

    def _of(self, what: str) -> Counts:
        return self.counts.setdefault(what, Counts())


def words_of(remarks: list[Remark], *, losses: bool) -> list[str]:
    """Give the remarks that speak of losses, or the others."""
    return [remark.text for remark in remarks if remark.is_loss == losses]
