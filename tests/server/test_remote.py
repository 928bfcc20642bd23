"""Operations called through a server: what comes back, what was logged before, what is sent again. Excludes what each operation does."""

import math
import os
import random
import socketserver
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as some

from stratal.core import errors
from stratal.core.errors import Conflict, Misuse, NotFound, OutcomeUnknown, Refused, StaleLease, StoreDown, StratalError
from stratal.core.ids import new_id, to_bytes
from stratal.core.people import Identity, acting_as
from stratal.core.settings import Settings
from stratal.data.store import DatasetStore
from stratal.registry.approving import Ruling
from stratal.registry.assessing import Assessment, TransitionRefused
from stratal.registry.gates import GateResult, Verdict
from stratal.registry.stages import Stage
from stratal.registry.store import ModelStore
from stratal.server.failures import in_http
from stratal.store import remote, uploading
from stratal.store.arriving import greet
from stratal.store.leases import read_lease
from stratal.store.telling import Failure, tell, told
from stratal.store.wire import MSGPACK, pack, unpack
from stratal.tracking.facts import START, Start
from stratal.tracking.opening import open_store
from stratal.tracking.runs import run
from stratal.tracking.store.runs import get_record, writers_of
from stratal.training.records import Checkpoint
from stratal.training.store import CheckpointStore
from stratal.tuning.store import StudyStore
from stratal.tuning.trials import Result

STUDY = {
    "name": "s", "metric": "auc", "is_maximized": True, "space": "{}", "objective": "o", "data": "d", "sampler": "{}", "seed": 1,
    "spare_seed": 1, "budget": 3,
}  # fmt: skip
TRIAL = {"name": "s", "version": 1}


@contextmanager
def answering(*answers: bytes):
    """A server that says the given, one answer a connection, then hangs up; gives its URL and what came."""
    came: list[bytes] = []
    waiting = list(answers)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            head = b""
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                head += line
            length = next((int(line.split(b":")[1]) for line in head.lower().splitlines() if line.startswith(b"content-length")), 0)
            came.append(head + b"\r\n" + self.rfile.read(length))
            self.wfile.write(waiting.pop(0) if waiting else b"")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", came
        finally:
            server.shutdown()
            thread.join()


def answer(status: str, value: object, **headers: str) -> bytes:
    body, kind = pack(value)
    head = {"content-type": kind, "content-length": str(len(body)), "connection": "close", **headers}
    return "".join([f"HTTP/1.1 {status}\r\n", *(f"{name}: {text}\r\n" for name, text in head.items()), "\r\n"]).encode() + body


@pytest.fixture
def at(tmp_path):
    """Open a store behind a URL."""
    return lambda url: open_store(url, settings=Settings(user="tester", capture=False, state_home=tmp_path / "state"))


def test_what_an_operation_gives_is_the_same_on_both_ways(store, far):
    opened = StudyStore(far).open_version(**STUDY)
    assert opened.is_new
    assert StudyStore(far).version(name="s") == StudyStore(store).version(name="s") == opened.version
    taken = StudyStore(far).propose(**TRIAL, number=0, params={"x": math.nan, "y": -math.inf, "z": 2**53 + 1, "w": True}, known=0)
    assert math.isnan(taken.params["x"])
    assert (taken.params["y"], taken.params["z"], taken.params["w"]) == (-math.inf, 2**53 + 1, True)
    assert StudyStore(far).trials(**TRIAL)[0].run == StudyStore(store).trials(**TRIAL)[0].run == taken.run


@pytest.mark.parametrize("ask", [
    lambda store: ModelStore(store).version(name="churn", number=1),
    lambda store: ModelStore(store).find(name="churn", selector="champion"),
    lambda store: DatasetStore(store).find(name="nothing"),
    lambda store: StudyStore(store).version(name="nothing"),
    lambda store: CheckpointStore(store).checkpoints(run="no id"),
    lambda store: ModelStore(store).set_policy(name="churn", policy="no json"),
])  # fmt: skip
def test_errors_are_the_same_on_both_ways(store, far, ask):
    with pytest.raises(StratalError) as here:
        ask(store)
    with pytest.raises(StratalError) as there:
        ask(far)
    assert (type(there.value), there.value.message, there.value.hint) == (type(here.value), here.value.message, here.value.hint)


def test_a_stale_lease_comes_back_as_one(store, far):
    StudyStore(far).open_version(**STUDY)
    taken = StudyStore(far).propose(**TRIAL, number=0, params={}, known=0)
    with pytest.raises(StaleLease, match="taken over") as stale:
        StudyStore(far).tell(**TRIAL, number=0, run=taken.run, token=taken.token + 1, result=Result(status="finished", value=1.0))
    assert not stale.value.retryable


