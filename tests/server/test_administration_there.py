"""Administration over HTTP, as an admin and as others: accounts, the doctor, collecting, retention, quotas; and what stays at home.
Excludes who may call which operation, which the table of rights says."""

import json
from pathlib import Path

import pytest

from stratal.cli.app import main
from stratal.core.errors import Forbidden, Misuse, NotFound, StratalError
from stratal.core.settings import Settings
from stratal.store.access.accounts import AccessStore
from stratal.store.backups import back_up
from stratal.tracking.collecting import gc
from stratal.tracking.doctor import doctor
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.retaining import retain
from stratal.tracking.runs import run


@pytest.fixture
def as_one(guarded, tmp_path: Path):
    """Give the store as somebody with a token has it, through a server that asks."""
    opened = []

    def as_one(name: str, *, token: str = "", **bounds: object):
        secret = token or guarded.token_of(name, **bounds)
        settings = Settings(user=name, token=secret, capture=False, state_home=tmp_path / f"state-{len(opened)}")
        opened.append(open_store(guarded.url, settings=settings))
        return opened[-1]

    yield as_one
    for each in opened:
        each.uploader.finish()
        each.close()


def test_an_admin_administers_people_tokens_and_grants_from_elsewhere(guarded, as_one):
    far = AccessStore(as_one("ada"))
    far.add_person(name="ci", kind="service")
    far.grant(person="ci", role="viewer", on="experiment:churn")
    made = far.create_token(person="ci", title="nightly", days=1)
    assert AccessStore(as_one("ci", token=made.secret)).own_tokens()[0].title == "nightly"
    far.set_password(name="bob", password="correct horse battery")
    assert {each.name for each in far.people() if each.has_password} == {"bob"}
    far.revoke_token(id=made.token.id)
    with pytest.raises(Forbidden):
        AccessStore(as_one("ci", token=made.secret)).own_tokens()
    assert [(each.actor, each.is_authenticated, each.action) for each in guarded.accounts.changes(limit=3)] == [
        ("ada", True, "revoke"), ("ada", True, "password"), ("ada", True, "token"),
    ]  # fmt: skip
    assert made.secret not in str(guarded.accounts.changes()) + str(far.tokens())


def test_others_administer_nobody_but_themselves(as_one):
    bob, eve = AccessStore(as_one("bob")), AccessStore(as_one("eve"))
    with pytest.raises(Forbidden, match="bob is not admin"):
        bob.create_token(person="bob")
    made = bob.create_own_token(title="laptop", days=7)
    assert (made.token.person, made.token.created_by, made.token.title) == ("bob", "bob", "laptop")
    assert {token.id for token in bob.own_tokens()} >= {made.token.id} and made.token.id not in {t.id for t in eve.own_tokens()}
    with pytest.raises(NotFound, match="you have no token"):
        eve.revoke_own_token(id=made.token.id)
    assert str(bob.revoke_own_token(id=made.token.id).state) == "revoked"


def test_a_token_makes_none_that_may_more_or_lives_longer(as_one):
    bounded = AccessStore(as_one("bob", role="viewer", objects=["experiment:churn"], days=2))
    own = bounded.create_own_token(days=None)
    assert (own.token.scope.role.name, own.token.scope.objects) == ("VIEWER", ("experiment:churn",))
    assert own.token.expires_ns == bounded.own_tokens()[0].expires_ns
    for more in ({"role": "contributor"}, {"objects": ["*"]}, {"objects": ["experiment:salaries"]}):
        with pytest.raises(Forbidden, match="bounded to viewer on experiment:churn"):
            bounded.create_own_token(**more)
    assert len(bounded.own_tokens()) == 2
    unbounded = AccessStore(as_one("bob")).create_own_token(role="viewer", objects=["experiment:churn"], days=1)
    assert unbounded.token.scope == own.token.scope


def test_a_token_that_was_revoked_makes_no_more(guarded, as_one):
    bob = AccessStore(as_one("bob"))
    guarded.accounts.disable(name="bob")
    with pytest.raises(Forbidden):
        bob.create_own_token()
    with pytest.raises(Forbidden):
        bob.own_tokens()


def test_a_server_that_asks_nobody_tells_and_changes_nothing_of_accounts(store, far):
    accounts = AccessStore(far)
    for call in (accounts.people, accounts.own_tokens, accounts.create_own_token, lambda: accounts.add_person(name="eve", is_admin=True)):
        with pytest.raises(Forbidden, match="asks nobody who they are") as refused:
            call()
        assert "--store FOLDER" in refused.value.hint
    assert AccessStore(store).people() == []


def test_an_admin_looks_after_a_store_from_elsewhere(guarded, as_one):
    ada = as_one("ada")
    with run("churn", store=guarded.store) as made:
        made.save_bytes("a.bin", b"a")
    guarded.store.blobs.put(b"nobody needs this")
    checks = {check.name: check.state for check in doctor(store=ada)}
    assert checks["database"] == "good" and "quotas" in checks
    dry = gc(dry_run=True, grace_hours=0, store=ada)
    assert len(dry.blobs) == 1 and gc(grace_hours=0, store=ada).blobs == dry.blobs
    assert retain("churn", days=0, dry_run=True, store=ada).deleted == (made.id,)
    assert retain("churn", days=0, store=ada).deleted == (made.id,)
    assert list(find_runs(store=ada)) == []
    with pytest.raises(Misuse, match="--deep --store FOLDER"):
        doctor(deep=True, store=ada)


def test_others_look_after_nothing_but_the_admins_of_an_experiment_after_its_runs(guarded, as_one):
    with run("churn", store=guarded.store) as made:
        pass
    guarded.store.settle()
    bob = as_one("bob")
    for call in (lambda: doctor(store=bob), lambda: gc(store=bob), lambda: retain("churn", days=0, store=bob)):
        with pytest.raises(Forbidden):
            call()
    guarded.accounts.grant(person="bob", role="admin", on="experiment:churn")
    assert retain("churn", days=0, store=bob).deleted == (made.id,)


@pytest.mark.parametrize("words", [("backup", "make", "elsewhere"), ("migrate",)])
def test_what_stays_where_the_store_lies_says_so(far, words, monkeypatch, capsys):
    monkeypatch.setenv("STRATAL_STORE", str(far.remote))
    with pytest.raises(SystemExit) as left:
        main(words)
    said = " ".join(capsys.readouterr().err.split())
    assert left.value.code == 2 and "works where the store lies" in said and "--store FOLDER" in said


def test_a_backup_from_elsewhere_is_refused_before_anything_is_written(far, tmp_path):
    with pytest.raises(StratalError, match="works where the store lies"):
        back_up(far, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_the_program_administers_with_a_token(guarded, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("STRATAL_STORE", guarded.url)
    monkeypatch.setenv("STRATAL_TOKEN", guarded.token_of("bob"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def said(*words: str) -> tuple[int, str, str]:
        try:
            main(words)
            code = 0
        except SystemExit as left:
            code = int(left.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    secret = said("token", "create", "--own", "--title", "laptop", "--days", "3")[1].strip()
    assert secret.startswith("stratal_")
    assert [token["title"] for token in json.loads(said("token", "list", "--own", "--json")[1])] == ["", "laptop"]
    assert said("token", "create")[0] == 2
    code, _, err = said("user", "list")
    assert code == 2 and "bob is not admin on *" in err
    monkeypatch.setenv("STRATAL_TOKEN", guarded.token_of("ada"))
    assert said("quota", "set", "experiment:churn", "--runs", "5")[1] == "experiment:churn: runs 5\n"
    assert "vera" in said("user", "list")[1] and said("doctor")[0] == 0
