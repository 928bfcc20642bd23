"""Who makes an experiment or a model may manage it, by whichever way it was made. Excludes who may make one (test_rights)."""

import hashlib
from collections.abc import Callable

import pytest
from mlflow_wire import Wire

from stratal.core.errors import Forbidden
from stratal.core.settings import Settings
from stratal.registry import registering
from stratal.store.store import Store
from stratal.tracking.facts import Start
from stratal.tracking.flavors.manifest import Manifest, ModelFile
from stratal.tracking.forking import fork
from stratal.tracking.leased import start_leased
from stratal.tracking.opening import open_store
from stratal.tracking.operations.leasing import RunLeases
from stratal.tracking.runs import run
from stratal.tracking.values import Model
from stratal.tuning.store import StudyStore


class Person:
    """Somebody with a store behind the server, and a client of MLflow's wire."""

    def __init__(self, guarded, name: str, home) -> None:
        token = guarded.token_of(name)
        self.store = open_store(guarded.url, settings=Settings(user=name, token=token, capture=False, state_home=home, on_error="raise"))
        self.wire = Wire(guarded.url)
        self.wire.http.headers["authorization"] = f"Bearer {token}"

    def close(self) -> None:
        self.store.uploader.finish()
        self.store.close()
        self.wire.http.close()


@pytest.fixture
def come(guarded, tmp_path):
    """Let somebody come who may contribute to all of some things."""
    came: list[Person] = []

    def come(name: str, on: str = "*") -> Person:
        guarded.accounts.add_person(name=name)
        guarded.accounts.grant(person=name, role="contributor", on=on)
        came.append(Person(guarded, name, tmp_path / name))
        return came[-1]

    yield come
    for each in came:
        each.close()


def ship(who: Person, name: str) -> None:
    with run(name, store=who.store):
        pass
    who.store.uploader.finish()


def lease(who: Person, name: str) -> None:
    start_leased(name, kind="job", store=who.store).finish()


def go_on(who: Person, name: str) -> None:
    with run("origin", store=who.store) as origin:
        origin.log({"a": 1.0}, step=0)
    fork(origin.id, step=0, experiment=name, store=who.store)


def study(who: Person, name: str) -> None:
    StudyStore(who.store).open_version(
        name=name, metric="loss", is_maximized=False, space="{}", objective="0" * 64, data="", sampler="random", seed=None, spare_seed=1,
        budget=1,
    )  # fmt: skip


def create(who: Person, name: str) -> None:
    who.wire.experiment(name)


def register(who: Person, name: str) -> None:
    with run("origin", store=who.store) as made:
        file = ModelFile(path="a", digest=hashlib.sha256(b"a").hexdigest(), size_bytes=1)
        manifest = Manifest(flavor="sklearn", files=(file,))
        made.save_bytes("m/a", b"a")
        made.save_bytes("m/manifest.json", manifest.encode())
    model = Model(run=made.id, path="m", digest=manifest.digest, flavor="sklearn")
    registering.register(name, model, store=who.store)


def create_model(who: Person, name: str) -> None:
    who.wire.ok("registered-models/create", name=name)


Make = Callable[[Person, str], None]
EXPERIMENTS, MODELS = (ship, lease, go_on, study, create), (register, create_model)
WAYS = [*((way, "experiment") for way in EXPERIMENTS), *((way, "model") for way in MODELS)]


@pytest.fixture
def held(guarded):
    """Who holds what on an object."""
    return lambda on: {(each.person, each.role) for each in guarded.accounts.grants() if each.on == on}


@pytest.mark.parametrize(("way", "kind"), WAYS, ids=lambda value: getattr(value, "__name__", value))
def test_who_makes_something_is_its_admin(come, held, way: Make, kind: str):
    mia = come("mia")
    way(mia, "fresh")
    assert held(f"{kind}:fresh") == {("mia", "admin")}


@pytest.mark.parametrize(("way", "kind"), WAYS, ids=lambda value: getattr(value, "__name__", value))
def test_where_rights_were_given_out_before_nobody_becomes_admin(guarded, come, held, way: Make, kind: str):
    mia = come("mia")
    guarded.accounts.grant(person="vera", role="viewer", on=f"{kind}:fresh")
    way(mia, "fresh")
    assert held(f"{kind}:fresh") == {("vera", "viewer")}


def test_who_comes_second_made_nothing(come, held):
    mia, noah = come("mia"), come("noah")
    create(mia, "fresh")
    create_model(mia, "fresh")
    for way in (ship, lease):
        way(noah, "fresh")
    assert noah.wire.refused("registered-models/create", name="fresh") == (400, "RESOURCE_ALREADY_EXISTS")
    assert held("experiment:fresh") == held("model:fresh") == {("mia", "admin")}


def test_a_right_on_what_was_made_does_not_count_for_making_it(come, held, store: Store):
    """Whoever holds the name of one experiment only cannot become admin of another by making it."""
    mia = come("mia", on="experiment:mine")
    with pytest.raises(Forbidden):
        RunLeases(mia.store).start_leased(experiment="other", start=Start(experiment="other"), ttl_s=10.0)
    assert mia.wire.refused("experiments/create", name="other")[0] == 403
    assert held("experiment:other") == set()


def test_the_first_run_of_mlflows_own_experiment_makes_nothing(come, held):
    mia = come("mia")
    mia.wire.run("0")
    assert held("experiment:Default") == set()
