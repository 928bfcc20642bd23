"""`stratal user | token | grant`: output, JSON, and that no secret is an argument. Excludes the rules behind them."""

import io
import json

import pytest

from stratal.cli.app import main
from stratal.store.store import Store


@pytest.fixture
def run(store: Store, capsys: pytest.CaptureFixture[str]):
    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main((*words, "--store", str(store.folder)))
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return run


def test_an_admin_is_made_and_makes_a_service_with_a_token(run):
    assert "stratal user add NAME --admin" in run("user", "list")[1]
    assert json.loads(run("user", "add", "ada", "--admin", "--json")[1])["is_admin"] is True
    assert json.loads(run("user", "add", "ci", "--service", "--json")[1])["kind"] == "service"
    code, out, err = run("token", "create", "ci", "--role", "contributor", "--on", "experiment:churn")
    assert code == 0 and out.startswith("stratal_") and out.count("\n") == 1, "the secret alone, so that a shell can take it"
    assert out.strip() not in err
    [token] = json.loads(run("token", "list", "--json")[1])
    assert token["scope"]["role"] == "contributor", "a role is its name, wherever it is printed"
    assert (token["person"], token["state"], token["scope"]["objects"]) == ("ci", "active", ["experiment:churn"])
    assert out.strip() not in run("token", "list")[1] + run("user", "log", "--json")[1]
    assert "is revoked" in run("token", "revoke", token["id"])[1]
    assert "revoked" in run("token", "list", "ci")[1]


def test_roles_are_granted_listed_and_removed(run):
    run("user", "add", "ada", "--admin")
    run("user", "add", "bob")
    assert "contributor" in run("grant", "add", "bob", "contributor", "experiment:churn")[1]
    assert [each["person"] for each in json.loads(run("grant", "list", "--json")[1])] == ["ada", "bob"]
    assert [each["is_admin"] for each in json.loads(run("user", "list", "--json")[1])] == [True, False]
    assert [line.split()[:3] for line in run("user", "list")[1].splitlines()[1:]] == [["ada", "person", "yes"], ["bob", "person", "–"]]
    assert json.loads(run("grant", "remove", "bob", "contributor", "experiment:churn", "--json")[1]) == []
    code, _, err = run("grant", "remove", "ada", "admin")
    assert code == 2 and "last admin" in err
    code, _, err = run("grant", "add", "bob", "contributer", "model:churn")
    assert code == 2 and "say contributor" in err
    assert "stratal grant add bob admin" in run("user", "add", "bob", "--admin")[2]


def test_a_password_comes_from_standard_input(run, monkeypatch: pytest.MonkeyPatch):
    run("user", "add", "ada", "--admin")
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery\n"))
    assert "new password" in run("user", "password", "ada")[1]
    assert json.loads(run("user", "list", "--json")[1])[0]["has_password"] is True
    code, _, err = run("user", "password", "ada", "correct horse battery")
    assert code == 2 and "unexpected" in err.lower(), "an argument would be seen in the list of processes"


def test_a_person_is_bound_to_a_provider(run):
    run("user", "add", "ada", "--admin")
    assert "signs in as https://id.example u1" in run("user", "bind", "ada", "https://id.example u1")[1]
    assert json.loads(run("user", "bind", "ada", "", "--json")[1])["subject"] == ""


def test_a_locked_out_user_is_shown_as_such(run):
    run("user", "add", "ada", "--admin")
    run("user", "add", "bob")
    assert "locked out" in run("user", "disable", "bob")[1]
    assert "disabled" in run("user", "list")[1]
    assert "sign in again" in run("user", "enable", "bob")[1]
    assert "disable" in run("user", "log")[1]
