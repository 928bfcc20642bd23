"""The stream of events over a real server: order, resumption under cuts, who sees what, slow readers. Excludes webhooks."""

import contextlib
import itertools
import json
import random
import signal
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratal.core.errors import Forbidden, Misuse, NotFound
from stratal.core.people import Identity
from stratal.core.settings import Settings
from stratal.server.doorway import Doorway
from stratal.server.guards import OpenGuard, Unauthenticated
from stratal.server.live import PATH, Line, Live, LiveLimits, Window, encode
from stratal.server.serving import serving
from stratal.store.collecting import collect
from stratal.store.events import Told, latest_seq
from stratal.store.following import follow
from stratal.store.store import Store
from stratal.testing.ports import held_port
from stratal.testing.proxies import cutting_network
from stratal.testing.victims import Victims
from stratal.tracking.runs import run

QUICK = LiveLimits(look_s=0.01, heartbeat_s=0.05)


def emit(store: Store, *numbers: int, kind: str = "n", subject: str = "x") -> None:
    with store.command() as tx:
        for number in numbers:
            tx.emit(kind, subject, json.dumps({"n": number}))


@pytest.fixture
def served(store, stage):
    """Serve the store's events with some limits; gives the URL and the handler."""
    with contextlib.ExitStack() as stack:

        def serve(limits: LiveLimits = QUICK, guard: OpenGuard | None = None) -> tuple[str, Live]:
            handler = stage[0].handler = Live(store, guard=guard, limits=limits)
            stack.callback(handler.close)
            return f"{stage[1]}{PATH}", handler

        yield serve


@contextlib.contextmanager
def opened(url: str, **headers: str) -> Iterator[Iterator[tuple[int, dict | None]]]:
    """Give the blocks of a stream: ids, and the data of those that are events."""
    with httpx.stream("GET", url, headers=headers, timeout=30, verify=False) as answer:
        assert answer.status_code == 200, answer.read()

        def blocks() -> Iterator[tuple[int, dict | None]]:
            rest = ""
            for text in answer.iter_text():
                *whole, rest = (rest + text).split("\n\n")
                for block in whole:
                    fields = dict(line.split(": ", 1) for line in block.split("\n"))
                    yield int(fields["id"]), json.loads(fields["data"]) if "data" in fields else None

        yield blocks()


def numbers(blocks: Iterator[tuple[int, dict | None]], count: int) -> list[int]:
    told = (data for _, data in blocks if data is not None)
    return [data["body"]["n"] for data in itertools.islice(told, count)]


def client(url: str, tmp_path) -> Store:
    return Store(url.removesuffix(PATH), settings=Settings(user="tester", state_home=tmp_path / "state"))


def test_events_come_in_order_as_they_happen(store, served):
    url, _ = served()
    with opened(url) as blocks:
        assert next(blocks)[1] is None, "first the place from which to go on"
        for number in range(5):
            emit(store, number)
            assert numbers(blocks, 1) == [number]


def test_a_run_that_logs_in_another_process_can_be_followed(store, served):
    """Nobody settles but the server: what is in the journal is brought in while somebody listens."""
    url, _ = served()
    with opened(url) as blocks, run("churn", store=store) as made:
        next(blocks)
        made.log({"loss": 1.0, "auc": 0.5}, step=0)
        told = [data for _, data in itertools.islice((b for b in blocks if b[1] is not None), 1)]
        assert (told[0]["kind"], told[0]["subject"], told[0]["on"]) == ("run", f"run:{made.id}", "experiment:churn")
        made.log({"loss": 0.5}, step=1)
        (next_one,) = [data for _, data in itertools.islice((b for b in blocks if b[1] and b[1]["body"].get("points")), 1)]
        assert next_one["body"]["points"] >= 1


def test_the_end_of_a_run_is_told_with_its_error(store, served):
    url, _ = served()
    with opened(f"{url}?kind=run+ended") as blocks:
        next(blocks)
        with pytest.raises(ZeroDivisionError), run("churn", store=store):
            1 / 0  # noqa: B018
        (data,) = itertools.islice((data for _, data in blocks if data), 1)
    assert (data["body"]["status"], "division" in data["body"]["error"]) == ("failed", True)


