"""Experiments: here they are names that runs have; MLflow's clients know them by numbers, and hold more about them."""

from collections.abc import Collection, Iterable, Sequence

from stratal.core.people import Role
from stratal.interop.mlflow.service.calls import Answer, Call, Empty, Request, Unnumbered, commands, reads
from stratal.interop.mlflow.service.errors import exists, invalid, missing, required
from stratal.interop.mlflow.service.names import LONGEST_EXPERIMENT_TAG, check_experiment, check_key, check_length, ms_of
from stratal.interop.mlflow.service.records import TagPair
from stratal.interop.mlflow.service.store import experiments as rows
from stratal.interop.mlflow.service.store.experiments import ExperimentRow
from stratal.tracking.store import deleting

DEFAULT = "Default"
PROXY = "mlflow-artifacts:"
# The largest number that an experiment can have.
MOST_ID = 2**63 - 1


class CreateExperiment(Request, frozen=True, kw_only=True):
    name: str | None = None
    artifact_location: str | None = None
    tags: list[TagPair] | None = None


class OfExperiment(Request, frozen=True, kw_only=True):
    """A request about one experiment."""

    experiment_id: str | None = None


class ByName(Request, frozen=True, kw_only=True):
    experiment_name: str | None = None


class UpdateExperiment(OfExperiment, frozen=True, kw_only=True):
    new_name: str | None = None


class ExperimentTag(OfExperiment, frozen=True, kw_only=True):
    key: str | None = None
    value: str | None = None


class ExperimentMade(Answer, frozen=True, kw_only=True):
    experiment_id: str


class Experiment(Answer, frozen=True, kw_only=True):
    """An experiment, as clients see it."""

    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    creation_time: int
    last_update_time: int
    tags: list[TagPair] = []


class OneExperiment(Answer, frozen=True, kw_only=True):
    experiment: Experiment


@commands
def create(call: Call, request: CreateExperiment) -> ExperimentMade:
    """Make an experiment. Raises MlflowError if its name is taken, by a deleted one too."""
    name = check_experiment(request.name)
    said = [(check_key(tag.key), _tag_value(tag.value)) for tag in request.tags or ()]
    location = check_location(request.artifact_location or "")
    if rows.has_runs(call.tx, name):
        rows.number(call.tx, [name])
    if not rows.add(call.tx, name, location):
        is_gone = find(call, name).deleted_ns is not None
        raise exists(f"Experiment(name={name}) already exists{' in deleted state: restore it, or take another name' if is_gone else ''}.")
    row = find(call, name)
    for key, value in said:
        rows.set_tag(call.tx, row.id, key, value)
    call.created(row.ref)
    return ExperimentMade(experiment_id=str(row.id))


@reads
def get(call: Call, request: OfExperiment) -> OneExperiment:
    """Give an experiment by its number, a deleted one too."""
    return OneExperiment(experiment=shown(call, [of_request(call, request)])[0])


@reads
def get_by_name(call: Call, request: ByName) -> OneExperiment:
    """Give an experiment by its name, a deleted one too."""
    return OneExperiment(experiment=shown(call, [find(call, request.experiment_name or "")])[0])


@commands
def update(call: Call, request: UpdateExperiment) -> Empty:
    """Rename an experiment, with all of its runs."""
    row = active(of_request(call, request))
    if request.new_name is None:
        return Empty()
    name = check_experiment(request.new_name, "new_name")
    call.check(Role.ADMIN, f"experiment:{name}")
    if row.id == 0:
        raise invalid(f"The experiment '{DEFAULT}' cannot be renamed.")
    if name != row.name:
        if rows.by_name(call.tx, name) is not None or rows.has_runs(call.tx, name):
            raise exists(f"Experiment(name={name}) already exists.")
        rows.rename(call.tx, row, name)
        call.store.settler.names.forget()
        call.tx.emit("experiment", f"experiment:{name}")
    return Empty()


@commands
def delete(call: Call, request: OfExperiment) -> Empty:
    """Hide an experiment, and all of its runs with it."""
    row = of_request(call, request)
    if row.deleted_ns is not None:
        raise missing(f"Experiment with ID {row.id} is deleted already.")
    for no in rows.mark_deleted(call.tx, row):
        deleting.mark_deleted(call.tx, no)
    call.tx.emit("deleted", row.ref)
    return Empty()


@commands
def restore(call: Call, request: OfExperiment) -> Empty:
    """Show an experiment again, and the runs that went with it."""
    row = of_request(call, request)
    if row.deleted_ns is None:
        raise missing(f"Experiment with ID {row.id} is not deleted.")
    for no in rows.unmark_deleted(call.tx, row):
        deleting.unmark_deleted(call.tx, no)
    call.tx.emit("restored", row.ref)
    return Empty()


