"""Searches over runs by what only MLflow's clients ask for: its states, places of artifacts, datasets, tags with a place of their own."""

from typing import Any

from sqlalchemy import ColumnElement, Text, and_, case, cast, func, literal, not_, select

from stratal.interop.mlflow.service.store.logged import JOB_OF_HOMES, JOB_OF_MODELS
from stratal.interop.mlflow.service.store.runs import DATASET
from stratal.interop.tables import mlflow_experiment as experiment
from stratal.store.tables import run
from stratal.tracking.search import Compare, Condition, In, Like
from stratal.tracking.store.dialects import hex_text, json_text
from stratal.tracking.store.search import Searching, holds, relation
from stratal.tracking.tables import statement

# Attributes besides ours. HELD_IN: with a member of the run's document behind it.
STATUS, ARTIFACTS, STARTED_MS, ENDED_MS, HELD_IN = "mlflow status", "mlflow artifacts", "mlflow started", "mlflow ended", "mlflow held "
_THEIRS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
_MS = 1_000_000


class MlflowSearching(Searching):
    """A search that knows them."""

    def condition(self, condition: Condition) -> ColumnElement[bool]:
        """Compile a condition; one on a dataset is a set of runs that used one like it."""
        if isinstance(condition, Compare | In | Like) and condition.key.entity == "datasets":
            value = json_text(statement.c.body, condition.key.name)
            is_like = and_(value.is_not(None), holds(condition, lambda op, other: relation(value, op, other), value))
            return run.c.no.in_(select(statement.c.run).where(statement.c.kind == DATASET, is_like))
        return super().condition(condition)

    def shown(self, condition: Condition) -> ColumnElement[bool]:
        """Give the condition; a run that only keeps a logged model which no run logged, or a registered one, is none that a client made."""
        keeps = and_(run.c.kind == "job", func.coalesce(json_text(run.c.doc, "job_type"), "").in_((JOB_OF_HOMES, JOB_OF_MODELS)))
        return and_(super().shown(condition), not_(keeps))

    def column(self, name: str) -> ColumnElement[Any]:
        """Give an attribute's column."""
        match name:
            case "mlflow status":
                return case(*((run.c.status == ours, literal(theirs, Text())) for ours, theirs in _THEIRS.items()), else_="RUNNING")
            case "mlflow artifacts":
                given = func.nullif(experiment.c.location, "")
                ours = literal("mlflow-artifacts:/", Text()) + cast(experiment.c.id, Text())
                place = select(func.coalesce(given, ours)).where(experiment.c.name == run.c.experiment).scalar_subquery()
                return place + literal("/", Text()) + hex_text(run.c.id) + literal("/artifacts", Text())
            case "mlflow started":
                return run.c.started_ns // _MS
            case "mlflow ended":
                return run.c.ended_ns // _MS
            case _ if name.startswith(HELD_IN):
                return func.nullif(json_text(run.c.doc, name.removeprefix(HELD_IN)), "", type_=Text())
            case _:
                return super().column(name)
