"""The operations over HTTP, by hand-made requests: what is served, described and refused. Excludes our client."""

import asyncio
import importlib
import json
import logging
import pkgutil
import shutil
import socket
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest

import stratal
from stratal.core.errors import Forbidden
from stratal.core.ids import new_id
from stratal.core.people import Identity, Role
from stratal.data.store import DatasetStore
from stratal.registry.store import ModelStore
from stratal.server import api, calls
from stratal.server.app import SURFACES, Application
from stratal.server.asgi import Failed
from stratal.server.guards import OpenGuard
from stratal.server.logs import Lines
from stratal.server.mlflow import surface
from stratal.server.pool import Pool
from stratal.server.rooms import ROOMS
from stratal.store.operations import operations_of
from stratal.tracking.runs import run
from stratal.tuning.store import StudyStore

MODELS = "/api/v1/registry/models"
VERSION = "/api/v1/registry/version"


class Doorkeeper(OpenGuard):
    """Notes what is asked, and lets nobody do what it was told to forbid."""

    def __init__(self, *forbidden: str, visible: frozenset[str] | None = None) -> None:
        self.asked: list[tuple[str, Role, str]] = []
        self.forbidden, self.seen = forbidden, visible

    def check(self, tx, sender: Identity, needs: Role, on: str) -> None:
        self.asked.append((sender.name, needs, on))
        if on in self.forbidden:
            raise Forbidden(f"{sender.name} may not do this on {on}", hint="ask an admin")

    def visible(self, tx, sender: Identity, kind: str) -> frozenset[str] | None:
        return self.seen


@pytest.fixture
def http(served_url: str):
    with httpx.Client(base_url=served_url, timeout=30) as client:
        yield client


@pytest.fixture
def guarded(store, stage):
    """Serve the store behind a guard."""
    served: list[Application] = []

    def serve(guard) -> httpx.Client:
        served.append(Application(store, guard=guard))
        stage[0].handler = served[-1]
        return httpx.Client(base_url=stage[1], timeout=30)

    yield serve
    for application in served:
        application.close()


def call(http: httpx.Client, path: str, **arguments: object) -> httpx.Response:
    return http.post(path, json=arguments)


def test_every_store_with_operations_is_served_and_described(http):
    stores = set()
    for module in pkgutil.walk_packages(stratal.__path__, "stratal."):
        if {"store", "operations"} & set(module.name.split(".")):
            found = vars(importlib.import_module(module.name)).values()
            stores |= {kind for kind in found if isinstance(kind, type) and kind.__module__ == module.name and operations_of(kind)}
    assert stores == {room.store for room in ROOMS}
    document = http.get("/api/v1/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {f"/api/v1/{room.name}/{name}" for room in ROOMS for name in operations_of(room.store)}
    names = [f"{room.name}/{name}" for room in ROOMS for name in room.operations]
    assert len(names) == len(set(names))


def test_the_description_holds_the_schema_of_each_argument_and_result(http):
    document = http.get("/api/v1/openapi.json").json()
    post = document["paths"][VERSION]["post"]
    arguments = document["components"]["schemas"]["registry_version"]
    assert post["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/registry_version"}
    assert (arguments["required"], arguments["properties"]["number"], arguments["additionalProperties"]) == (
        ["name", "number"], {"type": "integer"}, False,
    )  # fmt: skip
    assert "needs the role viewer" in post["description"]
    refs = {ref for ref in json.dumps(document).split('"') if ref.startswith("#/components/schemas/")}
    assert {ref.rpartition("/")[2] for ref in refs} <= set(document["components"]["schemas"])


def test_an_operation_gives_json_or_msgpack_as_it_is_asked(http, store):
    DatasetStore(store).add_version(
        name="churn", digest="0" * 64, rows=1, columns=[], content=store.blobs.put(b"c"), profile=store.blobs.put(b"p")
    )
    assert call(http, "/api/v1/data/names").json() == ["churn"]
    body = msgspec.msgpack.encode({})
    answer = http.post("/api/v1/data/names", content=body, headers={"content-type": "application/msgpack", "accept": "application/msgpack"})
    assert (answer.headers["content-type"], msgspec.msgpack.decode(answer.content)) == ("application/msgpack", ["churn"])


@pytest.mark.parametrize(("body", "says"), [
    ('{"name": "a", "number": 1, "typo": 2}', "unknown field `typo`"),
    ('{"name": "a"}', "missing required field `number`"),
    ('{"name": "a", "number": "1"}', "$.number"),
    ('{"name": "a", "number": 1', "truncated"),
    ('{"name": "\\ud800", "number": 1}', "cannot be read"),
    ("[]", "Expected `object`"),
    ("[" * 100_000, "cannot be read"),
    ('{"name": "a", "number": 99999999999999999999999999}', "there is no"),
])  # fmt: skip
def test_what_cannot_be_arguments_is_refused_by_name(http, body: str, says: str):
    answer = http.post(VERSION, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 404, 422)
    assert set(answer.json()) >= {"error", "message"}
    assert says in answer.json()["message"]


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", MODELS, 405), ("PUT", MODELS, 405), ("POST", "/api/v1/registry/nothing", 404), ("POST", "/", 405), ("GET", "/api/v1", 404),
    ("POST", "/api/v1/registry/models/more", 404), ("GET", "/%2e%2e/etc/passwd", 404), ("GET", "/schema", 404),
])  # fmt: skip
def test_what_is_not_there_is_answered_in_our_own_words(http, method: str, path: str, status: int):
    answer = http.request(method, path)
    assert (answer.status_code, set(answer.json()) >= {"error", "message", "hint"}) == (status, True)


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp"]
)
def test_kinds_of_body_that_a_page_may_send_anywhere_are_refused(http, kind: str):
    answer = http.post(MODELS, content="{}", headers={"content-type": kind})
    assert (answer.status_code, answer.json()["error"]) == (415, "encoding")


