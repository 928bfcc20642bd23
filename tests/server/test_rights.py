"""The table of rights: every route of the server, and who may use it. A route without a row fails, and so does a row without a route.

Surfaces say their routes in tables of their own; here stands what is promised of them. Excludes what a route then does.
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from hashlib import sha256

import httpx
import pytest
import rights_of_mlflow
import rights_of_operations
import zstandard

from stratal.server.ingest import Ingest
from stratal.server.signing_in import PREFIX as AUTH
from stratal.server.signing_in import Auth
from stratal.store.shipments import PREFIX as INGEST
from stratal.store.shipments import digest_of_shipment

GOOD = "correct horse battery"
NOWHERE = "0" * 16

# Who comes: without a token; with one, but without rights; with all rights on another experiment and model; with one role on this
# experiment and model each; and the admin of everything.
PEOPLE = ("nobody", "stranger", "elsewhere", "viewer", "contributor", "approver", "admin", "chief")
ROLES = ("viewer", "contributor", "approver", "admin", "chief")
# Who is let in, by the word that stands in a row. A sender is who may contribute anywhere.
MAY = {
    "everybody": PEOPLE,
    "anybody": PEOPLE[1:],
    "sender": ("elsewhere", *ROLES[1:]),
    "viewer": ROLES,
    "contributor": ROLES[1:],
    "approver": ROLES[2:],
    "admin": ROLES[3:],
    "chief": ROLES[4:],
}

# By surface: method and path, who may.
ROWS = {
    "ingest": {
        "GET /writers/([^/]+)": "sender",
        "POST /beat": "sender",
        "GET /segments/([^/]+)": "sender",
        "PUT /segments/([^/]+)": "contributor",
        "POST /segments/([^/]+)/seal": "sender",
        "HEAD /blobs/([^/]+)": "sender",
        "PUT /blobs/([^/]+)": "sender",
        "GET /health": "everybody",
    },
    "auth": {
        "POST /login": "everybody",
        "POST /logout": "anybody",
        "GET /me": "anybody",
        "GET /oidc/login": "everybody",
        "GET /oidc/callback": "everybody",
    },
}


def routes_of_ingest(store) -> set[str]:
    ingest = Ingest(store)
    ingest.close()
    return {name.replace(INGEST, "") for name in ingest.routes.names} | {"GET /health"}


def routes_of_auth(store) -> set[str]:
    auth = Auth(store)
    auth.close()
    return {name.replace(AUTH, "") for name in auth.routes.names}


ROUTES: dict[str, Callable[..., set[str]]] = {"ingest": routes_of_ingest, "auth": routes_of_auth}


@pytest.mark.parametrize("surface", ROUTES)
def test_every_route_has_a_row_and_every_row_a_route(surface, store):
    assert set(ROWS[surface]) == ROUTES[surface](store)


@pytest.fixture
def crowd(guarded) -> Iterator[dict[str, httpx.Client]]:
    """Everybody, each with their own connection."""
    guarded.accounts.add_person(name="chief", is_admin=True)
    guarded.accounts.set_password(name="chief", password=GOOD)
    for name in PEOPLE[1:-1]:
        guarded.accounts.add_person(name=name)
    for name in ROLES[:-1]:
        guarded.accounts.grant(person=name, role=name, on="experiment:team")
        guarded.accounts.grant(person=name, role=name, on="model:team")
    for on in ("experiment:other", "model:other"):
        guarded.accounts.grant(person="elsewhere", role="admin", on=on)
    yield {name: (guarded.sender() if name == "nobody" else guarded.having_token(name)).http for name in PEOPLE}


@pytest.fixture
def ask(guarded, segment_of) -> Callable[[str, str, httpx.Client], httpx.Response]:
    """Make a request that is right but for who sends it."""

    def shipment(http: httpx.Client, path: str) -> httpx.Response:
        segment = segment_of("team")
        digest = digest_of_shipment(segment.name, 0, "", "", segment.data)
        head = {"stratal-offset": "0", "stratal-size": str(len(segment.data)), "stratal-damage": "", "stratal-digest": digest}
        body = zstandard.compress(segment.data)
        return http.put(path.replace("([^/]+)", segment.name), content=body, headers={**head, "content-encoding": "zstd"})

    def blob(http: httpx.Client, path: str) -> httpx.Response:
        data = b"a blob"
        place = path.replace("([^/]+)", sha256(data).hexdigest())
        return http.put(place, content=data, headers={"stratal-offset": "0", "stratal-size": str(len(data))})

    json: dict[str, object] = {
        f"{INGEST}/beat": {"writers": []},
        f"{INGEST}/segments/([^/]+)/seal": {"offset": 0, "torn": 0},
        f"{AUTH}/login": {"name": "chief", "password": GOOD},
        f"{AUTH}/logout": {},
    }
    special = {f"PUT {INGEST}/segments/([^/]+)": shipment, f"PUT {INGEST}/blobs/([^/]+)": blob}

    def ask(method: str, path: str, http: httpx.Client) -> httpx.Response:
        if f"{method} {path}" in special:
            return special[f"{method} {path}"](http, path)
        name = "0" * 64 if "/blobs/" in path else f"{NOWHERE}-000000.log" if "/segments/" in path else NOWHERE
        return http.request(method, path.replace("([^/]+)", name), json=json.get(path))

    return ask


def place_of(surface: str, path: str) -> str:
    if path == "/health":
        return path
    return {"ingest": INGEST, "auth": AUTH}[surface] + path


@pytest.mark.parametrize(("surface", "route"), [(surface, route) for surface, rows in ROWS.items() for route in rows])
def test_a_route_lets_in_who_its_row_says_and_nobody_else(surface, route, crowd, ask):
    method, _, path = route.partition(" ")
    got = {}
    for name in PEOPLE:
        answer = ask(method, place_of(surface, path), crowd[name])
        assert answer.status_code < 500, (name, answer.text)
        got[name] = {401: "who are you", 403: "refused"}.get(answer.status_code, "let in")
    may = MAY[ROWS[surface][route]]
    expected = {name: "let in" if name in may else "who are you" if name == "nobody" else "refused" for name in PEOPLE}
    assert got == expected


def test_whoever_is_locked_out_is_let_in_nowhere(guarded, crowd, ask):
    guarded.accounts.disable(name="admin")
    for surface, rows in ROWS.items():
        for route, who in rows.items():
            method, _, path = route.partition(" ")
            status = ask(method, place_of(surface, path), crowd["admin"]).status_code
            assert (status == 401) == (who != "everybody"), route


# MLflow's wire has a table of routes of its own; its rows stand beside these, since they are many.
HAS_MLFLOW = importlib.util.find_spec("stratal.server.mlflow") is not None


@pytest.mark.skipif(not HAS_MLFLOW, reason="this server does not speak MLflow's protocol")
class TestMlflow:
    @pytest.fixture
    def scene(self, guarded, crowd) -> Iterator[rights_of_mlflow.Scene]:
        surface = importlib.import_module("stratal.server.mlflow.surface").Mlflow(guarded.store, guard=guarded.guard)
        guarded.others["/api/"] = guarded.others["/get-artifact"] = guarded.others["/model-versions/"] = surface
        yield rights_of_mlflow.Scene(crowd["chief"])
        surface.close()

    def test_every_route_has_a_row(self):
        assert set(rights_of_mlflow.routes()) <= set(rights_of_mlflow.ROWS)

    def test_each_route_lets_in_who_its_row_says_and_nobody_else(self, crowd, scene):
        wrong = {}
        for route in sorted(rights_of_mlflow.routes(), key=_late):
            may, got = MAY[rights_of_mlflow.ROWS[route]], []
            for name in PEOPLE:
                status = scene.ask(route, crowd[name]).status_code
                assert status < 500 or status == 501, (route, name)
                got += [name] if status not in (401, 403) else []
                assert name != "nobody" or status == 401, route
            if tuple(got) != tuple(may):
                wrong[route] = {"let in": got, "may": may}
        assert wrong == {}


@pytest.mark.skipif(importlib.util.find_spec("stratal.server.live") is None, reason="this server streams no events")
def test_events_are_streamed_to_anybody_who_says_who_they_are(guarded, crowd):
    surface = importlib.import_module("stratal.server.live")
    guarded.others[surface.PATH] = streaming = surface.Live(guarded.store, guard=guarded.guard)
    let_in = []
    for name, http in crowd.items():
        with http.stream("GET", surface.PATH) as answer:
            let_in += [name] if answer.status_code == 200 else []
            assert answer.status_code in (200, 401)
    streaming.end()
    streaming.close()
    assert tuple(let_in) == MAY["anybody"]


HAS_OPERATIONS = importlib.util.find_spec("stratal.server.rooms") is not None


@pytest.mark.skipif(not HAS_OPERATIONS, reason="this server serves no operations")
class TestOperations:
    OWN = {
        "GET /api/v1/openapi.json": "anybody",
        "GET /ready": "everybody",
        "GET /metrics": "chief",
        f"GET /api/v1/blobs/{'0' * 64}": "anybody",  # what may not be seen is not there
    }

    @pytest.fixture
    def team_run(self, guarded, crowd, segment_of) -> Iterator[str]:
        """The id of a run of the experiment that the roles are held on, in a server with all of its surfaces."""
        segment = segment_of("team")
        digest = digest_of_shipment(segment.name, 0, "", "", segment.data)
        head = {"stratal-offset": "0", "stratal-size": str(len(segment.data)), "stratal-damage": "", "stratal-digest": digest}
        sent = crowd["chief"].put(
            f"{INGEST}/segments/{segment.name}",
            content=zstandard.compress(segment.data),
            headers={**head, "content-encoding": "zstd"},
        )
        assert sent.status_code == 200
        whole = importlib.import_module("stratal.server.app").Application(guarded.store, guard=guarded.guard)
        guarded.others["/"] = whole
        yield segment.id
        whole.end()
        whole.close()

    def test_every_operation_has_a_row(self):
        assert set(rights_of_operations.routes()) <= set(rights_of_operations.ROWS)

    def test_each_operation_lets_in_who_its_row_says_and_nobody_else(self, crowd, team_run):
        wrong = {}
        for path, takes in rights_of_operations.routes().items():
            may, got = MAY[rights_of_operations.ROWS[path]], []
            for name in PEOPLE:
                status = rights_of_operations.ask(path, takes, team_run, crowd[name]).status_code
                assert status not in (400, 500), (path, name)
                got += [name] if status not in (401, 403) else []
            if tuple(got) != tuple(may):
                wrong[path] = {"let in": got, "may": may}
        assert wrong == {}

    def test_what_the_server_says_of_itself_is_for_whom_its_row_says(self, crowd, team_run):
        for route, who in self.OWN.items():
            method, _, path = route.partition(" ")
            got = [name for name in PEOPLE if crowd[name].request(method, path).status_code not in (401, 403)]
            assert tuple(got) == MAY[who], route


def _late(route: str) -> tuple[bool, bool, str]:
    """What takes away comes last, lest the others find nothing to be asked about."""
    return route.endswith("registered-models/delete"), "delete" in route.lower(), route
