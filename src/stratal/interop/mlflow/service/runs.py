"""The life of runs: made, read, updated, deleted, restored; and how a run of ours looks to MLflow's clients."""

import math
from collections.abc import Iterable, Mapping, Sequence

from stratal.core.ids import new_id, to_bytes
from stratal.core.records import number_to_json
from stratal.interop.mlflow.meaning import NOTE, STATUS, captured_of
from stratal.interop.mlflow.service.calls import Call, Empty, OfRun, commands, reads
from stratal.interop.mlflow.service.errors import invalid
from stratal.interop.mlflow.service.experiments import by_id, location_of, numbered
from stratal.interop.mlflow.service.heads import head_of, shown_ids, writable
from stratal.interop.mlflow.service.inputs import inputs_of, outputs_of
from stratal.interop.mlflow.service.names import LONGEST_TAG, check_length, ms_of, ns_of, random_name
from stratal.interop.mlflow.service.records import CreateRun, Metric, OneRun, Run, RunData, RunInfo, TagPair, UpdatedRun, UpdateRun
from stratal.interop.mlflow.service.store import runs as rows
from stratal.interop.mlflow.service.store.experiments import ExperimentRow
from stratal.interop.mlflow.service.store.runs import Head, LastPoint
from stratal.interop.mlflow.service.tags import NAME, PARENT, USER, held_tags, own_tags, rename, shown_tags, tell
from stratal.interop.mlflow.service.texts import text_of, texts_of
from stratal.store.names import add_run
from stratal.tracking import facts
from stratal.tracking.facts import KINDS, Start, params_from_json
from stratal.tracking.store import deleting
from stratal.tracking.store.runs import RunRecord
from stratal.tracking.store.settling import TrunkFacts, change_doc, tell_end

# Our words for MLflow's states, and back. What is lost was never ended: MLflow has no word for it.
OURS = {**STATUS, "RUNNING": "running", "SCHEDULED": "running"}
THEIRS = {"running": "RUNNING", "finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED", "lost": "RUNNING"}
_NUMBERS = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}


@commands
def create(call: Call, request: CreateRun) -> OneRun:
    """Make a run. The author is who is known to ask; a name that was only said counts where nobody is known."""
    experiment = by_id(call, request.experiment_id or "0")
    if experiment.deleted_ns is not None:
        raise invalid(f"The experiment {experiment.id} must be in the 'active' state. Current state is deleted.")
    tags = texts_of(request.tags, "tags")
    name = _name(request.run_name, tags)
    started_ns = call.tx.now_ns if request.start_time is None else ns_of(request.start_time, "start_time")
    actor = call.tx.actor
    parent = tags.get(PARENT, "")
    kind = tags.get("stratal.kind", "")
    start = Start(
        experiment=experiment.name, name=name, kind=kind if kind in KINDS else "train", group=tags.get("stratal.group", ""),
        job_type=tags.get("stratal.job_type", ""), tags=own_tags(tags), capture=captured_of(tags),
        parent=above.id if parent and (above := rows.find_head(call.tx, parent)) is not None else None,
        user=actor.name if actor.is_authenticated else tags.get(USER) or request.user_id or actor.name,
    )  # fmt: skip
    id = new_id(call.store.clock)
    row = add_run(call.tx, to_bytes(id))
    TrunkFacts().start(call.tx, row, start, at_ns=started_ns, epoch=0, names=call.store.settler.names)
    change_doc(call.tx, row.no, held_tags(tags))
    _attend(call, id)
    if text := tags.get(NOTE):
        tell(call, head_of(call, id), facts.NOTE, {"text": text, "author": actor.name})
    return OneRun(run=shown(call, [row.no])[0])


@reads
def get(call: Call, request: OfRun) -> OneRun:
    """Give a run, a deleted one too."""
    return OneRun(run=shown(call, [head_of(call, request.run).no])[0])


@commands
def update(call: Call, request: UpdateRun) -> UpdatedRun:
    """Say how a run stands, when it ended, or give it another name."""
    head = writable(head_of(call, request.run))
    if request.status is not None or request.end_time is not None:
        ended_ns = None if request.end_time is None else ns_of(request.end_time, "end_time")
        _set_status(call, head, None if request.status is None else _status(request.status), ended_ns)
    if request.run_name:
        rename(call, head, check_length("run_name", request.run_name, LONGEST_TAG))
        call.tx.emit("run", head.id)
    return UpdatedRun(run_info=shown(call, [head.no])[0].info)


