"""The guard of a server that asks who comes, over real requests: credentials, rights, bounds, authors. Excludes sessions and OIDC."""

import asyncio
import base64
import logging
import threading

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratal.core.clock import SystemClock
from stratal.core.errors import Forbidden
from stratal.core.ids import new_id, to_bytes
from stratal.core.people import Identity, Role
from stratal.server.asgi import headers_of
from stratal.server.authenticating import AccessGuard, Admitted
from stratal.server.doorway import Doorway
from stratal.server.guards import TooManyTries, Unauthenticated
from stratal.server.limiting import Tries
from stratal.server.serving import serving
from stratal.store.access import rows
from stratal.store.access.rules import Scope
from stratal.store.journal import Writer, segments
from stratal.tracking.alerts import find_alerts
from stratal.tracking.facts import ALERT, NOTE, START, STATE, Alert, Note, Start, StateFact
from stratal.tracking.reading import get_run

GOOD = "correct horse battery"
NOWHERE = "0" * 16


class MovedClock(SystemClock):
    """A clock whose seconds are moved by hand."""

    def __init__(self) -> None:
        self.at_s = 1000.0

    def monotonic_s(self) -> float:
        return self.at_s


def basic(name: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def whoami(sender) -> int:
    """The status of the cheapest request that asks who sends it, and whether they may send anything."""
    return sender.http.get(f"/ingest/v1/writers/{NOWHERE}").status_code


def test_who_says_nothing_is_asked_who_they_are(guarded):
    answer = guarded.sender(**{"stratal-user": "ada"}).http.get(f"/ingest/v1/writers/{NOWHERE}")
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == 'Bearer realm="stratal"'
    assert "STRATAL_TOKEN" in answer.json()["hint"] and "MLFLOW_TRACKING_TOKEN" in answer.json()["hint"]


def test_a_token_that_was_not_copied_whole_is_told_so(guarded):
    cut = guarded.sender(authorization=f"Bearer {guarded.token_of('bob')[:-1]}").http.get("/auth/me")
    assert "stratal_ and 43 characters" in cut.json()["hint"]


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer x", "Bearer stratal_short", "Basic", "Basic !!", "Basic YWRh", "Digest x", "Bearer stratal_" + "a" * 43]
)
def test_what_is_no_credential_lets_nobody_in(guarded, header):
    answer = guarded.sender(authorization=header).http.get(f"/ingest/v1/writers/{NOWHERE}")
    assert answer.status_code == 401
    assert "a" * 43 not in answer.text


def test_a_token_lets_its_person_in_by_bearer_and_as_a_password(guarded):
    token = guarded.token_of("bob")
    for header in (f"Bearer {token}", f"bearer {token}", basic("bob", token), basic("BOB", token), basic("", token)):
        assert whoami(guarded.sender(authorization=header)) == 200, header
    assert whoami(guarded.sender(authorization=basic("ada", token))) == 401, "somebody else's name"


def test_a_password_lets_its_person_in(guarded):
    guarded.accounts.set_password(name="bob", password=GOOD)
    assert whoami(guarded.sender(authorization=basic("Bob", GOOD))) == 200
    assert whoami(guarded.sender(authorization=basic("bob", GOOD + "!"))) == 401
    assert whoami(guarded.sender(authorization=basic("vera", GOOD))) == 401, "who has none"
    assert guarded.refused()[("bob", "wrong password", "")] == 1


def test_revoking_expiring_and_locking_out_count_at_the_next_request(guarded):
    token = guarded.accounts.create_token(person="bob")
    sender = guarded.sender(authorization=f"Bearer {token.secret}")
    assert whoami(sender) == 200
    guarded.accounts.revoke_token(id=token.token.id)
    assert whoami(sender) == 401, "though the look-up of a moment ago is remembered"
    other = guarded.having_token("bob")
    assert whoami(other) == 200
    guarded.accounts.disable(name="bob")
    assert whoami(other) == 401
    guarded.accounts.enable(name="bob")
    assert whoami(other) == 200
    guarded.accounts.remove_grant(person="bob", role="contributor", on="experiment:churn")
    assert whoami(other) == 403
    assert whoami(guarded.having_token("ada", days=1e-9)) == 401


