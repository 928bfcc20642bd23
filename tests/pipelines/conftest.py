"""Makes `pipeline_victims` importable here, in worker processes and in victims, and gives stores here and behind a server."""

import os
import sys
from pathlib import Path

import pytest

from stratal.pipelines import working
from stratal.testing.victims import Victims
from stratal.tracking.opening import open_store

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)


@pytest.fixture
def here(new_place):
    """The store where it lies."""
    opened = open_store(new_place("store"))
    yield opened
    opened.close()


@pytest.fixture
def store(here, seen, tmp_path, monkeypatch):
    """The store as pipelines use it: where it lies, and again through a server."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # workers and victims open it by its URL
    working._opened.cache_clear()  # a worker has one store all its life, the threads of these tests have many behind one URL
    return seen(here)


@pytest.fixture(scope="session")
def zygote():
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


@pytest.fixture
def coordinators(zygote, tmp_path):
    """Give a function that starts one of `pipeline_victims`, which finds the journals of this test."""
    return lambda name, *arguments: zygote.start("pipeline_victims:at_home", str(tmp_path / "state"), name, *arguments)