def test_a_refused_transition_comes_back_with_its_assessment():
    assessment = Assessment(
        name="churn", number=1, digest="0" * 64, stage=Stage.STAGING, target=Stage.PRODUCTION, epoch=3, policy="p", champion=None,
        results=(GateResult(gate="auc >= 0.8", verdict=Verdict.FAIL, why="auc is 0.7", value=0.7, low=math.nan),), evidence="e",
        ruling=Ruling(missing=("1 approval",)),
    )  # fmt: skip
    refused = TransitionRefused(assessment)
    body, encoding = pack(tell(refused, "refused"))
    back = told(unpack(body, encoding, Failure))
    assert isinstance(back, TransitionRefused)
    assert repr(back.assessment) == repr(assessment), "NaN is not equal to itself"
    assert (back.message, back.hint) == (refused.message, refused.hint)


def test_unknown_arguments_are_python_errors_as_they_are_here(far):
    with pytest.raises(TypeError, match="unexpected keyword argument 'typo'"):
        ModelStore(far).models(typo=1)
    with pytest.raises(Misuse, match="cannot travel"):
        ModelStore(far).version(name=object(), number=1)


def test_a_person_acts_under_its_own_name(store, far):
    content = far.blobs.put(b"c")
    with acting_as(Identity(name="Zoë")):
        made = DatasetStore(far).add_version(name="churn", digest="0" * 64, rows=1, columns=[], content=content, profile=content)
    assert made.author == "Zoë"


def test_blobs_that_a_command_names_are_brought_before_it(store, far):
    content, profile = far.blobs.put(b"rows" * 10_000), far.blobs.put(b"profile")
    made = DatasetStore(far).add_version(name="churn", digest="0" * 64, rows=1, columns=[], content=content, profile=profile)
    assert (store.blobs.read(made.content), store.blobs.read(made.profile)) == (b"rows" * 10_000, b"profile")
    with pytest.raises(NotFound, match="not in this store"):
        DatasetStore(far).add_version(name="churn", digest="1" * 64, rows=1, columns=[], content="2" * 64, profile=profile)


def test_an_operation_sees_what_was_logged_before_it(store, far):
    with run("paid", store=far) as logged:
        for step in range(20):
            logged.log({"a": float(step)}, step=step)
        assert CheckpointStore(far).holder(run=logged.id) is None
        with store.database.read(store.actor()) as tx:  # not a query: it would settle, and the server does not write journals
            assert get_record(tx, logged.id).metrics["a"] == 19.0


def test_a_command_does_not_run_where_what_was_logged_before_is_refused(store, far):
    with store.settler.transaction(Identity(name="other")) as tx:
        greet(tx, far.writer.id, tx.actor, store.settler.folder)
    far.writer.fact(to_bytes(new_id()), 0, START, Start(experiment="e"))
    with pytest.raises(Refused, match="does not take what this process has logged"):
        StudyStore(far).open_version(**STUDY)
    assert StudyStore(far).newest_versions() == []


def test_leases_are_signed_by_the_process_that_calls(store, far):
    StudyStore(far).open_version(**STUDY)
    taken = StudyStore(far).propose(**TRIAL, number=0, params={}, known=0)
    assert far.holder.endswith(f":{os.getpid()}:{far.writer.id}")
    with store.query() as tx:
        assert read_lease(tx, taken.run).holder == far.holder != store.holder
        assert writers_of(tx, taken.run) == [far.writer.id]
    assert StudyStore(far).holders(**TRIAL) == [far.holder]
    assert StudyStore(far).free(**TRIAL, holder=far.holder) == 1


def test_a_checkpoint_with_a_seed_of_128_bits_travels(far):
    with run("job", kind="job", store=far) as job:
        pass
    token = CheckpointStore(far).take_over(run=job.id, from_step=None, dead_holder=None, ttl_s=30.0)
    seed = 2**127 + 1
    made = Checkpoint(
        run=job.id, step=1, samples=1, seed=seed, rows=1, mesh="", world_size=1, epoch=token, digest="0" * 64, size_bytes=1, at_ns=0
    )
    assert [kept.seed for kept in CheckpointStore(far).add(checkpoint=made, keep=1, token=token)] == [seed]


def test_a_server_that_is_not_there_is_said_to_be_and_nothing_waits_for_long(at):
    with pytest.raises(StoreDown, match="is not reached") as away:
        ModelStore(at("http://127.0.0.1:9")).models()
    assert "stratal server" in away.value.hint
    assert not isinstance(away.value, OutcomeUnknown)


