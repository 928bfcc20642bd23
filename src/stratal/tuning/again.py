"""One trial again, without its study: its program is started, comes to the study, tries this trial as it was tried, and ends.

Nobody is asked: the params, the random numbers and where it was stopped are what the store holds of it. A sampler or a stopper would
decide by results of other trials, which are not there.
"""

import sys
from itertools import takewhile
from typing import NoReturn

from stratal.compute.local import LocalWorkers
from stratal.compute.port import WorkerDied
from stratal.core.errors import Damaged, Misuse, NotFound
from stratal.core.ids import short
from stratal.core.records import Record, from_json, to_json
from stratal.core.settings import part_asked
from stratal.store.store import Store
from stratal.tracking.capture.generators import restore_generators
from stratal.tracking.capturing import capture_part, complete_part, wait_for_captures
from stratal.tracking.explaining import capture_of
from stratal.tracking.leased import start_leased
from stratal.tracking.opening import current_store, open_store
from stratal.tracking.reading import ReadRun, get_run
from stratal.tracking.reproducing.alone import OUTPUT
from stratal.tuning.changes import explain_change
from stratal.tuning.store import StudyStore
from stratal.tuning.trials import Assignment, Result, StudyVersion, Trial
from stratal.tuning.trying import Decision, LiveTrial, Objective, try_objective


class Asked(Record, frozen=True, kw_only=True):
    """A trial that is to be tried again. store: which holds it. others: further versions of its study. last_reports: points that it
    had at its last step.

    generators: the states of the random generators when it began, None if nobody kept them. slots: of the worker process that tried it,
    None if it was tried in the process that made the study.
    """

    store: str
    version: StudyVersion
    others: tuple[StudyVersion, ...]
    trial: Trial
    last_reports: int
    generators: bytes | None
    slots: int | None


def ask_again(store: Store, run: str) -> str:
    """Say what a program is told that is to try the trial of a run again. Raises Misuse for a run that no study of the store asked for."""
    tried = get_run(run, store=store)
    studies = StudyStore(store)
    version = studies.version_of(run=tried.parent) if tried.parent is not None else None
    trials = studies.trials(name=version.name, version=version.version) if version is not None else []
    trial = next((trial for trial in trials if trial.run == tried.id), None)
    if version is None or trial is None:
        raise Misuse(f"run {short(run)} is no trial of a study of this store", hint="reproduce it with --whole: its program as it was")
    captured = capture_of(tried)
    in_worker = captured is not None and "begun_by" in tried.capture
    return to_json(
        Asked(
            store=store.url,
            version=version,
            others=tuple(each for each in _versions(studies, version.name) if each.version != version.version),
            trial=trial,
            last_reports=_points_at(tried, version.metric, trial.step),
            generators=_generators(tried, store),
            slots=captured.slots if in_worker and captured is not None else None,
        )
    )


def trial_asked() -> Asked | None:
    """Give the one trial that this program is to try, None if it is to do all that it does."""
    place = part_asked()
    return None if place is None else from_json(place.read_bytes(), Asked)


def try_if_asked(asked: Asked, wanted: StudyVersion, objective: Objective, data: object, *, is_seed_free: bool) -> None:
    """Try the trial, and end the program, if the study that is wanted is its own, or has come from it by a change of code or data.

    Any other study of the program gets the results that it had before the trial began, so that nothing of it is tried again."""
    changed = explain_change(asked.version, wanted, is_seed_free=is_seed_free)
    is_other = any(not explain_change(other, wanted, is_seed_free=is_seed_free) for other in asked.others)
    if wanted.name != asked.version.name or (changed and is_other):
        _bring_along(asked, wanted, is_seed_free=is_seed_free)
        return
    if asked.slots is None:
        try_again(current_store(), asked, objective, data, changed)
    else:
        _try_in_worker(asked, objective, data, changed)
    _end()


