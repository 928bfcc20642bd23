"""The table of rights: every route of the whole server, and who may use it. A route without a row fails, and so does a row without a route.

Surfaces say their routes in tables of their own; here stands what is promised of them. Excludes what a route then does.
"""

from collections.abc import Callable, Iterator
from hashlib import sha256

import httpx
import pytest
import rights_of_mlflow
import rights_of_operations
import zstandard

from stratal.interop.mlflow.service.store.registered import Head, show
from stratal.server.live import PATH as EVENTS
from stratal.server.mlflow.surface import Mlflow
from stratal.server.serving import Served
from stratal.server.signing_in import PREFIX as AUTH
from stratal.server.transfers import PREFIX as TRANSFERS
from stratal.store.shipments import PREFIX as INGEST
from stratal.store.shipments import digest_of_shipment
from stratal.store.wire import BLOBS
from stratal.store.wire import PREFIX as API

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

# By surface: method and path, who may. `([^/]+)` and the like are what surfaces look for.
ROWS = {
    "ingest": {
        f"GET {INGEST}/writers/([^/]+)": "sender",
        f"POST {INGEST}/beat": "sender",
        f"GET {INGEST}/segments/([^/]+)": "sender",
        f"PUT {INGEST}/segments/([^/]+)": "contributor",
        f"POST {INGEST}/segments/([^/]+)/seal": "sender",
        f"HEAD {INGEST}/blobs/([^/]+)": "sender",
        f"PUT {INGEST}/blobs/([^/]+)": "sender",
    },
    "files": {
        f"GET {BLOBS}/([^/]+)": "anybody",  # what may not be seen is not there
        f"HEAD {BLOBS}/([^/]+)": "anybody",
        f"POST {TRANSFERS}": "sender",
        f"GET {TRANSFERS}/([^/]+)": "sender",
        f"POST {TRANSFERS}/([^/]+)/finish": "sender",
    },
    "events": {f"GET {EVENTS}/?": "anybody"},  # each is told of what they may view
    "auth": {
        f"POST {AUTH}/login": "everybody",
        f"POST {AUTH}/logout": "anybody",
        f"GET {AUTH}/me": "anybody",
        f"GET {AUTH}/oidc/login": "everybody",
        f"GET {AUTH}/oidc/callback": "everybody",
    },
    "own": {
        f"GET {API}/openapi.json": "anybody",
        "GET /": "everybody",  # it says who one is, if one is somebody
        "GET /health": "everybody",
        "GET /ready": "everybody",
        "GET /metrics": "chief",
        # Says which methods a path has, as the documentation does.
        **{f"OPTIONS {path}": "everybody" for path in ("/", "/health", "/ready", "/metrics", f"{API}/openapi.json")},
        f"OPTIONS {API}/{{room:str}}/{{operation:str}}": "everybody",
    },
    "operations": {f"POST {API}/{path}": who for path, who in rights_of_operations.ROWS.items()},
    "mlflow": {"GET /version": "anybody", **rights_of_mlflow.ROWS},
}


def routes_of(served: Served) -> set[str]:
    """Every route of a whole server, as its own tables say. A surface without one fails here."""
    ours = {name for surface in served.surfaces.values() if not isinstance(surface, Mlflow) for name in surface.routes.names}
    rest = {f"{method} {route.path}" for route in served._inner._rest.routes for method in route.methods}
    operations = {f"POST {API}/{path}" for path in rights_of_operations.routes()}
    return ours | rest - {f"POST {API}/{{room:str}}/{{operation:str}}"} | operations | {"GET /version", *rights_of_mlflow.routes()}


def test_every_route_has_a_row_and_every_row_a_route(guarded):
    rows = [route for part in ROWS.values() for route in part]
    assert set(rows) == routes_of(guarded.served)
    assert len(set(rows)) == len(rows)


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


# Makes a request that is right but for who sends it, and gives its status.
Ask = Callable[[str, httpx.Client], int]


