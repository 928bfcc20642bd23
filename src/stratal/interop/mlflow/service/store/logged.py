"""Rows of logged models: they are folded from the statements of the runs that keep their files.

Who may write to any run may state anything there, about the model of another run, too: so only what its home states makes a model what it
is, and the home is the run that spoke of it first. Metrics come from any run; whoever reads them is shown those of runs that they may view.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, NamedTuple

import msgspec
from sqlalchemy import bindparam, select, update

from stratal.core.ids import new_id, to_bytes
from stratal.core.records import from_json, number_from_json, to_json
from stratal.interop.bounds import artifact_path
from stratal.interop.mlflow.service.store.runs import MODEL_METRICS
from stratal.store.database import Row, Transaction, insert
from stratal.store.names import add_run
from stratal.store.store import Store
from stratal.store.tables import run
from stratal.tracking.facts import Start
from stratal.tracking.former_ids import is_named
from stratal.tracking.store.settling import TrunkFacts
from stratal.tracking.tables import statement

_Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
# Points as they are stated: key, value, timestamp, step, name and digest of a dataset.
_MEASURED = msgspec.json.Decoder(dict[str, list[tuple[str, float | str, _Whole, _Whole, str, str]]])

# The kind of statements that make a logged model; their subject is its id.
MODEL = "mlflow.logged_model"
# What the job is called whose run keeps a logged model that no run logged, and the one whose run keeps what another store said of a model.
JOB_OF_HOMES, JOB_OF_MODELS = "logged model", "registered model"

_COLUMNS = (statement.c.subject, run.c.id, run.c.experiment, statement.c.author, statement.c.at_ns, statement.c.body)
_STATED = (
    select(*_COLUMNS)
    .join_from(statement, run, run.c.no == statement.c.run)
    .where(statement.c.kind == bindparam("of_kind"))
    .order_by(statement.c.at_ns, statement.c.id)
)
_ABOUT = _STATED.where(statement.c.subject == bindparam("about"))
_IN_EXPERIMENT = _STATED.where(run.c.experiment == bindparam("of_experiment"))
# In the order in which this store heard of it: times are what senders say.
_first = statement.alias("first")
_home = (
    select(_first.c.run)
    .where(_first.c.kind == statement.c.kind, _first.c.subject == statement.c.subject)
    .order_by(_first.c.id)
    .limit(1)
    .scalar_subquery()
)
_BY_HOME = _ABOUT.where(statement.c.run == _home)
_BY_HOMES_IN = _IN_EXPERIMENT.where(statement.c.run == _home)

_SAY = insert(statement)
_END = update(run).where(run.c.no == bindparam("run_no")).values(status="finished", ended_ns=bindparam("at"))


class Logged(NamedTuple):
    """A logged model, folded. home: the run that keeps its files below `folder`; source_run: the one that logged it, '' if none."""

    id: str
    home: str
    source_run: str
    experiment: str
    name: str
    model_type: str
    status: str
    author: str
    created_ns: int
    updated_ns: int
    is_deleted: bool
    params: dict[str, str]
    tags: dict[str, str]

    @property
    def folder(self) -> str:
        """Where its files lie among its home's artifacts."""
        return folder_of(self.name, self.id)


class Point(NamedTuple):
    """The last value of a metric of a logged model, by run and dataset."""

    key: str
    value: float
    timestamp: int
    step: int
    run: str
    dataset_name: str
    dataset_digest: str


def folder_of(name: str, id: str) -> str:
    """Give the folder of a logged model among its home's artifacts; one name may be logged often."""
    return artifact_path("models", f"{name or 'model'}-{id}")


def say(tx: Transaction, run_no: int, kind: str, id: str, body: Mapping[str, object]) -> None:
    """State something about a logged model; what is said later counts."""
    tx.run(_SAY, run=run_no, kind=kind, subject=id, author=tx.actor.name, at_ns=tx.now_ns, body=to_json(body))