def try_again(store: Store, asked: Asked, objective: Objective, data: object, changed: str) -> None:
    """Try a trial as it was tried, as a run of its own. changed: in words, what its study is not any more."""
    trial, metric = asked.trial, asked.version.metric
    run = start_leased(asked.version.name, store=store, kind="trial", name=f"trial {trial.number}", params=trial.params)
    assignment = Assignment(number=trial.number, run=run.id, params=trial.params, token=run.token, attempt=max(1, trial.attempts))
    notes = [f"study {asked.version.name}: {changed} since it was tried"] if changed else []
    if asked.generators is None:
        notes.append("the states of the random generators were not kept when it was tried: they are what the program makes of them")
    else:
        restore_generators(asked.generators)
    capture_part(run)
    result = try_objective(objective, data, LiveTrial(metric, assignment, run, _as_decided(asked)), metric)
    complete_part(run)
    if result.error:
        run.set_tags({"error": result.error[:500]})
        if trial.status != "failed" or result.error != trial.error:
            notes.append(f"it failed: {result.error[:500]}" + (f"; then: {trial.error[:500]}" if trial.error else ""))
    run.state(OUTPUT, {"is_equal": _came_out(result) == (trial.status, trial.step, trial.error), "notes": notes})
    run.finish(result.status)


def _bring_along(asked: Asked, wanted: StudyVersion, *, is_seed_free: bool) -> None:
    studies = StudyStore(open_store(asked.store))
    known = (each for each in _versions(studies, wanted.name) if not explain_change(each, wanted, is_seed_free=is_seed_free))
    if (version := next(known, None)) is None:
        return
    trials = studies.trials(name=version.name, version=version.version)
    before = list(takewhile(lambda trial: trial.told_ns is not None and trial.told_ns <= asked.trial.asked_ns, trials))
    StudyStore(current_store()).plant(version=version, trials=before, with_results=True)


def _came_out(result: Result) -> tuple[str, int | None, str]:
    return result.status, result.step, result.error


def _as_decided(asked: Asked) -> Decision | None:
    """Stop where the trial was stopped: at its last report, which may not be the first one at its step."""
    trial, seen = asked.trial, 0
    if trial.status != "stopped":
        return None

    def is_to_stop(step: int, value: float | None) -> bool:
        nonlocal seen
        seen += step == trial.step
        return step == trial.step and (value == trial.value or seen >= asked.last_reports)

    return is_to_stop


def _try_in_worker(asked: Asked, objective: Objective, data: object, changed: str) -> None:
    """Try it in a process of its own with as many threads as that had: there, modules are as they are imported."""
    store = current_store()
    with LocalWorkers(1, slots=asked.slots, store=store.url) as pool:
        try:
            pool.submit(_try_here, store.url, asked, objective, data, changed).result()
        except WorkerDied as died:
            sys.exit(f"trial {asked.trial.number}: {died}")


def _try_here(url: str, asked: Asked, objective: Objective, data: object, changed: str) -> None:
    store = open_store(url)
    try:
        try_again(store, asked, objective, data, changed)
        wait_for_captures()
    finally:
        store.close()


def _end() -> NoReturn:
    """End the program as one that is done: what it cleans up at its end, it does."""
    raise SystemExit(0)


def _versions(studies: StudyStore, name: str) -> list[StudyVersion]:
    """List all versions of a study, none if there is no such study."""
    try:
        newest = studies.version(name=name)
    except NotFound:
        return []
    return [newest if number == newest.version else studies.version(name=name, version=number) for number in range(1, newest.version + 1)]


def _points_at(run: ReadRun, metric: str, step: int | None) -> int:
    return int((run.series(metric).steps == step).sum()) if step is not None and metric in run.metrics else 0


def _generators(run: ReadRun, store: Store) -> bytes | None:
    digest = run.capture.get("generators")
    try:
        return store.blobs.read(digest) if isinstance(digest, str) else None
    except (NotFound, Damaged):
        return None
