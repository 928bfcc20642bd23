"""Facts that are larger than one transaction takes, and many of them: settled in pieces, each once in the end. Excludes kills by signal."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratal.core.errors import Forbidden, Misuse
from stratal.core.ids import new_id, to_bytes
from stratal.core.people import Identity
from stratal.store import bounding, leases, settling
from stratal.store.arriving import Arrivals, everybody
from stratal.store.bounding import bounded, first_frames, rest_of
from stratal.store.frames import FACT, encode_fact, pack, salt_of, scan
from stratal.store.journal import Tail, Writer, read_tail, segments
from stratal.store.shipments import OtherBytes, Seal
from stratal.store.store import Store
from stratal.tracking import facts
from stratal.tracking.annotating import tag
from stratal.tracking.facts import PARAMS, START, TAGS, Start, in_pieces
from stratal.tracking.operations import annotating
from stratal.tracking.operations.deciding import RunDecisions
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

TAGGED = {f"t{number}": f"v{number}" for number in range(60)}
NAME = "0123456789abcdef-000000.log"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bounding, "MOST_FACT_BYTES", 200)
    monkeypatch.setattr(facts, "MOST_NAMES", 20)


def write_large(store: Store, id: str, *, epoch: int = 0, at_ns: int | None = None, what: str = TAGS, value: object = TAGGED) -> Writer:
    writer = Writer(store.journals)
    writer.fact(to_bytes(id), 0, START, Start(experiment="e", tags={"t0": "first"}), at_ns=5)
    writer.fact(to_bytes(id), epoch, what, value, at_ns)
    return writer


def kept(store: Store) -> list[tuple[str, int]]:
    rows = store.database.connect().execute("select reason, body from kept_fact").fetchall()
    return [(reason, len(body)) for reason, body in rows]


@given(st.lists(st.integers(0, 400), min_size=1, max_size=12), st.data())
def test_taken_one_after_the_other_a_tail_gives_each_frame_once(sizes: list[int], data: st.DataObject):
    frames = [pack(FACT, 0, at, b"r" * 16, bytes(size), salt_of(NAME)) for at, size in enumerate(sizes)]
    left: Tail | None = Tail(NAME, -1, 7, 0, b"".join(frames), scan(b"".join(frames), salt_of(NAME)))
    sequences = []
    while left is not None:
        taken = bounded(left)
        facts_in = [frame.stop - frame.start for frame in taken.read.frames]
        assert len(facts_in) == 1 or sum(facts_in) <= bounding.MOST_FACT_BYTES
        if data.draw(st.booleans()):
            taken = first_frames(taken, taken.read.frames[:1])
        again = scan(taken.data, salt_of(NAME))
        assert again.frames == taken.read.frames and again.end == len(taken.data)
        sequences += [frame.sequence for frame in taken.read.frames]
        left = rest_of(left, taken)
    assert sequences == list(range(len(sizes)))


@given(st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.text(max_size=30)), max_size=90))
def test_pieces_hold_all_in_order(values: dict[str, str | None]):
    pieces = list(in_pieces(values))
    assert [*itertools.chain(*(piece.items() for piece in pieces))] == [*values.items()]
    assert all(0 < len(piece) <= facts.MOST_NAMES for piece in pieces)


@pytest.mark.parametrize("what", [TAGS, PARAMS])
def test_others_write_between_the_pieces_of_a_large_fact(store: Store, what: str):
    id, let_in = new_id(), []
    write_large(store, id, what=what)

    def let_another_in(point: str) -> None:
        if point == "after commit" and (not let_in or let_in[-1] != "another"):
            let_in.append("another")
            with store.database.write(Identity(name="another")) as tx:
                tx.emit("test", "x")
            let_in.append("a piece")

    store.database.fault = let_another_in
    store.settle()
    assert let_in.count("a piece") >= 4  # the start, two pieces, and the last one with its frame
    read = get_run(id, store=store)
    assert (read.tags if what == TAGS else read.params | {"t0": "v0"}) == TAGGED
    assert not kept(store)


def test_a_settling_that_dies_between_any_two_steps_is_finished_by_the_next(fresh_store):
    for dies_at in itertools.count():
        store, id, steps = fresh_store(), new_id(), itertools.count()
        write_large(store, id, at_ns=6)

        def die(_point: str, steps=steps, dies_at=dies_at) -> None:
            if next(steps) == dies_at:
                raise InterruptedError

        store.database.fault = die
        try:
            store.settle()
            break
        except InterruptedError:
            store.database.fault = lambda _point: None
        other = Writer(store.journals)
        other.fact(to_bytes(id), 0, TAGS, {"t1": None, "late": "x"}, at_ns=9)
        assert get_run(id, store=store).tags == {**{name: value for name, value in TAGGED.items() if name != "t1"}, "late": "x"}
        assert store.database.connect().execute("select count(*) from tag").fetchone() == (61,)
    assert dies_at > 15


def test_whoever_settles_the_same_fact_meanwhile_doubles_nothing(store: Store):
    id = new_id()
    writer = write_large(store, id)
    store.settler.tick()  # the start

    def settle_all(point: str) -> None:
        if point == "after commit":
            store.database.fault = lambda _point: None
            with store.command(runs=[id]):
                pass

    store.database.fault = settle_all
    store.settle()
    [name] = segments(store.journals, [writer.id])
    assert get_run(id, store=store).tags == TAGGED
    assert store.settler.waiting_bytes() == 0 and name


def test_a_large_fact_of_an_epoch_that_was_taken_over_is_kept_whole(store: Store):
    id = new_id()
    with store.command() as tx:
        token = leases.claim(tx, id, "one", ttl_s=-1)
    with store.command() as tx:
        leases.claim(tx, id, "two", ttl_s=60)
    write_large(store, id, epoch=token)
    assert get_run(id, store=store).tags == {"t0": "first"}
    [(reason, size)] = kept(store)
    assert reason == "superseded" and size > len(json.dumps(TAGGED)) // 2


def test_a_large_fact_that_cannot_be_read_is_kept_whole(store: Store):
    id = new_id()
    write_large(store, id, value={f"t{number}": number for number in range(60)})
    assert get_run(id, store=store).tags == {"t0": "first"}
    assert [reason for reason, _ in kept(store)] == ["unreadable"]


def test_a_large_fact_of_a_run_that_was_purged_is_dropped(store: Store):
    id = new_id()
    with run("e", store=store) as made:
        pass
    RunDecisions(store).delete(runs=[made.id])
    RunDecisions(store).purge(runs=[made.id])
    write_large(store, made.id)
    write_large(store, id)
    assert get_run(id, store=store).tags == TAGGED
    assert store.database.connect().execute("select count(*) from run").fetchone() == (1,)


def shipped(store: Store, id: str) -> tuple[str, bytes]:
    writer = write_large(store, id)
    writer.fact(to_bytes(id), 0, PARAMS, {"p": 1})
    writer.close()
    [name] = segments(store.journals, [writer.id])
    with (store.journals / name).open("rb") as file:
        data = read_tail(name, file.fileno(), 0, whole=True).data
    (store.journals / name).unlink()
    return name, data


def test_a_large_fact_that_is_shipped_arrives_and_a_repeat_of_it_is_told(store: Store):
    id = new_id()
    name, data = shipped(store, id)
    arrivals = Arrivals(store.settler, everybody)
    assert arrivals.accept(name, 0, data, [], store.actor()) == len(data)
    assert arrivals.accept(name, 0, data, [], store.actor()) == len(data)
    read = get_run(id, store=store)
    assert (read.tags, read.params) == (TAGGED, {"p": 1})


def test_what_is_forbidden_half_way_through_a_shipment_leaves_what_came_before(store: Store):
    id, asked = new_id(), itertools.count()
    name, data = shipped(store, id)

    def may_write(*_: object) -> None:
        if next(asked) == 4:
            raise Forbidden("no more")

    arrivals = Arrivals(store.settler, may_write)
    reached = arrivals.accept(name, 0, data, [], store.actor())
    assert 0 < reached < len(data)
    assert arrivals.accept(name, reached, data[reached:], [], store.actor()) == len(data)
    assert get_run(id, store=store).tags == TAGGED


def test_of_what_comes_after_a_seal_no_piece_is_applied(store: Store):
    id, arrivals = new_id(), Arrivals(store.settler, everybody)
    name, data = shipped(store, id)
    begun = scan(data, salt_of(name)).frames[0].end
    assert arrivals.accept(name, 0, data[:begun], [], store.actor()) == begun
    arrivals.seal(name, Seal(offset=begun), store.actor())
    with pytest.raises(OtherBytes, match="was sealed"):
        arrivals.accept(name, begun, data[begun:], [], store.actor())
    assert get_run(id, store=store).tags == {"t0": "first"}


def test_a_command_has_much_that_waits_settled_before_it_begins(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(settling, "MOST_DRAINED_BYTES", 300)
    commits: list[str] = []
    with run("e", store=store) as made:
        made.write(TAGS, TAGGED)
        store.database.fault = commits.append
        with store.command(runs=[made.id]):
            assert store.settler.waiting_bytes() == 0
        assert commits.count("after commit") > 3
    assert get_run(made.id, store=store).tags == TAGGED


def test_what_a_run_says_of_thousands_of_names_is_said_in_several_facts(store: Store):
    params = {f"p{number}": number for number in range(50)}
    with run("e", params=params, tags=TAGGED, store=store) as made:
        made.log_params({f"q{number}": number for number in range(30)})
        made.set_tags(dict.fromkeys(TAGGED))
    [name] = segments(store.journals, [store.writer.id])
    with (store.journals / name).open("rb") as file:
        tail = read_tail(name, file.fileno(), 0, whole=True)
    assert max(frame.stop - frame.start for frame in tail.read.frames) < len(encode_fact(TAGS, 0, TAGGED))
    read = get_run(made.id, store=store)
    assert read.params == params | {f"q{number}": number for number in range(30)} and not read.tags


def test_more_tags_than_one_call_may_set_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(annotating, "MOST_NAMES", 20)
    with run("e", store=store) as made:
        pass
    with pytest.raises(Misuse, match="60 tags are more than one call may set"):
        tag(made.id, TAGGED, store=store)
    assert get_run(made.id, store=store).tags == {}