def test_errors_say_their_classes_and_what_they_hold(http):
    answer = call(http, VERSION, name="churn", number=1)
    assert (answer.status_code, answer.json()["kinds"]) == (404, ["NotFound", "StratalError"])
    assert "register" in answer.json()["hint"]


def test_a_fault_of_ours_is_told_without_its_details_and_logged_with_them(http, monkeypatch: pytest.MonkeyPatch, caplog):
    monkeypatch.setattr("stratal.registry.store.rows.summaries", lambda tx: 1 / 0)
    answer = call(http, MODELS)
    assert (answer.status_code, answer.json()["error"]) == (500, "bug")
    assert "division" not in answer.text
    assert "division" in caplog.text


@pytest.mark.parametrize("headers", [
    {"host": "evil.example"}, {"host": "127.0.0.1.evil.example"}, {"host": ""}, {"host": "localhost@evil.example"},
    {"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "http://["}, {"origin": "http://127.0.0.1:1"},
])  # fmt: skip
def test_other_hosts_and_origins_are_refused_everywhere(http, headers: dict):
    for path in (MODELS, "/health", "/metrics", "/ingest/v1/beat", "/nothing"):
        answer = http.post(path, json={}, headers=headers)
        assert (answer.status_code, answer.json()["error"]) in ((403, "host"), (403, "origin"))
        assert "access-control-allow-origin" not in answer.headers


def test_who_leaves_out_the_port_on_the_way_is_told_so(http, served_url: str):
    answer = http.post(MODELS, json={}, headers={"origin": served_url, "host": "127.0.0.1"})
    assert answer.json()["error"] == "origin" and "asked as '127.0.0.1'" in answer.json()["message"]
    assert "let it pass on Host as it came" in answer.json()["hint"]


def test_pages_of_the_server_itself_may_call_it_and_no_other_gets_leave_by_cors(http, served_url: str):
    assert call(http, MODELS).status_code == 200
    same = http.post(MODELS, json={}, headers={"origin": served_url})
    asked = http.options(MODELS, headers={"origin": served_url, "access-control-request-method": "POST"})
    for answer in (same, asked):
        assert answer.status_code in (200, 204)
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("query", ["token=abc", "x=1&access_token=abc", "API_KEY=abc", "password=abc"])
def test_secrets_in_urls_are_refused_and_no_query_is_logged(http, query: str, caplog):
    caplog.set_level(logging.INFO, "stratal.server.requests")
    answer = http.post(f"{MODELS}?{query}", json={})
    assert (answer.status_code, answer.json()["error"]) == (400, "secret-in-url")
    assert "abc" not in "".join(record.getMessage() for record in caplog.records if record.name == "stratal.server.requests")


def logged_requests(http: httpx.Client, caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Give what was logged of the requests so far. An answer may come before its line, but no later answer does."""
    http.get("/health")
    lines = [record for record in caplog.records if record.name == "stratal.server.requests"]
    return [line for line in lines if json.loads(line.getMessage())["path"] != "/health"]


def test_a_request_is_logged_in_one_line_under_its_id(http, caplog):
    caplog.set_level(logging.INFO, "stratal.server.requests")
    answer = http.post(MODELS, json={}, headers={"x-request-id": "mine-1", "stratal-user": "ada", "authorization": "Bearer secret"})
    assert answer.headers["x-request-id"] == "mine-1"
    [record] = logged_requests(http, caplog)
    said = json.loads(record.getMessage())
    assert said.pop("ms") > 0
    assert said.pop("address") == "127.0.0.1"
    assert said == {"request": "mine-1", "surface": "/api/v1", "method": "POST", "path": MODELS, "status": 200, "sender": "ada"}


def test_every_surface_says_who_asked(http, caplog):
    caplog.set_level(logging.INFO, "stratal.server.requests")
    paths = ("/metrics", "/api/v1/openapi.json", f"/api/v1/blobs/{'0' * 64}", f"/ingest/v1/writers/{'0' * 16}", "/api/2.0/mlflow/runs/get")
    for path in paths:
        http.get(path, headers={"stratal-user": "ada"})
    assert [json.loads(line.getMessage())["sender"] for line in logged_requests(http, caplog)] == ["ada"] * len(paths)


def test_no_path_breaks_the_line_of_its_request(http, caplog):
    caplog.set_level(logging.INFO, "stratal.server.requests")
    http.get("/a%E2%80%A8b%C2%85c%0Ad%22e")
    [record] = logged_requests(http, caplog)
    line = Lines().format(record)
    assert len(line.splitlines()) == 1
    assert json.loads(line)["path"] == '/a\u2028b\x85c\nd"e'


def test_what_uvicorn_says_is_a_line_of_json_too(tmp_path):
    program = f"""
import logging, stratal as st
from stratal.server.logs import log_lines
from stratal.server.serving import serving
log_lines()
with serving(st.open_store({str(tmp_path / "team")!r})):
    logging.getLogger("uvicorn.error").error("not whole")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "not whole" in [json.loads(line)["message"] for line in ended.stderr.splitlines()]


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "é".encode().decode("latin-1"), "a/b"])
def test_ids_of_requests_that_could_spoil_a_log_are_replaced(http, given: str):
    answer = http.post(MODELS, json={}, headers={"x-request-id": given.encode("latin-1")})
    assert answer.headers["x-request-id"] not in ("", given)


