"""The states of an attempt at a step, as a table."""

from stratal.core.errors import Bug

RUNNING = "running"
FINISHED = "finished"
HIT = "hit"  # an earlier result served
FAILED = "failed"
LOST = "lost"  # it ended without a word: its worker or its coordinator died, or its run was stopped
SKIPPED = "skipped"  # something that it needs has failed

# From (None: there is no row) to what an attempt may go. Each arrow is one command, guarded by the coordinator's lease.
ALLOWED: dict[str | None, tuple[str, ...]] = {
    None: (RUNNING, HIT, SKIPPED),
    RUNNING: (FINISHED, FAILED, LOST),
    FINISHED: (),
    HIT: (),
    FAILED: (),
    LOST: (),
    SKIPPED: (),
}
DONE = (FINISHED, HIT)


def check_transition(before: str | None, after: str) -> None:
    """Raise Bug for a transition that is not in the table."""
    if after not in ALLOWED[before]:
        raise Bug(f"a step cannot go from {before or 'nothing'} to {after}", hint="please report this")
