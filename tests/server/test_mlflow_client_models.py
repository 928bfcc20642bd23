"""Models by the real MLflow client, unmodified: over the plug-in in its own process, and over a server.

One script with two URIs, a step per test."""

import re
from pathlib import Path

import pytest
from mlflow_peer import run_with_mlflow

from stratal.registry import policy, register, set_policy
from stratal.registry.policies import gate
from stratal.server.mlflow.surface import Mlflow
from stratal.server.serving import listening
from stratal.store.store import Store
from stratal.tracking.flavors.manifest import Manifest, ModelFile
from stratal.tracking.opening import open_store
from stratal.tracking.runs import run
from stratal.tracking.values import Model

SCRIPT = Path(__file__).with_name("mlflow_models_script.py")
STEPS = re.findall(r"^@step\ndef (\w+)", SCRIPT.read_text(), re.MULTILINE)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store that has one model of our own, under a policy."""
    return tmp_path_factory.mktemp("client")


@pytest.fixture(scope="module")
def over_folder(folder: Path) -> dict[str, str]:
    """What became of each step over the plug-in."""
    store = open_store(folder / "embedded")
    add_gated_model(store)
    store.close()
    return run_with_mlflow(SCRIPT, f"stratal://{store.folder}", folder=folder)


@pytest.fixture(scope="module")
def over_server(folder: Path) -> dict[str, str]:
    """What became of each step over a server."""
    store = open_store(folder / "served")
    add_gated_model(store)
    surface = Mlflow(store)
    with listening(surface) as url:
        outcome = run_with_mlflow(SCRIPT, url, folder=folder)
    store.close()
    return outcome


@pytest.mark.parametrize("step", STEPS)
def test_a_script_for_mlflow_works_with_a_folder(over_folder: dict[str, str], step: str):
    assert over_folder[step] == ""


@pytest.mark.parametrize("step", STEPS)
def test_a_script_for_mlflow_works_with_a_server(over_server: dict[str, str], step: str):
    assert over_server[step] == ""


def add_gated_model(store: Store) -> None:
    with run("ours", store=store) as made:
        saved = made.save_bytes("model/weights", b"w")
    files = (ModelFile(path="weights", digest=saved.digest, size_bytes=1),)
    digest = store.blobs.put(Manifest(flavor="own", files=files).encode())
    register("gated", Model(run=made.id, path="model", digest=digest, flavor="own"), store=store)
    set_policy("gated", policy(staging=[gate("auc >= 0.8")]), store=store)
