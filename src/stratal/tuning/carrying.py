"""Bringing studies along for a program that starts again: the same proposals, so that two workers need not be equally fast twice.

A proposal is a function of the seed and of the results that it knew (`Study.replay` proves it), and which results those were
depends on how workers took turns. So a replay gets the recorded params, each as a trial that nobody has begun.
"""

from stratal.core.errors import NotFound
from stratal.tracking.reproducing.carrying import Cargo
from stratal.tuning.store import StudyStore


def carry_studies(cargo: Cargo) -> list[str]:
    """Bring along each study among the runs, and with its results each earlier one that they name.

    Code or data that have changed open a new version there, with proposals of its own."""
    source, target = StudyStore(cargo.source), StudyStore(cargo.target)
    for run in cargo.runs:
        version = source.version_of(run=run)
        if version is not None:
            target.plant(version=version, trials=source.trials(name=version.name, version=version.version))
    notes = []
    for name in sorted(ref.removeprefix("study:") for ref in cargo.refs if ref.startswith("study:")):
        try:
            newest = source.version(name=name)
        except NotFound:
            notes.append(f"study {name}, which was used, is not in this store")
            continue
        if newest.opened_ns < cargo.before_ns:
            target.plant(version=newest, trials=source.trials(name=name, version=newest.version), with_results=True)
    return notes