@commands
def set_tag(call: Call, request: ExperimentTag) -> Empty:
    """Set a tag of an experiment."""
    row = active(of_request(call, request))
    rows.set_tag(call.tx, row.id, check_key(request.key), _tag_value(request.value))
    return Empty()


@commands
def delete_tag(call: Call, request: ExperimentTag) -> Empty:
    """Take a tag of an experiment away."""
    row = active(of_request(call, request))
    if not rows.drop_tag(call.tx, row.id, check_key(request.key)):
        raise missing(f"No tag with name: {request.key} in experiment with id {row.id}")
    return Empty()


def of_request(call: Call, request: OfExperiment) -> ExperimentRow:
    """Give the experiment that a request is about. Raises MlflowError if there is none."""
    if not request.experiment_id:
        raise required("experiment_id")
    return by_id(call, request.experiment_id)


def by_id(call: Call, id: str) -> ExperimentRow:
    """Give an experiment by the number that clients know. Raises MlflowError if there is none."""
    number = to_number(id)
    row = None if number is None else rows.by_id(call.tx, number)
    if row is None:
        raise missing(f"No Experiment with id={id[:60]} exists")
    return row


def to_number(id: str) -> int | None:
    """Give the number of an experiment's id, None for what is none."""
    return number if id.isascii() and id.isdigit() and len(id) <= 19 and (number := int(id)) <= MOST_ID else None


def find(call: Call, name: str) -> ExperimentRow:
    """Give an experiment by name; one that only runs have is given a number. Raises MlflowError if there is none."""
    row = rows.by_name(call.tx, name)
    if row is None and name and rows.has_runs(call.tx, name):
        row = numbered(call, {name})[name]
    if row is None:
        raise missing(f"Could not find experiment with name '{name[:200]}'")
    return row


def numbered(call: Call, names: Collection[str], known: Sequence[ExperimentRow] = ()) -> dict[str, ExperimentRow]:
    """Give experiments that runs have by their names. known: of some that were read in this call.

    Raises Unnumbered where numbers must be given first, and this is no command."""
    found = {row.name: row for row in known}
    found |= {row.name: row for row in rows.by_names(call.tx, sorted(set(names) - found.keys()))}
    if lacking := [name for name in names if name and name not in found]:
        if not call.tx.is_write:
            raise Unnumbered(lacking)
        rows.number(call.tx, lacking)
        found |= {row.name: row for row in rows.by_names(call.tx, lacking)}
    if "" in names:  # runs of which something came before their start
        default = rows.by_id(call.tx, 0)
        assert default is not None
        found[""] = default
    return found


def active(row: ExperimentRow) -> ExperimentRow:
    """Give an experiment that may be changed. Raises MlflowError for a deleted one."""
    if row.deleted_ns is not None:
        raise invalid(f"The experiment {row.id} must be in the 'active' state. Current state is deleted.")
    return row


def shown(call: Call, found: Sequence[ExperimentRow]) -> list[Experiment]:
    """Give experiments as clients see them."""
    tags = rows.tags_of(call.tx, [row.id for row in found])
    return [
        Experiment(
            experiment_id=str(row.id), name=row.name, artifact_location=location_of(row),
            lifecycle_stage="active" if row.deleted_ns is None else "deleted", creation_time=ms_of(row.created_ns),
            last_update_time=ms_of(row.changed_ns), tags=[TagPair(key=key, value=value) for key, value in tags[row.id].items()],
        )
        for row in found
    ]  # fmt: skip


def location_of(row: ExperimentRow) -> str:
    """Give where an experiment's artifacts are, as clients see it."""
    return row.location or f"{PROXY}/{row.id}"


def check_location(location: str) -> str:
    """Give a place for artifacts. Raises MlflowError for one that could lead elsewhere than it says."""
    if any(mark in location for mark in "?#;") or ".." in location.split("/") or not location.isprintable():
        raise invalid(f"Invalid value {location!r:.120} for parameter 'artifact_location' supplied: no '..', '?', '#', ';' in it")
    return check_length("artifact_location", location, 1000).rstrip("/")


def at_new(call: Call, request: CreateExperiment) -> Iterable[str]:
    """Rights are asked on the experiment that will be."""
    return [f"experiment:{check_experiment(request.name)}"]


def at_id(call: Call, request: OfExperiment) -> Iterable[str]:
    """Rights are asked on the experiment of this number."""
    return [of_request(call, request).ref]


def at_name(call: Call, request: ByName) -> Iterable[str]:
    """Rights are asked on the experiment of this name."""
    if not request.experiment_name:
        raise required("experiment_name")
    return [f"experiment:{request.experiment_name}"]


def _tag_value(value: str | None) -> str:
    return check_length("value", value or "", LONGEST_EXPERIMENT_TAG)
