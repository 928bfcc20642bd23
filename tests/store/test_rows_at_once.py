"""Rows that are written to the journal by one call: all of them or none. Excludes single rows."""

import os
import random

import pytest

from stratal.core.errors import Misuse, StoreDown
from stratal.core.ids import new_id, to_bytes
from stratal.store import journal
from stratal.store.frames import NO_STEP


def series(store, id: bytes, name: str) -> list[tuple[int, int, float]]:
    with store.snapshot() as snapshot:
        points = snapshot.series(id, name)
    return list(zip(points.steps.tolist(), points.times.tolist(), points.values.tolist(), strict=True))


def test_rows_written_at_once_are_those_written_one_by_one(store):
    one, many, dice = to_bytes(new_id()), to_bytes(new_id()), random.Random(7)
    rows = [({name: dice.random() for name in dice.choice(["a", "ab", "abc", "c"])}, step, 5 * step) for step in range(3000)]
    for metrics, step, at_ns in rows:
        store.writer.log(one, 0, metrics, step, at_ns)
    store.writer.log_many(many, 0, rows[:1000])
    store.writer.log_many(many, 0, rows[1000:])
    before = {name: series(store, many, name) for name in "abc"}
    assert before == {name: series(store, one, name) for name in "abc"}
    store.settle()
    assert {name: series(store, many, name) for name in "abc"} == before


@pytest.mark.parametrize(
    "wrong", [({"a": "text"}, 1, 0), ({"a": 1.0}, NO_STEP, 0), ({"a": 1.0}, 2**63, 0), ({}, 1, 0), ({"\n": 1.0}, 1, 0)]
)
def test_one_wrong_row_keeps_out_all(store, wrong):
    id = to_bytes(new_id())
    with pytest.raises(Misuse):
        store.writer.log_many(id, 0, [({"a": 1.0}, 0, 0), wrong, ({"a": 1.0}, 2, 0)])
    assert series(store, id, "a") == []


@pytest.mark.parametrize("cut", [1, 60, 150, 400])
def test_a_write_that_the_disk_cuts_leaves_none_and_the_next_call_is_readable(store, monkeypatch, cut):
    id, whole_write = to_bytes(new_id()), os.write
    store.writer.log(id, 0, {"b": 1.0}, 0, 0)
    rows = [({"a": float(step)}, step, 0) for step in range(8)]
    with monkeypatch.context() as full:
        full.setattr(journal.os, "write", lambda fd, data: whole_write(fd, data[:cut]))
        with pytest.raises(StoreDown):
            store.writer.log_many(id, 0, rows)
    assert series(store, id, "a") == []
    store.writer.log_many(id, 0, rows)
    assert [step for step, _, _ in series(store, id, "a")] == list(range(8)), "the names were written again"