def test_a_query_is_asked_again_when_its_answer_is_lost(at):
    with answering(b"", b"HTTP/1.1 200", answer("200 OK", [])) as (url, came):
        assert ModelStore(at(url)).models() == []
        assert len(came) == 3
    with answering() as (url, came):
        with pytest.raises(StoreDown, match="is not reached"):
            ModelStore(at(url)).models()
        assert len(came) == remote.TRIES


def test_a_command_whose_answer_is_lost_is_sent_once_and_its_outcome_unknown(at):
    with answering() as (url, came):
        with pytest.raises(OutcomeUnknown, match="lost during drop_alias") as lost:
            ModelStore(at(url)).drop_alias(name="churn", alias="a")
        assert len(came) == 1
    assert not lost.value.retryable
    assert "look before you do it again" in lost.value.hint


def test_a_server_that_is_busy_is_asked_again_commands_too(at):
    busy = answer(
        "429 Too Many", Failure(error="busy", message="the server has all that it takes", hint="come again"), **{"retry-after": "0"}
    )
    with answering(busy, busy, answer("200 OK", True)) as (url, came):
        assert ModelStore(at(url)).drop_alias(name="churn", alias="a") is True
        assert len(came) == 3


def test_a_fault_of_the_server_leaves_a_command_unknown(at):
    fault = answer("500 Error", Failure(error="bug", message="the server broke its own rule"))
    with answering(fault, fault) as (url, _):
        with pytest.raises(OutcomeUnknown, match="broke its own rule"):
            ModelStore(at(url)).drop_alias(name="churn", alias="a")
        with pytest.raises(StoreDown, match="broke its own rule"):
            ModelStore(at(url)).models()


@pytest.mark.parametrize(("said", "error", "match"), [
    (b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno", Misuse, "no operation models"),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi", StoreDown, "cannot be read"),
    (answer("200 OK", {"not": "a list"}), StoreDown, "cannot be read"),
    (b"HTTP/1.1 302 Found\r\nlocation: http://evil.example/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", Misuse, "leads elsewhere"),
    (answer("422 X", Failure(error="x", message="said", kinds=("EvilError", "os.system"))), Misuse, "said"),
])  # fmt: skip
def test_answers_of_what_is_no_server_of_ours_are_errors_in_plain_words(at, said: bytes, error: type, match: str):
    with answering(said) as (url, _), pytest.raises(error, match=match):
        ModelStore(at(url)).models()


def test_a_child_after_a_fork_talks_on_connections_of_its_own(far):
    assert ModelStore(far).models() == []
    before = far.operations_there._http
    pid = os.fork()
    if pid == 0:
        try:
            fine = ModelStore(far).models() == [] and far.operations_there._http is not before
            os._exit(0 if fine else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (ModelStore(far).models(), far.operations_there._http) == ([], before)


def test_a_command_waits_for_another_process_that_ships_and_then_says_so(far, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(uploading, "SHIP_S", 0.05)
    far.writer.fact(to_bytes(new_id()), 0, START, Start(experiment="e"))
    monkeypatch.setattr("stratal.store.shipping.try_lock", lambda fd: False)
    with pytest.raises(StoreDown, match="is not on"):
        StudyStore(far).open_version(**STUDY)


KINDS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, StratalError)
]  # fmt: skip


@given(some.sampled_from(KINDS), some.text(max_size=40), some.text(max_size=40))
def test_every_error_comes_back_as_itself(kind: type[StratalError], message: str, hint: str):
    failed = in_http(kind(message, hint=hint))
    body, encoding = pack(failed.complaint, MSGPACK)
    back = told(unpack(body, encoding, Failure))
    assert (type(back), back.message, back.retryable) == (kind, message, kind.retryable)
    assert back.hint == (hint or ("please report it" if kind is errors.Bug else ""))


def test_errors_of_a_class_that_is_not_known_here_come_back_as_the_nearest_that_is():
    class Finer(Conflict):
        pass

    failure = tell(Finer("moved on", hint="read"), "conflict")
    error = told(failure)
    assert (type(error), error.message) == (Conflict, "moved on")


def test_what_an_error_holds_and_cannot_travel_is_left_out():
    error = NotFound("gone")
    error.thing = object()
    assert tell(error, "not-found").fields == {}


def test_calling_a_server_leaves_the_random_numbers_of_a_program_alone():
    program = "import random; random.seed(7); import stratal.store.remote; print(random.random())"
    drawn = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert float(drawn) == random.Random(7).random()
