"""A store of its own for each test."""

import pytest

from stratal.tracking.opening import open_store


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()
