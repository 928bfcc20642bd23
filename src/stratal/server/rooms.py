"""The rooms that are served: one line each, and which rights their operations ask for."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from stratal.core.people import Role
from stratal.data.store import DatasetStore
from stratal.features.store import FeatureStore
from stratal.interop.exporting.operations import ExportStore
from stratal.interop.mlflow.operations import MovedExperiments, MovedModels
from stratal.interop.operations import ImportedModels, ImportStore
from stratal.pipelines.states import HIT
from stratal.pipelines.store import PipelineStore
from stratal.registry.store import ModelStore
from stratal.store.access.accounts import AccessStore
from stratal.store.operations import Operation, all_operations, room_of
from stratal.tracking.operations.annotating import RunRemarks
from stratal.tracking.operations.deciding import RunDecisions
from stratal.tracking.operations.forking import RunForks
from stratal.tracking.operations.leasing import RunLeases
from stratal.tracking.operations.lineage import RunLineage
from stratal.tracking.operations.quotas import QuotaStore
from stratal.tracking.operations.reading import RunReads
from stratal.tracking.operations.searching import RunSearch
from stratal.tracking.operations.upkeep import Upkeep
from stratal.tracking.operations.views import ViewStore
from stratal.training.store import CheckpointStore
from stratal.tuning.store import StudyStore
from stratal.webhooks.store import WebhookStore

# The arguments of a call, as a struct made of the operation's signature; an item of what it lists.
Arguments = Any
Item = Any


@dataclass(frozen=True, kw_only=True)
class Room:
    """A room's store, and what its operations speak of.

    Asked for is an operation's role on what its `on` names, and on the experiment of each run that it takes and that is known
    here. A call that speaks of nothing with rights of its own asks for the role on everything.
    """

    store: type
    # What `on` names: "experiment" or "model". None: something without rights of its own.
    on: str | None = None
    # The role on the experiments of runs that are named beside something else; None: the operation's own.
    on_runs: Role | None = None
    # By operation, the experiments and the ids of runs of a call where these are no arguments `on` and `run`.
    experiments: Mapping[str, Callable[[Arguments], Iterable[str]]] = field(default_factory=dict)
    runs: Mapping[str, Callable[[Arguments], Iterable[str]]] = field(default_factory=dict)
    # Operations that list: nobody is refused, each sees its own. What an item is ("model", "experiment", "run"), and its name.
    lists: Mapping[str, tuple[str, Callable[[Item], str]]] = field(default_factory=dict)
    # Whether only those are served who were asked who they are: whoever reaches a server that asks nobody could else make a token that is
    # good on one that asks.
    is_for_known: bool = False

    @property
    def name(self) -> str:
        """Its name in URLs."""
        return room_of(self.store)

    @property
    def operations(self) -> Mapping[str, Operation]:
        """Its operations by name."""
        return all_operations(self.store)

    def objects_of(self, operation: Operation, arguments: Arguments) -> list[str]:
        """Give what a call names: 'experiment:NAME' or 'model:NAME'."""
        if operation.name in self.experiments:
            return [f"experiment:{name}" for name in self.experiments[operation.name](arguments)]
        if operation.on not in (None, "run", "runs") and self.on is not None:
            return [f"{self.on}:{getattr(arguments, str(operation.on))}"]
        return []

    def runs_of(self, operation: Operation, arguments: Arguments) -> list[str]:
        """Give the ids of runs that a call names, each once: rights on it are asked for once."""
        if operation.name in self.runs:
            return list(dict.fromkeys(run for run in self.runs[operation.name](arguments) if run))
        runs = [getattr(arguments, "run", None), *getattr(arguments, "runs", ())]
        return list(dict.fromkeys(run for run in runs if isinstance(run, str) and run))


ROOMS: tuple[Room, ...] = (
    Room(store=ModelStore, on="model", on_runs=Role.VIEWER, lists={"models": ("model", attrgetter("name"))}),
    Room(store=DatasetStore, on_runs=Role.VIEWER),
    Room(store=FeatureStore),
    Room(store=StudyStore, on="experiment", lists={"newest_versions": ("experiment", attrgetter("name"))}),
    Room(
        store=PipelineStore,
        experiments={"begin": lambda call: [call.experiment], "record": lambda call: {one.experiment for one in call.begun} - {""}},
        runs={
            "begin": lambda call: [call.row.run],
            "record": lambda call: [
                call.run,
                *(one.row.run for one in (*call.ended, *call.begun)),
                # A hit only says who made its result, and changes nothing there.
                *(one.row.step_run for one in (*call.ended, *call.begun) if one.row.state != HIT),
                *(result.step_run for result in call.results),
            ],
            "renew": lambda call: [call.run, *(row.step_run for row in call.steps)],
        },
        lists={"recent": ("run", str)},
    ),
    *(Room(store=kind) for kind in (RunReads, RunSearch, RunLineage, RunDecisions, RunRemarks, ViewStore, ExportStore)),
    Room(store=RunLeases, on="experiment"),
    Room(store=RunForks, on="experiment", on_runs=Role.VIEWER, runs={"fork": lambda call: [call.origin]}),
    Room(store=CheckpointStore, runs={"add": lambda call: [call.checkpoint.run]}),
    Room(store=WebhookStore),
    Room(store=AccessStore, is_for_known=True),
    Room(store=Upkeep, on="experiment"),
    Room(store=QuotaStore),
    Room(store=MovedExperiments, on="experiment"),
    Room(store=ImportStore, experiments={"apply": lambda call: [call.batch.began.experiment] if call.batch.began else []}),
    *(Room(store=kind, on="model") for kind in (ImportedModels, MovedModels)),
)
