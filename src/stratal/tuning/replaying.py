"""Replaying a study: every proposal made again from what it knew then. Equal to the recorded params, bit for bit."""

from collections.abc import Sequence

from stratal.tracking.values import Params
from stratal.tuning.samplers.port import SamplerPlan
from stratal.tuning.trials import StudyVersion, Trial, to_rows
from stratal.tuning.working import space_of


def replay(version: StudyVersion, trials: Sequence[Trial], sampler: SamplerPlan) -> list[Params]:
    """Propose the params of each trial again. Proposal i is a function of the seed, i, and the results it knew."""
    space = space_of(version)
    proposals = []
    for trial in trials:
        earlier = [t for t in trials if t.number < trial.number]
        known = [t for t in earlier if t.told is not None and t.told <= trial.known]
        pending = [t for t in earlier if t not in known]
        made = sampler.build(space, version.seed)
        made.tell(to_rows(version, known))
        rows = [type(row)(number=row.number, params=row.params, status="running") for row in to_rows(version, pending)]
        proposals += made.ask(1, rows)
    return proposals
