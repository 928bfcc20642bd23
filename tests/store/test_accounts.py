"""People, tokens, grants and their log, by the verbs of an admin. Excludes HTTP and the command line."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from stratal.core.clock import SECOND_NS
from stratal.core.errors import Conflict, Misuse, NotFound
from stratal.core.people import Identity, Role, acting_as
from stratal.store.access import noticing, rows, tables
from stratal.store.access.accounts import TOKEN_DAYS, AccessStore
from stratal.store.access.rules import LIFE, Scope, TokenState, check_object, check_person, check_role, state_of
from stratal.store.access.secrets import digest, hash_password, holds_secret, is_password, without_secrets
from stratal.store.store import Store

GOOD = "correct horse battery"


@pytest.fixture
def accounts(store: Store) -> AccessStore:
    made = AccessStore(store)
    made.add_person(name="ada", is_admin=True)
    return made


def everything(store: Store) -> bytes:
    """All bytes of the store's files, and of its rows about access, wherever the database lies."""
    files = b"".join(path.read_bytes() for path in sorted(store.folder.rglob("*")) if path.is_file())
    with store.database.read(store.actor()) as tx:
        kept = [row for table in (tables.person, tables.token, tables.session, tables.change) for row in tx.rows(select(*table.columns))]
    return files + b"".join(bytes(cell) if isinstance(cell, bytes | memoryview) else str(cell).encode() for row in kept for cell in row)


def test_a_person_is_there_once_however_the_name_is_written(accounts: AccessStore):
    for name in ("ada", "Ada", "ＡＤＡ"):
        with pytest.raises(Conflict, match="ada already"):
            accounts.add_person(name=name)
    assert [each.name for each in accounts.people()] == ["ada"]


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\nb", "x" * 101, "stratal", "Unknown", "a/b", "a,b", "a\x00", "\u200b"])
def test_names_that_cannot_be_typed_or_belong_to_the_system_are_refused(name: str):
    with pytest.raises(Misuse, match="cannot be the name"):
        check_person(name)


@pytest.mark.parametrize("on", ["", "experiment:", "run:x", "model", "experiment:a\nb", "*:x", "model:" + "x" * 501])
def test_roles_are_held_on_everything_an_experiment_or_a_model_only(on: str):
    with pytest.raises(Misuse, match="held on"):
        check_object(on)


def test_free_roles_are_for_approvals_of_models():
    assert check_role("legal", "model:churn") == "legal"
    assert check_role("reviewer", "model:churn") == "reviewer"
    for role, on in (("legal", "experiment:churn"), ("Admin", "*"), ("", "*"), ("a b", "model:x"), ("approvr", "model:churn")):
        with pytest.raises(Misuse):
            check_role(role, on)


def test_a_token_is_shown_once_and_kept_as_a_digest_only(accounts: AccessStore, store: Store):
    made = accounts.create_token(person="ADA", title="nightly")
    assert re.fullmatch(r"stratal_[A-Za-z0-9_-]{43}", made.secret)
    [listed] = accounts.tokens(person="ada")
    assert (listed.person, listed.title, listed.state) == ("ada", "nightly", TokenState.ACTIVE)
    assert listed.expires_ns == listed.created_ns + TOKEN_DAYS * 86400 * SECOND_NS
    kept = everything(store)
    assert digest(made.secret) in kept
    assert made.secret.encode() not in kept and made.secret.removeprefix("stratal_").encode() not in kept


def test_no_two_tokens_are_alike(accounts: AccessStore):
    assert len({accounts.create_token(person="ada").secret for _ in range(5)}) == 5


def test_a_token_without_end_does_not_expire(accounts: AccessStore):
    assert accounts.create_token(person="ada", days=None).token.expires_ns is None


@pytest.mark.parametrize("days", [0, -1, 5000, float("nan"), float("inf")])
def test_a_life_that_is_none_is_refused(accounts: AccessStore, days: float):
    with pytest.raises(Misuse, match="days"):
        accounts.create_token(person="ada", days=days)
    assert accounts.tokens() == []


