"""What may not be viewed is answered as what is not there: for every route that names something, in status and words.

Excludes who may use which route (test_rights). An echo of what was asked is no answer: names are taken out before two are compared.
"""

from collections.abc import Callable

import httpx
import pytest
import rights_of_mlflow as mlflow
import rights_of_operations as operations
from rights_of_mlflow import NOWHERE, Things

from stratal.core.ids import RunId, short
from stratal.tracking.runs import run

# Who asks: one without any right, and one who may do everything with something else.
PEOPLE = ("eve", "elsewhere")


class Scene:
    """Hidden things, those of `elsewhere`, and clients of both people."""

    def __init__(self, guarded) -> None:
        guarded.accounts.add_person(name="elsewhere")
        self.ada = guarded.having_token("ada").http
        self.scene = mlflow.Scene(self.ada)
        self.hidden, self.own = self.scene.team, mlflow.made(self.ada, "other")
        for on in ("experiment:other", "model:other"):
            guarded.accounts.grant(person="elsewhere", role="admin", on=on)
        self.people = {name: guarded.having_token(name).http for name in PEOPLE}
        for http in self.people.values():  # when a token was used last is told of one's own: it is so for a minute now
            http.get("/auth/me")
        guarded.guard.notices.flush()


@pytest.fixture
def scene(guarded) -> Scene:
    return Scene(guarded)


def answer(said: httpx.Response, of: Things) -> tuple[int, str]:
    """What an answer tells but for the names in it."""
    text = said.text
    for name in sorted({*of, short(RunId(of.run))}, key=len, reverse=True):
        text = text.replace(name, "?") if len(name) > 3 else text
    return said.status_code, text


def told_apart(ask: Callable[[Things], httpx.Response], hidden: Things) -> list[tuple[int, str]]:
    """The two answers, if they differ."""
    told = [answer(ask(of), of) for of in (hidden, NOWHERE)]
    return told if told[0] != told[1] else []


@pytest.mark.parametrize("name", PEOPLE)
def test_mlflows_routes_tell_nothing_apart(scene, name: str):
    http = scene.people[name]
    leaks = {}
    for route in mlflow.routes():
        leaks[route] = told_apart(lambda of, route=route: scene.scene.ask(route, http, of), scene.hidden)
    assert not any(leaks.values()), leaks


# What a source of a version may be.
SOURCES = (
    "runs:/{0.run}/m", "models:/{0.name}/1", "models:/{0.name}/7", "models:/{0.logged}", "mlflow-artifacts:/model-versions/{0.name}/1",
    "mlflow-artifacts:/{0.experiment}/{0.run}/artifacts/nothing",
)  # fmt: skip
# Routes about what one may change, that name something else beside it.
BESIDE: list[tuple[str, Callable[[Things], dict[str, object]]]] = [
    *(
        ("POST 2.0/mlflow/model-versions/create", lambda of, source=source, run=run: {"source": source.format(of), "run_id": run})
        for source in SOURCES
        for run in ("", "0" * 32)
    ),
    ("POST 2.0/mlflow/logged-models", lambda of: {"source_run_id": of.run}),
    ("POST 2.0/mlflow/runs/outputs", lambda of: {"models": [{"model_id": of.logged, "step": 1}]}),
    ("POST 2.0/mlflow/runs/search", lambda of: {"experiment_ids": [of.experiment]}),
    ("POST 2.0/mlflow/logged-models/search", lambda of: {"experiment_ids": [of.experiment]}),
    ("GET 2.0/mlflow/model-versions/search", lambda of: {"filter": f"run_id = '{of.run}'"}),
    ("GET 2.0/mlflow/metrics/get-history-bulk", lambda of: {"run_id": [of.run]}),
    ("GET 2.0/mlflow/metrics/get-history-bulk-interval", lambda of: {"run_ids": [of.run]}),
    ("POST 2.0/mlflow/runs/log-inputs", lambda of: {"models": [{"model_id": of.logged}]}),
    ("POST 2.0/mlflow/experiments/update", lambda of: {"new_name": of.name}),
    ("POST 2.0/mlflow/registered-models/create", lambda of: {"name": of.name}),
    ("POST 2.0/mlflow/registered-models/create", lambda of: {"name": of.name.upper()}),
    ("POST 2.0/mlflow/experiments/create", lambda of: {"name": of.name}),
]


@pytest.mark.parametrize(("route", "changed"), BESIDE)
def test_what_is_named_beside_ones_own_is_told_apart_neither(scene, route: str, changed: Callable[[Things], dict[str, object]]):
    http = scene.people["elsewhere"]
    assert not told_apart(lambda of: scene.scene.ask(route, http, scene.own, **changed(of)), scene.hidden)


@pytest.mark.parametrize("name", PEOPLE)
def test_operations_tell_nothing_apart(scene, guarded, name: str):
    http, leaks = scene.people[name], {}
    for path, takes in operations.routes().items():
        if path != "access/create_own_token":  # each has another secret
            leaks[path] = told_apart(lambda of, path=path, takes=takes: operations.ask(path, takes, of.run, http, of.name), scene.hidden)
    assert not any(leaks.values()), leaks


def test_operations_on_ones_own_tell_nothing_apart_of_others_runs(scene):
    http, leaks = scene.people["elsewhere"], {}
    for path, takes in operations.routes().items():
        if not {"run", "origin"}.isdisjoint(takes.__struct_fields__):
            leaks[path] = told_apart(lambda of, path=path, takes=takes: operations.ask(path, takes, of.run, http, "other"), scene.hidden)
    assert not any(leaks.values()), leaks


def test_lineage_names_no_model_and_no_run_that_one_may_not_view(scene, guarded):
    hidden = [f"model:{scene.hidden.name}@1", f"run:{scene.hidden.run}"]
    with run("churn", store=guarded.store) as mine:
        for target in (*hidden, "dataset:d@1", "model:churn@1"):
            mine.edge("used", target, role="data")
    guarded.store.settle()
    guarded.accounts.grant(person="vera", role="viewer", on="model:churn")
    vera, ada = guarded.having_token("vera").http, scene.ada
    for path, said in (("edges", {"run": mine.id}), ("explain", {"ref": f"run:{mine.id}"})):
        seen, all = (http.post(f"/api/v1/tracking/{path}", json=said).text for http in (vera, ada))
        assert [target in seen for target in (*hidden, "dataset:d@1", "model:churn@1")] == [False, False, True, True], path
        assert all.count(hidden[0]) == 1


def test_the_lineage_of_what_is_hidden_is_that_of_nothing(scene):
    for ref in ("model:{}@1", "model:{}", "dataset:{}@1"):
        for http in scene.people.values():
            assert not told_apart(
                lambda of, ref=ref, http=http: http.post("/api/v1/tracking/explain", json={"ref": ref.format(of.name)}), scene.hidden
            )
