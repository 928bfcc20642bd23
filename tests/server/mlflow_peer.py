"""The real MLflow, in a process of its own: out of the environment that the tests run in, else out of the one of the benchmarks.

Our own interpreter and libraries come first, MLflow and what only it needs behind them, so that the plug-in runs on what it is tested on.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_with_mlflow(script: Path, *arguments: str, folder: Path, timeout_s: float = 300) -> dict[str, str]:
    """Run a script that prints a JSON line per step, {"step": name, "error": text or ""}, and give the errors by step."""
    return errors_of(start_with_mlflow(script, *arguments, folder=folder), timeout_s=timeout_s)


def start_with_mlflow(script: Path, *arguments: str, folder: Path, **environ: str) -> "subprocess.Popen[str]":
    """Start such a script. environ: variables of its own."""
    _declare_plugin(folder)
    paths = [str(ROOT / "src"), str(folder), *_mlflow_paths()]
    boot = f"import sys, runpy; sys.path += {paths!r}; sys.path.insert(0, sys.path.pop(sys.path.index({paths[0]!r}))); " + (
        f"sys.argv[:] = {[str(script), *arguments]!r}; runpy.run_path({str(script)!r}, run_name='__main__')"
    )
    # A second for a process that looks for what a model imports.
    environ = {**os.environ, "MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT": "1", **environ}
    return subprocess.Popen(
        [sys.executable, "-c", boot], cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def errors_of(script: "subprocess.Popen[str]", *, timeout_s: float = 300) -> dict[str, str]:
    """Wait for a script, and give the errors by step. Fails if it did."""
    try:
        said, warned = script.communicate(timeout=timeout_s)
    finally:
        script.kill()
    assert script.returncode == 0, f"{said[-2000:]}\n{warned[-4000:]}"
    lines = [json.loads(line) for line in said.splitlines() if line.startswith('{"step"')]
    return {line["step"]: line["error"] for line in lines}


def _mlflow_paths() -> list[str]:
    if importlib.util.find_spec("mlflow") is not None:
        return []
    found = [str(path) for path in (ROOT / "bench" / ".peers" / "mlflow" / "lib").glob("python*/site-packages")]
    if not found:
        assert "CI" not in os.environ, "MLflow is not installed"
        pytest.skip("MLflow is not installed: pip install mlflow-skinny==3.17.2")
    return found


def _declare_plugin(folder: Path) -> None:
    """Declare our entry points as an installed distribution does: what pyproject says, not what was installed some time."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    about = folder / "stratal_declared-0.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: stratal-declared\nVersion: 0\n")
    sections = [f"[{group}]\n" + "".join(f"{name} = {home}\n" for name, home in entries.items()) for group, entries in groups.items()]
    (about / "entry_points.txt").write_text("\n".join(sections))
