"""The verb: start a run again from what was captured of it, and say for each metric whether it came out the same."""

import contextlib
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from stratal.core.errors import Misuse, NotFound
from stratal.core.ids import new_id, short
from stratal.core.origin import origin
from stratal.core.records import from_json, to_json
from stratal.core.settings import PART
from stratal.store.files.placing import share_place
from stratal.store.store import Store
from stratal.tracking.capture import Capture, Packages
from stratal.tracking.capture.secrets import mask_argv
from stratal.tracking.capturing import wait_for_captures
from stratal.tracking.explaining import capture_of
from stratal.tracking.opening import current_store, open_store
from stratal.tracking.reading import ReadRun, get_run
from stratal.tracking.refs import parse_ref, resolve
from stratal.tracking.reproducing.alone import is_told, need_replayer, part_told, request_of
from stratal.tracking.reproducing.carrying import Cargo, carry
from stratal.tracking.reproducing.containers import placed, variables_inside, write_apptainer, write_dockerfile
from stratal.tracking.reproducing.environments import Environment, rebuild
from stratal.tracking.reproducing.judging import Family, chain_of, family_of, judge_replay, program_start_ns
from stratal.tracking.reproducing.parts import capture_of_part, cargo_of_part, step_around
from stratal.tracking.reproducing.records import STATEMENT, Reproduction
from stratal.tracking.reproducing.replaying import command_of, last_lines, recorded_variables, start, variables_of
from stratal.tracking.reproducing.requirements import Requirements, requirements_of
from stratal.tracking.reproducing.restoring import Restored, restore
from stratal.tracking.reproducing.verdicts import ATOL, RTOL, Tolerance
from stratal.tracking.runs import Run
from stratal.tracking.runs import run as start_run

FOLDER = "reproductions"  # of the store; blobs are linked there and not copied
_LOGGED_MODEL = "model"  # what a run states of each model that it logged

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class _Terms:
    """How a run is to be started again; see `reproduce`."""

    here: bool
    working_tree: bool
    lenient: bool
    alone: bool
    argv: Sequence[str] | None
    tolerance: Tolerance
    timeout_s: float | None
    tell: Say


def reproduce(
    ref: str,
    *,
    here: bool = False,
    check: bool = False,
    working_tree: bool = False,
    lenient: bool = False,
    alone: bool | None = None,
    argv: Sequence[str] | None = None,
    rtol: float = RTOL,
    atol: float = ATOL,
    timeout_s: float | None = None,
    result: str | Path | None = None,
    store: Store | None = None,
    say: Say | None = None,
) -> Reproduction:
    """Start the program of a run again in a fresh folder and a store of its own, and hold its numbers against the run's.

    ref: a run, or what a run made: model:churn@production, study:churn, pipeline:churn@latest. What is part of the run is compared too.
    here: use this Python and its packages, and not a rebuilt environment. check: keep the verdict only, not the folder.
    working_tree: take the code as it is in the project today. lenient: take any version of a package that can no longer be had.
    alone: replay a step without its pipeline, from the inputs that it had; a trial without its study: its program comes to the study,
    tries this one and ends. None: trials are, steps are not. argv: instead of the captured command line.
    rtol, atol: values are close enough if |a - b| <= atol + rtol * |a|.
    timeout_s: longest time of the program. result: start nothing, and judge the store that a replay elsewhere has written.
    say: told what happens. The verdict is kept as a run of its own, and stated on the original run for gates, unless the code or the
    command line was another one.
    Raises NotFound, Misuse for a run that has not ended or of which nothing was captured, Refused for a capture that cannot be
    trusted and for packages that cannot be had.
    """
    store = store or current_store()
    tolerance = Tolerance(relative=rtol, absolute=atol)
    wait_for_captures()
    run = find_run(ref, store)
    is_alone = is_told(run.kind) and result is None if alone is None else alone
    if is_alone:
        need_replayer(run.kind)
    family = _family(run, store, alone=is_alone)
    if result is not None:
        return _keep(_judged(family, store, _existing(result), tolerance), family, store, None, is_faithful=True)
    tell = say or (lambda text: None)
    terms = _Terms(
        here=here, working_tree=working_tree, lenient=lenient, alone=is_alone, argv=argv, tolerance=tolerance, timeout_s=timeout_s,
        tell=tell,
    )  # fmt: skip
    place, begun_s = _fresh_folder(store), store.clock.monotonic_s()
    is_kept = False
    try:
        made = _replay(family, store, place, terms)
        made = msgspec.structs.replace(made, seconds=store.clock.monotonic_s() - begun_s, folder="" if check else str(place))
        made = _keep(made, family, store, place / "output.txt", is_faithful=argv is None and not working_tree)
        is_kept = not check
        return made
    finally:
        if not is_kept:
            shutil.rmtree(place, ignore_errors=True)


