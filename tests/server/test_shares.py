"""How much of a server one person takes: others find room beside whoever sends slowly. Excludes how slow one may be (test_ingest)."""

import asyncio
import select
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest

from stratal.server import api, signing_in
from stratal.server.app import Application
from stratal.server.asgi import Failed
from stratal.server.ingest import Limits
from stratal.server.mlflow.surface import Limits as MlflowLimits
from stratal.server.peers import place_of
from stratal.server.pool import THREADS, Pool
from stratal.server.shares import Shares
from stratal.server.surfaces import Places
from stratal.server.transfers import PREFIX as TRANSFERS
from stratal.store.shipments import PREFIX as INGEST
from stratal.store.wire import BLOBS
from stratal.tracking.runs import run

MLFLOW = "/api/2.0/mlflow"


class Full(Exception):
    """There is no room."""


def test_one_person_gets_half_of_the_places():
    places = Places(4, Full)
    with places.take("bob"), places.take("bob"):
        with pytest.raises(Full), places.take("bob"):
            pass
        with places.take("vera"), places.take(""), pytest.raises(Full), places.take("ada"):
            pass
    with places.take("bob"):
        pass


def test_shares_forget_who_has_nothing():
    shares = Shares()
    with shares.more("bob", 3), shares.more("bob", 0):
        assert (shares.of("bob"), shares.of("vera"), shares.total) == (3, 0, 3)
    assert (shares.of("bob"), shares.total, dict(shares._of)) == (0, 0, {})


def test_half_of_an_odd_number_is_rounded_up_and_who_is_nobody_has_no_half():
    shares = Shares()
    assert [shares.has_room("bob", 1, most) for most in (0, 1, float("inf"))] == [False, True, True]
    shares.take("bob", 1)
    assert [shares.has_room(name, 1, 3) for name in ("bob", "vera", "")] == [True, True, True]
    shares.take("bob", 1)
    assert [shares.has_room(name, 1, 3) for name in ("bob", "vera", "")] == [False, True, True]


class Slow:
    """Requests of which only the head has been sent."""

    def __init__(self, url: str) -> None:
        self._place = urlsplit(url)
        self.sockets: list[socket.socket] = []

    def begin(self, method: str, path: str, **headers: str) -> None:
        peer = socket.create_connection((self._place.hostname, self._place.port), timeout=30)
        lines = [f"{method} {path} HTTP/1.1", f"host: {self._place.netloc}", *(f"{name}: {value}" for name, value in headers.items())]
        peer.sendall("\r\n".join([*lines, "", ""]).encode())
        self.sockets.append(peer)

    def refused(self, count: int) -> None:
        """Wait until so many are told to come again; the others wait for their bodies."""
        told = set[socket.socket]()
        while len(told) < count:
            answered, _, _ = select.select([peer for peer in self.sockets if peer not in told], [], [], 10)
            assert answered, f"only {len(told)} were refused"
            for peer in answered:
                assert peer.recv(1 << 16).startswith(b"HTTP/1.1 429 ")
                told.add(peer)

    def close(self) -> None:
        for peer in self.sockets:
            peer.close()


@pytest.fixture
def few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MOST_CALLS", 4)


@pytest.fixture
def slow(guarded):
    slow = Slow(guarded.url)
    yield slow
    slow.close()


def test_shipments_on_their_way_leave_others_half_of_the_memory(guarded, slow, segment_of):
    surface, own = guarded.served.surfaces[INGEST], segment_of("churn")
    surface._limits = Limits(waiting_bytes=1 << 20)
    said = {"stratal-offset": "0", "stratal-size": str(1 << 18), "content-encoding": "zstd", "content-length": "100"}
    bob = guarded.token_of("bob")
    for _ in range(5):
        slow.begin("PUT", f"{INGEST}/segments/{own.name}", authorization=f"Bearer {bob}", **said)
    slow.refused(3)
    guarded.accounts.grant(person="vera", role="contributor", on="experiment:churn")
    assert guarded.having_token("vera").put(own.name, 0, own.data).status_code == 200


def test_files_on_their_way_leave_others_half_of_the_places(guarded, slow):
    surface = guarded.served.surfaces[INGEST]
    surface._places = Places(4, surface.busy)
    bob = guarded.token_of("bob")
    for number in range(5):
        said = {"stratal-offset": "0", "stratal-size": "100", "content-length": "100", "authorization": f"Bearer {bob}"}
        slow.begin("PUT", f"{INGEST}/blobs/{number:064}", **said)
    slow.refused(3)
    guarded.accounts.grant(person="vera", role="contributor", on="experiment:churn")
    assert guarded.having_token("vera").blob(b"data").status_code == 200


def test_a_body_of_unknown_length_counts_as_one_of_the_most_that_is_taken(guarded, slow):
    surface = guarded.served.surfaces[MLFLOW]
    surface._limits = MlflowLimits(body_bytes=1 << 20, waiting_bytes=4 << 20)
    vera = guarded.token_of("vera")
    for _ in range(5):
        said = {"transfer-encoding": "chunked", "content-type": "application/json", "authorization": f"Bearer {vera}"}
        slow.begin("POST", f"{MLFLOW}/runs/search", **said)
    slow.refused(3)
    answer = guarded.having_token("bob").http.post(f"{MLFLOW}/runs/search", json={})
    assert answer.status_code == 200, answer.text


