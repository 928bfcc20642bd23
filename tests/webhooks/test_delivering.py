"""Endpoints and deliveries over a real endpoint: who is told of what, retries, order, the log. Excludes kills."""

import itertools
import json
import os
import re
import threading
from pathlib import Path
from typing import get_args

import pytest

from stratal.cli.app import main
from stratal.core.clock import SECOND_NS
from stratal.core.errors import Conflict, Misuse, NotFound, Refused
from stratal.core.ids import new_id, to_bytes
from stratal.data.versions import Status
from stratal.registry.stages import Stage
from stratal.store import events as log
from stratal.store.collecting import collect
from stratal.store.events import events_since
from stratal.store.journal import Writer
from stratal.store.sqlite import SQLITE
from stratal.store.statements import compile_statement
from stratal.store.store import Store
from stratal.testing.stages import behind_server
from stratal.testing.victims import Victims
from stratal.tracking.alerting import LEVELS
from stratal.tracking.deleting import delete, purge
from stratal.tracking.facts import END, START, STATUSES, End, Start
from stratal.tracking.opening import use_store
from stratal.tracking.runs import run
from stratal.tuning.trials import Ended
from stratal.webhooks import (
    WebhookStore,
    add_webhook,
    deliveries,
    pause_webhook,
    remove_webhook,
    resend,
    resume_webhook,
    try_webhook,
    verify,
    webhooks,
)
from stratal.webhooks import store as rows
from stratal.webhooks.delivering import Deliverer, delivering
from stratal.webhooks.endpoints import DETAILS, OTHERS, RETRIES_S, WORDS
from stratal.webhooks.signing import sign
from stratal.webhooks.store import _BACKLOG, _DUE, _NEXT


@pytest.fixture(scope="module")
def victims():
    with Victims(["stratal.testing.webhook_workloads", "stratal.store.migrating", "stratal.tracking.store.settling"]) as running:
        yield running


def emit(store: Store, kind: str, subject: str = "x", **body: object) -> None:
    with store.command() as tx:
        tx.emit(kind, subject, json.dumps(body))


def test_an_event_is_told_once_with_a_signature_that_verifies(near, endpoint, clock):
    secret = add_webhook("ci", endpoint.url, events=["version=Production"], on=["model:churn"], store=near).secret
    emit(near, "version", "model:churn@1", to="Staging")
    emit(near, "version", "model:fraud@1", to="Production")
    emit(near, "version", "model:churn@1", to="Production")
    deliverer = Deliverer(near)
    assert (deliverer.deliver(), deliverer.deliver()) == (1, 0)
    [(headers, body)] = endpoint.got
    assert json.loads(body)["type"] == "version"
    assert (endpoint.told[0]["subject"], endpoint.told[0]["body"]) == ("model:churn@1", {"to": "Production"})
    now_s = clock.now / 1e9
    assert verify(secret, headers, body, now_s=now_s) == headers["webhook-id"]
    for wrong in (
        lambda: verify(secret, headers, body + b" ", now_s=now_s),
        lambda: verify(secret, headers, body, now_s=now_s + 301),
        lambda: verify(secret, {**headers, "webhook-id": "other"}, body, now_s=now_s),
        lambda: verify(add_webhook("b", endpoint.url, store=near).secret, headers, body, now_s=now_s),
        lambda: verify(secret, {}, body, now_s=now_s),
    ):
        with pytest.raises(Refused):
            wrong()
    [done] = deliveries("ci", store=near)
    assert (done.state, done.status, done.attempts, done.id) == ("delivered", 204, 1, headers["webhook-id"])


def test_the_signature_is_that_of_the_standards_own_example():
    """Standard Webhooks 1.0, the example of its reference libraries."""
    made = sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_without_filters_all_is_told_in_order_from_the_adding_on(near, endpoint):
    emit(near, "early")
    add_webhook("all", endpoint.url, store=near)
    with run("churn", store=near) as made:
        made.alert("diverged", level="error")
    Deliverer(near).deliver()
    kinds = [told["kind"] for told in endpoint.told]
    assert "early" not in kinds and {"alert", "run ended", "run"} <= set(kinds)
    assert [told["seq"] for told in endpoint.told] == sorted(told["seq"] for told in endpoint.told)
    assert [each.event for each in deliveries("all", store=near)] == [told["seq"] for told in reversed(endpoint.told)], "the newest first"


