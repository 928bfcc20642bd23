"""Replaying one step without its pipeline: its function from the restored code, its inputs by the digests that it was given."""

import msgspec

from stratal.core.errors import NotFound
from stratal.core.ids import short
from stratal.pipelines.given import Given
from stratal.pipelines.graph import call_arguments
from stratal.pipelines.payloads import decode, encode, targets_in
from stratal.pipelines.reopening import find_pipeline
from stratal.pipelines.store import PipelineStore
from stratal.tracking.reading import get_run
from stratal.tracking.reproducing.alone import OUTPUT, Order
from stratal.tracking.runs import run


def replay_step(order: Order) -> None:
    """Run a step's function again on the inputs that its attempt had, as a run of kind step in the current store.

    Raises NotFound if the run is no attempt at a step, or the graph of today's code has no such step."""
    original = get_run(order.run, store=order.source)
    rows = PipelineStore(order.source)
    steps = rows.steps(run=original.parent or "")
    row = next((step for step in steps if step.step_run == original.id), None)
    if row is None:
        raise NotFound(f"run {short(order.run)} is no attempt at a step", hint="reproduce it with its whole program")
    pipeline = rows.pipeline_run(run=row.run)
    blobs = order.source.blobs
    found = find_pipeline(msgspec.structs.replace(pipeline.entry, file=order.moved(pipeline.entry.file)))
    graph = found.rebuilt({name: decode(payload, blobs) for name, payload in pipeline.params.items()})
    if row.path not in graph.nodes:
        raise NotFound(f"pipeline {pipeline.pipeline} has no step {row.path} any more", hint=f"it has: {', '.join(graph.nodes)}")
    node, given = graph.nodes[row.path], Given(blobs)
    given.outputs.update({step.path: step.output for step in steps if step.output is not None})
    inputs = {name: given.payload(f"{row.path}:{name}", value, f"argument {name!r}") for name, value in node.arguments.items()}
    with run(original.experiment, kind="step", name=row.path, params=given.params(inputs), tags={"pipeline": row.pipeline}) as replayed:
        for name, payload in inputs.items():
            for place, target, is_file in targets_in(payload):
                replayed.edge("used", target, role=f"{name}{place}", is_file=is_file)
        args, kwargs = call_arguments(node.function, {name: decode(payload, blobs) for name, payload in inputs.items()})
        output = encode(node.function(*args, **kwargs), replayed.store.blobs, what=f"the output of step {row.path!r}")
        replayed.state(OUTPUT, {"is_equal": row.output is not None and output.digest == row.output.digest, "digest": output.digest})
