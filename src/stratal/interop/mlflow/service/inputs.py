"""What runs used and brought forth: datasets, described by their clients, and logged models.

Each is a lineage edge, and a statement that holds the description.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256

import msgspec

from stratal.interop.mlflow.service.calls import Call, Empty, commands
from stratal.interop.mlflow.service.errors import invalid, required
from stratal.interop.mlflow.service.heads import head_of, writable
from stratal.interop.mlflow.service.names import check_length
from stratal.interop.mlflow.service.records import (
    Dataset,
    DatasetInput,
    DatasetSaid,
    LogInputs,
    ModelInput,
    ModelOutput,
    RunInputs,
    RunOutputs,
    TagPair,
)
from stratal.interop.mlflow.service.store import runs as rows
from stratal.interop.mlflow.service.store.runs import DATASET, MODEL_INPUT, MODEL_OUTPUT, Stated
from stratal.tracking.facts import EdgeFact
from stratal.tracking.store.settling import add_edge

CONTEXT = "mlflow.data.context"
LONGEST = {"name": 500, "digest": 36, "source_type": 500, "source": 65535, "schema": 1048575, "profile": 16777215}
MOST = 1000
# Kinds of refs that an edge of ours names data by.
_DATA = ("dataset", "features", "sha256", "file")


@commands
def log_inputs(call: Call, request: LogInputs) -> Empty:
    """Say which datasets and logged models a run used; one that it has named already stays as it is."""
    head = writable(head_of(call, request.run))
    datasets, models = request.datasets or [], request.models or []
    if len(datasets) + len(models) > MOST:
        raise invalid(f"A run can be told of at most {MOST} inputs at a time.")
    for subject, body in [_described(said) for said in datasets]:
        if rows.state_once(call.tx, head.no, DATASET, subject, body):
            tags = body["tags"]
            role = str(tags.get(CONTEXT, "")) if isinstance(tags, Mapping) else ""
            add_edge(call.tx, head.no, EdgeFact(verb="used", target=f"mlflow-dataset:{subject}", role=role or "data"), at_ns=call.tx.now_ns)
    for model in models:
        if not model.model_id:
            raise required("models.model_id")
        if rows.state_once(call.tx, head.no, MODEL_INPUT, model.model_id, {"step": 0}):
            target = f"mlflow-model:{check_length('model_id', model.model_id, 250)}"
            add_edge(call.tx, head.no, EdgeFact(verb="used", target=target, role="model"), at_ns=call.tx.now_ns)
    call.tx.emit("run", head.id)
    return Empty()


def inputs_of(stated: Sequence[Stated], used: Sequence[tuple[str, str]]) -> RunInputs:
    """Give what a run used, as clients see it: what they described, and data that a run of ours named by a ref."""
    datasets = [_dataset(one.body) for one in stated if one.kind == DATASET]
    datasets += [_of_edge(target, role) for target, role in used if target.partition(":")[0] in _DATA]
    return RunInputs(dataset_inputs=datasets, model_inputs=[ModelInput(model_id=one.subject) for one in stated if one.kind == MODEL_INPUT])


def outputs_of(stated: Sequence[Stated]) -> RunOutputs | None:
    """Give the logged models that a run brought forth; None if there are none."""
    found = [ModelOutput(model_id=one.subject, step=_step(one.body)) for one in stated if one.kind == MODEL_OUTPUT]
    return RunOutputs(model_outputs=found) if found else None


def _described(said: DatasetSaid) -> tuple[str, dict[str, object]]:
    dataset = said.dataset or Dataset()
    if not dataset.name or not dataset.digest:
        raise required("datasets.dataset.name" if not dataset.name else "datasets.dataset.digest")
    body: dict[str, object] = {}
    for name, longest in LONGEST.items():
        value = getattr(dataset, name)
        if value is not None:
            body[name] = check_length(f"datasets.dataset.{name}", value, longest)
    tags = {}
    for tag in said.tags or ():
        if not tag.key:
            raise required("datasets.tags.key")
        tags[check_length("datasets.tags.key", tag.key, 255)] = check_length("datasets.tags.value", tag.value or "", 500)
    return f"{dataset.name}@{dataset.digest}", {**body, "tags": tags, "context": tags.get(CONTEXT, "")}


def _dataset(body: Mapping[str, object]) -> DatasetInput:
    tags = body.get("tags")
    pairs = [TagPair(key=str(key), value=str(value)) for key, value in tags.items()] if isinstance(tags, Mapping) else []
    said = {name: str(body[name]) for name in LONGEST if name in body}
    return DatasetInput(tags=pairs, dataset=msgspec.convert(said, Dataset))


def _of_edge(target: str, role: str) -> DatasetInput:
    name = target.partition(":")[2]
    dataset = Dataset(
        name=name[:500], digest=sha256(target.encode()).hexdigest()[:36], source_type="stratal",
        source=msgspec.json.encode({"ref": target}).decode(),
    )  # fmt: skip
    return DatasetInput(tags=[TagPair(key=CONTEXT, value=role)], dataset=dataset)


def _step(body: Mapping[str, object]) -> int:
    step = body.get("step", 0)
    return step if isinstance(step, int) else 0