def test_revoking_is_once_and_for_all_and_said_once(accounts: AccessStore):
    id = accounts.create_token(person="ada").token.id
    first, again = accounts.revoke_token(id=id), accounts.revoke_token(id=id)
    assert first == again and first.state is TokenState.REVOKED
    assert [each.action for each in accounts.changes()].count("revoke") == 1
    with pytest.raises(NotFound, match="no token"):
        accounts.revoke_token(id="nothing")


@given(st.integers(0, 100), st.none() | st.integers(0, 100), st.none() | st.integers(0, 100))
def test_a_token_is_active_only_before_its_end_and_if_nobody_revoked_it(now: int, expires: int | None, revoked: int | None):
    state = state_of(expires_ns=expires, revoked_ns=revoked, now_ns=now)
    assert (state is TokenState.ACTIVE) == (revoked is None and (expires is None or now < expires))
    assert (state is TokenState.REVOKED) == (revoked is not None)


def test_nothing_makes_a_token_active_again():
    assert TokenState.ACTIVE not in LIFE.values()
    assert all(before is not TokenState.REVOKED for before, _ in LIFE)


@given(st.sampled_from(Role), st.sampled_from(Role), st.sampled_from(["*", "experiment:a", "model:a"]))
def test_a_scope_lets_through_what_is_within_both_of_its_bounds(most: Role, needs: Role, on: str):
    assert Scope(role=most).lets(needs, on) == (needs <= most)
    assert Scope(role=most, objects=("experiment:a",)).lets(needs, on) == (needs <= most and on == "experiment:a")


def test_passwords_are_kept_by_argon2_and_told_from_others(accounts: AccessStore, store: Store):
    assert accounts.set_password(name="ada", password=GOOD).has_password
    with store.database.read(store.actor()) as tx:
        kept = rows.find_sign_in(tx, "ADA")
    assert kept is not None and str(kept.password).startswith("$argon2id$")
    assert is_password(kept.password, GOOD) and not is_password(kept.password, GOOD + " ")
    assert not is_password(None, GOOD)
    assert GOOD.encode() not in everything(store)
    assert hash_password(GOOD) != hash_password(GOOD), "each has a salt of its own"


@pytest.mark.parametrize("password", ["", "short", "x" * 1001])
def test_passwords_that_are_too_short_or_too_long_are_refused(accounts: AccessStore, password: str):
    with pytest.raises(Misuse, match="10 to 1000"):
        accounts.set_password(name="ada", password=password)
    assert not accounts.people()[0].has_password


def test_a_service_has_no_password(accounts: AccessStore):
    accounts.add_person(name="ci", kind="service")
    with pytest.raises(Misuse, match="tokens"):
        accounts.set_password(name="ci", password=GOOD)


def test_the_last_admin_stays(accounts: AccessStore):
    for forbidden in (lambda: accounts.disable(name="ada"), lambda: accounts.remove_grant(person="ada", role="admin")):
        with pytest.raises(Misuse, match="last admin"):
            forbidden()
    accounts.add_person(name="bob", is_admin=True)
    accounts.disable(name="ada")
    with pytest.raises(Misuse, match="last admin"):
        accounts.disable(name="bob")


def test_grants_are_given_and_taken_once(accounts: AccessStore):
    accounts.add_person(name="bob")
    for _ in range(2):
        held = accounts.grant(person="BOB", role="viewer", on="experiment:churn")
    assert [(each.person, each.role, each.on) for each in held] == [("bob", "viewer", "experiment:churn")]
    assert accounts.remove_grant(person="bob", role="viewer", on="experiment:churn") == []
    with pytest.raises(NotFound, match="does not hold"):
        accounts.remove_grant(person="bob", role="viewer", on="experiment:churn")
    with pytest.raises(NotFound, match="no person"):
        accounts.grant(person="nobody-here", role="viewer")


