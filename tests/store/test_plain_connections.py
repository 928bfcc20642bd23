"""A token that goes over the network readable is warned of. Excludes who may ask what."""

import logging

import pytest

from stratal.store.calling import open_client
from stratal.store.marks import is_loopback


def warned(caplog, url: str, token: str | None) -> list[str]:
    caplog.set_level(logging.WARNING, "stratal")
    open_client(url, "ada", token).close()
    return [record.getMessage() for record in caplog.records]


def test_a_token_to_another_machine_by_plain_http_is_warned_of_once_with_what_to_do(caplog):
    warned(caplog, "http://team.example.org:4117", "stratal_secret")
    [said] = warned(caplog, "http://team.example.org:4117", "stratal_secret")
    assert "http://team.example.org:4117" in said and "https://" in said and "ssh -L" in said
    assert "stratal_secret" not in said


@pytest.mark.parametrize(("url", "token"), [
    ("https://team.example.org", "t"), ("http://127.0.0.1:4117", "t"), ("http://localhost:4117", "t"), ("http://[::1]:4117", "t"),
    ("http://other.example.org", None), ("http://other.example.org", ""),
])  # fmt: skip
def test_what_nobody_can_listen_to_is_not(caplog, url: str, token: str | None):
    assert warned(caplog, url, token) == []


@pytest.mark.parametrize(("host", "is_local"), [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
    ("127.0.0.1.evil.org", False), ("0.0.0.0", False), ("10.0.0.1", False), ("", False)])  # fmt: skip
def test_only_loopback_is_loopback(host: str, is_local: bool):
    assert is_loopback(host) is is_local
