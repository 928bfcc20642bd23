"""Our own client with a token: shipping to a server that asks who comes, and where the token must never be. Excludes the guard's rules."""

from dataclasses import replace

import pytest

from stratal.core.errors import Forbidden, Misuse
from stratal.core.settings import Settings, load_settings
from stratal.server.serving import check_loopback
from stratal.store.marks import is_loopback
from stratal.tracking.capturing import wait_for_captures
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run
from stratal.tracking.syncing import sync


def test_a_token_ships_as_its_person(guarded, away):
    store = away(guarded.token_of("bob"))
    with run("churn", store=store) as made:
        made.log({"a": 1.0})
        made.note("looks fine")
    assert sync(store=store).refused == []
    found = get_run(made.id, store=guarded.store)
    assert (found.user, found.notes[0].author, found.metrics) == ("bob", "bob", {"a": 1.0})


def test_who_is_refused_is_told_why_and_loses_nothing(guarded, away):
    nobody, stranger = away(None), away(guarded.token_of("eve"))
    with run("churn", store=nobody) as made:
        made.log({"a": 1.0})
    for store, why in ((nobody, "asks who you are"), (stranger, "eve may contribute nothing")):
        done = sync(store=store)
        assert why in done.refused[0] and done.waiting_bytes > 0
    assert "stratal grant add eve contributor" in done.refused[0], "and what helps"
    assert sync(store=away(guarded.token_of("bob"))).refused == []
    assert get_run(made.id, store=guarded.store).metrics == {"a": 1.0}


def test_a_run_that_is_refused_for_a_large_file_that_was_asked_for_first_is_told_why_too(guarded, away):
    store = away(guarded.token_of("bob"))
    with run("secret", store=store) as made:
        made.save_bytes("a.bin", b"more than is sent unasked" * 1000)
    [why] = sync(store=store).refused
    assert "bob is not contributor on experiment:secret" in why and "stratal grant add bob contributor experiment:secret" in why


@pytest.mark.parametrize("is_parted", [False, True])
def test_who_shares_a_machine_with_the_program_of_somebody_else_neither_takes_nor_doubles_its_run(guarded, away, is_parted):
    guarded.accounts.grant(person="vera", role="contributor", on="experiment:churn")
    bob, vera = away(guarded.token_of("bob")), away(guarded.token_of("vera"))
    with run("churn", store=bob) as made:
        for step in range(5):
            made.log({"a": float(step)}, step=step)
        if is_parted:
            with run("salaries", store=bob):
                pass
        assert len(sync(store=bob).refused) == is_parted
        for step in range(5, 10):
            made.log({"a": float(step)}, step=step)
        assert "is not vera's" in sync(store=vera).refused[0]  # as each command of hers does, without a word
        sync(store=bob)
    sync(store=vera)
    sync(store=bob)
    found = get_run(made.id, store=guarded.store)
    assert found.series("a").steps.tolist() == list(range(10))
    assert (found.user, found.status) == ("bob", "finished")


def test_a_store_in_a_folder_is_not_marked_for_a_server_that_refuses(guarded, store, away, fresh_store):
    local = fresh_store()
    with pytest.raises(Forbidden, match="asks who you are"):
        sync(guarded.url, store=local)
    assert not (local.folder / "remote").exists()


def test_the_token_is_a_setting_that_is_never_shown(monkeypatch, tmp_path):
    token = "stratal_" + "s" * 43
    settings = load_settings(environ={"STRATAL_TOKEN": token, "USER": "x"})
    assert settings.token == token and token not in repr(settings)
    (tmp_path / "stratal.toml").write_text(f'token = "{token}"\n')
    assert load_settings(environ={"USER": "x"}).token == token
    with pytest.raises(Misuse) as refused:
        load_settings(environ={"STRATAL_TOKEN": f"{token} and more", "USER": "x"})
    assert token not in str(refused.value)


def test_the_token_is_in_no_capture_and_no_spool(guarded, away, monkeypatch, tmp_path):
    token = guarded.token_of("bob")
    monkeypatch.setenv("STRATAL_TOKEN", token)
    (tmp_path / "stratal.toml").write_text(f'token = "{token}"\n')
    store = away(token)
    store.settings = replace(store.settings, capture=True)
    with run("churn", store=store) as made:
        made.log({"a": 1.0})
    wait_for_captures()
    assert sync(store=store).refused == []
    for folder in (store.folder, guarded.store.folder):
        kept = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
        assert len(kept) > 1000 and token.encode() not in kept


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "example.org", "::"])
def test_a_host_that_others_reach_needs_a_guard_and_is_refused_with_both_ways_out(host):
    with pytest.raises(Misuse) as refused:
        check_loopback(host)
    assert "ssh -L" in str(refused.value) and "--auth" in str(refused.value)
    assert not is_loopback(host)


def test_settings_say_whether_the_server_asks():
    assert load_settings(environ={"STRATAL_SERVER_AUTH": "on", "USER": "x"}).server_auth
    assert not Settings().server_auth
