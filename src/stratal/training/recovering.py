"""What to do when a generation has ended: a pure rule, apart from the processes that it is about."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from stratal.training.messages import Raised


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How one rank ended: what it said, and what the system said about its process."""

    rank: int
    # As os.waitstatus_to_exitcode gives it: negative for a signal.
    exit_code: int
    raised: Raised | None = None
    has_returned: bool = False

    @property
    def is_good(self) -> bool:
        """Tell whether the program ended well on this rank."""
        return self.has_returned and self.exit_code == 0

    @property
    def is_death(self) -> bool:
        """Tell whether the process ended without a word: a signal, or an exit that skipped the interpreter's end."""
        return not self.is_good and self.raised is None

    @property
    def is_consequence(self) -> bool:
        """Tell whether the program failed only because another rank had gone."""
        return self.raised is not None and self.raised.is_consequence

    def __str__(self) -> str:
        if self.exit_code < 0:
            return f"rank {self.rank} was killed by signal {-self.exit_code} ({signal.Signals(-self.exit_code).name})"
        if self.is_death:
            return f"rank {self.rank} ended with exit code {self.exit_code} in the middle of its program"
        return f"rank {self.rank} failed"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Start a new generation, or give up; with the culprit and the reason in plain words."""

    starts_again: bool
    culprit: Ending
    reason: str
    hint: str = ""


def find_culprit(endings: Sequence[Ending]) -> Ending:
    """Give the ending that explains the others: a death, then an error of the program, then whoever missed a lost rank."""
    bad = [ending for ending in endings if not ending.is_good]
    return min(bad, key=lambda ending: (ending.is_consequence, not ending.is_death))


def decide(endings: Sequence[Ending], *, restarts_left: int, checkpoint_step: int | None) -> Decision:
    """Decide after a generation ended badly. `endings` are those that came by themselves, not by our stopping the others.

    A program's own exception is not tried again: it would be raised again.
    """
    culprit = find_culprit(endings)
    if culprit.raised is not None and not culprit.is_consequence:
        return Decision(starts_again=False, culprit=culprit, reason=f"{culprit}:\n{culprit.raised.text}")
    told = f"{culprit}:\n{culprit.raised.text}" if culprit.raised is not None else str(culprit)
    if checkpoint_step is None:
        return Decision(
            starts_again=False, culprit=culprit, reason=told, hint='no checkpoint to go back to: st.job(checkpoint="50 steps") makes them'
        )
    if restarts_left < 1:
        return Decision(
            starts_again=False, culprit=culprit, reason=told, hint="no restart is left; find out why ranks die, or allow more: restarts=N"
        )
    return Decision(starts_again=True, culprit=culprit, reason=told)
