"""Searches over models and versions, held against MLflow's own store with the same models: what is found, in which order, page by page."""

import itertools
import os
import random

import pytest

from stratal.interop.mlflow.service.clauses import read_token

if "CI" not in os.environ:
    pytest.importorskip("mlflow", reason="pip install mlflow-skinny==3.17.2")
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

NAMES = ["alpha", "Beta", "gamma_x", "gammaZx", "with space", "ümlaut", "a'b", "50%"]
VALUES = ["a", "A", "b%c", "ab_c", "", "é", "true"]


def _tags(dice: random.Random) -> dict[str, str]:
    return {key: dice.choice(VALUES) for key in ("team", "with space", "x.y") if dice.random() < 0.6}


def _models(dice: random.Random) -> list[tuple[str, dict[str, str], list[dict[str, str]]]]:
    """Models: name, tags, and the tags of each version."""
    return [(name, _tags(dice), [_tags(dice) for _ in range(0 if name == "Beta" else dice.randrange(1, 5))]) for name in NAMES]


MODELS = _models(random.Random(7))


@pytest.fixture
def run(wire) -> str:
    """The run of all models and versions, which are on the wire."""

    def said(tags: dict[str, str]) -> list[dict[str, str]]:
        return [{"key": key, "value": value} for key, value in tags.items()]

    run = wire.run()
    for name, tags, versions in MODELS:
        wire.ok("registered-models/create", name=name, tags=said(tags))
        for number, each in enumerate(versions):
            path = f"m{number % 3}"
            file = f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/{path}/{name.encode().hex()}"
            wire.http.put(file, content=str(number).encode())
            wire.ok("model-versions/create", name=name, source=f"runs:/{run}/{path}", run_id=run, tags=said(each))
    wire.http.request("DELETE", "/api/2.0/mlflow/model-versions/delete", json={"name": "alpha", "version": "1"})
    wire.ok("registered-models/rename", name="gammaZx", new_name="renamed")
    return run


@pytest.fixture
def theirs(run: str, tmp_path, monkeypatch) -> SqlAlchemyStore:
    """MLflow's store with the same models and versions."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    theirs = SqlAlchemyStore(f"sqlite:///{tmp_path}/theirs.db")
    for name, tags, versions in MODELS:
        theirs.create_registered_model(name, [RegisteredModelTag(key, value) for key, value in tags.items()])
        for number, each in enumerate(versions):
            said = [ModelVersionTag(key, value) for key, value in each.items()]
            theirs.create_model_version(name, f"runs:/{run}/m{number % 3}", run, said)
    theirs.delete_model_version("alpha", "1")
    theirs.rename_registered_model("gammaZx", "renamed")
    return theirs


def _ours(wire, what: str, **asked: object) -> list[tuple[str, ...]] | str:
    """All pages, or the code of the refusal."""
    found, token = [], None
    for _ in range(200):
        answer = wire.get(f"{what}/search", **asked, **({"page_token": token} if token else {}))
        if answer.status_code != 200:
            return answer.json()["error_code"]
        said = answer.json()
        page = said.get(what.replace("-", "_"), [])
        found += [(each["name"], each["version"]) if "version" in each else (each["name"],) for each in page]
        assert len(page) <= int(asked["max_results"])
        if not (token := said.get("next_page_token")):
            return found
        assert read_token(token) == len(found)
    raise AssertionError("pages without an end")


def _theirs(search, *, filter: str | None = None, order_by: list[str] | None = None, max_results: int) -> list[tuple[str, ...]] | str:
    found, token = [], None
    while True:
        try:
            page = search(filter, max_results, order_by, token)
        except MlflowException as error:
            return error.error_code
        found += [(each.name, str(each.version)) if hasattr(each, "version") else (each.name,) for each in page]
        if not (token := page.token):
            return found


TEXTS = ["alpha", "BETA", "gamma_x", "gamma%", "%a", "_eta", "with space", "ümlaut", "A", "a", "é", "%", "b%c", "true", "50%", ""]


def _clause(dice: random.Random, run: str, *, of_versions: bool) -> str:
    value = dice.choice(TEXTS)
    texts = ["=", "!=", "LIKE", "ILIKE", "like"]
    forms = [
        f"name {dice.choice(texts)} '{value}'", f"name {dice.choice(['IN', 'NOT IN'])} ('{value}', 'alpha')",
        f"tags.team {dice.choice(texts)} '{value}'", f"tag.`with space` {dice.choice(texts)} '{value}'",
        f"tags.\"x.y\" {dice.choice(texts)} '{value}'", "tags.`mlflow.prompt.is_prompt` != 'true'",
    ]  # fmt: skip
    if of_versions:
        forms += [
            f"run_id {dice.choice(texts)} '{run}'", f"run_id IN ('{run}')", f"source_path {dice.choice(texts)} 'runs:/{run}/m1'",
            "source_path LIKE '%/m_'", f"version_number {dice.choice(['=', '!=', '<', '<=', '>', '>='])} {dice.randrange(4)}",
        ]  # fmt: skip
    return dice.choice(forms)


@pytest.mark.slow
def test_what_searches_find_and_in_which_order_is_what_mlflows_own_store_gives(wire, run, theirs):
    dice, found = random.Random(11), 0
    of_models = [None, ["name DESC"], ["name ASC"]]
    of_both = {False: of_models, True: [["name"], ["version_number DESC"], ["version_number ASC", "name DESC"], ["name DESC"]]}
    for of_versions, _ in itertools.product((False, True), range(70)):
        filter = " AND ".join(_clause(dice, run, of_versions=of_versions) for _ in range(dice.randrange(4))) or None
        order, size = dice.choice(of_both[of_versions]), dice.choice([1, 3, 100])
        asked = {"filter": filter, "order_by": order, "max_results": size}
        ours = _ours(wire, "model-versions" if of_versions else "registered-models", **{k: v for k, v in asked.items() if v is not None})
        search = theirs.search_model_versions if of_versions else theirs.search_registered_models
        assert ours == _theirs(search, **asked), asked
        found += len(ours)
    assert found > 400, "hardly anything was found: the test proves nothing"


@pytest.mark.usefixtures("run")
def test_times_order_searches_and_ties_go_by_name(wire):
    for what, key in (("registered_models", "name"), ("model_versions", "version")):
        for order in (["last_updated_timestamp DESC"], ["last_updated_timestamp ASC", "name DESC"]):
            found = wire.read(f"{what.replace('_', '-')}/search", order_by=order)[what]
            times = [each["last_updated_timestamp"] for each in found]
            assert times == sorted(times, reverse="DESC" in order[0])
            assert key in found[0]
    everything = wire.read("model-versions/search")["model_versions"]
    assert everything == wire.read("model-versions/search", order_by=["last_updated_timestamp DESC"])["model_versions"]