@commands
def delete(call: Call, request: OfRun) -> Empty:
    """Hide a run."""
    head = head_of(call, request.run)
    if deleting.mark_deleted(call.tx, head.no):
        call.tx.emit("deleted", f"run:{head.id}")
    return Empty()


@commands
def restore(call: Call, request: OfRun) -> Empty:
    """Show a run again."""
    head = head_of(call, request.run)
    if deleting.unmark_deleted(call.tx, head.no):
        call.tx.emit("restored", f"run:{head.id}")
    return Empty()


def at_experiment(call: Call, request: CreateRun) -> Iterable[str]:
    """Rights are asked on the experiment that the run will be in."""
    return [by_id(call, request.experiment_id or "0").ref]


def shown(call: Call, numbers: Sequence[int], known: Sequence[ExperimentRow] = ()) -> list[Run]:
    """Give runs as clients see them, in the order of their numbers. known: of their experiments."""
    found = rows.read_shown(call.tx, numbers)
    experiments = numbered(call, {each.record.experiment for each in found}, known)
    ids = shown_ids(call, {each.record.id: said for each in found if isinstance(said := each.record.doc.get("tags"), Mapping)})
    return [
        Run(
            info=_info(each.record, ids.get(each.record.id, each.record.id), experiments[each.record.experiment]),
            data=RunData(
                metrics=[_metric(point) for point in each.points],
                params=[TagPair(key=name, value=text_of(value)) for name, value in _params(each.record).items()],
                tags=[TagPair(key=name, value=value) for name, value in shown_tags(each.record, each.note).items()],
            ),
            inputs=inputs_of(each.stated, each.used),
            outputs=outputs_of(each.stated),
        )
        for each in found
    ]


def _params(record: RunRecord) -> dict[str, object]:
    said = record.doc.get("params")
    return params_from_json(said) if isinstance(said, Mapping) else {}


def _info(record: RunRecord, id: str, experiment: ExperimentRow) -> RunInfo:
    began_ns = int(record.id[:12], 16) * 1_000_000 if record.started_ns is None else record.started_ns
    return RunInfo(
        run_id=id, run_uuid=id, run_name=str(record.doc.get("name") or record.id[-8:]), experiment_id=str(experiment.id),
        user_id=str(record.doc.get("user") or ""), status=THEIRS.get(record.status, "RUNNING"), start_time=ms_of(began_ns),
        end_time=None if record.ended_ns is None else ms_of(record.ended_ns),
        artifact_uri=f"{location_of(experiment)}/{id}/artifacts",
        lifecycle_stage="active" if record.deleted_ns is None else "deleted",
    )  # fmt: skip


def _metric(point: LastPoint) -> Metric:
    value = math.nan if point.value is None else point.value
    return Metric(key=point.key, value=number_to_json(value), timestamp=ms_of(point.time_ns), step=point.step)


def _name(said: str | None, tags: Mapping[str, str]) -> str:
    """Give the name of a new run: of the field or of the tag, which are one thing; else a random one."""
    if said and tags.get(NAME) and tags[NAME] != said:
        raise invalid(
            f"Both 'run_name' argument and '{NAME}' tag are specified, but with different values: {said!r:.80}, {tags[NAME]!r:.80}."
        )
    return check_length("run_name", said or tags.get(NAME) or random_name(), LONGEST_TAG)


def _status(said: str | int) -> str:
    name = _NUMBERS.get(said, str(said)) if isinstance(said, int) else said
    if name not in OURS:
        raise invalid(f"Invalid value {name[:60]!r} for parameter 'status' supplied: it is one of {', '.join(OURS)}")
    return name


def _set_status(call: Call, head: Head, status: str | None, ended_ns: int | None) -> None:
    if head.holder is not None and (head.expires_ns or 0) > call.tx.now_ns:
        raise invalid(f"The run {head.id} is held by {head.holder[:100]}, which ends it itself.")
    ours = head.status if status is None else OURS[status]
    if ours == "running":
        _attend(call, head.id)
    elif ended_ns is None:
        ended_ns = call.tx.now_ns
    rows.set_status(call.tx, head.no, ours, ended_ns)
    if ours not in ("running", head.status):
        tell_end(call.tx, head.id, ours, "")
    call.tx.emit("run", head.id)


def _attend(call: Call, id: str) -> None:
    """Let a run pass for alive."""
    call.store.writer.show()
    call.attend(to_bytes(id))
    call.tx.emit("run", id)
