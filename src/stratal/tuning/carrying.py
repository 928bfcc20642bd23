"""Bringing studies along for a program that starts again: the same proposals, so that two workers need not be equally fast twice.

A proposal is a function of the seed and of the results that it knew (`Study.replay` proves it), and which results those were
depends on how workers took turns. So a replay gets the recorded params, each as a trial that nobody has begun.
"""

from stratal.tracking.reproducing.carrying import Cargo
from stratal.tuning.store import StudyStore


def carry_studies(cargo: Cargo) -> list[str]:
    """Bring along each study among the runs. Code or data that have changed open a new version there, with proposals of its own."""
    source, target = StudyStore(cargo.source), StudyStore(cargo.target)
    for run in cargo.runs:
        version = source.version_of(run=run)
        if version is not None:
            target.plant(version=version, trials=source.trials(name=version.name, version=version.version))
    return []