def test_a_remembered_look_up_is_forgotten_after_a_second(store, guarded):
    clock = MovedClock()
    guard = AccessGuard(store, clock=clock)
    token = guarded.accounts.create_token(person="bob")
    headers = {"authorization": f"Bearer {token.secret}"}
    assert asyncio.run(guard.identify(headers)).name == "bob"
    guarded.accounts.revoke_token(id=token.token.id)
    clock.at_s += 1.1
    with pytest.raises(Unauthenticated, match="revoked"):
        asyncio.run(guard.identify(headers))
    guard.close()


def test_a_new_password_ends_what_the_old_one_opened(guarded):
    guarded.accounts.set_password(name="bob", password=GOOD)
    sender, having_token = guarded.sender(authorization=basic("bob", GOOD)), guarded.having_token("bob")
    assert whoami(sender) == whoami(having_token) == 200
    guarded.accounts.set_password(name="bob", password=GOOD + " 2")
    assert whoami(sender) == 401
    assert whoami(having_token) == 200, "tokens have an end of their own"


def test_a_token_that_is_found_in_a_url_is_refused_with_what_to_do_and_logged_nowhere(guarded, caplog):
    caplog.set_level(logging.INFO, "stratal.server.requests")
    token = guarded.token_of("bob")
    sender = guarded.having_token("bob")
    for path in (f"/ingest/v1/writers/{token}", f"/ingest/v1/writers/{NOWHERE}?token={token}", f"/x?t={token.replace('_', '%5f')}"):
        answer = sender.http.get(path)
        assert (answer.status_code, answer.json()["error"]) == (400, "secret-in-url")
        assert "revoke" in answer.json()["hint"] and token not in answer.text
    assert "/ingest/v1/writers/stratal_..." in caplog.text and token not in caplog.text
    assert guarded.refused()[("", "secret in a URL", "")] == 3


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1", True), ("127.0.0.1:4117", True), ("[::1]:4117", True), ("192.168.7.7:80", True), ("LOCALHOST:1", True),
        ("team.example.org", True), ("Team.Example.Org.:443", True), ("evil.example", False), ("team.example.org.evil.example", False),
        ("127.0.0.1.evil.example", False), ("", False), ("[::1", False), ("1.2.3", False),
    ],
)  # fmt: skip
def test_no_other_name_is_answered_to(guarded, host, is_ours):
    answer = guarded.having_token("bob").http.get(f"/ingest/v1/writers/{NOWHERE}", headers={"host": host})
    assert (answer.status_code, is_ours) in ((200, True), (403, False), (400, False))  # 400: uvicorn takes no such header at all


def test_of_two_hosts_the_one_is_judged_that_counts_behind_the_doorway():
    """Our parser refuses two; another one before us may not."""
    passed, said = [], []

    async def inner(scope, _receive, _send) -> None:
        passed.append(headers_of(scope)["host"])

    async def send(message) -> None:
        said.append(message.get("status"))

    for hosts in (("localhost", "evil.example"), ("evil.example", "localhost")):
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", host.encode()) for host in hosts]}
        asyncio.run(Doorway(inner)(scope, None, send))
    assert (passed, said[0]) == (["localhost"], 403)


def test_one_cannot_guess_passwords_many_at_a_time(store, guarded):
    guarded.accounts.set_password(name="bob", password=GOOD)
    clock = MovedClock()
    guard = AccessGuard(store, clock=clock)

    async def guess() -> list[type]:
        tries = await asyncio.gather(*(guard.sign_in("bob", f"guess {n}") for n in range(15)), return_exceptions=True)
        return [type(each) for each in tries]

    outcomes = asyncio.run(guess())
    assert outcomes.count(Unauthenticated) == 10 and outcomes.count(TooManyTries) == 5
    with pytest.raises(TooManyTries):
        asyncio.run(guard.sign_in("BOB", GOOD))
    clock.at_s += 31
    assert asyncio.run(guard.sign_in("bob", GOOD)).name == "bob"
    guard.close()


