"""Signing in through an identity provider that runs on loopback, by a browser that follows redirects. Excludes providers' own pages."""

import asyncio
import gzip
import threading
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest
from openid_provider import CLIENT, SECRET, IdentityProvider, elliptic_key, other_key, shared_key

from certificates import make_certificate
from stratal.core.errors import Misuse, StoreDown
from stratal.core.settings import Oidc, load_oidc, load_settings
from stratal.server.asgi import headers_of, live
from stratal.server.limiting import Tries
from stratal.server.openid import Provider
from stratal.server.serving import Tls, listening


@pytest.fixture(scope="module")
def listening_provider():
    class Stage:
        provider: IdentityProvider

        async def __call__(self, scope, receive, send) -> None:
            await self.provider(scope, receive, send)

    stage = Stage()
    stage.provider = IdentityProvider()
    with listening(stage) as url:
        yield stage, url


@pytest.fixture
def provider(listening_provider, guarded) -> IdentityProvider:
    """A provider, known to the server of the test."""
    stage, url = listening_provider
    stage.provider = IdentityProvider()
    stage.provider.url = url
    stage.provider.redirects = {f"{guarded.url}/auth/oidc/callback"}
    guarded.auth._provider = Provider(Oidc(issuer=url, client_id=CLIENT, client_secret=SECRET))
    return stage.provider


class Browser:
    def __init__(self, team) -> None:
        self.http = team.sender().http

    def begin(self, next: str = "/") -> httpx.Response:
        return self.http.get("/auth/oidc/login", params={"next": next})

    def back_from(self, begun: httpx.Response) -> str:
        """Where the provider sends the browser."""
        answer = httpx.get(begun.headers["location"])
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def sign_in(self, next: str = "/") -> httpx.Response:
        return self.http.get(self.back_from(self.begin(next)))

    def me(self) -> dict:
        return self.http.get("/auth/me").json()


@pytest.fixture
def browser(provider, guarded) -> Browser:
    return Browser(guarded)


def test_who_the_provider_knows_is_added_without_rights_and_has_a_session(browser, provider, guarded):
    answer = browser.sign_in("/runs?sort=auc")
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs?sort=auc")
    assert "HttpOnly; SameSite=Lax" in answer.headers["set-cookie"]
    me = browser.me()
    assert (me["name"], me["by"], me["grants"]) == ("rita", "session", [])
    [rita] = [each for each in guarded.accounts.people() if each.name == "rita"]
    assert (rita.subject, rita.display, rita.created_by) == (f"{provider.url} u1", "Rita R.", "stratal")
    assert [each.action for each in guarded.accounts.changes(limit=2)] == ["sign in", "add"]


def test_a_person_is_their_subject_whatever_name_the_provider_says_later(browser, provider, guarded):
    browser.sign_in()
    provider.person["preferred_username"] = "ada"
    browser.sign_in()
    assert browser.me()["name"] == "rita"


def test_groups_bring_roles_and_take_them_away(browser, provider, guarded):
    guarded.accounts.grant(person="group:ml", role="contributor", on="experiment:churn")
    browser.sign_in()
    assert [(each["role"], each["on"]) for each in browser.me()["grants"]] == [("contributor", "experiment:churn")]
    provider.person["groups"] = ["hr"]
    browser.sign_in()
    assert browser.me()["grants"] == []


def test_a_provider_that_names_one_group_as_a_text_or_none_at_all_is_understood(browser, provider, guarded):
    guarded.accounts.grant(person="group:ml", role="contributor", on="experiment:churn")
    guarded.accounts.grant(person="group:hr", role="viewer", on="experiment:staff")
    provider.person["groups"] = ["ml", "hr"]
    browser.sign_in()
    provider.person["groups"] = "ml"
    browser.sign_in()
    assert [each["on"] for each in browser.me()["grants"]] == ["experiment:churn"]
    provider.leaves_out.add("groups")  # so some providers say that there are none
    browser.sign_in()
    assert browser.me()["grants"] == []


def test_a_name_that_is_taken_is_not_given_away_but_can_be_bound(browser, provider, guarded):
    provider.person["preferred_username"] = "Ada"
    refused = browser.sign_in()
    assert refused.status_code == 401 and "stratal user bind ada" in refused.json()["hint"]
    assert browser.http.get("/auth/me").status_code == 401
    guarded.accounts.bind(name="ada", subject=f"{provider.url} u1")
    browser.sign_in()
    assert browser.me()["name"] == "ada"


