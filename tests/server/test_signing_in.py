"""Sessions of browsers: cookies, CSRF, origins, rotation, ends. Excludes OIDC and the pages that use them."""

import re

import httpx
import pytest

from stratal.core.clock import SECOND_NS, SystemClock
from stratal.server import authenticating
from stratal.server.signing_in import Auth
from stratal.store.access.sessions import GRACE_S, LIFE_S, ROTATE_S

GOOD = "correct horse battery"


class MovedClock(SystemClock):
    """A clock whose time of day is moved by hand."""

    moved_s = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.moved_s * SECOND_NS


class Browser:
    """Keeps cookies as a browser does, and remembers the token against forged requests."""

    def __init__(self, team) -> None:
        self.http = team.sender().http
        self.csrf = ""

    def login(self, name: str = "bob", password: str = GOOD, **headers: str):
        answer = self.http.post("/auth/login", json={"name": name, "password": password}, headers=headers)
        if answer.status_code == 200:
            self.csrf = answer.json()["csrf"]
        return answer

    def beat(self, **headers: str) -> int:
        """The status of a small change."""
        return self.http.post("/ingest/v1/beat", json={"writers": []}, headers={"x-stratal-csrf": self.csrf, **headers}).status_code

    def me(self):
        return self.http.get("/auth/me")

    def logout(self, **body: object):
        return self.http.post("/auth/logout", json=body, headers={"x-stratal-csrf": self.csrf})


@pytest.fixture
def browsers(guarded):
    guarded.accounts.set_password(name="bob", password=GOOD)
    return lambda: Browser(guarded)


def test_who_signs_in_has_a_cookie_that_no_script_reads_and_is_known_by_it(browsers):
    browser = browsers()
    assert browser.me().status_code == 401
    answer = browser.login("BOB")
    assert re.fullmatch(r"stratal_session=strses_[\w-]{43}; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax", answer.headers["set-cookie"])
    assert answer.headers["cache-control"] == "no-store"
    me = browser.me().json()
    assert (me["name"], me["is_authenticated"], me["by"], me["csrf"]) == ("bob", True, "session", browser.csrf)
    assert [(each["role"], each["on"]) for each in me["grants"]] == [("contributor", "experiment:churn")]
    assert browser.beat() == 204


def test_off_this_machine_the_cookie_needs_https(browsers):
    assert browsers().login(host="192.168.7.7").headers["set-cookie"].endswith("; Secure")
    through_a_proxy = browsers().login(**{"x-forwarded-proto": "https"})
    assert through_a_proxy.headers["set-cookie"].endswith("; Secure")


@pytest.mark.parametrize(
    ("name", "password"),
    [("bob", "wrong horse battery"), ("vera", GOOD), ("nobody-here", GOOD), ("", ""), ("bob", "x" * 5000), ("b\0b", GOOD)],
)
def test_what_is_wrong_with_a_sign_in_is_not_told(browsers, name, password):
    answer = browsers().login(name, password)
    assert (answer.status_code, answer.json()["message"]) == (401, "the name or the password is wrong")
    assert "set-cookie" not in answer.headers


def test_a_disabled_person_is_told_no_more_than_others(browsers, guarded):
    guarded.accounts.disable(name="bob")
    assert browsers().login().json()["message"] == "the name or the password is wrong"


def test_changes_need_the_token_of_the_session_and_a_page_of_ours(browsers):
    browser, other = browsers(), browsers()
    browser.login()
    other.login()
    assert browser.beat(**{"x-stratal-csrf": ""}) == 401
    assert browser.beat(**{"x-stratal-csrf": other.csrf}) == 401
    assert browser.beat(**{"x-stratal-csrf": b"\xe9"}) == 401
    assert browser.beat(origin="https://evil.example") == 403
    assert browser.beat(origin="null") == 403
    assert browser.beat(**{"sec-fetch-site": "cross-site"}) == 401
    assert browser.beat(origin=str(browser.http.base_url)) == 204


def test_no_other_site_signs_anybody_in(browsers):
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert browsers().login(**headers).status_code == 403
    form = browsers().http.post("/auth/login", data={"name": "bob", "password": GOOD})
    assert form.status_code == 415


def test_signing_in_again_ends_the_session_of_before(browsers):
    browser = browsers()
    first = browser.login().cookies["stratal_session"]
    second = browser.login().cookies["stratal_session"]
    assert first != second
    old = browsers()
    old.http.cookies.set("stratal_session", first)
    assert old.me().status_code == 401


def test_signing_out_ends_a_session_here_or_everywhere(browsers):
    one, two, three = browsers(), browsers(), browsers()
    for browser in (one, two, three):
        browser.login()
    kept = one.http.cookies["stratal_session"]
    answer = one.http.post("/auth/logout", headers={"x-stratal-csrf": one.csrf})  # without a body, as with an empty one
    assert answer.status_code == 204 and "Max-Age=0" in answer.headers["set-cookie"]
    one.http.cookies.set("stratal_session", kept)
    assert one.me().status_code == 401, "the row is gone, whoever kept the cookie"
    assert two.me().status_code == 200
    assert two.logout(everywhere=True).status_code == 204
    assert three.me().status_code == 401


