"""A store of before: its names, notes and odd params are found after the migration as if they had been written today."""

import json
import math
import sqlite3
from pathlib import Path

import pytest

from stratal.store import migrating
from stratal.store.migrating import open_database
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store


def test_runs_of_an_older_store_are_found_by_words_and_numbers(tmp_path: Path):
    folder = tmp_path / "store"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(migrating, "newest_version", lambda: 7)
        patched.setattr(migrating, "TARGET", "0007")
        open_database(folder / "stratal.db").close()
    params = {"lr": "0.5", "bad": "NaN", "word": "NaN", "top": "Infinity", "name": "nan"}
    stored = {"lr": (None, "0.5"), "bad": (None, "nan"), "word": (None, "NaN"), "top": (math.inf, "inf"), "name": (None, "nan")}
    with sqlite3.connect(folder / "stratal.db") as old:
        doc = json.dumps({"name": "Größe zwei", "params": params, "tags": {}})
        old.execute(
            "INSERT INTO run (no, id, short, experiment, kind, status, started_ns, doc)"
            " VALUES (1, ?, 'x', 'churn', 'train', 'finished', 5, ?)",
            (b"a" * 16, doc),
        )
        old.execute("INSERT INTO note (run, author, at_ns, text) VALUES (1, 'ada', 6, 'Warmed up')")
        for id, (name, (number, text)) in enumerate(stored.items(), 1):
            old.execute("INSERT INTO key (id, name) VALUES (?, ?)", (id, name))
            old.execute("INSERT INTO param VALUES (1, ?, 'churn', ?, ?, 0, 5)", (id, number, text))
    old.close()

    store = open_store(folder)
    found = find_runs("text contains 'grösse warm' and params.lr < 1", store=store)[0]
    read = found.params
    store.close()

    assert math.isnan(read.pop("bad"))
    assert read == {"lr": "0.5", "word": "NaN", "top": math.inf, "name": "nan"}