def test_who_is_locked_out_stays_out(browser, provider, guarded):
    browser.sign_in()
    guarded.accounts.disable(name="rita")
    assert browser.sign_in().status_code == 401


def test_who_is_not_let_in_through_a_provider_is_a_line_of_the_log_and_a_refusal(browser, provider, guarded, caplog):
    caplog.set_level("INFO", logger="stratal.server.sign_ins")
    browser.sign_in()
    guarded.accounts.disable(name="rita")
    assert browser.sign_in().status_code == 401
    provider.claims.update(aud="somebody-else")
    assert browser.sign_in().status_code == 401
    lines = [msgspec.json.decode(record.getMessage()) for record in caplog.records if record.name == "stratal.server.sign_ins"]
    said = {"refused": "through the identity provider", "address": "127.0.0.1"}
    assert lines == [{**said, "name": "rita"}, {**said, "name": ""}]
    assert guarded.refused() == {("rita", "through the identity provider", ""): 1, ("", "through the identity provider", ""): 1}


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda p: p.claims.update(iss="https://evil.example"), id="another issuer"),
        pytest.param(lambda p: p.claims.update(aud="somebody-else"), id="another audience"),
        pytest.param(lambda p: p.claims.update(aud=[CLIENT, "somebody-else"]), id="two audiences and no authorized party"),
        pytest.param(lambda p: p.claims.update(azp="somebody-else"), id="another authorized party"),
        pytest.param(lambda p: p.claims.update(exp=1000), id="expired"),
        pytest.param(lambda p: p.claims.update(nbf=99999999999), id="not yet valid"),
        pytest.param(lambda p: p.claims.update(nonce="replayed"), id="another nonce"),
        pytest.param(lambda p: p.leaves_out.add("nonce"), id="no nonce"),
        pytest.param(lambda p: p.leaves_out.add("exp"), id="no end"),
        pytest.param(lambda p: p.leaves_out.add("sub"), id="no subject"),
        pytest.param(lambda p: p.claims.update(sub="u1\0"), id="a subject with NUL"),
        pytest.param(lambda p: p.claims.update(sub="u" * 256), id="a subject that is too long"),
        pytest.param(lambda p: p.leaves_out.add("aud"), id="no audience"),
        pytest.param(lambda p: p.leaves_out.add("preferred_username"), id="no name"),
        pytest.param(lambda p: p.claims.update(preferred_username=["x"]), id="a name that is none"),
        pytest.param(lambda p: setattr(p, "key", other_key()), id="a key of somebody else"),
        pytest.param(lambda p: setattr(p, "key", other_key("two")), id="a key that nobody published"),
        pytest.param(lambda p: (setattr(p, "key", shared_key(SECRET)), setattr(p, "algorithm", "HS256")), id="a shared secret"),
        pytest.param(lambda p: setattr(p, "signs", False), id="no signature"),
        pytest.param(lambda p: p.claims.update(at_hash="AAAA"), id="another access token"),
    ],
)
def test_what_is_not_signed_for_us_for_this_sign_in_lets_nobody_in(browser, provider, guarded, forge):
    forge(provider)
    answer = browser.sign_in()
    assert answer.status_code == 401, answer.text
    assert "stratal_session" not in browser.http.cookies
    assert [each.name for each in guarded.accounts.people() if each.name == "rita"] == []


@pytest.mark.parametrize(
    ("claims", "why", "remedy"),
    [({"exp": 1000}, "its exp", "clocks"), ({"aud": "somebody-else"}, "its aud", "CLIENT_ID"), ({"nonce": "x"}, "its nonce", "log")],
)
def test_it_is_said_which_claim_is_wrong_and_what_helps(browser, provider, caplog, claims, why, remedy):
    provider.claims.update(claims)
    said = browser.sign_in().json()
    assert why in said["message"] and remedy in said["hint"]
    assert why in caplog.text and str(claims) not in caplog.text


def test_the_log_says_why_a_provider_gives_nothing_for_a_code(browser, provider, guarded, caplog):
    guarded.auth._provider = Provider(Oidc(issuer=provider.url, client_id=CLIENT, client_secret="another"))
    assert browser.sign_in().status_code == 401
    assert "status=401 error=invalid_client" in caplog.text and "another" not in caplog.text