def test_signing_out_is_a_change_and_needs_its_token(browsers):
    browser = browsers()
    browser.login()
    browser.csrf = ""
    assert browser.logout().status_code == 401
    assert browser.me().status_code == 200


def test_a_session_ends_by_time_by_a_new_password_and_by_being_locked_out(browsers, guarded, monkeypatch):
    clock = MovedClock()
    monkeypatch.setattr(guarded.store.database, "clock", clock)
    one, two, three = browsers(), browsers(), browsers()
    one.login()
    clock.moved_s = LIFE_S + 1
    assert one.me().status_code == 401
    two.login()
    guarded.accounts.set_password(name="bob", password=GOOD)
    assert two.me().status_code == 401
    three.login()
    assert three.me().status_code == 200
    guarded.accounts.disable(name="bob")
    assert three.me().status_code == 401


def test_the_id_of_a_session_changes_by_the_hour_and_the_old_one_serves_for_a_moment(browsers, guarded, monkeypatch):
    clock = MovedClock()
    monkeypatch.setattr(guarded.store.database, "clock", clock)
    browser = browsers()
    browser.login()
    old = browser.http.cookies["stratal_session"]
    assert "set-cookie" not in browser.me().headers
    clock.moved_s = ROTATE_S + 1
    answer = browser.me()
    fresh = answer.cookies["stratal_session"]
    assert fresh != old and answer.json()["csrf"] != browser.csrf
    late = browsers()
    late.http.cookies.set("stratal_session", old)
    assert late.me().status_code == 200, "requests that were under way"
    clock.moved_s += GRACE_S + 1
    guarded.guard.forget()
    assert late.me().status_code == 401
    browser.csrf = answer.json()["csrf"]
    assert browser.me().status_code == 200 and browser.beat() == 204
    clock.moved_s = LIFE_S + 1
    assert browser.me().status_code == 401, "a new id is no new sign-in"


def test_sessions_are_kept_as_digests_and_sign_ins_are_in_the_log(browsers, guarded):
    browser = browsers()
    browser.login()
    browser.login()
    guarded.store.settle()
    kept = b"".join(path.read_bytes() for path in guarded.store.folder.rglob("*") if path.is_file())
    assert browser.http.cookies["stratal_session"].encode() not in kept
    assert [each.action for each in guarded.accounts.changes(limit=3)] == ["sign in", "sign out", "sign in"]


def test_who_comes_by_a_token_is_told_its_bounds_and_has_no_session(guarded):
    sender = guarded.having_token("bob", role="viewer", objects=["experiment:churn"])
    me = sender.http.get("/auth/me").json()
    assert (me["by"], me["csrf"], me["role"], me["objects"]) == ("token", "", "viewer", ["experiment:churn"])
    answer = sender.http.post("/auth/logout", json={})
    assert (answer.status_code, answer.json()["error"]) == (422, "refused")


ODD = [b"", b"{}", b"[1]", b'{"name": 1, "password": "x"}', b'{"name": "a", "password": "secret-x", "b": 1}', b"\xff"]


@pytest.mark.parametrize("body", ODD)
def test_a_body_that_cannot_be_read_is_refused_without_being_told_back(guarded, body):
    answer = guarded.sender().http.post("/auth/login", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and "secret-x" not in answer.text


def test_bodies_are_bounded_and_other_places_are_not_there(guarded):
    http = guarded.sender().http
    assert http.post("/auth/login", content=b"x" * 20_000, headers={"content-type": "application/json"}).status_code == 413
    assert http.get("/auth/nothing").status_code == 404
    assert http.get("/auth/login").status_code == 405


def test_a_server_that_asks_nobody_says_so(store, stage):
    auth = Auth(store)
    stage[0].handler = auth

    with httpx.Client(base_url=stage[1], headers={"stratal-user": "ada"}) as http:
        assert http.get("/auth/me").json()["is_authenticated"] is False
        refused = http.post("/auth/login", json={"name": "a", "password": "b"})
        assert refused.status_code == 422 and "--auth" in refused.json()["hint"]
    auth.close()


@pytest.mark.parametrize("change", ["password", "lock-out"])
def test_a_password_that_is_changed_while_it_is_compared_opens_no_session(browsers, guarded, monkeypatch, change):
    whole = authenticating.is_password

    def compare(kept: str | None, said: str) -> bool:
        is_right = whole(kept, said)
        if change == "password":
            guarded.accounts.set_password(name="bob", password="another one entirely")
        else:
            guarded.accounts.disable(name="bob")
            guarded.accounts.enable(name="bob")
        return is_right

    browser = browsers()
    monkeypatch.setattr(authenticating, "is_password", compare)
    assert browser.login().status_code == 401
    assert browser.me().status_code == 401
