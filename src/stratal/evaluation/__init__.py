"""Evaluation: how good a model is, how sure that is, for whom, and what it earns.

May live here: metric kernels, intervals, slices, fairness, KPIs, calibration, the comparison with a champion, the report.
May not: judging. A gate of the registry reads what is stated here; nothing here says whether a model may go anywhere.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stratal.evaluation.costs import Kpi, kpi
    from stratal.evaluation.evaluating import evaluate
    from stratal.evaluation.reading import read_results, write_report
    from stratal.evaluation.results import Results

__all__ = ["Kpi", "Results", "evaluate", "kpi", "read_results", "write_report"]

# Loaded when asked for: NumPy and polars are not to be paid by a process that only logs.
_HOMES = {
    "Kpi": "costs",
    "Results": "results",
    "evaluate": "evaluating",
    "kpi": "costs",
    "read_results": "reading",
    "write_report": "reading",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
