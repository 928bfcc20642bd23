"""Whatever anybody sends instead of a credential, or to /auth: it is refused, and never a failure of ours."""

import json
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stratal.core.settings import Oidc
from stratal.server.credentials import COOKIE, CSRF, csrf_of, is_from_here, read_credentials
from stratal.server.guards import Unauthenticated
from stratal.server.openid import Provider
from stratal.server.peers import Peer
from stratal.store.access.secrets import SESSION, TOKEN, new_secret

LATIN = st.text(st.characters(max_codepoint=255), max_size=60)
HEADERS = st.dictionaries(
    st.sampled_from(["authorization", "cookie", "origin", "host", "sec-fetch-site", CSRF]),
    LATIN
    | LATIN.map(lambda text: f"Basic {text}")
    | LATIN.map(lambda text: f"Bearer {TOKEN}{text}")
    | LATIN.map(lambda text: f"{COOKIE}={SESSION}{text}")
    | LATIN.map(lambda text: f"http://[{text}"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.sampled_from(["name", "password"]), inner, max_size=3)
    ),
    max_leaves=6,
)
ODD = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(HEADERS, st.sampled_from(["GET", "POST", ""]))
def test_odd_headers_are_no_credentials(headers, method):
    try:
        said = read_credentials(headers, Peer(method=method))
    except Unauthenticated:
        return
    assert said.kind in ("token", "password", "session")
    assert said.secret not in repr(said) or len(said.secret) < 3


@given(LATIN, LATIN)
def test_a_change_by_a_session_needs_just_its_own_token(csrf, origin):
    secret = new_secret(SESSION)
    headers = {"cookie": f"a=b; {COOKIE}={secret}", "host": "team.example.org", CSRF: csrf, "origin": origin}
    is_let_in = True
    try:
        read_credentials(headers, Peer(method="POST"))
    except Unauthenticated:
        is_let_in = False
    assert is_let_in == (csrf == csrf_of(secret) and is_from_here(headers))
    assert not is_let_in
    assert read_credentials({**headers, CSRF: csrf_of(secret), "origin": "https://team.example.org"}, Peer(method="POST")).secret == secret


@ODD
@given(JSON)
def test_odd_bodies_sign_nobody_in(guarded, body):
    http = guarded.sender().http
    try:
        content = json.dumps(body).encode()
    except ValueError:
        return
    for path in ("/auth/login", "/auth/logout"):
        answer = http.post(path, content=content, headers={"content-type": "application/json"})
        assert 400 <= answer.status_code < 500, (path, answer.text)
        assert "set-cookie" not in answer.headers


@ODD
@given(st.dictionaries(st.sampled_from(["code", "state", "error", "next"]), st.text(st.characters(exclude_categories=["Cs"]))), LATIN)
def test_odd_ways_back_from_a_provider_lead_nowhere(guarded, query, cookie):
    guarded.auth._provider = Provider(Oidc(issuer="http://127.0.0.1:1", client_id="x"))  # nobody is there
    http = guarded.sender().http
    kept = f"stratal_oidc={quote(cookie, safe='=')}"
    answer = http.get("/auth/oidc/callback", params=query, headers={"cookie": kept})
    assert (answer.status_code, answer.json()["error"]) == (400, "state")