def test_a_key_that_is_new_since_is_fetched(browser, provider, monkeypatch):
    browser.sign_in()
    monkeypatch.setattr("stratal.server.openid.AGAIN_S", 0.0)
    provider.key, provider.algorithm = elliptic_key("new"), "ES256"
    provider.published = [provider.key]
    assert browser.sign_in().status_code == 303
    assert provider.asked.count("/keys") == 2 and provider.asked.count("/.well-known/openid-configuration") == 1


def test_forged_keys_do_not_make_us_fetch_keys_without_end(browser, provider):
    provider.key = other_key("two")
    for _ in range(3):
        assert browser.sign_in().status_code == 401
    assert provider.asked.count("/keys") == 1


def test_a_sign_in_ends_in_the_browser_where_it_began(browser, provider, guarded):
    stolen = browser.back_from(browser.begin())
    victim = Browser(guarded)
    assert victim.http.get(stolen).status_code == 400, "a session of somebody else is not slipped in"
    victim.begin()
    assert victim.http.get(stolen).status_code == 400, "nor in the middle of their own sign-in"
    assert browser.http.get(stolen).status_code == 303
    assert browser.http.get(stolen).status_code == 400, "and it is over then"


def test_a_code_is_worth_nothing_without_its_verifier(browser, provider, guarded):
    begun = browser.begin()
    asked = parse_qs(urlsplit(begun.headers["location"]).query)
    assert asked["code_challenge_method"] == ["S256"] and len(asked["code_challenge"][0]) == 43
    assert "verifier" not in begun.headers["location"]
    back = browser.back_from(begun)
    other = browser.begin()  # another attempt in the same browser: its verifier is another
    state = parse_qs(urlsplit(other.headers["location"]).query)["state"][0]
    code = parse_qs(urlsplit(back).query)["code"][0]
    assert browser.http.get("/auth/oidc/callback", params={"code": code, "state": state}).status_code == 401


def test_behind_a_proxy_one_comes_back_by_https(browser):
    begun = browser.http.get("/auth/oidc/login", headers={"x-forwarded-proto": "https"})
    asked = parse_qs(urlsplit(begun.headers["location"]).query)
    assert asked["redirect_uri"] == [f"{browser.http.base_url}".replace("http:", "https:").rstrip("/") + "/auth/oidc/callback"]
    assert begun.headers["set-cookie"].endswith("; Secure")
    of_another = browser.http.get("/auth/oidc/login", headers={"host": "192.0.2.7"})  # a proxy elsewhere, which is not believed
    assert "redirect_uri=https%3A%2F%2F192.0.2.7%2Fauth" in of_another.headers["location"]
    assert of_another.headers["set-cookie"].endswith("; Secure")


@pytest.mark.parametrize(
    "next", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:x", "", "/a\r\nset-cookie: x=1", "/é"]
)
def test_one_is_led_to_a_path_of_this_server_only(browser, next):
    assert browser.sign_in(next).headers["location"] == "/auth/me"
    assert browser.http.get("/auth/me").status_code == 200


def test_what_the_provider_refuses_is_said(browser, provider):
    state = parse_qs(urlsplit(browser.begin().headers["location"]).query)["state"][0]
    answer = browser.http.get("/auth/oidc/callback", params={"error": "access_denied", "state": state})
    assert (answer.status_code, "access_denied" in answer.json()["message"]) == (403, True)


def test_a_provider_that_is_away_or_somebody_else_is_no_fault_of_the_browser(browser, provider, guarded):
    provider.issuer = "https://other.example"
    answer = browser.begin()
    assert answer.status_code == 503 and "STRATAL_OIDC_ISSUER" in answer.json()["hint"]
    with pytest.raises(StoreDown, match="not reached"):
        Provider(Oidc(issuer="http://127.0.0.1:1", client_id="x")).begin("http://127.0.0.1/", "/")


@pytest.mark.parametrize("unseen", ["\ufe0f", "\u034f", "\u3164", "\uffa0", "\u200d", "\u2800", "\U000e0100"])
def test_nobody_comes_under_a_name_that_looks_like_another_one_by_what_nobody_sees(browser, provider, guarded, unseen):
    provider.person["preferred_username"] = f"ada{unseen}"
    assert browser.sign_in().status_code == 422
    assert {each.name for each in guarded.accounts.people()} == {"ada", "bob", "vera", "eve"}


