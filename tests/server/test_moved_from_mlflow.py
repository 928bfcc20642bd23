"""A team that moves from MLflow: what its unmodified client finds again, by the ids of before.

A real store of MLflow, imported into a folder and asked over the plug-in, imported over HTTP and asked over the server. A step per test.
"""

import re
import shutil
from pathlib import Path

import pytest
from mlflow_peer import run_with_mlflow

from stratal.interop.importing import import_runs
from stratal.server.app import Application
from stratal.server.serving import listening
from stratal.tracking.opening import open_store

SCRIPT = Path(__file__).with_name("mlflow_moved_script.py")
STEPS = re.findall(r"^@step\ndef (\w+)", SCRIPT.read_text(), re.MULTILINE)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with MLflow's own store, which nobody serves any more."""
    folder = tmp_path_factory.mktemp("theirs")
    run_with_mlflow(SCRIPT, "make", f"sqlite:///{folder / 'mlflow.db'}", folder=folder)
    return folder


@pytest.fixture(scope="module")
def over_folder(theirs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What became of each step over the plug-in, after an import into a folder."""
    folder = tmp_path_factory.mktemp("folder")
    store = open_store(folder / "store")
    assert import_runs("mlflow", theirs / "mlflow.db", store=store).is_complete
    again = import_runs("mlflow", theirs / "mlflow.db", store=store)
    assert again.unchanged == again.sources
    store.close()
    shutil.copy(theirs / "seen.json", folder)
    return run_with_mlflow(SCRIPT, "ask", f"stratal://{store.folder}", folder=folder)


@pytest.fixture(scope="module")
def over_server(theirs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What became of each step over the server, after an import through it."""
    folder = tmp_path_factory.mktemp("served")
    store = open_store(folder / "store")
    shutil.copy(theirs / "seen.json", folder)
    with listening(Application(store)) as url:
        far = open_store(url)
        assert import_runs("mlflow", theirs / "mlflow.db", store=far).is_complete
        far.close()
        outcome = run_with_mlflow(SCRIPT, "ask", url, folder=folder)
    store.close()
    return outcome


@pytest.mark.parametrize("step", STEPS)
def test_clients_find_again_what_they_had_in_a_folder(over_folder: dict[str, str], step: str):
    assert over_folder[step] == ""


@pytest.mark.parametrize("step", STEPS)
def test_clients_find_again_what_they_had_at_a_server(over_server: dict[str, str], step: str):
    assert over_server[step] == ""
