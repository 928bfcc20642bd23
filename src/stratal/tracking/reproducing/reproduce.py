"""The verb: start a run again from what was captured of it, and say for each metric whether it came out the same."""

import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from stratal.core.errors import Misuse
from stratal.core.ids import new_id, short
from stratal.core.origin import origin
from stratal.core.records import to_json
from stratal.store.store import Store
from stratal.tracking.capture.secrets import mask_argv
from stratal.tracking.capturing import wait_for_captures
from stratal.tracking.explaining import capture_of
from stratal.tracking.opening import current_store, open_store
from stratal.tracking.reading import ReadRun, get_run
from stratal.tracking.refs import parse_ref, resolve
from stratal.tracking.reproducing.carrying import Cargo, carry
from stratal.tracking.reproducing.judging import Family, chain_of, family_of, judge_replay, program_start_ns
from stratal.tracking.reproducing.records import STATEMENT, Reproduction
from stratal.tracking.reproducing.replaying import command_of, last_lines, start, variables_of
from stratal.tracking.reproducing.restoring import Restored, restore
from stratal.tracking.reproducing.verdicts import ATOL, RTOL, Tolerance
from stratal.tracking.runs import Run
from stratal.tracking.runs import run as start_run

FOLDER = "reproductions"  # of the store; blobs are linked there and not copied
_LOGGED_MODEL = "model"  # what a run states of each model that it logged

Say = Callable[[str], None]


def reproduce(
    ref: str,
    *,
    here: bool = False,
    check: bool = False,
    working_tree: bool = False,
    argv: Sequence[str] | None = None,
    rtol: float = RTOL,
    atol: float = ATOL,
    timeout_s: float | None = None,
    store: Store | None = None,
    say: Say | None = None,
) -> Reproduction:
    """Start the program of a run again in a fresh folder and a store of its own, and hold its numbers against the run's.

    ref: a run, or what a run made: model:churn@production, study:churn, pipeline:churn@latest. What is part of the run is compared too.
    here: use this Python and its packages. check: keep the verdict only, not the folder.
    working_tree: take the code as it is in the project today. argv: instead of the captured command line.
    rtol, atol: values are close enough if |a - b| <= atol + rtol * |a|. timeout_s: longest time of the program.
    say: told what happens. The verdict is kept as a run of its own, and stated on the original run for gates.
    Raises NotFound, Misuse for a run that has not ended or of which nothing was captured, Refused for a capture that cannot be trusted.
    """
    if not here:
        raise Misuse("environments are not rebuilt in this version", hint="reproduce it with this Python and its packages: --here")
    store = store or current_store()
    tell = say or (lambda text: None)
    wait_for_captures()
    run = find_run(ref, store)
    family = _family(run, store)
    place = store.folder / FOLDER / short(new_id(store.clock))
    tolerance = Tolerance(relative=rtol, absolute=atol)
    begun_s = store.clock.monotonic_s()
    try:
        restored = restore(family.capture, store.blobs, place, from_working_tree=working_tree)
        tell(f"restored from {restored.how}")
        made = _replay(family, store, restored, place, argv=argv, timeout_s=timeout_s, tolerance=tolerance, tell=tell)
        made = msgspec.structs.replace(made, seconds=store.clock.monotonic_s() - begun_s, folder="" if check else str(place))
        return _keep(made, family, store, place / "output.txt")
    finally:
        if check:
            shutil.rmtree(place, ignore_errors=True)


def find_run(ref: str, store: Store) -> ReadRun:
    """Give the run that a ref names, or that made what it names. Raises NotFound, Misuse for what no run made."""
    parsed = parse_ref(ref, default_kind="run")
    if parsed.kind == "run":
        return get_run(parsed.name, store=store)
    value = resolve(parsed, store).value
    maker = getattr(value, "run", None) or getattr(getattr(value, "version", None), "run", None)
    if not isinstance(maker, str) or not maker:
        raise Misuse(f"{ref} is not something that one run made", hint="name a run, a model, a study or a pipeline")
    return get_run(maker, store=store)


def _family(run: ReadRun, store: Store) -> Family:
    if run.status == "running":
        raise Misuse(f"run {run.short} has not ended", hint="reproduce it when it has")
    chain = chain_of(run, store)
    captured = next((found for each in reversed(chain) if (found := capture_of(each)) is not None and found.project), None)
    if captured is None:
        raise Misuse(
            f"nothing was captured of run {run.short}, so it cannot be started again",
            hint="runs are captured unless STRATAL_CAPTURE is off; one of an older version holds too little",
        )
    if captured.program == origin().program and captured.entry.kind != "notebook":
        raise Misuse(
            f"run {run.short} was made by this very program, which would start itself for ever", hint="reproduce it from another one"
        )
    return family_of(run, chain, captured, store)


def _replay(
    family: Family, store: Store, restored: Restored, place: Path, *, argv: Sequence[str] | None, timeout_s: float | None,
    tolerance: Tolerance, tell: Say,
) -> Reproduction:  # fmt: skip
    capture = family.capture
    scratch = open_store(place / "store")
    notes = [*restored.notes, *carry(_cargo(family, store, scratch))]
    notes += [f"the command line was given anew: {shlex.join(mask_argv(argv))}"] if argv is not None else []
    command = command_of(capture, store.blobs, restored, python=sys.executable, argv=argv)
    tell(f"started {Path(command[1]).name if capture.entry.kind == 'script' else capture.entry.kind} in {restored.working}")
    with (place / "output.txt").open("wb") as output:
        code = start(command, restored.working, variables_of(capture, restored, store=scratch.folder), output, timeout_s)
    if code:
        notes.append(f"the program ended with exit code {code}" if code != 124 else f"the program took longer than {timeout_s} s")
    judged = judge_replay(family, store, scratch, tolerance)
    scratch.close()
    return Reproduction(
        run=family.run.id,
        verdict=judged.verdict,
        tolerance=tolerance,
        environment="here",
        code=restored.how,
        series=judged.series,
        artifacts=judged.artifacts,
        causes=judged.causes,
        notes=(*notes, *judged.notes),
        first=judged.first,
        replay=judged.replay,
        exit_code=code,
        output=last_lines(place / "output.txt") if code or not judged.replay else "",
    )


def _cargo(family: Family, store: Store, scratch: Store) -> Cargo:
    refs = {edge.target for each in family.tree for edge in each.edges}
    if family.top.id != family.run.id:
        refs |= {edge.target for edge in family.top.edges}
    runs = tuple(family.labels)
    return Cargo(source=store, target=scratch, refs=tuple(sorted(refs)), runs=runs, before_ns=program_start_ns(family.capture))


def _keep(made: Reproduction, family: Family, store: Store, output: Path) -> Reproduction:
    """Record it: a run of its own, with all of it as an artifact, and a statement on the original run and of its models."""
    original = family.run
    with start_run(
        original.experiment,
        name=f"reproduction of {original.short}",
        kind="evaluation",
        tags={"reproduces": original.ref, "verdict": made.verdict},
        store=store,
    ) as recording:
        made = msgspec.structs.replace(made, by=recording.id)
        recording.edge("used", original.ref, role="reproduces")
        recording.save_bytes("reproduction.json", to_json(made).encode())
        recording.save(output)
    about = Run(store, original.id, original.experiment, epoch=original.record.epoch, kind=original.kind)
    about.state(STATEMENT, made.statement(), subject=original.ref)
    for stated in original.statements(_LOGGED_MODEL):
        about.state(STATEMENT, made.statement(), subject=stated.subject)
    return made
