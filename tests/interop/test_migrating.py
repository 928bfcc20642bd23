"""The page for those who come from MLflow: its two scripts differ by three lines, and log the same.

The second needs an installed mlflow, and is left out where there is none. Excluded: that our script runs (tests/docs).
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stratal.interop.importing import import_runs
from stratal.store.store import Store
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store

PAGE = (Path(__file__).parents[2] / "docs/migrate.md").read_text()
THEIRS, OURS = (re.findall(rf"^```{fence}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[0] for fence in ("py", "python"))


def lines(script: str) -> set[str]:
    return {line.strip() for line in script.splitlines() if line.strip()}


def test_a_script_moves_by_three_lines():
    assert len(lines(OURS) - lines(THEIRS)) == 3
    assert len(lines(THEIRS)) >= len(lines(OURS))


def test_both_scripts_log_the_same(store: Store, tmp_path: Path):
    pytest.importorskip("mlflow")
    environ = {**os.environ, "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", "STRATAL_STORE": str(tmp_path / "ours")}
    for script in (THEIRS, OURS):
        subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, env=environ, capture_output=True)

    assert import_runs("mlflow", tmp_path / "mlflow.db", store=store).is_complete

    (theirs,), (ours,) = find_runs(store=store), find_runs(store=open_store(tmp_path / "ours"))
    assert (theirs.experiment, theirs.name, theirs.status, theirs.params) == (ours.experiment, ours.name, ours.status, ours.params)
    for name in ("loss", "auc"):
        assert theirs.series(name).values.tolist() == ours.series(name).values.tolist()
        assert theirs.series(name).steps.tolist() == ours.series(name).steps.tolist() == list(range(20))