def test_what_fails_is_tried_again_with_the_same_id_and_bytes_until_it_is_dead(near, endpoint, clock):
    add_webhook("ci", endpoint.url, events=["alert"], store=near)
    emit(near, "alert", level="error")
    endpoint.answers = lambda: 503
    deliverer = Deliverer(near)
    waits = []
    for _ in RETRIES_S:
        assert deliverer.deliver() == 1
        [left] = deliveries("ci", store=near)
        assert (left.state, left.status) == ("waiting", 503)
        waits.append((left.due_ns - clock.now) // SECOND_NS)
        clock.now = left.due_ns - 1
        assert deliverer.deliver() == 0, "not before its time"
        clock.now += 1
    assert waits == list(RETRIES_S)
    assert deliverer.deliver() == 1
    assert [(each.state, each.attempts) for each in deliveries("ci", store=near)] == [("dead", len(RETRIES_S) + 1)]
    clock.now += 10**6 * SECOND_NS
    assert deliverer.deliver() == 0
    assert len(set(endpoint.ids)) == 1 and len({body for _, body in endpoint.got}) == 1
    assert [(hook.waiting, hook.dead) for hook in webhooks(store=near)] == [(0, 1)]


def test_what_is_dead_is_sent_again_with_its_id_when_that_is_asked_for(near, endpoint, clock):
    add_webhook("ci", endpoint.url, events=["n"], store=near)
    for number in range(2):
        emit(near, "n", n=number)
    endpoint.answers = lambda: 500
    deliverer = Deliverer(near)
    while [hook.dead for hook in webhooks(store=near)] != [2]:
        deliverer.deliver()
        clock.now += SECOND_NS * RETRIES_S[-1]
    endpoint.answers = lambda: 204
    assert (deliverer.deliver(), resend("ci", store=near), resend("ci", store=near)) == (0, 2, 0)
    before = set(endpoint.ids)
    endpoint.got.clear()
    assert deliverer.deliver() == 2
    assert [told["body"]["n"] for told in endpoint.told] == [0, 1] and set(endpoint.ids) == before
    assert [(each.state, each.attempts, each.error) for each in deliveries("ci", store=near)] == [("delivered", 1, "")] * 2


def test_a_paused_endpoint_is_sent_nothing_and_gets_all_of_it_afterwards(near, endpoint, clock):
    for name in ("ci", "other"):
        add_webhook(name, endpoint.url, events=["n"], store=near)
    emit(near, "n", n=0)
    endpoint.answers = lambda: 500
    deliverer = Deliverer(near)
    assert deliverer.deliver() == 2
    assert (pause_webhook("ci", store=near), pause_webhook("ci", store=near)) == (True, False)
    endpoint.answers = lambda: 204
    endpoint.got.clear()
    for number in range(1, 4):
        emit(near, "n", n=number)
        clock.now += SECOND_NS * RETRIES_S[-1]
    assert deliverer.deliver() == 4
    assert [(hook.waiting, hook.dead, hook.paused_ns is None) for hook in webhooks(store=near)] == [(4, 0, False), (0, 0, True)]
    collect(near, grace_s=0, events_s=1e9, events_kept=0, dry_run=False)
    clock.now += SECOND_NS * 86_400 * 40
    deliverer.tidy()
    endpoint.got.clear()
    assert deliverer.deliver() == 0
    assert (resume_webhook("ci", store=near), resume_webhook("ci", store=near)) == (True, False)
    assert deliverer.deliver() == 4
    assert [told["body"]["n"] for told in endpoint.told] == [0, 1, 2, 3]
    assert {each.state for each in deliveries("ci", store=near)} == {"delivered"}


def test_a_paused_endpoint_takes_no_trial_and_one_that_waits_goes_out_later(near, endpoint):
    add_webhook("ci", endpoint.url, events=["n"], store=near)
    asked = WebhookStore(near).ask_trial(name="ci")
    pause_webhook("ci", store=near)
    Deliverer(near).try_this(asked.id)
    assert not endpoint.got
    with pytest.raises(Conflict, match="ci is paused") as refused:
        try_webhook("ci", store=near)
    assert refused.value.hint == "stratal webhook resume ci"
    resume_webhook("ci", store=near)
    Deliverer(near).try_this(asked.id)
    assert [told["kind"] for told in endpoint.told] == ["test"]
    for verb in (pause_webhook, resume_webhook):
        with pytest.raises(NotFound):
            verb("none", store=near)
    with near.query() as tx:
        assert [event.body["is"] for event in log.told(tx, events_since(tx, 0)) if event.kind == "webhook"] == [
            "added",
            "paused",
            "resumed",
        ]


def test_what_waits_for_others_is_looked_up_by_index(near):
    with near.query() as tx:
        for statement, values, looked_up in (
            (_DUE, {"now": 1}, "webhook=? AND due_ns<?"),
            (_NEXT, {"now": 1, "named": "ci"}, "webhook=? AND due_ns<?"),
            (_BACKLOG, {"named": "ci"}, "webhook=?"),
        ):
            compiled = compile_statement(statement, SQLITE, tuple(values))
            plan = tx._driver._connection.execute(f"explain query plan {compiled.sql}", compiled.bind(values)).fetchall()
            assert f"webhook_waiting ({looked_up})" in str(plan)


def test_what_waits_is_counted_with_since_when_but_for_endpoints_that_are_paused(near, endpoint, clock):
    def waits() -> tuple[int, int | None]:
        with near.glance() as tx:
            found = rows.backlog(tx)
        return found.waiting, None if found.since_ns is None else found.since_ns - began_ns

    began_ns = clock.now_ns()
    assert waits() == (0, None)
    for name in ("ci", "other"):
        add_webhook(name, endpoint.url, events=["n"], store=near)
    deliverer = Deliverer(near)
    deliverer.deliver()
    assert waits() == (0, None)
    clock.now = began_ns + SECOND_NS
    emit(near, "n")
    assert waits() == (0, SECOND_NS)  # nobody was asked about the event yet
    endpoint.answers = lambda: 500
    deliverer.deliver()
    clock.now = began_ns + 2 * SECOND_NS
    emit(near, "n")
    deliverer.deliver()
    assert waits() == (4, SECOND_NS)
    pause_webhook("ci", store=near)
    deliverer.deliver()
    assert waits()[0] == 2
    pause_webhook("other", store=near)
    deliverer.deliver()
    assert waits() == (0, None)


def test_who_is_stopped_waits_for_no_endpoint_and_the_next_one_tries_at_once(near, endpoint):
    add_webhook("ci", endpoint.url, events=["n"], store=near)
    emit(near, "n", n=0)
    is_asked, may_answer = threading.Event(), threading.Event()

    def hang() -> int:
        is_asked.set()
        may_answer.wait()
        return 204

    endpoint.answers = hang
    with delivering(near):
        assert is_asked.wait(60)
    [broken_off] = deliveries("ci", store=near)
    may_answer.set()
    assert (broken_off.state, broken_off.attempts, broken_off.status, broken_off.error) == ("waiting", 0, None, "")
    assert Deliverer(near).deliver() == 1
    [done] = deliveries("ci", store=near)
    assert (done.state, done.attempts) == ("delivered", 1)
    assert endpoint.ids == [done.id] * 2


def test_an_attempt_that_somebody_else_has_taken_meanwhile_is_not_given_back(near, endpoint, clock):
    add_webhook("ci", endpoint.url, events=["n"], store=near)
    emit(near, "n", n=0)
    with near.command() as tx:
        rows.fill(tx)
        first = rows.claim(tx, "ci")
    clock.now += 61 * SECOND_NS
    with near.command() as tx:
        second = rows.claim(tx, "ci")
        rows.give_back(tx, first)
        assert rows.claim(tx, "ci") is None
        rows.give_back(tx, second)
        assert rows.claim(tx, "ci").attempts == 2, "the first one's process may have died in it"


def test_an_endpoint_that_comes_back_gets_all_that_waited(near, endpoint, clock):
    add_webhook("ci", endpoint.url, events=["n"], store=near)
    for number in range(5):
        emit(near, "n", n=number)
    endpoint.answers = lambda: 500
    deliverer = Deliverer(near)
    assert deliverer.deliver() == 1, "one attempt says that the others would fail, too"
    endpoint.answers = lambda: 200
    clock.now += RETRIES_S[0] * SECOND_NS
    assert deliverer.deliver() == 5
    assert sorted(told["body"]["n"] for told in endpoint.told[1:]) == list(range(5))


def test_one_endpoint_that_fails_holds_up_no_other(near, endpoint):
    add_webhook("away", "http://no-such-host.invalid/", events=["n"], store=near)
    add_webhook("there", endpoint.url, events=["n"], store=near)
    for number in range(3):
        emit(near, "n", n=number)
    Deliverer(near).deliver()
    assert [told["body"]["n"] for told in endpoint.told] == [0, 1, 2]
    assert {each.state for each in deliveries("away", store=near)} == {"waiting"}


def test_one_endpoint_that_hangs_with_much_that_waits_holds_up_no_other(near, endpoint):
    has_come, may_answer = threading.Event(), threading.Event()

    def hang() -> int:
        has_come.set()
        may_answer.wait()
        return 204

    add_webhook("slow", endpoint.url, events=["slow"], store=near)
    add_webhook("quick", endpoint.url, events=["quick"], store=near)
    for _ in range(2):
        emit(near, "slow")
    endpoint.answers = hang
    with delivering(near):
        assert has_come.wait(60)
        endpoint.answers = lambda: 204
        emit(near, "quick")
        while "quick" not in [told["kind"] for told in endpoint.told]:
            pass
        assert [told["kind"] for told in endpoint.told] == ["slow", "quick"]
        may_answer.set()


def test_two_servers_tell_each_event_once(near, endpoint):
    add_webhook("ci", endpoint.url, events=["n"], store=near)
    with delivering(near), delivering(near):
        for number in range(30):
            emit(near, "n", n=number)
        while [each.state for each in deliveries("ci", store=near)] != ["delivered"] * 30:
            pass
    Deliverer(near).deliver()
    assert sorted(told["body"]["n"] for told in endpoint.told) == list(range(30))


def test_a_private_network_is_refused_and_the_log_says_why(store, endpoint):
    add_webhook("ci", endpoint.url, store=store)
    done = try_webhook("ci", store=store)
    assert (done.state, done.attempts, done.status) == ("waiting", 1, None) and "private network" in done.error
    assert endpoint.got == []


def test_a_trial_behind_a_url_is_sent_by_the_server(near, endpoint, stage, tmp_path):
    add_webhook("ci", endpoint.url, store=near)
    with behind_server(near, *stage, tmp_path / "state") as far, delivering(near):
        assert try_webhook("ci", store=far).state == "delivered"
    assert [told["kind"] for told in endpoint.told] == ["test"]


def test_events_that_were_dropped_before_anybody_could_deliver_them_leave_a_line(near, endpoint):
    emit(near, "n", n=0)
    add_webhook("ci", endpoint.url, events=["n"], store=near)
    for number in range(1, 10):
        emit(near, "n", n=number)
    collect(near, grace_s=0, events_s=1e9, events_kept=3, dry_run=False)
    Deliverer(near).deliver()
    assert [told["body"]["n"] for told in endpoint.told] == [7, 8, 9]
    [missed] = [each for each in deliveries("ci", store=near) if each.state == "dead"]
    assert "were dropped" in missed.error
    assert resend("ci", store=near) == 0, "there is nothing of them to send"


def test_the_log_is_kept_for_a_month(near, endpoint, clock):
    add_webhook("ci", endpoint.url, store=near)
    emit(near, "n")
    deliverer = Deliverer(near)
    deliverer.deliver()
    assert deliveries("ci", store=near)
    clock.now += 31 * 86_400 * SECOND_NS
    deliverer.tidy()
    assert deliveries("ci", store=near) == []


def test_a_lost_run_is_told_of_once(near, endpoint, victims: Victims):
    add_webhook("ci", endpoint.url, events=["run ended=lost"], store=near)
    victims.start("stratal.testing.webhook_workloads:begin_and_die", str(near.folder)).wait()
    deliverer = Deliverer(near)
    for _ in range(2):
        deliverer.tidy()
        deliverer.deliver()
    [told] = endpoint.told
    assert told["kind"] == "run ended" and told["subject"].startswith("run:")
    id = told["subject"].removeprefix("run:")
    delete(id, store=near)
    purge(id, store=near)
    connection = near.database.connect()
    assert connection.execute("select count(*) from lost_run").fetchone() == (0,)
    connection.close()


def test_names_urls_and_filters_that_cannot_be_are_refused(near):
    for name, url, events, on in (
        ("", "https://a.example/", [], []), ("a/b", "https://a.example/", [], []), ("a", "ftp://a.example/", [], []),
        ("a", "https://me:secret@a.example/", [], []), ("a", "https://", [], []), ("a", "https://a.example:99999/", [], []),
        ("a", "https://a.example/\r\nx: y", [], []), ("a", "https://a.example/#x", [], []), ("a", "https://a.example/", ["Version"], []),
        ("a", "https://a.example/", ["run=x"], []), ("a", "https://a.example/", ["version="], []),
        ("a", "https://a.example/", ["verison"], []), ("a", "https://a.example/", ["checkpont"], []),
        ("a", "https://a.example/", ["version=production"], []), ("a", "https://a.example/", ["run ended=fialed"], []),
        ("a", "https://a.example/", [], ["churn"]),
    ):  # fmt: skip
        with pytest.raises(Misuse) as refused:
            add_webhook(name, url, events=events, on=on, store=near)
        assert refused.value.hint
    assert webhooks(store=near) == []


def test_filters_know_each_kind_that_is_told_and_the_docs_each_of_these_kinds():
    root = Path(__file__).parents[2]
    told: set[str] = {"deleted", "restored"}  # one place tells either, by a variable
    for path in (root / "src/stratal").rglob("*.py"):
        if "testing" not in path.parts:
            told |= set(re.findall(r'emit\(\s*"([a-z ]+)"', path.read_text()))
    assert told == {*DETAILS, *OTHERS}
    page = (root / "docs/events.md").read_text()
    assert [kind for kind in told if f"`{kind}`" not in page] == []


def test_filters_know_the_words_that_are_told():
    assert set(WORDS) == set(DETAILS)
    assert set(WORDS["version"]) == set(WORDS["approval asked"]) == set(Stage)
    assert set(WORDS["run ended"]) == set(STATUSES) - {"running"}
    assert set(WORDS["alert"]) == set(LEVELS)
    assert set(WORDS["trial"]) == set(get_args(Ended))
    assert set(WORDS["dataset"]) == set(get_args(Status)) - {"unchecked"}


def test_a_name_is_taken_once_and_what_is_removed_is_gone(near, endpoint):
    add_webhook("ci", endpoint.url, store=near)
    with pytest.raises(Conflict, match="already"):
        add_webhook("ci", endpoint.url, store=near)
    emit(near, "n")
    Deliverer(near).deliver()
    remove_webhook("ci", store=near)
    assert webhooks(store=near) == [] and deliveries(store=near) == []
    for call in (lambda: remove_webhook("ci", store=near), lambda: deliveries("ci", store=near), lambda: try_webhook("ci", store=near),
                 lambda: resend("ci", store=near)):  # fmt: skip
        with pytest.raises(NotFound):
            call()


def test_nothing_that_is_listed_or_told_holds_a_secret(near, endpoint, capsys):
    secret = add_webhook("ci", endpoint.url, store=near).secret
    try_webhook("ci", store=near)
    use_store(near)
    for words in (["list"], ["list", "--json"], ["deliveries"], ["deliveries", "--json"]):
        with pytest.raises(SystemExit):
            main(["webhook", *words])
    printed = capsys.readouterr().out
    with near.query() as tx:
        told = str(events_since(tx, 0))
    for text in (printed, told, str(endpoint.got)):
        assert secret[6:] not in text and "whsec_" not in text
    assert "ci" in printed


def test_the_commands_add_try_list_and_remove(near, endpoint, capsys):
    use_store(near)

    def output(*words: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["webhook", *words])
        assert ended.value.code == code
        return capsys.readouterr().out

    assert "whsec_" in output("add", "ci", endpoint.url, "--event", "alert", "--on", "experiment:churn")
    assert "Delivered: 204" in output("test", "ci")
    endpoint.answers = lambda: 500
    assert "answered 500" in output("test", "ci", code=1)
    assert [each["state"] for each in json.loads(output("deliveries", "ci", "--json"))] == ["waiting", "delivered"]
    assert json.loads(output("list", "--json"))[0]["events"] == ["alert"]
    assert "Paused the webhook ci" in output("pause", "ci") and "is paused already" in output("pause", "ci")
    assert json.loads(output("list", "--json"))[0]["paused_ns"] and "paused" in output("list")
    assert json.loads(output("resume", "ci", "--json")) == {"resumed": "ci", "changed": True}
    assert "is not paused" in output("resume", "ci")
    assert "No delivery of ci is dead" in output("resend", "ci") and json.loads(output("resend", "ci", "--json")) == {"resent": 0}
    assert "Removed" in output("remove", "ci")
    assert "No webhooks" in output("list")


def logged_elsewhere(store: Store) -> None:
    """Let another process of this machine log a run that has ended, into its own journal."""
    writer = Writer(store.journals)
    id = to_bytes(new_id())
    writer.fact(id, 0, START, Start(experiment="churn"))
    writer.log(id, 0, {"loss": 0.5}, 1)
    writer.fact(id, 0, END, End(status="finished"))
    writer.close()


def test_where_nobody_listens_journals_are_settled_only_when_much_waits(near, endpoint):
    logged_elsewhere(near)
    waiting = near.settler.waiting_bytes()
    assert waiting > 0
    assert Deliverer(near, much_bytes=waiting).settle() == 0
    assert Deliverer(near, much_bytes=waiting - 1).settle() == 3
    assert near.settler.waiting_bytes() == 0
    add_webhook("ci", endpoint.url, store=near)
    logged_elsewhere(near)
    assert Deliverer(near).settle() == 3


def test_what_was_logged_elsewhere_before_an_endpoint_was_added_is_not_told(near, endpoint):
    logged_elsewhere(near)
    add_webhook("ci", endpoint.url, events=["run ended"], store=near)
    deliverer = Deliverer(near)
    assert deliverer.deliver() == 0
    logged_elsewhere(near)
    assert deliverer.deliver() == 1


@pytest.mark.slow
def test_kill_9_of_who_delivers_at_any_point_loses_no_event(near, endpoint, victims: Victims, clock):
    """At least once, with one id each: the deliverer dies at each named point and in each request, a hundred times."""
    add_webhook("ci", endpoint.url, events=["n"], store=near)
    count, kills = int(os.environ.get("STRATAL_TEST_KILLS", "60")), 0
    for number in range(count):
        emit(near, "n", n=number)
        kills += (
            victims.start("stratal.testing.webhook_workloads:deliver_until_killed", str(near.folder), 1 + number % 8, clock.now).wait()
            == -9
        )
    for _ in itertools.takewhile(lambda _: len({told["body"]["n"] for told in endpoint.told}) < count, range(200)):
        clock.now = max(clock.now, *(each.due_ns for each in deliveries("ci", limit=1000, store=near)), 0) + 1
        Deliverer(near).deliver()
    by_event: dict[int, set[str]] = {}
    for told, id in zip(endpoint.told, endpoint.ids, strict=True):
        by_event.setdefault(told["body"]["n"], set()).add(id)
    assert sorted(by_event) == list(range(count)), "nothing is lost"
    assert all(len(ids) == 1 for ids in by_event.values()), "repeats have the same id"
    assert {each.state for each in deliveries("ci", limit=1000, store=near)} == {"delivered"}
    assert kills > count // 2
