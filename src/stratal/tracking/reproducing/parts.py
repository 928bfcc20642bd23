"""Parts: runs that their program is told to do again, and nothing else of it. What is started for one, and what it finds there."""

from collections.abc import Sequence

import msgspec

from stratal.store.store import Store
from stratal.tracking.capture import Capture
from stratal.tracking.explaining import capture_begun_by, capture_of
from stratal.tracking.reading import ReadRun
from stratal.tracking.reproducing.alone import is_replayed
from stratal.tracking.reproducing.carrying import Cargo
from stratal.tracking.reproducing.judging import Family, family_of, program_start_ns


def capture_of_part(chain: Sequence[ReadRun], store: Store) -> Capture | None:
    """Give what is known of the program that a part was done by: by its own process, by what handed it out, by what it is part of.

    chain: the run, and what it is part of. Files that only one of them has read are all of the program; what its process was given
    (threads, variables) is of the process that began it. None if nobody captured anything."""
    own, begun_by = capture_of(chain[0]), capture_begun_by(chain[0], store)
    above = [found for each in chain[1:] if (found := capture_of(each)) is not None]
    first = begun_by or own
    if first is None or not first.project:
        return next((found for found in above if found.project), None)
    known = [each for each in (begun_by, own, *above) if each is not None and each.program == first.program]
    for other in known[1:]:
        first = msgspec.structs.replace(
            first,
            files={**other.files, **first.files},
            inputs={**other.inputs, **first.inputs},
            paths=tuple(dict.fromkeys((*first.paths, *other.paths))),
        )
    return msgspec.structs.replace(first, is_worker=False)


def step_around(chain: Sequence[ReadRun]) -> ReadRun | None:
    """Give the run that a part is inside of and that can be replayed from what it was given; None if its program must be started."""
    return next((each for each in chain if is_replayed(each.kind)), None)


def cargo_of_part(family: Family, chain: Sequence[ReadRun], store: Store, scratch: Store) -> Cargo:
    """Say what to bring along: all that its program used, or its step did. No runs: a room that tells a program to do one part
    brings along there what other parts gave."""
    step = step_around(chain)
    top = step or chain[-1]
    around = family_of(top, [top], family.capture, store)
    edges = [edge for each in around.runs for edge in each.edges]
    made = {edge.target for edge in edges if edge.verb == "produced"} | {f"run:{id}" for id in around.labels}
    return Cargo(
        source=store,
        target=scratch,
        refs=tuple(sorted({edge.target for edge in edges})),
        made=frozenset(made),
        runs=(),
        before_ns=program_start_ns(family.capture) if step is None else step.record.started_ns or 0,
    )