def write_container(ref: str, folder: Path, *, apptainer: bool = False, store: Store | None = None) -> str:
    """Write a Dockerfile (or an Apptainer definition) and all that it copies into a fresh folder; gives how to build and run it.

    The store that its run writes is judged by `reproduce(ref, result=FOLDER/store)`. Raises as `reproduce`, and Misuse if the
    folder is there already."""
    store = store or current_store()
    if folder.exists():
        raise Misuse(f"{folder} is there already", hint="name a folder that is to be made")
    wait_for_captures()
    family = _family(find_run(ref, store), store)
    capture, folder = family.capture, folder.resolve()
    restored = restore(capture, store.blobs, folder)
    with contextlib.closing(open_store(folder / "store", settings=replace(store.settings, blobs=None))) as scratch:
        carry(_cargo(family, store, scratch))
        scratch.settle()
    command = [placed(folder, word) for word in command_of(capture, store.blobs, restored, python="python")]
    variables = variables_inside(recorded_variables(capture), capture.paths)
    write = write_apptainer if apptainer else write_dockerfile
    return write(folder, _wanted(capture, store), command, placed(folder, str(restored.working)), variables)


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


def _family(run: ReadRun, store: Store, *, alone: bool = False) -> Family:
    if run.status == "running":
        raise Misuse(f"run {run.short} has not ended", hint="reproduce it when it has")
    chain = chain_of(run, store)
    is_part = alone and is_told(run.kind)
    captured = capture_of_part(chain, store) if is_part else _outermost(chain)
    if captured is None and (tool := run.tags.get("imported.from")) is not None:
        raise Misuse(f"run {run.short} was imported from {tool}: what made it is not here", hint="reproduce runs that Stratal has captured")
    if captured is None:
        raise Misuse(
            f"nothing was captured of run {run.short}, so it cannot be started again",
            hint="runs are captured unless STRATAL_CAPTURE is off; one of an older version holds too little",
        )
    if captured.program == origin().program and captured.entry.kind != "notebook":
        raise Misuse(
            f"run {run.short} was made by this very program, which would start itself for ever", hint="reproduce it from another one"
        )
    if not alone:
        return family_of(run, chain, captured, store)
    family = family_of(run, [run], captured, store)
    if is_part:
        return family
    # What ran inside of it saw what it saw: the threads of a worker.
    inner = next((found for each in family.tree if (found := capture_of(each)) is not None), captured)
    return replace(family, capture=msgspec.structs.replace(inner, is_worker=False))


def _outermost(chain: Sequence[ReadRun]) -> Capture | None:
    return next((found for each in reversed(chain) if (found := capture_of(each)) is not None and found.project), None)


def _fresh_folder(store: Store) -> Path:
    return store.folder / FOLDER / short(new_id(store.clock))


def _existing(result: str | Path) -> Store:
    folder = Path(result)
    if not (folder / "journal").is_dir():
        raise NotFound(f"{folder} is no store", hint="name the folder that the replay had as its STRATAL_STORE")
    return open_store(folder)


