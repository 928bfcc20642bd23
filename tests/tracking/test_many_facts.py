"""Many facts of one run that are applied together: what they make is what they make one by one, without reading all of it for each."""

import contextlib
import random

import pytest
from sqlalchemy import select

from stratal.core.errors import Misuse
from stratal.core.ids import new_id, to_bytes
from stratal.store.arriving import Arrivals, everybody
from stratal.store.frames import FACT, encode_fact, pack, salt_of
from stratal.store.store import Store
from stratal.store.tables import run as runs
from stratal.tracking.facts import CAPTURE, DEFINE, END, NOTE, PARAMS, START, STATE, TAGS
from stratal.tracking.operations.reading import RunReads
from stratal.tracking.reading import get_run
from stratal.tracking.store.search import _read

FACTS = [
    (START, 5, {"experiment": "e", "name": "n", "params": {"a": 1, "s": 2}, "tags": {"t": "start"}}),
    (PARAMS, 3, {"a": 0, "b": 1}), (PARAMS, 7, {"b": 2, "c": "x"}), (PARAMS, 6, {"c": "older", "d": None}),
    (TAGS, 4, {"t": "early", "u": "1"}), (TAGS, 8, {"t": "late", "v": "1"}), (TAGS, 9, {"v": None}),
    (DEFINE, 2, {"name": "loss", "goal": "minimize"}), (DEFINE, 6, {"name": "loss", "goal": "maximize"}), (DEFINE, 3, {"name": "auc"}),
    (CAPTURE, 5, {"seeds": {"x": 1}}), (NOTE, 5, {"text": "hello", "author": "t"}),
    (END, 10, {"status": "failed", "error": "boom", "lost_calls": 2}), (END, 9, {"status": "finished", "lost_calls": 3}),
]  # fmt: skip


def ship(store: Store, run: str, facts: list[tuple[str, int, object]]) -> None:
    name = f"{new_id()[-16:]}-000000.log"
    frames = [
        pack(FACT, 0, at, to_bytes(run), encode_fact(what, at_ns, value), salt_of(name)) for at, (what, at_ns, value) in enumerate(facts)
    ]
    Arrivals(store.settler, everybody).accept(name, 0, b"".join(frames), [], store.actor())


@pytest.mark.parametrize("seed", range(8))
def test_facts_together_make_what_they_make_one_by_one(store: Store, seed: int):
    facts, together, apart = random.Random(seed).sample(FACTS, len(FACTS)), new_id(), new_id()
    ship(store, together, facts)
    for fact in facts:
        ship(store, apart, [fact])
    one, other = (get_run(id, store=store) for id in (together, apart))
    assert one.record.doc == other.record.doc
    assert (one.params, one.tags, one.status) == (other.params, other.tags, other.status)


def test_a_fact_that_json_cannot_hold_spoils_none_of_the_others(store: Store):
    run = new_id()
    ship(store, run, [FACTS[0], (CAPTURE, 6, {"seeds": {b"\xff": 1}}), (TAGS, 7, {"w": "1"}), (DEFINE, 7, {"name": 5})])
    assert get_run(run, store=store).tags == {"t": "start", "w": "1"}


def test_thousands_of_facts_of_one_run_do_not_read_all_of_it_for_each(store: Store):
    run, count = new_id(), 3000
    ship(
        store,
        run,
        [FACTS[0], *((TAGS, 6, {f"t{n}": "x" * 1000}) for n in range(count)), *((PARAMS, 6, {f"p{n}": n}) for n in range(count))],
    )
    read = get_run(run, store=store)
    assert len(read.tags) == len(read.params) - 1 == count + 1


@pytest.mark.parametrize("what", [START, STATE, CAPTURE])
@pytest.mark.parametrize("depth", [90, 200, 984])
def test_what_lies_too_deep_within_itself_keeps_nobody_from_reading(store: Store, what: str, depth: int):
    run, value = new_id(), {"a": 0}
    bodies = {
        START: {"experiment": "e", "capture": value}, STATE: {"kind": "k", "subject": "s", "author": "t", "body": value},
        CAPTURE: {"seeds": value},
    }  # fmt: skip
    body = encode_fact(what, 6, bodies[what])
    at = body.rindex(b"\x81\xa1a\x00")
    deep = body[:at] + b"\x81\xa1a" * depth + b"\x00" + body[at + 4 :]
    name = f"{new_id()[-16:]}-000000.log"
    first = pack(FACT, 0, 0, to_bytes(run), encode_fact(*FACTS[0]), salt_of(name))
    with contextlib.suppress(Misuse):  # it cannot even be read
        Arrivals(store.settler, everybody).accept(name, 0, first + pack(FACT, 0, 1, to_bytes(run), deep, salt_of(name)), [], store.actor())
    ship(store, new_id(), FACTS)
    with store.query() as tx:
        found = [record.doc for record in _read(tx, [no for (no,) in tx.rows(select(runs.c.no))])]
    nested = max(str(doc).count("{") for doc in found) + sum(str(each.body).count("{") for each in RunReads(store).stated(kind="k"))
    assert (nested > 80) == (depth == 90)
