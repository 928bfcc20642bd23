"""What people see who open the server's address in a browser. Excludes pages of the store, which are not there yet."""

import asyncio

import httpx

from stratal.server.asgi import Request
from stratal.server.front import front

GOOD = "correct horse battery"


def test_a_server_that_asks_nobody_says_so(served_url):
    answer = httpx.get(served_url, headers={"x-stratal-user": "ann"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "asks nobody" in answer.text and "/api/v1/openapi.json" in answer.text and "signed in" not in answer.text


def test_who_is_signed_in_reads_their_name_and_who_is_not_how_to_be(guarded):
    guarded.accounts.set_password(name="bob", password=GOOD)
    browser = guarded.sender().http
    stranger = browser.get("/")
    assert stranger.status_code == 200 and "You are not signed in" in stranger.text and "STRATAL_TOKEN" in stranger.text
    assert not guarded.refused(), "to look at it is no try to come in"
    assert browser.post("/auth/login", json={"name": "bob", "password": GOOD}).status_code == 200
    page = browser.get("/")
    assert "You are signed in as <strong>bob</strong>" in page.text and "set-cookie" not in page.headers


def test_what_stands_for_nobody_any_more_is_told_as_not_signed_in(guarded):
    for said in ("Bearer stratal_" + "0" * 43, "Basic bm9ib2R5Og==", "nonsense"):
        answer = guarded.sender().http.get("/", headers={"authorization": said})
        assert answer.status_code == 200 and "You are not signed in" in answer.text, said


def test_where_a_provider_is_known_the_page_leads_to_it(guarded):
    request = Request({"method": "GET", "path": "/", "headers": []}, None)
    page = asyncio.run(front(guarded.guard, request, "/auth/oidc/login?next=/")).decode()
    assert '<a href="/auth/oidc/login?next=/">Sign in</a>' in page
