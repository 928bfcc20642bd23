"""What a reproduction says: a verdict for the whole, one per metric, the likely causes, and what was not as it was."""

from stratal.core.records import Record, number_to_json
from stratal.tracking.reproducing.causes import Cause
from stratal.tracking.reproducing.verdicts import IDENTICAL, WITHIN, SeriesVerdict, Tolerance

FAILED, NOTHING = "failed", "nothing to compare"
# What a run states of itself when it was reproduced, for gates and pages.
STATEMENT = "reproduction"
_MOST = 200  # series in a statement; the artifact of the reproduction's own run holds all


class ArtifactVerdict(Record, frozen=True, kw_only=True):
    """Whether a file came out the same, byte for byte. run: as of SeriesVerdict."""

    run: str
    path: str
    is_equal: bool


class Reproduction(Record, frozen=True, kw_only=True):
    """A run that was started again. run: its id. replay: the id of what answers to it, "" if nothing did. by: the run that records this.

    verdict: bit-identical, within tolerance, diverges, failed or nothing to compare. environment: "here", "elsewhere", or the folder
    of the rebuilt one. folder: where the program stands and its runs lie, "" if that was dropped. output: the last lines that the
    program printed.
    """

    run: str
    verdict: str
    tolerance: Tolerance
    environment: str
    code: str
    series: tuple[SeriesVerdict, ...] = ()
    artifacts: tuple[ArtifactVerdict, ...] = ()
    causes: tuple[Cause, ...] = ()
    notes: tuple[str, ...] = ()
    first: SeriesVerdict | None = None
    replay: str = ""
    by: str = ""
    folder: str = ""
    exit_code: int = 0
    output: str = ""
    seconds: float = 0.0

    @property
    def is_reproduced(self) -> bool:
        """Whether all that was compared came out the same, or close enough."""
        return self.verdict in (IDENTICAL, WITHIN)

    def document(self) -> dict[str, object]:
        """Give all of it as JSON can hold it: odd numbers as texts."""
        fields: dict[str, object] = {name: getattr(self, name) for name in self.__struct_fields__}
        first = None if self.first is None else _body(self.first)
        return {**fields, "is_reproduced": self.is_reproduced, "first": first, "series": [_body(each) for each in self.series]}

    def statement(self) -> dict[str, object]:
        """Give the body of the statement on the original run."""
        compared = [each for each in self.series if each.is_compared]
        return {
            "verdict": self.verdict,
            "is_reproduced": self.is_reproduced,
            "by": f"run:{self.by}",
            "environment": self.environment if self.environment in ("here", "elsewhere") else "rebuilt",
            "code": self.code,
            "tolerance": {"relative": self.tolerance.relative, "absolute": self.tolerance.absolute},
            "series": len(compared),
            "identical": sum(each.verdict == IDENTICAL for each in compared),
            "first": None if self.first is None else _body(self.first),
            "wrong": [_body(each) for each in compared if not each.is_reproduced][:_MOST],
            "artifacts": {"equal": sum(each.is_equal for each in self.artifacts), "all": len(self.artifacts)},
            "causes": [{"subject": cause.subject, "what": cause.what, "is_known": cause.is_known} for cause in self.causes],
        }


def _body(verdict: SeriesVerdict) -> dict[str, object]:
    return {
        name: number_to_json(value) if isinstance(value, float) else value
        for name, value in ((name, getattr(verdict, name)) for name in verdict.__struct_fields__)
    }