def test_every_answer_forbids_guessing_its_kind(http):
    for path in ("/health", "/nothing", "/ingest/v1/writers/x"):
        assert http.get(path).headers["x-content-type-options"] == "nosniff"
        assert http.get(path).headers["cache-control"] == "no-store"


def test_a_body_that_is_too_large_is_not_read_to_its_end(http, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api, "MOST_BYTES", 1000)
    answer = http.post(MODELS, content=b"x" * 2000, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (413, "too-large")


def test_a_body_that_does_not_come_is_not_waited_for(served_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api, "PIECE_S", 0.05)
    with socket.create_connection(("127.0.0.1", urlsplit(served_url).port)) as slow:
        slow.sendall(f"POST {MODELS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{{".encode())
        assert slow.recv(1000).startswith(b"HTTP/1.1 408")


def test_what_is_too_much_for_the_threads_is_told_to_come_again():
    async def crowd() -> tuple[list[str], int]:
        pool, gate = Pool(threads=1, most_calls=2), threading.Event()
        calls = [asyncio.create_task(pool.run(gate.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        assert (pool.calls, pool.waiting) == (2, 1)
        with pytest.raises(Failed) as refused:
            await pool.run(gate.wait)
        gate.set()
        await asyncio.gather(*calls)
        pool.close()
        return [value for name, value in refused.value.answer.headers if name == "retry-after"], pool.refused

    assert asyncio.run(crowd()) == (["1"], 1)


def test_health_ready_and_metrics_say_how_the_server_is(http, store):
    assert http.get("/health").json()["status"] == "ok"
    assert http.get("/ready").json() == {"status": "ready"}
    call(http, MODELS)
    call(http, VERSION, name="churn", number=1)
    answer = http.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = answer.text
    assert 'stratal_requests_total{surface="/api/v1",status="200"} 1\n' in text
    assert 'stratal_requests_total{surface="/api/v1",status="404"} 1\n' in text
    assert 'stratal_request_seconds_count{surface="/api/v1"} 2\n' in text
    assert float(text.partition("\nstratal_process_resident_bytes ")[2].partition("\n")[0]) > 1e6
    values = [line for line in text.splitlines() if not line.startswith("#")]
    assert len({line.rpartition(" ")[0] for line in values}) == len(values)


def test_a_server_whose_database_is_gone_is_alive_but_not_ready(http, store):
    store.database.close()
    shutil.rmtree(store.folder)
    store.folder.write_text("")
    assert (http.get("/ready").status_code, http.get("/health").status_code) == (503, 200)
    answer = call(http, MODELS)
    assert (answer.status_code, answer.json()["error"]) == (503, "store-down")
    store.folder.unlink()


def test_each_operation_asks_for_its_role_on_what_it_names(guarded, store):
    with run("paid", store=store) as paid:
        pass
    store.settle()
    guard = Doorkeeper()
    http = guarded(guard)
    unknown = new_id()
    checkpoint = {
        "run": paid.id, "step": 1, "samples": 1, "seed": 1, "rows": 1, "mesh": "", "world_size": 1, "epoch": 0, "digest": "0" * 64,
        "size_bytes": 1, "at_ns": 1,
    }  # fmt: skip
    for path, arguments, wanted in (
        ("registry/version", {"name": "m", "number": 1}, [(Role.VIEWER, "model:m")]),
        ("registry/rollback", {"name": "m", "reason": "x"}, [(Role.APPROVER, "model:m")]),
        ("registry/models", {}, []),
        ("registry/verify_audit", {}, [(Role.VIEWER, "*")]),
        (
            "registry/register_version",
            {"name": "m", "digest": "0" * 64, "run": paid.id, "path": "model"},
            [(Role.CONTRIBUTOR, "model:m"), (Role.VIEWER, "experiment:paid")],
        ),
        ("data/names", {}, [(Role.VIEWER, "*")]),
        ("features/views", {}, [(Role.VIEWER, "*")]),
        ("tuning/version", {"name": "s"}, [(Role.VIEWER, "experiment:s")]),
        (
            "tuning/give_back",
            {"name": "s", "version": 1, "number": 0, "run": paid.id, "token": 1},
            [(Role.CONTRIBUTOR, "experiment:s"), (Role.CONTRIBUTOR, "experiment:paid")],
        ),
        ("pipelines/steps", {"run": paid.id}, [(Role.VIEWER, "experiment:paid")]),
        ("pipelines/steps", {"run": unknown}, [(Role.VIEWER, "*")]),
        ("pipelines/renew", {"run": paid.id, "token": 1, "lease_s": 1.0, "steps": []}, [(Role.CONTRIBUTOR, "experiment:paid")]),
        ("training/checkpoints", {"run": paid.id}, [(Role.VIEWER, "experiment:paid")]),
        ("training/add", {"checkpoint": checkpoint, "keep": 1, "token": 9}, [(Role.CONTRIBUTOR, "experiment:paid")]),
    ):
        guard.asked.clear()
        answer = http.post(f"/api/v1/{path}", json=arguments, headers={"stratal-user": "eve"})
        assert answer.status_code < 500, answer.text
        assert list(dict.fromkeys(guard.asked)) == [("eve", *asked) for asked in wanted], path


def test_who_may_not_is_refused_before_anything_is_done(guarded, store):
    http = guarded(Doorkeeper("experiment:secret", "model:secret", "*"))
    opening = {
        "name": "secret", "metric": "auc", "is_maximized": True, "space": "{}", "objective": "o", "data": "d", "sampler": "{}", "seed": 1,
        "spare_seed": 1, "budget": 1,
    }  # fmt: skip
    for path, arguments in (("tuning/open_version", opening), ("registry/models", {"x": 1}), ("data/names", {})):
        assert call(http, f"/api/v1/{path}", **arguments).status_code in (400, 403)
    answer = call(http, "/api/v1/tuning/open_version", **opening)
    assert (answer.status_code, answer.json()["error"], answer.json()["hint"]) == (403, "forbidden", "ask an admin")
    assert http.get("/metrics").status_code == 403
    assert StudyStore(store).newest_versions() == []


def test_lists_show_each_sender_its_own(guarded, store):
    for name in ("mine", "theirs"):
        StudyStore(store).open_version(
            name=name, metric="auc", is_maximized=True, space="{}", objective="o", data="d", sampler="{}", seed=1, spare_seed=1, budget=1
        )
    http = guarded(Doorkeeper(visible=frozenset({"mine"})))
    assert [version["name"] for version in call(http, "/api/v1/tuning/newest_versions").json()] == ["mine"]


def test_every_surface_has_a_prefix_of_its_own():
    prefixes = [prefix for prefixes in SURFACES for prefix in prefixes]
    assert len(prefixes) == len(set(prefixes))
    assert all(prefix.startswith("/") and not prefix.endswith("/") for prefix in prefixes)


def test_the_sender_acts_under_its_own_name(http, store):
    content = store.blobs.put(b"c")
    arguments = {"name": "churn", "digest": "0" * 64, "rows": 1, "columns": [], "content": content, "profile": content}
    http.post("/api/v1/data/add_version", json=arguments, headers={"stratal-user": "ada"})
    assert [version.author for version in DatasetStore(store).versions(name="churn")] == ["ada"]
    assert ModelStore(store).models() == []


def test_large_bodies_that_come_slowly_hold_up_nobody_else_and_fill_no_memory(store):
    class Names(OpenGuard):
        async def identify(self, headers) -> Identity:
            return Identity(name=headers["x-name"], is_authenticated=True)

    application, leave = Application(store, guard=Names()), asyncio.Event()

    async def ask(name: str, size: int, *, is_slow: bool = False) -> int:
        said: list[dict] = []

        async def receive() -> dict:
            if is_slow:
                await leave.wait()
            return {"type": "http.request", "body": b"{}"}

        async def send(message: dict) -> None:
            said.append(message)

        headers = {"host": "localhost", "x-name": name, "content-type": "application/json", "content-length": str(size)}
        await application(
            {
                "type": "http", "method": "POST", "path": MODELS, "raw_path": MODELS.encode(), "query_string": b"", "http_version": "1.1",
                "headers": [(key.encode(), value.encode()) for key, value in headers.items()], "scheme": "http", "root_path": "",
                "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
            },
            receive,
            send,
        )  # fmt: skip
        return int(said[0]["status"])

    async def all_of_them() -> tuple[list[int], list[int]]:
        large = api.MOST_BYTES
        held = [asyncio.create_task(ask("eve", large, is_slow=True)) for _ in range(api.MOST_BODY_BYTES // large // 2)]
        for _ in range(100):  # each goes through Litestar to its body
            await asyncio.sleep(0)
        meanwhile = [await ask("eve", large), await ask("eve", 2), await ask("ann", large)]
        leave.set()
        return meanwhile, [*await asyncio.gather(*held), await ask("eve", large)]

    meanwhile, after = asyncio.run(all_of_them())
    application.close()
    assert meanwhile == [429, 200, 200] and set(after) == {200}


def test_a_query_that_reads_for_longer_than_anybody_waits_is_given_up_but_no_command_and_not_what_takes_long(http, monkeypatch):
    for module in (calls, surface):
        monkeypatch.setattr(module, "MOST_READ_S", 0.0)
    ours = http.post("/api/v1/tracking/page", json={})
    theirs = http.post("/api/2.0/mlflow/experiments/search", json={"max_results": 10})
    assert (ours.status_code, theirs.status_code) == (422, 400) and "given up" in ours.json()["message"] and "given up" in theirs.text
    done = http.post("/api/v1/tracking/save_view", json={"name": "v", "query": {}})
    made = http.post("/api/2.0/mlflow/experiments/create", json={"name": "e"})
    audited = http.post("/api/v1/registry/verify_audit", json={"checkpoint": None})
    assert [each.status_code for each in (done, made, audited)] == [200, 200, 200]


def test_lists_that_no_database_takes_are_the_clients_mistake_or_none(http):
    names = [f"e{number}" for number in range(300_000)]
    for name in ("page", "count"):
        assert http.post(f"/api/v1/tracking/{name}", json={"experiments": names[:10_000]}).status_code == 200
        answer = http.post(f"/api/v1/tracking/{name}", json={"experiments": names})
        assert answer.status_code == 422 and "300,000 experiments are too many" in answer.json()["message"]
    assert http.post("/api/v1/tracking/alerts", json={"levels": names}).json() == []
