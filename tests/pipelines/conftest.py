"""Makes `pipeline_victims` importable here, in worker processes and in victims, and a fresh store cheap."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from stratal.testing.victims import Victims
from stratal.tracking.opening import open_store

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """A store's folder with its tables made: copying it costs less than making them."""
    folder = tmp_path_factory.mktemp("empty") / "store"
    made = open_store(folder)
    with made.query():
        pass
    made.close()
    return folder


@pytest.fixture
def store(tmp_path, empty_store):
    shutil.copytree(empty_store, tmp_path / "store")
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def coordinators():
    """A process to fork coordinators from, with everything imported."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([HERE, *([before] if before else [])])
    imports = ["pipeline_victims", "stratal.pipelines.running", "stratal.store.settling", "stratal.tracking.store.settling"]
    try:
        with Victims(imports) as running:
            yield running
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
