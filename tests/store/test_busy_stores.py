"""Several threads, processes and journals at once. Excludes kills and takeovers."""

import os

import pytest

from stratal.core.ids import new_id, to_bytes
from stratal.store.journal import Writer
from stratal.store.store import Store
from stratal.tracking.facts import PARAMS, START, TAGS, Start
from stratal.tracking.reading import get_run


def test_settling_ends_while_a_process_logs_without_a_pause(store: Store):
    id, writer = to_bytes(new_id()), Writer(store.journals)
    ticks = []

    def log_more(point: str) -> None:
        if point == "after points":  # whatever a tick settles, there is always more
            ticks.append(point)
            if len(ticks) < 50:
                writer.log(id, 0, {"m": 1.0})

    writer.log(id, 0, {"m": 1.0})
    store.database.fault = log_more
    store.settle()
    assert len(ticks) < 3


@pytest.mark.parametrize("settle_between", [False, True])
@pytest.mark.parametrize("starts_last", [False, True])
def test_a_start_that_arrives_after_what_others_said_takes_nothing_back(store: Store, settle_between: bool, starts_last: bool):
    id = to_bytes(new_id())
    writers = sorted((Writer(store.journals) for _ in range(2)), key=lambda writer: writer.id, reverse=not starts_last)
    helper, owner = writers
    outside = store.journals / "aside"
    owner.fact(id, 0, START, Start(experiment="e", params={"x": 1, "y": 1}, tags={"a": "1", "b": "1"}))
    owner.close()
    name = next(file for file in os.listdir(store.journals) if file.startswith(owner.id))
    (store.journals / name).rename(outside)
    helper.fact(id, 0, PARAMS, {"y": 2, "z": 2})
    helper.fact(id, 0, TAGS, {"b": "2", "a": None})
    if settle_between:
        store.settle()
    outside.rename(store.journals / name)
    read = get_run(id.hex(), store=store)
    assert read.params == {"x": 1, "y": 2, "z": 2}
    assert read.tags == {"b": "2"}
    found = store.database.connect().execute("select distinct experiment from param").fetchall()
    assert found == [("e",)]
