"""Data: dataset versions with their schema, profile, validation and drift.

May live here: reading tables, schemas and their rules, profiles that merge, drift between profiles, findings in plain words, splits.
May not: features, models, metrics of models; and nothing that knows what a pipeline does after a refusal.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stratal.data.columns import Column, boolean, category, integer, number, string, timestamp
    from stratal.data.datasets import Dataset, dataset, open_dataset, profile_table, read_table, resolve_dataset
    from stratal.data.drift import ColumnDrift, DriftLimits, compare
    from stratal.data.findings import Finding
    from stratal.data.inferring import infer_schema
    from stratal.data.profile import Profile, profile_frame
    from stratal.data.schema import Schema
    from stratal.data.sources import read_frame
    from stratal.data.store import DatasetStore
    from stratal.data.validating import Validation, ValidationFailed, validate_frame
    from stratal.data.versions import DatasetVersion

# Loaded at first use: most of these files need polars.
_HOMES = {
    "Column": "columns",
    "ColumnDrift": "drift",
    "Dataset": "datasets",
    "DatasetStore": "store",
    "DatasetVersion": "versions",
    "DriftLimits": "drift",
    "Finding": "findings",
    "Profile": "profile",
    "Schema": "schema",
    "Validation": "validating",
    "ValidationFailed": "validating",
    "boolean": "columns",
    "category": "columns",
    "compare": "drift",
    "dataset": "datasets",
    "infer_schema": "inferring",
    "integer": "columns",
    "number": "columns",
    "open_dataset": "datasets",
    "profile_frame": "profile",
    "profile_table": "datasets",
    "read_frame": "sources",
    "read_table": "datasets",
    "resolve_dataset": "datasets",
    "string": "columns",
    "timestamp": "columns",
    "validate_frame": "validating",
}

__all__ = [
    "Column",
    "ColumnDrift",
    "Dataset",
    "DatasetStore",
    "DatasetVersion",
    "DriftLimits",
    "Finding",
    "Profile",
    "Schema",
    "Validation",
    "ValidationFailed",
    "boolean",
    "category",
    "compare",
    "dataset",
    "infer_schema",
    "integer",
    "number",
    "open_dataset",
    "profile_frame",
    "profile_table",
    "read_frame",
    "read_table",
    "resolve_dataset",
    "string",
    "timestamp",
    "validate_frame",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
