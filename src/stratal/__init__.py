"""Stratal: a team's whole machine-learning layer in one package. `import stratal as st`.

The verbs a user types, each imported when it is first used: importing this package costs a few milliseconds.
"""

import importlib
from typing import TYPE_CHECKING

from stratal.recipes import wiring as _wiring  # noqa: F401  # refs of all rooms resolve in any process that imports us
from stratal.version import __version__

if TYPE_CHECKING:  # the same table once more, for editors and type checkers
    from stratal.core.errors import Bug as Bug
    from stratal.core.errors import Conflict as Conflict
    from stratal.core.errors import Damaged as Damaged
    from stratal.core.errors import Forbidden as Forbidden
    from stratal.core.errors import Misuse as Misuse
    from stratal.core.errors import NotFound as NotFound
    from stratal.core.errors import Refused as Refused
    from stratal.core.errors import StaleLease as StaleLease
    from stratal.core.errors import StoreDown as StoreDown
    from stratal.core.errors import StratalError as StratalError
    from stratal.data import Dataset as Dataset
    from stratal.data import Schema as Schema
    from stratal.data import ValidationFailed as ValidationFailed
    from stratal.data import boolean as boolean
    from stratal.data import category as category
    from stratal.data import dataset as dataset
    from stratal.data import infer_schema as infer_schema
    from stratal.data import integer as integer
    from stratal.data import number as number
    from stratal.data import string as string
    from stratal.data import timestamp as timestamp
    from stratal.evaluation import evaluate as evaluate
    from stratal.evaluation import kpi as kpi
    from stratal.features import FeatureFrame as FeatureFrame
    from stratal.features import FeatureView as FeatureView
    from stratal.features import NotSeparable as NotSeparable
    from stratal.features import feature_view as feature_view
    from stratal.interop.exporting.exports import export_runs as export_runs
    from stratal.interop.importing import import_runs as import_runs
    from stratal.pipelines import Permanent as Permanent
    from stratal.pipelines import PipelineRun as PipelineRun
    from stratal.pipelines import StepFailed as StepFailed
    from stratal.pipelines import Temporary as Temporary
    from stratal.pipelines import pipeline as pipeline
    from stratal.pipelines import step as step
    from stratal.recipes.steps import promote as promote
    from stratal.recipes.steps import register as register
    from stratal.registry import Policy as Policy
    from stratal.registry import Promotion as Promotion
    from stratal.registry import TransitionRefused as TransitionRefused
    from stratal.registry import Version as Version
    from stratal.registry import alias as alias
    from stratal.registry import approvals as approvals
    from stratal.registry import approve as approve
    from stratal.registry import archive as archive
    from stratal.registry import assess as assess
    from stratal.registry import better_than_champion as better_than_champion
    from stratal.registry import data_valid as data_valid
    from stratal.registry import gate as gate
    from stratal.registry import history as history
    from stratal.registry import policy as policy
    from stratal.registry import rollback as rollback
    from stratal.registry import set_policy as set_policy
    from stratal.tracking import explaining as _explaining
    from stratal.tracking.active import active_run as active_run
    from stratal.tracking.alerts import alerts as alerts
    from stratal.tracking.annotating import note as note
    from stratal.tracking.annotating import tag as tag
    from stratal.tracking.artifacts import ArtifactFile as ArtifactFile
    from stratal.tracking.artifacts import ArtifactFolder as ArtifactFolder
    from stratal.tracking.autologging import autolog as autolog
    from stratal.tracking.autologging import callback as callback
    from stratal.tracking.collecting import gc as gc
    from stratal.tracking.comparing_page import comparison_html as comparison_html
    from stratal.tracking.deleting import delete as delete
    from stratal.tracking.deleting import purge as purge
    from stratal.tracking.deleting import restore as restore
    from stratal.tracking.doctor import doctor as doctor
    from stratal.tracking.finding import runs as runs
    from stratal.tracking.following import follow as follow
    from stratal.tracking.forking import fork as fork
    from stratal.tracking.grouping import spread as spread
    from stratal.tracking.grouping import top as top
    from stratal.tracking.media.histograms import histogram as histogram
    from stratal.tracking.media.values import audio as audio
    from stratal.tracking.media.values import figure as figure
    from stratal.tracking.media.values import html as html
    from stratal.tracking.media.values import image as image
    from stratal.tracking.media.values import json as json
    from stratal.tracking.media.values import table as table
    from stratal.tracking.media.values import text as text
    from stratal.tracking.media.values import video as video
    from stratal.tracking.opening import open_store as open_store
    from stratal.tracking.opening import use_store as use_store
    from stratal.tracking.plotting import plot as plot
    from stratal.tracking.reproducing.reproduce import reproduce as reproduce
    from stratal.tracking.resolving import get as get
    from stratal.tracking.retaining import retain as retain
    from stratal.tracking.runs import Run as Run
    from stratal.tracking.runs import log as log
    from stratal.tracking.runs import run as run
    from stratal.tracking.seeding import seed_everything as seed_everything
    from stratal.tracking.serving import load as load
    from stratal.tracking.syncing import sync as sync
    from stratal.tracking.unsynced import bring_back as bring_back
    from stratal.tracking.unsynced import discard as discard
    from stratal.tracking.unsynced import set_aside as set_aside
    from stratal.tracking.unsynced import unsynced as unsynced
    from stratal.tracking.values import Evaluation as Evaluation
    from stratal.tracking.values import File as File
    from stratal.tracking.values import Model as Model
    from stratal.tracking.values import Params as Params
    from stratal.tracking.views import remove_view as remove_view
    from stratal.tracking.views import save_view as save_view
    from stratal.tracking.views import view as view
    from stratal.tracking.views import views as views
    from stratal.tracking.weighing import importance as importance
    from stratal.training import JobFailed as JobFailed
    from stratal.training import job as job
    from stratal.tuning import TPE as TPE
    from stratal.tuning import Median as Median
    from stratal.tuning import Random as Random
    from stratal.tuning import TrialStopped as TrialStopped
    from stratal.tuning import choice as choice
    from stratal.tuning import integers as integers
    from stratal.tuning import log_integers as log_integers
    from stratal.tuning import log_uniform as log_uniform
    from stratal.tuning import study as study
    from stratal.tuning import uniform as uniform

    compare, why = _explaining.compare_runs, _explaining.explain

