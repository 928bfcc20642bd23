"""The commands: what they print and how they end. Not here: the rules behind them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import stratal.registry
from stratal.cli import registry as commands
from stratal.core.errors import StratalError
from stratal.registry import registering
from stratal.registry.assessing import TransitionRefused
from stratal.registry.policies import approvals, gate, policy, policy_to_json, policy_to_toml
from stratal.tracking.opening import use_store
from stratal.tracking.runs import run as start_run

RULES = policy(staging=[gate("auc >= 0.80")], production=[approvals(1)])


@pytest.fixture
def run(house):
    use_store(house.store)
    app = typer.Typer()
    commands.register(app)

    def call(*words, ends=0, raises=None):
        result = CliRunner().invoke(app, list(words))
        if raises is not None:
            assert isinstance(result.exception, raises), result.exception
            return result.stdout
        assert result.exit_code == ends, (result.output, result.exception)
        return result.stdout

    return call


@pytest.fixture
def logged(house):
    model = house.model()
    house.evaluate(model)
    with start_run("churn", store=house.store) as training:
        training.state("model", {"path": "model", "flavor": "sklearn", "features": None}, subject=f"sha256:{model.digest}")
    return training


def test_the_way_of_a_model_by_commands(house, run, logged):
    assert "model:churn@1 is registered" in run("register", f"run:{logged.id[-8:]}", "--name", "churn")
    registering.set_policy("churn", RULES, store=house.store)
    assert "clear" in run("gates", "model:churn@1", "Staging")
    assert "Development → Staging" in run("promote", "model:churn@1", "staging")
    held = run("gates", "model:churn@1", "Production", ends=1)
    assert "1 approval by role approver" in held and "held back" in held
    run("promote", "model:churn@1", "Production", raises=TransitionRefused)
    run("approve", "model:churn@1", "Production", raises=StratalError)
    with house.acting("maria"):
        assert "maria approved model:churn@1" in run("approve", "model:churn@1", "Production", "--note", "looked at it")
    assert "Staging → Production" in run("promote", "model:churn@1", "Production")
    assert "@1" in run("models")
    assert "Production" in run("models", "churn")
    shown = run("history", "churn")
    assert "looked at it" in shown and "(asserted)" in shown
    assert [each.about for each in registering.history("churn", store=house.store)][-3:] == [
        "@1 → Production", "@1 → Production", "@1 Staging → Production"
    ]  # fmt: skip
    run("rollback", "churn", "--reason", "bad", raises=StratalError)
    verified = run("audit", "verify")
    assert "sound" in verified
    checkpoint = verified.split("elsewhere: ")[1].strip()
    run("audit", "verify", "--checkpoint", checkpoint)
    run("audit", "verify", "--checkpoint", "999" + checkpoint[checkpoint.index(":") :], ends=1)


def test_a_store_without_models_says_how_the_first_one_is_made(run):
    assert "stratal register RUN --name NAME" in run("models")
    assert json.loads(run("models", "--json")) == []


def test_each_command_prints_json(house, run, logged):
    def read(*words, **how):
        return json.loads(run(*words, "--json", **how))

    assert read("register", f"artifact:{logged.id}/model", "--name", "churn")["number"] == 1
    registering.set_policy("churn", RULES, store=house.store)
    assert read("gates", "model:churn@1", "Staging")["results"][0]["verdict"] == "pass"
    assert read("promote", "model:churn@1", "Staging")["changed"] is True
    assert read("promote", "model:churn@1", "Production", raises=TransitionRefused)["ruling"]["missing"]
    with house.acting("maria"):
        assert read("approve", "model:churn@1", "Production")["person"] == "maria"
    assert read("models")[0]["name"] == "churn"
    assert read("models", "churn")[0]["standing"]["stage"] == "Staging"
    assert read("history", "churn")[0]["action"] == "register"
    assert read("policy", "churn")["production"][0]["role"] == "approver"
    assert read("audit", "verify")["findings"] == []


@pytest.mark.parametrize(("suffix", "write"), [(".toml", policy_to_toml), (".json", policy_to_json)])
def test_a_policy_is_set_from_a_file_and_shown(house, run, tmp_path, suffix, write):
    registering.register("churn", house.model(), store=house.store)
    assert "ungoverned" in run("policy", "churn")
    file = tmp_path / f"policy{suffix}"
    file.write_text(write(RULES))
    assert "from now on" in run("policy", "churn", "--set", str(file))
    assert 'gate = "auc >= 0.8"' in run("policy", "churn")
    file.write_text(write(policy(production=[approvals(1)])))
    assert "stratal approve model:churn policy" in " ".join(run("policy", "churn", "--set", str(file)).split())
    last = registering.history("churn", store=house.store)[-1]
    assert (last.action, last.about[:7], len(last.about)) == ("request", "policy ", 19)


def test_the_public_names_are_these_and_each_is_there():
    assert all(getattr(stratal.registry, name) is not None for name in stratal.registry.__all__)
    assert set(stratal.registry.__all__) == set(stratal.registry._HOME_OF)
    assert not hasattr(stratal.registry, "nothing")


def test_importing_the_room_pulls_no_database():
    code = "import stratal.registry, sys; print([name for name in ('sqlalchemy', 'polars', 'numpy') if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(Path(stratal.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"
