"""Killed at any write, or failing at it: the store is as before or as after, never between."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import stratal
from stratal.registry import registering
from stratal.registry.stages import Stage
from stratal.registry.store import ModelStore
from stratal.store.database import Transaction

SCRIPT = Path(__file__).with_name("crashing_script.py")


@pytest.mark.slow
def test_killed_at_any_write_the_store_is_as_before_or_as_after(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(stratal.__file__).parents[1]), "STRATAL_USER": "ann", "STRATAL_CAPTURE": "off"}
    done = subprocess.run([sys.executable, str(SCRIPT), str(tmp_path)], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["wrong"] == []
    # Each operation was killed at the commit twice, and at more than one write.
    assert min(report["kills"].values()) >= 4, report


class DiskIsFull(Exception):
    pass


def test_a_write_that_fails_inside_a_promotion_leaves_all_as_it_was(house, monkeypatch):
    models = ModelStore(house.store)
    for seed in "ab":
        registering.register("churn", house.model(seed), store=house.store)
    registering.promote("model:churn@1", "Production", store=house.store)

    def state():
        standings = {number: standing.stage for number, standing in models.standings(name="churn").items()}
        return standings, len(models.history(name="churn")), models.verify_audit().findings

    before = state()
    run_statement = Transaction._run
    for n in itertools.count():
        left = [n]

        def counted(self, statement, values, left=left):
            if self.is_write and statement.__visit_name__ in ("insert", "update"):
                left[0] -= 1
                if left[0] < 0:
                    raise DiskIsFull
            return run_statement(self, statement, values)

        monkeypatch.setattr(Transaction, "_run", counted)
        try:
            registering.promote("model:churn@2", "Production", store=house.store)
        except DiskIsFull:
            monkeypatch.setattr(Transaction, "_run", run_statement)
            assert state() == before
        else:
            break
    monkeypatch.setattr(Transaction, "_run", run_statement)
    assert n >= 6
    assert state() == ({1: Stage.ARCHIVED, 2: Stage.PRODUCTION}, before[1] + 1, ())
