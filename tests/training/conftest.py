"""Where the store of a job is: tests that take `place` hold for a folder, for a server, and for PostgreSQL."""

import shutil

import pytest

from stratal.tracking.opening import open_store


@pytest.fixture(params=["here", "over http", "postgresql"])
def place(request, tmp_path, migrated, monkeypatch):
    """Give what a store is opened with, here and in ranks."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    if request.param == "postgresql":
        yield request.getfixturevalue("lent")()
        return
    folder = shutil.copytree(migrated, tmp_path / "placed")
    if request.param == "here":
        yield str(folder)
        return
    from stratal.server.app import Application  # and all rooms: most tests have no server

    stage, url = request.getfixturevalue("stage")
    served = open_store(folder)
    stage.handler = application = Application(served)
    yield url
    away = open_store(url)
    away.uploader.finish()
    away.close()
    application.close()
    served.close()