def test_who_tries_too_often_is_told_when_to_come_again(guarded):
    sender = guarded.sender(authorization=basic("nobody-here", "x" * 12))
    statuses = [sender.http.get(f"/ingest/v1/writers/{NOWHERE}") for _ in range(11)]
    assert [each.status_code for each in statuses] == [401] * 10 + [429]
    assert 0 < int(statuses[-1].headers["retry-after"]) <= 30
    assert whoami(guarded.having_token("bob")) == 200, "tokens are not counted"


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 100)), max_size=60))
def test_failures_are_free_up_to_a_number_and_come_back_one_by_one(failures):
    tries, now_s = Tries(3, 10.0, most=1), 0.0
    for key, passed_s in failures:
        now_s += passed_s
        if tries.wait_s(key, now_s) == 0:
            tries.failed(key, now_s)
        assert tries.wait_s(key, now_s) <= 10.0 + 1e-9
        assert len(tries._full_at_s) <= 1
    assert tries.wait_s("a", now_s + 30.0) == 0


def test_a_contributor_writes_to_their_experiment_and_nowhere_else(guarded, segment_of):
    bob = guarded.having_token("bob")
    mine, other = segment_of("churn"), segment_of("secret")
    assert bob.put(mine.name, 0, mine.data).status_code == 200
    refused = bob.put(other.name, 0, other.data)
    assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
    assert "stratal grant add bob contributor experiment:secret" in refused.json()["hint"]
    assert [each.role for each in guarded.accounts.grants(person="bob")] == ["contributor"], "nobody becomes admin of what others gave out"
    connection = guarded.store.database.connect()
    assert connection.execute("select count(*) from run").fetchone() == (1,)
    assert connection.execute("select count(*) from segment").fetchone() == (1,)
    connection.close()


@pytest.mark.parametrize("name", ["vera", "eve"])
def test_who_may_not_contribute_sends_nothing_at_all(guarded, segment_of, name):
    sender, segment = guarded.having_token(name), segment_of("churn")
    assert sender.put(segment.name, 0, segment.data).status_code == 403
    assert sender.blob(b"data").status_code == 403
    assert sender.http.head(f"/ingest/v1/blobs/{'0' * 64}").status_code == 403
    assert sender.http.post("/ingest/v1/beat", json={"writers": []}).status_code == 403
    assert sender.http.get(f"/ingest/v1/segments/{segment.name}").status_code == 403
    assert sender.http.post(f"/ingest/v1/segments/{segment.name}/seal", json={"offset": 0, "torn": 0}).status_code == 403


def test_a_run_is_not_led_out_of_its_experiment_or_into_a_foreign_one(guarded, segment_of):
    guarded.accounts.grant(person="vera", role="contributor", on="experiment:own")
    bob, vera = guarded.having_token("bob"), guarded.having_token("vera")
    mine = segment_of("churn")
    bob.put(mine.name, 0, mine.data)
    stolen = segment_of("own", id=mine.id)
    assert vera.put(stolen.name, 0, stolen.data).status_code == 403, "a start that would take it away"
    moved = segment_of("own", id=mine.id)
    assert bob.put(moved.name, 0, moved.data).status_code == 403, "a start that would put it where bob may not write"
    assert get_run(mine.id, store=guarded.store).experiment == "churn"


def test_a_run_that_nobody_has_started_belongs_to_who_writes_it(guarded, segment_of):
    guarded.accounts.grant(person="vera", role="contributor", on="experiment:own")
    bob, vera = guarded.having_token("bob"), guarded.having_token("vera")
    id = new_id()
    points, start, foreign = segment_of("churn", id=id), segment_of("churn", id=id), segment_of("own", id=id)
    assert bob.put(points.name, 0, points.data[points.cuts[0] :]).status_code == 200, "its start is lost, or on its way"
    refused = vera.put(foreign.name, 0, foreign.data)
    assert (refused.status_code, refused.json()["message"]) == (403, "somebody else writes to this run, and nobody has started it yet")
    assert bob.put(start.name, 0, start.data).status_code == 200