def _replay(family: Family, store: Store, place: Path, terms: _Terms) -> Reproduction:
    capture = family.capture
    rebuilt = None if terms.here else _rebuilt(capture, store, terms)
    restored = restore(capture, store.blobs, place, from_working_tree=terms.working_tree)
    terms.tell(f"restored from {restored.how}")
    if terms.alone:  # inputs may be large, and are read where they lie
        (place / "store").mkdir()
        share_place(store.folder, place / "store")
    scratch = open_store(place / "store", settings=replace(store.settings, blobs=None))
    chain = chain_of(family.run, store) if terms.alone else []
    is_part = terms.alone and is_told(family.run.kind)
    cargo = cargo_of_part(family, chain, store, scratch) if is_part else _cargo(family, store, scratch)
    notes = [*(rebuilt.notes if rebuilt else ()), *restored.notes, *carry(cargo)]
    notes += [f"the command line was given anew: {shlex.join(mask_argv(terms.argv))}"] if terms.argv is not None else []
    python = rebuilt.python if rebuilt else sys.executable
    step = step_around(chain)
    if step is not None:
        command = _command_alone(step, family, store, restored, scratch, python)
    else:
        command = command_of(capture, store.blobs, restored, python=python, argv=terms.argv)
    variables = variables_of(capture, restored, store=scratch.folder, ourselves=rebuilt.stratal if rebuilt else None)
    if is_part:
        (place / "part.json").write_text(part_told(family.run.kind, store, family.run.id))
        variables[PART] = str(place / "part.json")
    for note in notes:
        terms.tell(note)
    what = _called(family.run) if terms.alone else capture.entry.target or capture.entry.kind
    terms.tell(f"started {what} in {restored.working}")
    with (place / "output.txt").open("wb") as output:
        code = start(command, restored.working, variables, output, terms.timeout_s)
    if code:
        notes.append(f"the program ended with exit code {code}" if code != 124 else f"the program took longer than {terms.timeout_s} s")
    made = _judged(family, store, scratch, terms.tolerance)
    if is_part and not code and not made.replay:
        notes.append(f"the program ended without coming to {_called(family.run)}: did it find all that it was given then?")
    return msgspec.structs.replace(
        made,
        environment=str(rebuilt.folder) if rebuilt else "here",
        code=restored.how,
        notes=(*notes, *made.notes),
        exit_code=code,
        output=last_lines(place / "output.txt") if code or not made.replay else "",
    )


def _called(run: ReadRun) -> str:
    return run.name if run.name.startswith(run.kind) else f"{run.kind} {run.name}"


def _command_alone(run: ReadRun, family: Family, store: Store, restored: Restored, scratch: Store, python: str) -> list[str]:
    """Give the command that replays one run from what it was given."""
    request = scratch.folder.parent / "alone.json"
    request.write_text(request_of(run.id, run.kind, store, family.capture, restored))
    return [python, "-c", f"from stratal.tracking.reproducing.alone import main; main({str(request)!r})"]


def _judged(family: Family, store: Store, replayed: Store, tolerance: Tolerance) -> Reproduction:
    with contextlib.closing(replayed):
        judged = judge_replay(family, store, replayed, tolerance)
    return Reproduction(
        run=family.run.id,
        verdict=judged.verdict,
        tolerance=tolerance,
        environment="elsewhere",
        code="elsewhere",
        series=judged.series,
        artifacts=judged.artifacts,
        causes=judged.causes,
        notes=judged.notes,
        first=judged.first,
        replay=judged.replay,
    )


def _rebuilt(capture: Capture, store: Store, terms: _Terms) -> Environment:
    wanted = _wanted(capture, store)
    terms.tell(f"environment of {len(wanted.lines)} packages, Python {wanted.python}")
    return rebuild(wanted, lenient=terms.lenient)


def _wanted(capture: Capture, store: Store) -> Requirements:
    if capture.packages is None:
        raise Misuse("the packages of the run were not captured", hint="reproduce with --here to use the packages that are here")
    return requirements_of(from_json(store.blobs.read(capture.packages.digest), Packages), capture.python)


def _cargo(family: Family, store: Store, scratch: Store) -> Cargo:
    edges = [edge for each in family.tree for edge in each.edges]
    if family.top.id != family.run.id:
        edges += family.top.edges
    is_alone = family.top.id == family.run.id and family.run.parent is not None
    began_ns = (family.run.record.started_ns or 0) if is_alone else program_start_ns(family.capture)
    made = {edge.target for edge in edges if edge.verb == "produced"} | {f"run:{id}" for id in family.labels}
    refs = tuple(sorted({edge.target for edge in edges}))
    return Cargo(source=store, target=scratch, refs=refs, made=frozenset(made), runs=tuple(family.labels), before_ns=began_ns)


def _keep(made: Reproduction, family: Family, store: Store, output: Path | None, *, is_faithful: bool) -> Reproduction:
    """Record it: a run of its own, with all of it as an artifact, and a statement on the original run and of its models.

    is_faithful: whether code and command line are the run's own. What others do says nothing about the run."""
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
        recording.save_bytes("reproduction.json", to_json(made.document()).encode())
        if output is not None:
            recording.save(output)
    if not is_faithful:
        return made
    about = Run(store, original.id, original.experiment, epoch=original.record.epoch, kind=original.kind)
    about.state(STATEMENT, made.statement(), subject=original.ref)
    for stated in (stated for each in family.tree for stated in each.statements(_LOGGED_MODEL)):
        about.state(STATEMENT, made.statement(), subject=stated.subject)
    return made
