"""A worker of a study: takes over what was left, else proposes, tries and tells, until the budget is spent.

Any number of them, anywhere, with nobody in charge: all they share is the store.
"""

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from stratal.core.errors import StaleLease, StratalError
from stratal.core.ids import RunId
from stratal.core.records import from_json
from stratal.store.patience import patient
from stratal.store.store import Store
from stratal.tracking.capturing import capture_part, complete_part
from stratal.tracking.leased import adopt
from stratal.tracking.opening import open_store
from stratal.tuning.samplers.port import Sampler, SamplerPlan
from stratal.tuning.space import Dimension, Space, as_space
from stratal.tuning.stoppers.port import Stopper
from stratal.tuning.store import LEASE_S, StudyStore
from stratal.tuning.trials import Assignment, Snapshot, StudyVersion, Trial, to_rows
from stratal.tuning.trying import LiveTrial, Objective, stopping_by, try_objective

log = logging.getLogger(__name__)

# Between two looks at a study whose last trials are tried by others.
LOOK_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a worker is to do: bring this version to `trials` trials in all. data: None if the objective takes none.

    started: results that were there when the work was ordered: whether the objective is broken is judged by later ones.
    begun_by: digest of what was captured of the process that ordered the work, for workers in processes of their own.
    """

    version: StudyVersion
    trials: int
    sampler: SamplerPlan
    stopper: Stopper | None
    objective: Objective
    data: object = None
    started: int = 0
    begun_by: str | None = None


def work_in_process(url: str, order: Order) -> None:
    """Work in a process of its own."""
    store = open_store(url)
    try:
        work(store, order)
    finally:
        store.close()


def work(store: Store, order: Order, on_trial: Callable[[Trial], None] | None = None) -> None:
    """Work until all trials have ended, also those of others. on_trial: called with each result, of whatever worker."""
    studies = StudyStore(store)
    sampler = order.sampler.build(space_of(order.version), order.version.seed)
    with patient(store.settings.patience_s):
        _work(store, studies, order, sampler, on_trial)


def _work(store: Store, studies: StudyStore, order: Order, sampler: Sampler, on_trial: Callable[[Trial], None] | None) -> None:
    name, number = order.version.name, order.version.version
    told, is_first = 0, True
    while True:
        snapshot = studies.snapshot(name=name, version=number, since=told, started=order.started)
        sampler.tell(to_rows(order.version, snapshot.ended))
        if on_trial is not None and not is_first:
            for trial in snapshot.ended:
                on_trial(trial)
        told, is_first = snapshot.told, False
        assignment = _next(studies, order, sampler, snapshot)
        if assignment is not None:
            _try(store, studies, order, assignment)
        elif is_done(snapshot, order.trials):
            return
        elif not _may_propose(snapshot, order.trials):
            time.sleep(LOOK_S)


def is_done(snapshot: Snapshot, trials: int) -> bool:
    """Tell whether all of the first `trials` trials have ended, or the study is hopeless."""
    if snapshot.is_hopeless:
        return True
    return snapshot.asked >= trials and not any(trial.number < trials for trial in snapshot.running)


def space_of(version: StudyVersion) -> Space:
    """Give the space of a version as it was stored."""
    return as_space(from_json(version.space, dict[str, Dimension]))


def _may_propose(snapshot: Snapshot, trials: int) -> bool:
    return snapshot.asked < trials and not snapshot.is_hopeless


def _next(studies: StudyStore, order: Order, sampler: Sampler, snapshot: Snapshot) -> Assignment | None:
    """Take what is free, else propose; None if there is nothing, or somebody else was faster."""
    name, version = order.version.name, order.version.version
    if snapshot.free and (taken := studies.take_over(name=name, version=version)) is not None:
        log.info("trial taken over study=%s number=%d attempt=%d", name, taken.number, taken.attempt)
        return taken
    if not _may_propose(snapshot, order.trials):
        return None
    params = sampler.ask(1, to_rows(order.version, snapshot.running))[0]
    return studies.propose(name=name, version=version, number=snapshot.asked, params=params, known=snapshot.told)


def _try(store: Store, studies: StudyStore, order: Order, assignment: Assignment) -> None:
    """Try an assignment and tell its result, unless it was taken over meanwhile."""
    version = order.version
    name, at, number, token = version.name, version.version, assignment.number, assignment.token
    run = adopt(store, RunId(assignment.run), name, token, kind="trial", ttl_s=LEASE_S)
    try:
        is_to_stop = None if order.stopper is None else stopping_by(order.stopper, studies, version, assignment)
        capture_part(run, begun_by=order.begun_by)
        result = try_objective(order.objective, order.data, LiveTrial(version.metric, assignment, run, is_to_stop), version.metric)
        complete_part(run)
        if result.error:
            run.set_tags({"error": result.error[:500]})
        studies.tell(name=name, version=at, number=number, run=run.id, token=token, result=result)
    except StaleLease:
        # Or its result was told, and the answer lost.
        log.warning("trial was taken over by another worker, or has ended study=%s number=%d", name, number)
    except BaseException:  # Ctrl-C, the store is down: the next worker may go on at once
        with contextlib.suppress(StratalError), patient(0):
            studies.give_back(name=name, version=at, number=number, run=run.id, token=token)
        raise
    finally:
        run.let_go()
