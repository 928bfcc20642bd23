"""Addresses in the log: from where a request and a refused sign-in came, which is what limits count, and nobody forges."""

import json
import logging
import re
from pathlib import Path

import httpx
import pytest

from stratal.server.logs import Lines
from stratal.server.peers import address_of

GOOD = "correct horse battery"
PAGE = (Path(__file__).parents[2] / "docs/securing.md").read_text()
# The pattern for fail2ban, with what that puts for <SUBNET>.
[PATTERN] = [
    re.compile(said.replace("<SUBNET>", "(?P<address>[0-9a-f.:/]+)")) for said in re.findall(r"^failregex = (.+)$", PAGE, re.MULTILINE)
]


def banned_by(line: str) -> str | None:
    """What the filter of the docs finds in a line: fail2ban cuts out the time, by a pattern of its own, before it looks."""
    found = PATTERN.match(re.sub(r'^\{"at":"[0-9T:.-]+Z', "", line))
    return found["address"] if found else None


@pytest.fixture
def clients(guarded):
    """Make senders that connect from an address of this machine; 127.0.0.1 alone is a trusted proxy."""
    made: list[httpx.Client] = []

    def connect(local: str, **headers: str) -> httpx.Client:
        transport = httpx.HTTPTransport(local_address=local)
        made.append(httpx.Client(base_url=guarded.url, timeout=30, transport=transport, headers=headers))
        return made[-1]

    yield connect
    for client in made:
        client.close()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, clients):
    """Give the lines of one logger as the server writes them. An answer may come before its line, but no later answer does."""
    caplog.set_level(logging.INFO, "stratal.server")

    def read(logger: str) -> list[str]:
        clients("127.0.0.3").get("/health")
        written = [Lines().format(record) for record in caplog.records if record.name == f"stratal.server.{logger}"]
        return [line for line in written if '"/health"' not in line]

    return read


def test_the_line_of_a_request_says_who_connects_or_who_a_trusted_proxy_says(clients, lines):
    forged = {"x-forwarded-for": "198.51.100.9", "x-real-ip": "198.51.100.9", "forwarded": "for=198.51.100.9"}
    clients("127.0.0.1").get("/ready")
    clients("127.0.0.1", **{"x-forwarded-for": "203.0.113.5"}).get("/ready")
    clients("127.0.0.1", **{"x-forwarded-for": "198.51.100.9, 203.0.113.5"}).get("/ready")  # of a proxy that adds to what came
    clients("127.0.0.1", **{"x-forwarded-for": "2001:db8:1:2:3:4:5:6"}).get("/ready")
    clients("127.0.0.2", **forged).get("/ready")
    said = [json.loads(line)["address"] for line in lines("requests")]
    assert said == ["127.0.0.1", "203.0.113.5", "203.0.113.5", "2001:db8:1:2::/64", "127.0.0.2"]


def test_the_address_of_a_refused_sign_in_is_the_one_that_limits_count(guarded, clients, lines):
    guarded.accounts.set_password(name="bob", password=GOOD)
    attacker = clients("127.0.0.2")
    for number in range(3):
        headers = {"x-forwarded-for": f"198.51.100.{number}"}
        assert attacker.post("/auth/login", json={"name": "bob", "password": "wrong"}, headers=headers).status_code == 401
    behind = clients("127.0.0.1", **{"x-forwarded-for": "203.0.113.5"})
    assert behind.get("/auth/me", auth=("bob", "wrong")).status_code == 401
    assert set(guarded.guard._by_address._full_at_s) == {"127.0.0.2", "203.0.113.5"}
    said = [json.loads(line) for line in lines("sign_ins")]
    assert [(each["refused"], each["address"], each["name"]) for each in said] == [("wrong password", "127.0.0.2", "bob")] * 3 + [
        ("wrong password", "203.0.113.5", "bob")
    ]


def test_each_way_of_not_being_let_in_is_a_line(guarded, clients, lines):
    known, revoked = guarded.token_of("bob"), guarded.accounts.create_token(person="vera")
    guarded.accounts.revoke_token(id=revoked.token.id)
    locked = guarded.token_of("eve")
    guarded.accounts.disable(name="eve")
    http = clients("127.0.0.2")
    for header in (f"Bearer {known[:-1]}_", f"Bearer {revoked.secret}", f"Bearer {locked}", "Bearer short", "Digest x"):
        assert http.get("/auth/me", headers={"authorization": header}).status_code == 401
    assert http.get("/auth/me", auth=("ada", known)).status_code == 401
    assert http.get("/auth/me").status_code == 401  # who shows nothing has tried nothing
    assert http.get("/auth/me", headers={"authorization": f"Bearer {known}"}).status_code == 200
    said = [json.loads(line) for line in lines("sign_ins")]
    assert [each["refused"] for each in said] == [
        "unknown token", "revoked", "locked out", "not signed in", "not signed in", "token of somebody else",
    ]  # fmt: skip
    assert {each["address"] for each in said} == {"127.0.0.2"}
    assert [reason for reason in {each["refused"] for each in said} if f"`{reason}`" not in PAGE] == []


def test_who_tries_too_often_is_a_line_each_time(guarded, clients, lines):
    http = clients("127.0.0.2")
    statuses = [http.post("/auth/login", json={"name": "bob", "password": "wrong"}).status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    assert json.loads(lines("sign_ins")[-1])["refused"] == "too many tries"


def test_no_name_passes_for_an_address_or_brings_a_secret_into_the_log(guarded, clients, lines):
    secret = guarded.token_of("bob")
    for name in ('x","address":"198.51.100.9', "a\n{", secret):
        clients("127.0.0.2").post("/auth/login", json={"name": name, "password": "wrong"})
    written = lines("sign_ins")
    assert [banned_by(line) for line in written] == ["127.0.0.2"] * 3
    assert not any(map(banned_by, lines("requests")))
    assert [line for line in written if len(line.splitlines()) != 1] == []
    assert secret not in "".join((*written, *lines("requests")))


def test_what_a_proxy_passes_on_as_an_address_is_short_and_none_is_empty():
    assert address_of({"client": None}) == address_of({}) == ""
    assert len(address_of({"client": ("x" * 5000, 0)})) == 64