def test_last_event_id_resumes_and_wins_over_since(store, served):
    emit(store, *range(10))
    url, _ = served()
    with opened(f"{url}?since=0", **{"last-event-id": "6"}) as blocks:
        assert numbers(blocks, 4) == [6, 7, 8, 9]
    with opened(f"{url}?since=8") as blocks:
        assert numbers(blocks, 2) == [8, 9]


def test_a_reader_far_back_is_given_pages_and_then_what_is_new(store, served):
    emit(store, *range(95))
    url, _ = served(LiveLimits(look_s=0.01, heartbeat_s=5, window=10, page=7))
    with opened(f"{url}?since=0") as blocks:
        assert numbers(blocks, 95) == list(range(95))
        emit(store, *range(95, 120))
        assert numbers(blocks, 25) == list(range(95, 120))


@pytest.mark.slow
def test_no_event_is_missed_or_doubled_when_connections_are_cut_at_random(store, served, tmp_path, monkeypatch):
    monkeypatch.setattr("stratal.store.following.AGAIN_S", 0.0)
    seed = random.randrange(1 << 30)
    print("seed", seed)
    dice = random.Random(seed)
    url, _ = served(LiveLimits(look_s=0.005, heartbeat_s=0.02, window=20, page=9, readers_each=200))
    emit(store, -1)
    count, cuts = 400, []
    writing = threading.Thread(target=lambda: [emit(store, n) for n in range(count)])

    def after_bytes() -> int:
        cuts.append(dice.randrange(1, 3000))
        return cuts[-1]

    with cutting_network(url.removesuffix(PATH), after_bytes) as cut_url:
        events = follow(client(cut_url, tmp_path), since=1)
        writing.start()
        got = list(itertools.islice(events, count))
        writing.join()
        events.close()
    assert [event.body["n"] for event in got] == list(range(count))
    assert [event.seq for event in got] == list(range(2, count + 2))
    assert len(cuts) > 15, "the network was bad"


def test_who_is_silent_for_long_goes_on_from_the_last_heartbeat(store, served):
    """A filter that lets nothing through must not make a reader old: heartbeats carry the place."""
    url, _ = served()
    with opened(f"{url}?kind=other") as blocks:
        next(blocks)
        emit(store, *range(5))
        with store.query() as tx:
            newest = latest_seq(tx)
        assert any(id == newest and data is None for id, data in blocks)


