"""Shared by all tests: a store in a temporary folder, victims to kill, and each statement compiled for PostgreSQL."""

import os
import shutil
from pathlib import Path

import pytest
from sqlalchemy import ClauseElement
from sqlalchemy.dialects import postgresql

os.environ.pop("STRATAL_STORE", None)
os.environ["STRATAL_USER"] = "tester"
os.environ["STRATAL_CAPTURE"] = "off"  # tests that are about capture turn it on
os.environ["STRATAL_SYSTEM_METRICS_S"] = "0"
os.environ["STRATAL_ON_ERROR"] = "raise"  # a test must not lose what it says; those that are about losing set "warn"

from stratal.store import database
from stratal.store.store import Store
from stratal.testing.victims import Victims
from stratal.tracking import active, opening, refs
from stratal.tracking.capture import inputs
from stratal.tracking.opening import open_store

compiled_for_postgresql: list[str] = []


def _compile_for_postgresql(statement: ClauseElement) -> None:
    text = str(statement.compile(dialect=postgresql.dialect(), compile_kwargs={"render_postcompile": True}))
    compiled_for_postgresql.append(text)


database.on_compile.append(_compile_for_postgresql)


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each test has a working folder, and no active run, default store, resolvers or inputs of its neighbours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(refs, "_resolvers", dict(refs._resolvers))
    monkeypatch.setattr(inputs, "_noted", {})
    yield
    active.forget_all()
    opening._chosen.clear()
    opening._open.clear()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store's folder whose database is made: copying it is 50 times quicker than making one."""
    folder = tmp_path_factory.mktemp("migrated") / "store"
    made = open_store(folder)
    made.settle()
    made.database.checkpoint()
    made.close()
    return folder


@pytest.fixture
def store(tmp_path: Path, migrated: Path):
    shutil.copytree(migrated, tmp_path / "store")
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture
def fresh_store(tmp_path: Path, migrated: Path):
    """Make stores on demand, each in a folder of its own."""
    made: list[Store] = []

    def make() -> Store:
        folder = tmp_path / f"fresh{len(made)}"
        shutil.copytree(migrated, folder)
        made.append(open_store(folder))
        return made[-1]

    yield make
    for opened in made:
        opened.close()


@pytest.fixture(scope="session")
def victims():
    imports = ["stratal.testing.workloads", "stratal.store.settling", "stratal.store.migrating", "stratal.tracking.store.settling"]
    with Victims(imports) as running:
        yield running
