"""Shared by all tests: a store in a temporary folder or on PostgreSQL, victims to kill, and each statement compiled for PostgreSQL.

What runs over both databases is listed in `postgres.py`; `pytest --over postgresql` runs all others over PostgreSQL, too.
"""

import contextlib
import os
import secrets
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import ClauseElement
from sqlalchemy.dialects import postgresql

os.environ.pop("STRATAL_STORE", None)
os.environ["STRATAL_USER"] = "tester"
os.environ["STRATAL_CAPTURE"] = "off"  # tests that are about capture turn it on
os.environ["STRATAL_SYSTEM_METRICS_S"] = "0"
os.environ["STRATAL_ON_ERROR"] = "raise"  # a test must not lose what it says; those that are about losing set "warn"

from postgres import databases, lent, over, postgres_server  # noqa: F401  # fixtures
from stratal.store import database
from stratal.store.store import Store
from stratal.testing.buckets import AZURE_VARIABLES, VARIABLES, azure_server, make_bucket, make_container, s3_server
from stratal.testing.victims import Victims
from stratal.tracking import active, opening, refs
from stratal.tracking.capture import inputs
from stratal.tracking.opening import open_store

# No law is about time, and the machine may be busy.
settings.register_profile("unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--over", choices=["sqlite", "postgresql"], help="the one database to run over")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "new_place" in metafunc.fixturenames:
        said = metafunc.config.getoption("--over")
        metafunc.parametrize("new_place", [said] if said else over(metafunc.module.__name__, metafunc.function.__name__), indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what two other ways of the same test hold already: a server over PostgreSQL, beside one over a folder and PostgreSQL."""
    if not config.getoption("--over"):
        said = [getattr(item, "callspec", None) for item in items]
        twice = [spec is not None and {"over http", "postgresql"} <= set(map(str, spec.params.values())) for spec in said]
        items[:] = [item for item, left_out in zip(items, twice, strict=True) if not left_out]


@pytest.fixture
def new_place(request: pytest.FixtureRequest, tmp_path: Path, migrated: Path):
    """Give a function that gives the place of an empty store of a name: a folder, or a URL of PostgreSQL."""
    if request.param == "sqlite":
        return lambda name: str(shutil.copytree(migrated, tmp_path / name))
    lend = request.getfixturevalue("lent")
    return lambda name: lend()


@pytest.fixture
def store(new_place):
    opened = open_store(new_place("store"))
    yield opened
    opened.close()


@pytest.fixture
def fresh_store(new_place):
    """Make stores on demand, each in a place of its own."""
    made: list[Store] = []

    def make() -> Store:
        made.append(open_store(new_place(f"fresh{len(made)}")))
        return made[-1]

    yield make
    for opened in made:
        opened.close()


@pytest.fixture(scope="session")
def s3_endpoint():
    with s3_server() as endpoint:
        make_bucket(endpoint, "bucket")
        yield endpoint


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a place in an empty bucket, which this process and its children may use."""
    for name, value in {**VARIABLES, "AWS_ENDPOINT_URL": s3_endpoint}.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{secrets.token_hex(8)}"  # of its own: the server looks through all of a bucket to list a folder of it
    make_bucket(s3_endpoint, name)
    return f"s3://{name}/team"


@pytest.fixture(scope="session")
def azure_endpoint():
    program = Path(__file__).parents[1] / ".azurite/node_modules/.bin/azurite-blob"
    if not program.exists():
        pytest.skip("Azurite is not here: `make test` installs it where there is npm")
    with azure_server(str(program)) as endpoint:
        yield endpoint


@pytest.fixture
def container(azure_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a place in an empty container, which this process and its children may use."""
    for name, value in {**AZURE_VARIABLES, "AZURE_STORAGE_ENDPOINT": azure_endpoint}.items():
        monkeypatch.setenv(name, value)
    name = f"container-{secrets.token_hex(8)}"
    make_container(azure_endpoint, name)
    return f"az://{name}/team"


@pytest.fixture(scope="session")
def stage():
    """One server for all tests, and its URL: a test says what is served."""
    from stratal.server.serving import listening  # and all rooms: most tests are about one
    from stratal.testing.stages import Stage

    stage = Stage()
    with listening(stage) as url:
        yield stage, url


@pytest.fixture
def served_url(store: Store, stage):
    """Where the store is served."""
    from stratal.server.app import Application  # as above

    stage[0].handler = application = Application(store)
    yield stage[1]
    application.close()


@pytest.fixture
def far(store: Store, stage, tmp_path: Path):
    """The store as another process has it, through the server."""
    from stratal.testing.stages import behind_server  # as above

    with behind_server(store, *stage, tmp_path / "state") as opened:
        yield opened


@pytest.fixture(params=["here", "over http"])
def seen(request: pytest.FixtureRequest, stage, tmp_path: Path):
    """Give any store as itself, and again as it is through a server: a room's suite runs over both."""
    from stratal.testing.stages import behind_server  # as above

    with contextlib.ExitStack() as stack:

        def see(store: Store) -> Store:
            if request.param == "here":
                return store
            return stack.enter_context(behind_server(store, *stage, tmp_path / "state"))

        yield see


@pytest.fixture(scope="session")
def victims():
    imports = ["stratal.testing.workloads", "stratal.store.settling", "stratal.store.migrating", "stratal.tracking.store.settling"]
    with Victims(imports) as running:
        yield running