def test_a_reader_that_takes_nothing_is_dropped_and_keeps_nobody_waiting(store, served):
    url, handler = served(LiveLimits(look_s=0.01, heartbeat_s=0.05, slow_s=1.0))
    host = httpx.URL(url)
    with socket.socket() as slow, opened(f"{url}?since=0") as quick:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        slow.connect((host.host, host.port))
        slow.sendall(f"GET {PATH}?since=0 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
        head = b""
        while b"id: 0" not in head:  # the first block: now it follows
            head += slow.recv(1000)
        next(quick)
        assert handler.readers == 2
        body = "x" * 100_000
        for number in range(100):
            with store.command() as tx:
                tx.emit("n", "x", json.dumps({"n": number, "body": body}))
            assert numbers(quick, 1) == [number]
        for _ in quick:  # heartbeats and news, until the slow one is gone
            if handler.readers == 1:
                break
            emit(store, 0)


def test_what_is_not_kept_any_more_is_said(store, served, tmp_path):
    emit(store, *range(20))
    assert collect(store, grace_s=0, events_s=1e9, events_kept=5, dry_run=False).events == 15
    url, _ = served()
    answer = httpx.get(url, headers={"last-event-id": "3"})
    assert (answer.status_code, answer.json()["error"]) == (410, "gone")
    assert "since=21" in answer.json()["hint"]
    with pytest.raises(NotFound, match="not kept any more"):
        next(follow(client(url, tmp_path), since=3))
    with pytest.raises(NotFound, match="not kept any more"):
        next(follow(store, since=3))
    with opened(f"{url}?since=0") as blocks:
        assert numbers(blocks, 5) == [15, 16, 17, 18, 19]
    with opened(f"{url}?since=15") as blocks:
        assert numbers(blocks, 1) == [15]


def test_a_number_that_the_store_never_gave_is_refused(store, served):
    url, _ = served()
    assert httpx.get(f"{url}?since=7").status_code == 410


def test_kinds_subjects_and_experiments_filter(store, served):
    url, _ = served()
    with run("churn", store=store) as churn, run("fraud", store=store) as fraud:
        churn.alert("a")
        fraud.alert("b")
    store.settle()
    emit(store, 0)
    for query, wanted in {
        "kind=alert": {("alert", churn.id), ("alert", fraud.id)},
        f"kind=alert&subject={fraud.id}": {("alert", fraud.id)},
        "kind=alert&on=experiment:churn": {("alert", churn.id)},
        "kind=alert&kind=n&on=experiment:churn&on=experiment:fraud": {("alert", churn.id), ("alert", fraud.id)},
    }.items():
        with opened(f"{url}?since=0&{query}") as blocks:
            found = [data for _, data in itertools.islice((b for b in blocks if b[1]), len(wanted))]
        assert {(data["kind"], data["subject"].removeprefix("run:")) for data in found} == wanted


class Rooms(OpenGuard):
    """Viewers of single experiments and models; `root` is admin; nobody knows `stranger`."""

    def __init__(self) -> None:
        self.names = {"ann": frozenset({"churn"}), "bob": frozenset({"fraud"})}
        self.known = {"ann", "bob", "root"}

    async def identify(self, headers):
        sender = await super().identify(headers)
        if sender.name not in self.known:
            raise Unauthenticated("nobody knows you")
        return Identity(name=sender.name, is_authenticated=True)

    def check(self, tx, sender, needs, on):
        if sender.name != "root":
            raise Forbidden("admins only")

    def visible(self, tx, sender, kind):
        return None if sender.name == "root" else self.names[sender.name]


def test_each_sees_its_own_and_what_belongs_to_nobody_is_for_admins(store, served):
    guard = Rooms()
    url, _ = served(guard=guard)
    with run("churn", store=store) as made:
        made.alert("a")
    emit(store, 1, kind="version", subject="model:churn@3")
    emit(store, 2, kind="version", subject="model:fraud@1")
    emit(store, 3, kind="view", subject="mine")
    emit(store, 4, kind="end", subject="model:churn")
    emit(store, 5, kind="end", subject="model:fraud")

    def kinds(who: str) -> list[tuple[str, str]]:
        with opened(f"{url}?since=0", **{"stratal-user": who}) as blocks:
            told = []
            for _, data in blocks:
                if data:
                    told.append((data["kind"], data["on"]))
                    if data["kind"] == "end" and (who != "root" or data["on"] == "model:fraud"):
                        return told
        raise AssertionError("the stream ended")

    assert set(kinds("ann")) == {(k, "experiment:churn") for k in ("run", "alert", "run ended")} | {
        ("version", "model:churn"), ("end", "model:churn"),
    }  # fmt: skip
    assert kinds("bob") == [("version", "model:fraud"), ("end", "model:fraud")]
    assert ("view", "") in kinds("root")
    assert httpx.get(url, headers={"stratal-user": "stranger"}).status_code == 401


def test_rights_that_are_given_or_taken_count_from_the_next_batch_on(store, served):
    guard = Rooms()
    url, _ = served(guard=guard)
    with opened(url, **{"stratal-user": "ann"}) as blocks:
        next(blocks)
        emit(store, 1, subject="model:fraud")
        emit(store, 2, subject="model:churn")
        assert numbers(blocks, 1) == [2]
        guard.names["ann"] = frozenset({"fraud"})
        emit(store, 3, subject="model:churn")
        emit(store, 4, subject="model:fraud")
        assert numbers(blocks, 1) == [4]


def test_a_reader_whose_token_was_withdrawn_is_sent_away(store, served):
    guard = Rooms()
    url, _ = served(guard=guard)
    with opened(url, **{"stratal-user": "ann"}) as blocks:
        next(blocks)
        guard.known.discard("ann")
        assert all(data is None for _, data in blocks), "the stream ends"


@pytest.fixture
def asked(store, stage, guarded):
    """The stream behind the guard of tokens and grants: ada is admin, vera views churn, eve may do nothing."""
    handler = Live(store, guard=guarded.guard, limits=QUICK)
    stage[0].handler = Doorway(handler)
    yield f"{stage[1]}{PATH}", handler
    handler.close()


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def test_tokens_and_grants_say_what_is_streamed(store, guarded, asked):
    url, _ = asked
    emit(store, 1, subject="model:churn")
    with run("churn", store=store) as made:
        made.alert("a")
    store.settle()
    emit(store, 2, kind="view", subject="mine")
    emit(store, 3, kind="end", subject="study:churn")
    assert httpx.get(url).status_code == 401
    seen = {}
    for who in ("ada", "vera"):
        with opened(f"{url}?since=0", **bearer(guarded.token_of(who))) as blocks:
            seen[who] = [
                (data["kind"], data["on"]) for _, data in itertools.takewhile(lambda b: not b[1] or b[1]["kind"] != "end", blocks) if data
            ]
    assert {on for _, on in seen["vera"]} == {"experiment:churn"}
    assert {"", "model:churn", "experiment:churn"} == {on for _, on in seen["ada"]}
    with opened(f"{url}?since=0", **bearer(guarded.token_of("eve"))) as blocks:
        assert [data for _, data in itertools.islice(blocks, 4)] == [None] * 4, "heartbeats, and nothing else"
    assert not any(action == "admin" for _, action, _ in guarded.refused()), "nobody asked for that"


def test_a_token_that_is_revoked_ends_its_stream_also_while_much_happens(store, guarded, asked):
    url, _ = asked
    token = guarded.accounts.create_token(person="vera")
    with opened(url, **bearer(token.secret)) as vera, opened(url, **bearer(guarded.token_of("ada"))) as ada:
        next(vera), next(ada)
        emit(store, 1, subject="study:churn")
        assert numbers(vera, 1) == [1]
        guarded.accounts.revoke_token(id=token.token.id)
        emit(store, 2, subject="study:churn")
        assert all(data is None for _, data in vera), "nothing more, and the end"
        assert 2 in numbers((block for block in ada if block[1] and "n" in block[1]["body"]), 2), "others go on"


def test_a_token_follows_from_python(store, guarded, asked, tmp_path):
    url, _ = asked
    emit(store, 7, subject="study:churn")
    spool = Settings(user="vera", token=guarded.token_of("vera"), state_home=tmp_path / "state")
    assert next(follow(Store(url.removesuffix(PATH), settings=spool), since=0)).body == {"n": 7}
    with pytest.raises(Forbidden):
        next(follow(client(url, tmp_path), since=0))


def test_more_readers_than_there_are_places_are_told_to_come_again(served):
    url, _ = served(LiveLimits(look_s=0.01, heartbeat_s=0.05, readers=3, readers_each=2))
    with opened(url) as first, opened(url) as second:
        next(first), next(second)
        answer = httpx.get(url)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
        with opened(url, **{"stratal-user": "other"}) as third:
            next(third)
            assert httpx.get(url, headers={"stratal-user": "more"}).status_code == 429


@pytest.mark.parametrize(
    ("query", "status"),
    [("token=abc", 400), ("since=x", 400), ("since=-1", 400), ("since=1&since=2", 400), ("since=" + "9" * 30, 400), ("kind=%ff", 400),
     ("&".join(["kind=a"] * 200), 400), ("on=churn", 422), ("subject=run:987bacc7", 422)],
)  # fmt: skip
def test_bad_questions_are_refused(served, query, status):
    url, _ = served()
    answer = httpx.get(f"{url}?{query}")
    assert answer.status_code == status and answer.json()["hint"]


def test_other_paths_and_methods_are_refused(served):
    url, _ = served()
    assert httpx.get(f"{url}/x").status_code == 404
    assert httpx.post(url).status_code == 405
    assert httpx.head(url).status_code == 405
    assert httpx.get(url, headers={"host": "evil.example"}).status_code == 403


def test_a_server_that_stops_ends_its_streams_at_once(store):
    with contextlib.ExitStack() as stack:
        with serving(store) as url:
            answer = stack.enter_context(httpx.stream("GET", f"{url}{PATH}", timeout=30))
            pieces = answer.iter_bytes()
            next(pieces)
        assert list(pieces) == [], "a whole answer: cut nowhere"


def test_sigterm_ends_streams_whole_and_the_server_with_0(store, victims: Victims):
    port = held_port()
    victim = victims.start("stratal.testing.remote_workloads:serve_until_killed", str(store.folder), port)
    for _ in itertools.count():
        with contextlib.suppress(httpx.ConnectError), httpx.stream("GET", f"http://127.0.0.1:{port}{PATH}", timeout=30) as answer:
            pieces = answer.iter_bytes()
            next(pieces)
            assert victim.kill(signal.SIGTERM) == 0
            assert list(pieces) == []
            break


@pytest.mark.slow
def test_kill_9_of_the_server_costs_a_follower_no_event(store, victims: Victims, tmp_path, monkeypatch):
    monkeypatch.setattr("stratal.store.following.AGAIN_S", 0.02)
    port = held_port()
    emit(store, -1)
    events = follow(client(f"http://127.0.0.1:{port}", tmp_path), since=1)
    got: list[int] = []
    for round in range(4):
        victim = victims.start("stratal.testing.remote_workloads:serve_until_killed", str(store.folder), port)
        emit(store, *range(round * 10, round * 10 + 10))
        got += [event.body["n"] for event in itertools.islice(events, 7)]  # the rest is told by the next server
        assert victim.kill() == -signal.SIGKILL
    victim = victims.start("stratal.testing.remote_workloads:serve_until_killed", str(store.folder), port)
    got += [event.body["n"] for event in itertools.islice(events, 12)]
    victim.kill()
    events.close()
    assert got == list(range(40))


def test_a_folder_is_followed_without_a_server(store):
    events = follow(store, since=0, kinds=["version"])
    emit(store, 1)
    emit(store, 2, kind="version", subject="model:churn@1")
    assert next(events).on == "model:churn"
    with pytest.raises(NotFound, match="has no event 99"):
        next(follow(store, since=99))


def test_what_no_event_can_be_about_is_refused_and_not_waited_for(store, tmp_path):
    for place in (store, client("http://127.0.0.1:1", tmp_path)):
        for asked in ({"since": -1}, {"on": ["churn"]}, {"subjects": ["run:987bacc7"]}):
            with pytest.raises(Misuse) as refused:
                follow(place, **asked)
            assert refused.value.hint


def test_a_kind_with_line_breaks_breaks_no_block():
    event = Told(seq=1, at_ns=0, kind="a\n\ndata: x", subject="s", actor="a\n\nb", on="", body={"n": "\n\n"})
    assert encode(event).count(b"\n\n") == 1 and encode(event).endswith(b"\n\n")


@given(st.lists(st.integers(1, 5)), st.integers(1, 8), st.integers(0, 40))
def test_a_window_gives_all_after_a_number_or_says_that_it_cannot(batches, size, asked):
    window, seqs = Window(size), []
    for batch in batches:
        new = list(range(len(seqs) + 1, len(seqs) + batch + 1))
        seqs += new
        window.add([Line(Told(seq=n, at_ns=0, kind="", subject="", actor="", on="", body={}), b"") for n in new])
    found = window.after(asked)
    if found is None:
        assert asked < len(seqs) - size + 1
    else:
        assert [line.event.seq for line in found] == [n for n in seqs if n > asked]
