"""The guarded request: where it may go, what it carries, and how long it may take. Excludes the store."""

import asyncio
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratal.core.errors import Refused
from stratal.webhooks.sending import Cut, aside, choose, is_public, send

LOCAL = frozenset({"localhost"})


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255",
     "192.0.0.8", "198.18.0.1", "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "::ffff:127.0.0.1",
     "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::", "::127.0.0.1", "2001:db8::1"],
)  # fmt: skip
def test_an_address_of_a_private_network_is_not_public(address):
    assert not is_public(address)
    with pytest.raises(Refused, match="private network"):
        choose("a.example", [address], LOCAL)
    assert choose("LOCALHOST.", [address], LOCAL) == address


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_an_address_of_the_internet_is_public(address):
    assert choose("a.example", ["10.0.0.1", address], LOCAL) == address


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_as_what_it_maps(address):
    assert is_public(str(address)) == is_public(f"::ffff:{address}")


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f000001", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "017700000001"])
def test_loopback_is_refused_in_any_spelling_and_nothing_is_sent(endpoint, host):
    port = endpoint.url.split(":")[2].split("/")[0]
    outcome = send(f"http://{host}:{port}/", {}, b"x", allowed=frozenset())
    assert outcome.status is None and "private network" in outcome.error and "webhook_hosts" in outcome.error
    assert endpoint.got == []


def test_a_name_is_resolved_once_and_the_checked_address_is_connected_to(endpoint):
    """A name that leads elsewhere at the second question leads nowhere else here."""
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["203.0.113.9"]

    port = endpoint.url.split(":")[2].split("/")[0]
    outcome = send(f"http://other.internal:{port}/p?q=1", {"a": "b"}, b"body", allowed=frozenset({"other.internal"}), resolve=resolve)
    assert (outcome.status, outcome.error, asked) == (204, "", ["other.internal"])
    headers, body = endpoint.got[0]
    assert (headers["host"], headers["a"], body) == (f"other.internal:{port}", "b", b"body")


def test_the_name_is_told_to_tls_and_not_the_address():
    hello = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            hello.append(connection.recv(65536))
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        outcome = send(f"https://localhost:{listening.getsockname()[1]}/", {}, b"", allowed=LOCAL)
        thread.join()
    assert b"localhost" in hello[0] and outcome.status is None and outcome.error


def test_a_redirect_is_not_followed(endpoint):
    endpoint.answers = lambda: 307
    endpoint.headers = {"location": endpoint.url}
    outcome = send(endpoint.url, {}, b"x", allowed=LOCAL)
    assert (outcome.status, "redirect" in outcome.error, len(endpoint.got)) == (307, True, 1)


@pytest.mark.parametrize("status", [400, 401, 404, 410, 429, 500, 503])
def test_an_answer_that_is_no_success_is_an_error(endpoint, status):
    endpoint.answers = lambda: status
    outcome = send(endpoint.url, {}, b"x", allowed=LOCAL)
    assert outcome.status == status and str(status) in outcome.error


def test_an_endpoint_that_drips_is_given_up_in_time():
    """Each byte comes in time; all of them never."""
    asked, stopped = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            asked.set()
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not stopped.wait(0.01):
                try:
                    connection.sendall(b"x: y\r\n")
                except OSError:
                    break
            connection.close()

        thread = threading.Thread(target=drip)
        thread.start()
        limit_s = 0.1
        while not asked.is_set():  # else it was given up before it was there
            limit_s *= 2
            outcome = send(f"http://localhost:{listening.getsockname()[1]}/", {}, b"", allowed=LOCAL, limit_s=limit_s)
        stopped.set()
        thread.join()
    assert outcome.status is None and outcome.error


def test_what_is_cut_gives_nothing_and_what_begins_later_neither():
    cut, connected = Cut(), []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def cut_once_it_is_asked() -> None:
            connected.append(listening.accept()[0])
            cut.make()

        thread = threading.Thread(target=cut_once_it_is_asked)
        thread.start()
        url = f"http://localhost:{listening.getsockname()[1]}/"
        assert send(url, {}, b"", allowed=LOCAL, cut=cut) is None
        thread.join()
        assert send(url, {}, b"", allowed=LOCAL, cut=cut) is None
        connected[0].close()


def test_an_endless_answer_is_not_read_to_its_end():
    sent = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def pour() -> None:
            connection, _ = listening.accept()
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                while True:
                    sent.append(connection.send(b"x" * 65536))
            except OSError:
                connection.close()

        thread = threading.Thread(target=pour)
        thread.start()
        outcome = send(f"http://localhost:{listening.getsockname()[1]}/", {}, b"", allowed=LOCAL)
        thread.join(timeout=30)
    assert outcome.status == 200 and not thread.is_alive()


def test_nobody_there_is_an_error_in_plain_words():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert "not reached" in send(f"http://localhost:{port}/", {}, b"", allowed=LOCAL).error
    # However long the system asks for it: where no server of names answers, that is as long as a request may take.
    assert "not reached" in send("http://no-such-host.invalid/", {}, b"", allowed=LOCAL, limit_s=120).error
    assert "not reached" in send(f"http://{'x' * 70}.invalid/", {}, b"", allowed=LOCAL).error


def test_a_resolver_that_hangs_is_given_up():
    async def resolve(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    assert "no answer" in send("http://localhost/", {}, b"", allowed=LOCAL, limit_s=0.05, resolve=resolve).error


def test_the_systems_resolver_that_hangs_is_not_waited_for():
    may_end = threading.Event()

    async def resolve(host: str, port: int) -> list[str]:
        return await aside(lambda: may_end.wait() and [])

    assert "no answer" in send("http://localhost/", {}, b"", allowed=LOCAL, limit_s=0.05, resolve=resolve).error
    assert not may_end.is_set()
    may_end.set()