# Name to home. What is not here is not public.
_HOMES = {
    # tracking
    "run": "stratal.tracking.runs",
    "log": "stratal.tracking.runs",
    "Run": "stratal.tracking.runs",
    "active_run": "stratal.tracking.active",
    "get": "stratal.tracking.resolving",
    "runs": "stratal.tracking.finding",
    "fork": "stratal.tracking.forking",
    "doctor": "stratal.tracking.doctor",
    "follow": "stratal.tracking.following",
    "plot": "stratal.tracking.plotting",
    "comparison_html": "stratal.tracking.comparing_page",
    "importance": "stratal.tracking.weighing",
    "top": "stratal.tracking.grouping",
    "spread": "stratal.tracking.grouping",
    "save_view": "stratal.tracking.views",
    "view": "stratal.tracking.views",
    "views": "stratal.tracking.views",
    "remove_view": "stratal.tracking.views",
    "gc": "stratal.tracking.collecting",
    "tag": "stratal.tracking.annotating",
    "note": "stratal.tracking.annotating",
    "delete": "stratal.tracking.deleting",
    "restore": "stratal.tracking.deleting",
    "purge": "stratal.tracking.deleting",
    "retain": "stratal.tracking.retaining",
    "compare": "stratal.tracking.explaining:compare_runs",
    "why": "stratal.tracking.explaining:explain",
    "reproduce": "stratal.tracking.reproducing.reproduce",
    "load": "stratal.tracking.serving",
    "autolog": "stratal.tracking.autologging",
    "callback": "stratal.tracking.autologging",
    "seed_everything": "stratal.tracking.seeding",
    "alerts": "stratal.tracking.alerts",
    "use_store": "stratal.tracking.opening",
    "open_store": "stratal.tracking.opening",
    "ArtifactFile": "stratal.tracking.artifacts",
    "ArtifactFolder": "stratal.tracking.artifacts",
    "sync": "stratal.tracking.syncing",
    "unsynced": "stratal.tracking.unsynced",
    "set_aside": "stratal.tracking.unsynced",
    "discard": "stratal.tracking.unsynced",
    "bring_back": "stratal.tracking.unsynced",
    "audio": "stratal.tracking.media.values",
    "figure": "stratal.tracking.media.values",
    "histogram": "stratal.tracking.media.histograms",
    "html": "stratal.tracking.media.values",
    "image": "stratal.tracking.media.values",
    "json": "stratal.tracking.media.values",
    "table": "stratal.tracking.media.values",
    "text": "stratal.tracking.media.values",
    "video": "stratal.tracking.media.values",
    "File": "stratal.tracking.values",
    "Params": "stratal.tracking.values",
    "Model": "stratal.tracking.values",
    "Evaluation": "stratal.tracking.values",
    # data
    "Dataset": "stratal.data",
    "Schema": "stratal.data",
    "ValidationFailed": "stratal.data",
    "dataset": "stratal.data",
    "string": "stratal.data",
    "integer": "stratal.data",
    "number": "stratal.data",
    "boolean": "stratal.data",
    "category": "stratal.data",
    "timestamp": "stratal.data",
    "infer_schema": "stratal.data",
    # features
    "FeatureFrame": "stratal.features",
    "FeatureView": "stratal.features",
    "NotSeparable": "stratal.features",
    "feature_view": "stratal.features",
    # tuning
    "study": "stratal.tuning",
    "uniform": "stratal.tuning",
    "log_uniform": "stratal.tuning",
    "integers": "stratal.tuning",
    "log_integers": "stratal.tuning",
    "choice": "stratal.tuning",
    "Median": "stratal.tuning",
    "Random": "stratal.tuning",
    "TPE": "stratal.tuning",
    "TrialStopped": "stratal.tuning",
    # training
    "job": "stratal.training",
    "JobFailed": "stratal.training",
    # pipelines
    "StepFailed": "stratal.pipelines",
    "PipelineRun": "stratal.pipelines",
    "step": "stratal.pipelines",
    "pipeline": "stratal.pipelines",
    "Temporary": "stratal.pipelines",
    "Permanent": "stratal.pipelines",
    # evaluation
    "evaluate": "stratal.evaluation",
    "kpi": "stratal.evaluation",
    # registry
    "register": "stratal.recipes.steps",
    "promote": "stratal.recipes.steps",
    "policy": "stratal.registry",
    "gate": "stratal.registry",
    "data_valid": "stratal.registry",
    "better_than_champion": "stratal.registry",
    "approvals": "stratal.registry",
    "Policy": "stratal.registry",
    "Version": "stratal.registry",
    "Promotion": "stratal.registry",
    "assess": "stratal.registry",
    "approve": "stratal.registry",
    "rollback": "stratal.registry",
    "archive": "stratal.registry",
    "alias": "stratal.registry",
    "history": "stratal.registry",
    "set_policy": "stratal.registry",
    "TransitionRefused": "stratal.registry",
    # interop
    "import_runs": "stratal.interop.importing",
    "export_runs": "stratal.interop.exporting.exports",
    # errors
    "StratalError": "stratal.core.errors",
    "Misuse": "stratal.core.errors",
    "Forbidden": "stratal.core.errors",
    "NotFound": "stratal.core.errors",
    "Conflict": "stratal.core.errors",
    "StaleLease": "stratal.core.errors",
    "Refused": "stratal.core.errors",
    "Damaged": "stratal.core.errors",
    "StoreDown": "stratal.core.errors",
    "Bug": "stratal.core.errors",
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604  # the table is the list


def __getattr__(name: str) -> object:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"stratal has no {name!r}") from None
    module, _, other = home.partition(":")
    value: object = getattr(importlib.import_module(module), other or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
