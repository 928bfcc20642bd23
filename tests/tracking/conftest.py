"""Stores of tests that read, search and decide: one that lies here, and one behind a server. What such tests say holds of both."""

import shutil
from pathlib import Path

import pytest

from stratal.core.settings import Settings
from stratal.tracking.opening import open_store

# Each test of these modules is run with both, but for those that look into the store's folder or database themselves.
BOTH = {
    "test_alerts", "test_artifacts", "test_deleting", "test_ends_of_runs", "test_finding_runs", "test_forks", "test_media_of_runs",
    "test_metric_definitions", "test_plots", "test_saved_views", "test_tables_of_runs",
}  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give the store twice."""
    if "store" in metafunc.fixturenames and metafunc.module.__name__.rpartition(".")[2] in BOTH:
        places = ["here"] if metafunc.definition.get_closest_marker("here") else ["here", "there"]
        metafunc.parametrize("store", places, indirect=True)


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path, migrated: Path):
    shutil.copytree(migrated, tmp_path / "store")
    here = open_store(tmp_path / "store")
    if getattr(request, "param", "here") == "here":
        yield here
    else:
        from stratal.server.app import Application  # and all rooms: most tests are about a store that lies here

        stage, url = request.getfixturevalue("stage")
        stage.handler = application = Application(here)
        there = open_store(url, settings=Settings(user="tester", capture=False, state_home=tmp_path / "state", on_error="raise"))
        yield there
        there.uploader.finish()
        there.close()
        application.close()
    here.close()
