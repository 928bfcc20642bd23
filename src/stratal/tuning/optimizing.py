"""Bringing a study to its budget: here, or on local worker processes that are replaced when they die."""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace

from stratal.compute.local import LocalWorkers
from stratal.compute.port import WorkerDied
from stratal.core.errors import Refused
from stratal.core.ids import RunId
from stratal.store.patience import patient
from stratal.store.store import Store
from stratal.tracking.capturing import capture_leased, wait_for_captures
from stratal.tracking.explaining import captured_as
from stratal.tracking.reading import get_run
from stratal.tracking.runs import Run
from stratal.tuning.identity import ref_of
from stratal.tuning.store import StudyStore
from stratal.tuning.trials import MOST_ATTEMPTS, Snapshot, Trial, best_of
from stratal.tuning.working import Order, is_done, work, work_in_process

# Between two looks at the results of workers, for `on_trial`.
LOOK_S = 0.1

OnTrial = Callable[[Trial], None]


def bring_to_budget(store: Store, order: Order, *, workers: int, on_trial: OnTrial | None = None) -> None:
    """Have the first `order.trials` trials of a version tried. Returns at once if they were. Raises Refused if the objective
    fails from the start."""
    studies = StudyStore(store)
    free_the_dead(store, studies, order)
    order = replace(order, started=_look(studies, order).told)
    before = _look(studies, order)
    if not is_done(before, order.trials):
        _begin_run(store, order)
        wanted = min(workers, order.trials - before.asked + len(before.running))
        with patient(store.settings.patience_s):
            if wanted <= 1:
                work(store, order, on_trial)
            else:
                _work_in_processes(store, studies, order, wanted, before.told, on_trial)
            _end_run(store, studies, order)
    _refuse_the_hopeless(studies, order)


def free_the_dead(store: Store, studies: StudyStore, order: Order) -> None:
    """Free trials whose worker ran on this machine and is gone, so that nobody waits for their leases to run out."""
    name, version = order.version.name, order.version.version
    for holder in studies.holders(name=name, version=version):
        if store.is_dead(holder):
            studies.free(name=name, version=version, holder=holder)


def _work_in_processes(store: Store, studies: StudyStore, order: Order, workers: int, told: int, on_trial: OnTrial | None) -> None:
    deaths, state = 0, _state(_look(studies, order))
    with LocalWorkers(workers, store=store.url) as pool:
        pool.warm()
        order = replace(order, begun_by=_captured(store, order))  # while they start
        working: set[Future[None]] = {pool.submit(work_in_process, store.url, order) for _ in range(workers)}
        while working:
            ended, working = wait(working, timeout=None if on_trial is None else LOOK_S, return_when=FIRST_COMPLETED)
            if on_trial is not None:
                told = _tell_results(studies, order, told, on_trial)
            for future in ended:
                error = future.exception()
                if error is None:
                    continue
                if not isinstance(error, WorkerDied):
                    raise error
                free_the_dead(store, studies, order)
                now = _state(_look(studies, order))
                deaths, state = (1 if now != state else deaths + 1), now
                if deaths > MOST_ATTEMPTS:  # they die before they can take a trial
                    raise error
                working.add(pool.submit(work_in_process, store.url, order))
    if on_trial is not None:
        _tell_results(studies, order, told, on_trial)


def _begin_run(store: Store, order: Order) -> None:
    """Say on the study's own run what it is brought to, and how."""
    stopper = "none" if order.stopper is None else order.stopper.describe()
    run = Run(store, RunId(order.version.run), order.version.name, kind="study")
    run.set_tags({"sampler": order.sampler.describe(), "stopper": stopper, "trials": str(order.trials)})
    capture_leased(run)
    if (used := ref_of(order.data)) is not None:
        run.edge("used", used, "data", is_file=False)  # of a frame its digest, and of no file


def _captured(store: Store, order: Order) -> str | None:
    """Give the digest of what was captured of this process: what a worker's own capture does not know of the program."""
    if not store.settings.capture or not wait_for_captures():
        return None
    return captured_as(get_run(order.version.run, store=store))


def _end_run(store: Store, studies: StudyStore, order: Order) -> None:
    """Say on the study's own run what the best trial was, and end it; more trials later end it again."""
    version = order.version
    best = best_of(version, studies.trials(name=version.name, version=version.version))
    run = Run(store, RunId(version.run), version.name, kind="study")
    if best is not None and best.value is not None:
        run.log({version.metric: best.value}, step=order.trials)
        run.log_params(best.params)
        run.set_tags({"best trial": best.run})
    run.finish("failed" if best is None else "finished")


def _tell_results(studies: StudyStore, order: Order, told: int, on_trial: OnTrial) -> int:
    snapshot = _look(studies, order, since=told)
    for trial in snapshot.ended:
        on_trial(trial)
    return snapshot.told


def _refuse_the_hopeless(studies: StudyStore, order: Order) -> None:
    snapshot = _look(studies, order, since=order.started)
    if snapshot.is_hopeless:
        raise Refused(
            f"the first {len(snapshot.ended)} trials of study {order.version.name!r} all failed: {snapshot.ended[0].error}",
            hint="mend the objective, or what it needs, and run again; a changed objective opens a new version with its own budget",
        )


def _look(studies: StudyStore, order: Order, since: int = 0) -> Snapshot:
    return studies.snapshot(name=order.version.name, version=order.version.version, since=since, started=order.started)


def _state(snapshot: Snapshot) -> tuple[int, int, int]:
    return snapshot.asked, snapshot.told, sum(trial.attempts for trial in snapshot.running)