def test_who_makes_an_experiment_is_its_admin_and_needs_to_contribute_to_everything(guarded, segment_of):
    guarded.accounts.grant(person="vera", role="contributor")
    vera, made = guarded.having_token("vera"), segment_of("new")
    assert vera.put(made.name, 0, made.data).status_code == 200
    held = {(each.role, each.on) for each in guarded.accounts.grants(person="vera")}
    assert ("admin", "experiment:new") in held
    bob, more = guarded.having_token("ada"), segment_of("new")
    bob.put(more.name, 0, more.data)
    assert [each.person for each in guarded.accounts.grants() if each.on == "experiment:new"] == ["vera"], "the second one made nothing"


def test_a_writer_belongs_to_who_opened_it(guarded, segment_of):
    segment = segment_of("churn")
    middle = segment.cuts[1]
    assert guarded.having_token("bob").put(segment.name, 0, segment.data[:middle]).status_code == 200
    ada = guarded.having_token("ada")
    assert ada.put(segment.name, middle, segment.data[middle:]).status_code == 403, "an admin, too, is somebody else"
    assert ada.http.get(f"/ingest/v1/segments/{segment.name}").status_code == 404


def test_a_token_is_bounded_by_role_and_objects(guarded, segment_of):
    for bounds in ({"role": "viewer"}, {"objects": ["experiment:other"]}, {"objects": ["model:churn"]}):
        segment = segment_of("churn")
        answer = guarded.having_token("ada", **bounds).put(segment.name, 0, segment.data)
        assert answer.status_code == 403, bounds
    segment = segment_of("churn")
    sender = guarded.having_token("ada", role="contributor", objects=["experiment:churn"])
    assert sender.put(segment.name, 0, segment.data).status_code == 200


def test_authors_are_the_sender_whatever_the_bytes_say(guarded, tmp_path):
    (tmp_path / "forged").mkdir()
    writer, id = Writer(tmp_path / "forged"), new_id()
    writer.fact(to_bytes(id), 0, START, Start(experiment="churn", user="ada", capture={"user": "ada"}))
    writer.fact(to_bytes(id), 0, NOTE, Note(text="fine", author="ada"))
    writer.fact(to_bytes(id), 0, STATE, StateFact(kind="evaluation", subject="model:churn@1", body={}, author="ada"))
    writer.fact(to_bytes(id), 0, ALERT, Alert(title="t", text="", level="info", author="ada"))
    writer.close()
    [name] = segments(tmp_path / "forged", [writer.id])
    sender = guarded.having_token("bob")
    sender.http.headers["stratal-user"] = "ada"
    data = (tmp_path / "forged" / name).read_bytes()
    assert sender.put(name, 0, data, **{"stratal-user": "ada"}).status_code == 200
    run = get_run(id, store=guarded.store)
    assert run.user == "bob"
    assert [note.author for note in run.notes] == ["bob"]
    assert [each.author for each in find_alerts(store=guarded.store)] == ["bob"]
    connection = guarded.store.database.connect()
    assert connection.execute("select author from statement where kind = 'evaluation'").fetchall() == [("bob",)]
    assert {row[0] for row in connection.execute("select distinct actor from event")} <= {"bob", "stratal", "tester"}
    connection.close()
    assert run.record.doc["capture"] == {"user": "ada"}, "what its machine said of itself stays, as what was captured"


def test_without_a_guard_authors_are_as_asserted(team, store, segment):
    team.put(segment.name, 0, segment.data)
    assert get_run(segment.id, store=store).user == "mallory"