@pytest.mark.parametrize("way", ["drip", "pack", "pour"])
def test_an_answer_of_a_provider_is_bounded_in_time_and_size_whatever_it_sends(way, monkeypatch):
    asked, given_up, limit_s = [], threading.Event(), 0.25 if way == "drip" else 60.0

    async def answer(scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send, lambda: None)
            return
        asked.append(headers_of(scope)["accept-encoding"])
        places = dict.fromkeys(("authorization_endpoint", "token_endpoint", "jwks_uri"), f"{url}/x")
        said = msgspec.json.encode({"issuer": url, **places})
        packed = [(b"content-encoding", b"gzip")] if way == "pack" else []
        await send({"type": "http.response.start", "status": 200, "headers": packed})
        for _ in range(3 if way == "pour" else 0):
            await send({"type": "http.response.body", "body": b" " * (1 << 19), "more_body": True})
        while way == "drip" and not given_up.is_set():
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
            await asyncio.sleep(0.02)
        await send({"type": "http.response.body", "body": gzip.compress(said) if way == "pack" else said})

    with listening(answer) as url:
        while not asked:  # else it was given up before it was there
            limit_s *= 2
            monkeypatch.setattr("stratal.server.openid.ANSWER_S", limit_s)
            with pytest.raises(StoreDown, match="not reached" if way == "drip" else "nothing that can be read"):
                Provider(Oidc(issuer=url, client_id="x")).begin("http://127.0.0.1/", "/")
        given_up.set()
    assert asked == ["identity"], "what is small when packed may be as large as it likes"


def test_the_secret_of_the_client_and_the_codes_are_kept_nowhere(browser, provider, guarded, caplog):
    caplog.set_level("DEBUG", logger="stratal")
    browser.sign_in()
    guarded.store.settle()
    kept = b"".join(path.read_bytes() for path in guarded.store.folder.rglob("*") if path.is_file())
    assert SECRET.encode() not in kept and SECRET not in caplog.text
    assert SECRET not in repr(Oidc(issuer="https://x", client_id="x", client_secret=SECRET))


def test_a_server_without_a_provider_says_so(guarded):
    answer = guarded.sender().http.get("/auth/oidc/login")
    assert answer.status_code == 422 and "STRATAL_OIDC_ISSUER" in answer.json()["hint"]


def test_a_provider_is_set_whole_or_not_at_all(tmp_path):
    assert load_oidc(tmp_path, {}) is None
    (tmp_path / "stratal.toml").write_text('user = "x"\n[oidc]\nissuer = "https://id.example"\nclient_id = "team"\n')
    found = load_oidc(tmp_path, {"STRATAL_OIDC_CLIENT_SECRET": "s"})
    assert found == Oidc(issuer="https://id.example", client_id="team", client_secret="s")
    assert load_settings(tmp_path, {}).user == "x"
    with pytest.raises(Misuse, match="issuer and a client_id"):
        load_oidc(tmp_path.parent, {"STRATAL_OIDC_ISSUER": "https://id.example"})
    (tmp_path / "stratal.toml").write_text("[oidc]\nissuers = 1\n")
    with pytest.raises(Misuse, match="unknown settings: issuers"):
        load_oidc(tmp_path, {})


@pytest.mark.parametrize("issuer", ["http://id.example", "ftp://127.0.0.1", "id.example", "http://[::1", "https://"])
def test_a_provider_without_https_is_taken_on_loopback_only(issuer):
    with pytest.raises(Misuse, match=r"HTTPS|address"):
        Provider(Oidc(issuer=issuer, client_id="x"))


def test_a_provider_may_have_an_authority_of_the_companys_own(tmp_path, monkeypatch):
    cert, key = make_certificate(tmp_path)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    there = IdentityProvider()
    with listening(there, tls=Tls(cert=cert, key=key)) as url:
        there.url = url.replace("127.0.0.1", "localhost")
        provider = Provider(Oidc(issuer=there.url, client_id=CLIENT, client_secret=SECRET))
        with pytest.raises(StoreDown, match="not reached") as refused:
            provider.begin("http://localhost/auth/oidc/callback", "/")
        assert "SSL_CERT_FILE=" in refused.value.hint
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        assert provider.begin("http://localhost/auth/oidc/callback", "/")[0].startswith(f"{there.url}/authorize?")


def test_codes_that_the_provider_does_not_take_are_counted_by_address(browser, guarded):
    guarded.auth._comings = Tries(2, 3600.0)
    state = parse_qs(urlsplit(browser.begin().headers["location"]).query)["state"][0]
    answers = [browser.http.get("/auth/oidc/callback", params={"code": "guessed", "state": state}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert int(answers[-1].headers["retry-after"]) > 60