def add_home(tx: Transaction, store: Store, experiment: str, name: str) -> int:
    """Make the run that keeps a logged model that no run logged; give its number."""
    row = add_run(tx, to_bytes(id := new_id(store.clock)))
    start = Start(experiment=experiment, name=name, kind="job", job_type=JOB_OF_HOMES, user=tx.actor.name)
    TrunkFacts().start(tx, row, start, at_ns=tx.now_ns, epoch=0, names=store.settler.names)
    tx.run(_END, run_no=row.no, at=tx.now_ns)
    tx.emit("run", id)
    return row.no


def find_logged(tx: Transaction, id: str) -> Logged | None:
    """Give a logged model, deleted or not; None if there was none."""
    return next(iter(_fold(tx.rows(_BY_HOME, of_kind=MODEL, about=id))), None)


def logged_in(tx: Transaction, experiments: Sequence[str]) -> list[Logged]:
    """List the logged models of experiments, deleted ones too."""
    return _fold(row for name in experiments for row in tx.rows(_BY_HOMES_IN, of_kind=MODEL, of_experiment=name))


def points_of(tx: Transaction, id: str, visible: Collection[str] | None) -> list[Point]:
    """List the metrics of a logged model, as runs of experiments measured it that may be viewed; None: of all."""
    found = tx.rows(_ABOUT, of_kind=MODEL_METRICS, about=id)
    return _points(row for row in found if visible is None or row[2] in visible).get(id, [])


def points_in(tx: Transaction, experiments: Sequence[str]) -> dict[str, list[Point]]:
    """List the metrics of the logged models that were measured by runs of experiments."""
    return _points(row for name in experiments for row in tx.rows(_IN_EXPERIMENT, of_kind=MODEL_METRICS, of_experiment=name))


def _fold(rows: Iterable[Row]) -> list[Logged]:
    found: dict[str, Logged] = {}
    for id, home, experiment, author, at_ns, text in rows:
        body = from_json(text, dict[str, object])
        known = found.get(id)
        if known is None:
            if "name" not in body:  # a change of a model whose start is not here
                continue
            run_id, source = bytes(home).hex(), str(body.get("source_run", ""))
            known = Logged(
                id, run_id, source if is_named(run_id, source) else "", experiment, str(body["name"]),
                str(body.get("model_type", "")), "", author, at_ns, at_ns, False, {}, {},
            )  # fmt: skip
        params, tags, gone = body.get("params"), body.get("tags"), body.get("untagged")
        found[id] = known._replace(
            status=str(body.get("status", known.status)),
            is_deleted=bool(body.get("is_deleted", known.is_deleted)),
            params=known.params | _texts(params),
            tags={key: value for key, value in (known.tags | _texts(tags)).items() if not isinstance(gone, list) or key not in gone},
            updated_ns=at_ns,
        )
    return list(found.values())


def _texts(said: object) -> dict[str, str]:
    return {key: str(value) for key, value in said.items()} if isinstance(said, dict) else {}


def _points(rows: Iterable[Row]) -> dict[str, list[Point]]:
    found: dict[str, dict[tuple[str, str, str, str], Point]] = {}
    for id, home, _experiment, _author, _at_ns, text in rows:
        for key, value, timestamp, step, name, digest in _measured(text):
            point = Point(key, value, timestamp, step, bytes(home).hex(), name, digest)
            last = found.setdefault(id, {}).get(place := (key, point.run, name, digest))
            if last is None or (last.step, last.timestamp) <= (step, timestamp):
                found[id][place] = point
    return {id: list(points.values()) for id, points in found.items()}


def _measured(text: str) -> list[tuple[str, float, int, int, str, str]]:
    """Read points as a run states them; none, where it states something else: anybody's run may, about anybody's model."""
    try:
        return [(key, number_from_json(value), *rest) for key, value, *rest in _MEASURED.decode(text).get("points", ())]  # type: ignore[misc]
    except (ValueError, KeyError):  # of msgspec, and of texts that are no numbers
        return []