@pytest.fixture
def ask(guarded, crowd, segment_of) -> dict[str, Ask]:
    """By surface."""
    ids: list[str] = []  # of runs of `team` that were sent
    scene: list[rights_of_mlflow.Scene] = []

    def ship(path: str, http: httpx.Client) -> httpx.Response:
        segment = segment_of("team")
        digest = digest_of_shipment(segment.name, 0, "", "", segment.data)
        head = {"stratal-offset": "0", "stratal-size": str(len(segment.data)), "stratal-damage": "", "stratal-digest": digest}
        body = zstandard.compress(segment.data)
        ids.append(segment.id)
        return http.put(path.replace("([^/]+)", segment.name), content=body, headers={**head, "content-encoding": "zstd"})

    def send_blob(path: str, http: httpx.Client) -> httpx.Response:
        place = path.replace("([^/]+)", sha256(b"a blob").hexdigest())
        return http.put(place, content=b"a blob", headers={"stratal-offset": "0", "stratal-size": "6"})

    special = {f"PUT {INGEST}/segments/([^/]+)": ship, f"PUT {INGEST}/blobs/([^/]+)": send_blob}
    json: dict[str, object] = {
        f"{INGEST}/beat": {"writers": []},
        f"{INGEST}/segments/([^/]+)/seal": {"offset": 0, "torn": 0},
        f"{AUTH}/login": {"name": "chief", "password": GOOD},
        f"{AUTH}/logout": {},
        TRANSFERS: {"digest": "0" * 64, "size_bytes": 1},
    }

    def by_hand(route: str, http: httpx.Client) -> int:
        method, _, path = route.partition(" ")
        if route in special:
            return special[route](path, http).status_code
        name = "0" * 64 if "/blobs/" in path else f"{NOWHERE}-000000.log" if "/segments/" in path else NOWHERE
        place = path.replace("([^/]+)", name).replace("/?", "").replace("{room:str}/{operation:str}", "registry/models")
        with http.stream(method, place, json=json.get(path)) as answer:
            return answer.status_code

    def of_operation(route: str, http: httpx.Client) -> int:
        if not ids:
            assert ship(f"{INGEST}/segments/([^/]+)", crowd["chief"]).status_code == 200
        path = route.removeprefix(f"POST {API}/")
        return rights_of_operations.ask(path, rights_of_operations.routes()[path], ids[0], http).status_code

    def of_mlflow(route: str, http: httpx.Client) -> int:
        if route == "GET /version":
            return by_hand(route, http)
        if not scene:
            scene.append(rights_of_mlflow.Scene(crowd["chief"]))
        status = scene[0].ask(route, http).status_code
        if route.endswith("registered-models/delete") and status == 200:  # the next one finds it again
            with guarded.store.command() as tx:
                show(tx, Head("team", "team", "", 0, None, 0), name="team")
        return status

    return {**dict.fromkeys(ROWS, by_hand), "operations": of_operation, "mlflow": of_mlflow}


@pytest.mark.parametrize("surface", ROWS)
def test_a_route_lets_in_who_its_row_says_and_nobody_else(surface, crowd, ask):
    wrong = {}
    for route in sorted(ROWS[surface], key=_late):
        got = {}
        for name in PEOPLE:
            status = ask[surface](route, crowd[name])
            assert status < 500 or status == 501, (route, name)
            got[name] = {401: "who are you", 403: "refused"}.get(status, "let in")
        may = MAY[ROWS[surface][route]]
        expected = {name: "let in" if name in may else "who are you" if name == "nobody" else "refused" for name in PEOPLE}
        if got != expected:
            wrong[route] = got
    assert wrong == {}


@pytest.mark.parametrize("surface", ROWS)
def test_whoever_is_locked_out_is_let_in_nowhere(surface, guarded, crowd, ask):
    ask[surface](next(iter(ROWS[surface])), crowd["chief"])
    guarded.accounts.disable(name="admin")
    for route, who in ROWS[surface].items():
        assert (ask[surface](route, crowd["admin"]) == 401) == (who != "everybody"), route


def _late(route: str) -> tuple[bool, bool, str]:
    """What takes away comes last, lest the others find nothing to be asked about."""
    return route.endswith("registered-models/delete"), "delete" in route.lower(), route