def test_sign_ins_on_their_way_from_one_address_are_so_many(guarded, slow):
    guarded.auth._places = Places(4, guarded.auth.busy)
    for _ in range(4):
        slow.begin("POST", f"{signing_in.PREFIX}/login", **{"content-type": "application/json", "content-length": "100"})
    slow.refused(2)
    answer = httpx.post(f"{guarded.url}{signing_in.PREFIX}/login", json={"name": "bob", "password": "wrong and long"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")


def test_calls_on_their_way_leave_others_half_of_the_connections(few_calls, guarded, slow):
    vera = guarded.token_of("vera")
    for _ in range(5):
        said = {"content-type": "application/json", "content-length": "100", "authorization": f"Bearer {vera}"}
        slow.begin("POST", "/api/v1/tracking/count", **said)
    slow.refused(3)
    assert guarded.having_token("bob").http.post("/api/v1/tracking/count", json={}).status_code == 200


def test_who_is_not_let_in_takes_no_place(guarded, slow, monkeypatch):
    surface, go_on, asked, whole = guarded.served.surfaces[INGEST], threading.Event(), threading.Semaphore(0), guarded.guard._by_token

    def look_up(said):
        if said.secret.endswith("0" * 43):
            asked.release()
            go_on.wait(20)
        return whole(said)

    monkeypatch.setattr(surface, "_most_requests", 2)
    monkeypatch.setattr(guarded.guard, "_by_token", look_up)
    for _ in range(2):
        slow.begin("GET", f"{INGEST}/writers/{0:016}", authorization=f"Bearer stratal_{'0' * 43}")
        asked.acquire()
    answer = guarded.having_token("bob").http.get(f"{INGEST}/writers/{0:016}")
    go_on.set()
    assert answer.status_code == 200, answer.text


def test_calls_of_one_person_that_wait_for_threads_are_half_of_all():
    async def crowd() -> None:
        pool, free = Pool(threads=1, most_calls=4), threading.Event()
        bobs = [asyncio.ensure_future(pool.run(free.wait, "bob")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Failed):
            await pool.run(free.wait, "bob")
        veras = asyncio.ensure_future(pool.run(lambda: "done", "vera"))
        await asyncio.sleep(0)
        free.set()
        assert await veras == "done"
        assert await asyncio.gather(*bobs, pool.run(lambda: True, "bob")) == [True, True, True]
        pool.close()

    asyncio.run(crowd())


DOORS = {
    "blobs": (BLOBS, "_threads"),
    "artifacts": (MLFLOW, "_file_threads"),
    "files that come": (INGEST, "_blob_threads"),
    "transfers": (TRANSFERS, "_threads"),
}


@pytest.mark.parametrize("door", DOORS)
def test_files_that_take_one_person_long_leave_others_half_of_the_threads(door: str, guarded, monkeypatch: pytest.MonkeyPatch):
    prefix, name = DOORS[door]
    guarded.accounts.grant(person="bob", role="contributor", on="*")
    with run("churn", store=guarded.store) as shown:
        slow, quick = (shown.save_bytes(f"{each}.bin", each.encode()).digest for each in ("slow", "quick"))
    guarded.store.settle()
    began, go_on = threading.Semaphore(0), threading.Event()

    def held(call: Callable[..., object]) -> Callable[..., object]:
        def wait_and_call(*said: object, **more: object) -> object:
            if slow in said or any(getattr(each, "name", "") == "ada" for each in said):
                began.release()
                go_on.wait(60)
            return call(*said, **more)

        return wait_and_call

    def ask(http: httpx.Client, digest: str) -> int:
        match door:
            case "blobs":
                return http.get(f"{BLOBS}/{digest}").status_code
            case "artifacts":
                path = "slow.bin" if digest == slow else "quick.bin"
                return http.get("/get-artifact", params={"run_id": shown.id, "path": path}).status_code
            case "files that come":
                return http.head(f"{INGEST}/blobs/{digest}").status_code
            case _:
                return http.get(f"{TRANSFERS}/{digest}").status_code

    count = getattr(guarded.served.surfaces[prefix], name).count
    of_crowd = [guarded.having_token("ada").http for _ in range(count)]
    of, what = (guarded.guard, "may_write") if door == "transfers" else (guarded.store.blobs, "renew" if prefix == INGEST else "path")
    monkeypatch.setattr(of, what, held(getattr(of, what)))
    with ThreadPoolExecutor(count) as crowd:
        asked = [crowd.submit(ask, http, slow) for http in of_crowd]
        try:
            for _ in range(count // 2):
                assert began.acquire(timeout=30)
            found = ask(guarded.having_token("bob").http, quick)
        finally:
            go_on.set()
        expected = 422 if door == "transfers" else 200  # files on a disk are sent to it otherwise
        assert (found, {each.result() for each in asked}) == (expected, {expected})


def test_whoever_asks_whether_the_server_is_ready_waits_for_one_look(store):
    async def crowd() -> list[int]:
        app, free = Application(store), threading.Event()
        busy = [asyncio.ensure_future(app._pool.run(free.wait)) for _ in range(THREADS)]
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as http:
            asked = [asyncio.ensure_future(http.get("/ready")) for _ in range(5)]
            for _ in range(1000):
                await asyncio.sleep(0)
            assert app._pool.calls == THREADS + 1
            free.set()
            answers = await asyncio.gather(*asked)
        await asyncio.gather(*busy)
        app.close()
        return [answer.status_code for answer in answers]

    assert asyncio.run(crowd()) == [200] * 5


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"), ("::1", "::1"), ("", ""), ("testclient", "testclient"),
    ],
)  # fmt: skip
def test_who_has_a_network_of_addresses_is_one(address: str, place: str):
    assert place_of(address) == place