def test_what_one_may_see_is_what_was_granted_within_the_bounds_of_the_token(store, guarded):
    guarded.accounts.grant(person="vera", role="approver", on="model:churn")
    guarded.accounts.grant(person="vera", role="legal", on="model:hidden")
    with store.database.read(store.actor()) as tx:
        found = rows.find_sign_in(tx, "vera")
        assert found is not None
        whole = Admitted(name="vera", valid_from_ns=found.valid_from_ns)
        bounded = Admitted(name="vera", valid_from_ns=found.valid_from_ns, scope=Scope(objects=("model:churn", "model:other")))
        ada = rows.find_sign_in(tx, "ada")
        assert ada is not None
        admin = Admitted(name="ada", valid_from_ns=ada.valid_from_ns)
        narrow = Admitted(name="ada", valid_from_ns=ada.valid_from_ns, scope=Scope(objects=("experiment:x",)))
        guard = guarded.guard
        assert guard.visible(tx, whole, "experiment") == {"churn"}
        assert guard.visible(tx, whole, "model") == {"churn"}
        assert (guard.visible(tx, bounded, "experiment"), guard.visible(tx, bounded, "model")) == (set(), {"churn"})
        assert guard.visible(tx, admin, "model") is None
        assert (guard.visible(tx, narrow, "model"), guard.visible(tx, narrow, "experiment")) == (set(), {"x"})
        guard.check(tx, whole, Role.APPROVER, "model:churn")
        for needs, on in (
            (Role.ADMIN, "model:churn"),
            (Role.VIEWER, "*"),
            (Role.VIEWER, "model:hidden"),
            (Role.CONTRIBUTOR, "experiment:churn"),
        ):
            with pytest.raises(Forbidden, match="vera is not"):
                guard.check(tx, whole, needs, on)
        with pytest.raises(Unauthenticated):
            guard.check(tx, Identity(name="ada", is_authenticated=True), Role.VIEWER, "*")


def test_no_secret_gets_into_a_log_a_repr_or_the_store(guarded, segment_of, caplog):
    caplog.set_level(logging.DEBUG)
    guarded.accounts.set_password(name="bob", password=GOOD)
    token = guarded.token_of("bob")
    segment = segment_of("churn")
    for header in (f"Bearer {token}", basic("bob", GOOD), basic("bob", "wrong " + GOOD), f"Bearer {token[:-1]}_"):
        guarded.sender(authorization=header).put(segment.name, 0, segment.data)
    guarded.guard.notices.flush()
    guarded.store.settle()
    secrets = [token, GOOD, base64.b64encode(f"bob:{GOOD}".encode()).decode()]
    kept = b"".join(path.read_bytes() for path in guarded.store.folder.rglob("*") if path.is_file())
    shown = caplog.text + repr(vars(guarded.guard)) + repr(guarded.guard._known._held) + repr(guarded.guard._right._held)
    for secret in secrets:
        assert secret not in shown
        assert secret.encode() not in kept


def test_the_last_use_of_a_token_is_known(guarded):
    assert whoami(guarded.having_token("bob")) == 200
    guarded.guard.notices.flush()
    assert [each.used_ns is not None for each in guarded.accounts.tokens()] == [True]


def test_refusals_are_counted_in_the_log(guarded, segment_of):
    bob = guarded.having_token("bob")
    for _ in range(3):
        segment = segment_of("secret")
        bob.put(segment.name, 0, segment.data)
    assert guarded.refused()[("bob", "contributor", "experiment:secret")] == 3


def test_whoever_has_notices_written_waits_for_those_that_are_being_written(guarded):
    began, may_end, seen = threading.Event(), threading.Event(), []

    def hold(point: str) -> None:
        if point == "before commit":
            began.set()
            may_end.wait()

    guarded.guard.notices.refused("bob", "admin", "*")
    guarded.store.database.fault = hold
    writing = threading.Thread(target=guarded.guard.notices.flush)
    writing.start()
    began.wait()
    guarded.store.database.fault = lambda _: None
    reading = threading.Thread(target=lambda: seen.append(guarded.refused()))
    reading.start()
    reading.join(0.1)  # who does not wait has looked by then
    may_end.set()
    writing.join(), reading.join()
    assert seen == [{("bob", "admin", "*"): 1}]


def test_a_server_beside_a_block_can_ask_who_comes(store):
    with serving(store, guard=AccessGuard(store)) as url:
        assert httpx.get(f"{url}/ingest/v1/writers/{NOWHERE}").status_code == 401
        assert httpx.get(f"{url}/health").status_code == 200