def test_who_joins_a_group_holds_what_it_holds_until_they_leave_it(accounts: AccessStore, store: Store):
    accounts.add_person(name="bob")
    accounts.grant(person="bob", role="viewer", on="model:m")
    accounts.grant(person="group:ml", role="contributor", on="experiment:churn")
    with store.command() as tx:
        rows.join_groups(tx, "bob", ["ml", "others"])
    assert {(each.role, each.on, each.given_by) for each in accounts.grants(person="bob")} == {
        ("viewer", "model:m", "tester"), ("contributor", "experiment:churn", "group:ml"),
    }  # fmt: skip
    accounts.remove_grant(person="group:ml", role="contributor", on="experiment:churn")
    assert [each.on for each in accounts.grants(person="bob")] == ["model:m"], "taken from the group, it is taken from who is in it"
    accounts.grant(person="group:ml", role="approver", on="model:m")
    for groups, expected in ((["ml"], {"viewer", "approver"}), ([], {"viewer"})):
        with store.command() as tx:
            rows.join_groups(tx, "bob", groups)
        assert {each.role for each in accounts.grants(person="bob")} == expected


def test_a_subject_of_a_provider_is_one_person_only(accounts: AccessStore):
    accounts.add_person(name="bob", subject="https://id.example u1")
    with pytest.raises(Conflict, match="subject"):
        accounts.add_person(name="carl", subject="https://id.example u1")
    with pytest.raises(Conflict, match="bob's already"):
        accounts.bind(name="ada", subject="https://id.example u1")
    with pytest.raises(Misuse, match="no subject"):
        accounts.bind(name="ada", subject="u1")
    assert accounts.bind(name="bob", subject="").subject == ""
    assert accounts.bind(name="Ada", subject="https://id.example u1").subject == "https://id.example u1"
    assert [each.action for each in accounts.changes(limit=2)] == ["bind", "bind"]


def test_every_change_is_in_the_log_with_who_did_it_and_without_secrets(accounts: AccessStore, store: Store):
    with acting_as(Identity(name="ada", is_authenticated=True)):
        accounts.add_person(name="bob")
        accounts.set_password(name="bob", password=GOOD)
        secret = accounts.create_token(person="bob").secret
        accounts.grant(person="bob", role="viewer")
        accounts.disable(name="bob")
        accounts.enable(name="bob")
    logged = accounts.changes()
    assert [each.action for each in logged[:6]] == ["enable", "disable", "grant", "token", "password", "add"]
    assert {(each.actor, each.is_authenticated) for each in logged[:6]} == {("ada", True)}
    assert (logged[-1].actor, logged[-1].is_authenticated) == ("tester", False)
    text = json.dumps([each.body for each in logged])
    assert secret not in text and GOOD not in text


def test_what_changes_nothing_is_not_logged(accounts: AccessStore):
    accounts.add_person(name="bob")
    before = accounts.changes()
    accounts.enable(name="bob")
    with pytest.raises(Conflict):
        accounts.add_person(name="bob")
    assert accounts.changes() == before


def test_refusals_are_counted_by_the_hour_and_their_rows_are_bounded(accounts: AccessStore, store: Store):
    with store.command() as tx:
        noticing.note_refusals(tx, {("bob", "VIEWER", "*"): 3})
        noticing.note_refusals(tx, {("bob", "VIEWER", "*"): 4})
        noticing.note_refusals(tx, {(f"guess{n}", "sign in", ""): 1 for n in range(2 * noticing.MOST_ROWS)})
    found = accounts.refusals(limit=10_000)
    assert {each.count for each in found if each.person == "bob"} == {7}
    assert len(found) == noticing.MOST_ROWS + 1
    assert sum(each.count for each in found) == 7 + 2 * noticing.MOST_ROWS, "what has no row of its own is counted, too"


def test_the_use_of_a_token_is_written_once_a_minute(accounts: AccessStore, store: Store):
    id = accounts.create_token(person="ada").token.id
    for _ in range(2):
        with store.command() as tx:
            noticing.note_uses(tx, [id, "gone"])
    [used] = accounts.tokens()
    assert used.used_ns is not None and used.used_ns <= store.clock.now_ns()


def test_secrets_are_found_in_texts_and_cut_out_of_them():
    secret = "stratal_" + "aZ0-_" * 8 + "abc"
    assert holds_secret(f"/x?token={secret}") and holds_secret(f"/x?token={secret.replace('_', '%5F')}")
    assert not holds_secret("/api/v1/stratal_short")
    assert secret not in without_secrets(f"got {secret}!")
