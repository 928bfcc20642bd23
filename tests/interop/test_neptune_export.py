"""Folders of neptune-exporter: known values, fractional steps kept exact, and parts that are missing, bent and forged."""

import math
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from foreign_files import held, neptune_part
from hypothesis import given
from hypothesis import strategies as st

from stratal.interop.importing import import_runs
from stratal.interop.neptune import parts
from stratal.interop.neptune.parts import whole_step
from stratal.tracking.finding import find_runs


def only_run(store):
    (run,) = find_runs(store=store)
    return run


def test_an_export_has_its_known_values(fixtures: Path, store):
    report = import_runs("neptune", fixtures / "neptune-exporter", store=store)
    assert report.is_complete and "metrics/loss" in report.remarks[0]
    run = only_run(store)
    assert (run.experiment, run.name, run.status) == ("team/fixture/exp-a", "RUN-1", "finished")
    assert run.params == {"params/lr": 0.1, "params/depth": 3, "params/model": "gbm", "params/aug": True}
    assert run.tags.items() >= {"t1": "true", "t2": "true", "imported.from": "neptune", "neptune.forking/parent": "RUN-0"}.items()
    loss = run.series("metrics/loss")
    assert loss.steps.tolist() == [0, 5, 10, 15, 20, 30]
    assert loss.values.tolist()[:5] == [1 / (i + 1) for i in range(5)] and math.isnan(loss.values[5])
    assert loss.times.astype("datetime64[s]").tolist() == [datetime(2026, 1, 2, 3, 4, second) for second in range(6)]
    assert run.statements("step_scale")[0].body == {"decimals": 1, "meaning": "a step of 10 here is a step of 1 there"}
    assert run.read_artifact("files/a.txt") == b"file body\n"
    assert len(run.read_artifact("files/images/step_1_000000")) == 4
    (line,), (histogram,) = run.media("logs/stdout"), run.media("hist")
    assert (line.load(), line.step) == ("line one", 0)
    assert (histogram.load().counts.tolist(), histogram.load().edges.tolist()) == ([3, 4], [0.0, 1.0, 2.0])


def test_importing_twice_and_from_a_part_alone_meets_the_same_run(fixtures: Path, store):
    import_runs("neptune", fixtures / "neptune-exporter/data", store=store)
    before = held(store)
    (part,) = (fixtures / "neptune-exporter").rglob("*.parquet")
    assert import_runs("neptune", part, store=store).unchanged == 1
    assert held(store) == before


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=20), st.integers(0, 6))
def test_scaled_steps_merge_no_points_and_can_be_had_back(steps: list[int], decimals: int):
    """Steps that are multiples of 1/10^decimals, in the digits that a decimal of six places has."""
    digits = [step * 10 ** (6 - decimals) for step in steps]
    scaled = [whole_step(each, decimals) for each in digits]
    assert [each * 10 ** (6 - decimals) for each in scaled] == digits


def test_each_series_has_its_own_scale_over_all_parts(store, tmp_path: Path):
    rows = [("whole", "float_series", 1.0, 3, 10), ("fine", "float_series", 1.0, 1, 10)]
    neptune_part(tmp_path, 0, rows)
    neptune_part(tmp_path, 1, [("fine", "float_series", 2.0, "1.000001", 11), ("half", "float_series", 3.0, "-0.5", 12)])
    report = import_runs("neptune", tmp_path, store=store)
    run = only_run(store)
    assert {name: run.series(name).steps.tolist() for name in ("whole", "fine", "half")} == {
        "whole": [3],
        "fine": [1_000_000, 1_000_001],
        "half": [-5],
    }
    assert len(report.remarks) == 2


def test_runs_that_are_not_whole_are_named_as_losses(store, tmp_path: Path):
    rows = [("m", "float_series", 1.0, 0, 10)]
    neptune_part(tmp_path, 1, rows, run="UNFINISHED")
    neptune_part(tmp_path, 0, rows, run="GAP")
    neptune_part(tmp_path, 2, rows, run="GAP")
    neptune_part(tmp_path, 0, rows, run="GOOD")
    report = import_runs("neptune", tmp_path, store=store)
    assert [run.foreign for run in report.runs] == ["GOOD"]
    assert sum("first part" in loss for loss in report.losses) == sum("in the middle" in loss for loss in report.losses) == 1


def test_a_fork_comes_after_its_origin_and_knows_it(store, tmp_path: Path):
    origin = [("sys/custom_run_id", "string", "base"), ("m", "float_series", 1.0, 0, 10)]
    fork = [("sys/forking/parent", "string", "base"), ("sys/forking/step", "float", 0.0), ("m", "float_series", 2.0, 1, 11)]
    neptune_part(tmp_path, 0, fork, run="A-FORK")
    neptune_part(tmp_path, 0, origin, run="B-BASE")
    import_runs("neptune", tmp_path, store=store)
    by_name = {run.tags["imported.run"]: run for run in find_runs(store=store)}
    (edge,) = by_name["A-FORK"].edges
    assert (edge.verb, edge.target, edge.role) == ("used", f"run:{by_name['B-BASE'].id}", "fork")


def test_a_circle_of_forks_ends(store, tmp_path: Path):
    for run, parent in (("A", "B"), ("B", "A")):
        neptune_part(tmp_path, 0, [("sys/forking/parent", "string", parent), ("m", "float_series", 1.0, 0, 1)], run=run)
    assert len(import_runs("neptune", tmp_path, store=store).runs) == 2


def test_attributes_of_every_type_have_a_place(store, tmp_path: Path):
    rows = [
        ("p/when", "datetime", datetime(2026, 1, 2, tzinfo=UTC)), ("p/set", "string_set", ["b", "a"]),
        ("monitoring/cpu", "float_series", 9.0, 0, 5), ("sys/description", "string", "what it is"), ("sys/owner", "string", "ada"),
        ("sys/failed", "bool", True), ("sys/hostname", "string", "box"), ("strange", "quaternion", None),
        ("none", "float_series", None, 1, 5), ("lost", "file", None),
    ]  # fmt: skip
    neptune_part(tmp_path, 0, rows)
    report = import_runs("neptune", tmp_path, store=store)
    run = only_run(store)
    assert run.params == {"p/when": "2026-01-02T00:00:00.000+00:00", "p/set": '["b","a"]'}
    assert (run.status, run.user, [note.text for note in run.notes]) == ("failed", "ada", ["what it is"])
    assert run.metrics == {"system/cpu": 9.0}
    assert "box" not in repr(held(store))
    assert report.counts["attributes"].lost == {"of the type quaternion": 1}
    assert sum(report.counts["artifacts"].lost.values()) == 1


def test_times_outside_of_what_can_be_held_are_none(store, tmp_path: Path):
    neptune_part(tmp_path, 0, [("sys/creation_time", "datetime", datetime(9999, 1, 2, tzinfo=UTC)), ("m", "float_series", 1.0, 0, 10)])
    assert import_runs("neptune", tmp_path, store=store).is_complete
    assert only_run(store).started == datetime(1970, 1, 1, 0, 0, 10, tzinfo=UTC)


def test_paths_that_climb_and_links_are_not_read(store, tmp_path: Path):
    (tmp_path / "secret.txt").write_text("secret")
    paths = [
        ("file", "../../secret.txt"), ("file", str(tmp_path / "secret.txt")), ("file", "RUN-1/link"),
        ("file_set", "../.."), ("file_set", "RUN-1/set"), ("file_set", "RUN-1/linked"),
    ]  # fmt: skip
    neptune_part(tmp_path / "data", 0, [(f"f{n}", kind, path) for n, (kind, path) in enumerate(paths)])
    place = tmp_path / "files" / f"team_p-{0:016x}" / "RUN-1"
    (place / "set/deep").mkdir(parents=True)
    (place / "set/deep/x.txt").write_text("x")
    (place / "link").symlink_to(tmp_path / "secret.txt")
    (place / "linked").symlink_to(tmp_path)
    report = import_runs("neptune", tmp_path, store=store)
    assert sum(report.counts["artifacts"].lost.values()) == 5
    assert {a.path for a in only_run(store).artifacts} == {"files/set/deep/x.txt"}


def test_every_cut_and_bent_parquet_is_refused_with_words_or_read(store, tmp_path: Path):
    path = neptune_part(tmp_path, 0, [("m", "float_series", float(n), n, n) for n in range(50)])
    data = path.read_bytes()
    for cut in range(0, len(data) - 1, 97):
        path.write_bytes(data[:cut])
        report = import_runs("neptune", tmp_path, store=store)
        assert not report.is_complete and not report.runs
    for at in range(4, len(data), 61):
        bent = bytearray(data)
        bent[at] ^= 1 << at % 8
        path.write_bytes(bent)
        import_runs("neptune", tmp_path, store=store)  # parquet has no checksum that polars asks for: it must not break us


def test_other_parquet_and_texts_that_are_too_long_are_said(store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "other").mkdir()
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "other/X-0_part_0.parquet")
    monkeypatch.setattr(parts, "MOST_TEXT", 10)
    neptune_part(tmp_path, 0, [("p", "string", "x" * 11), ("q", "string", "y" * 10)])
    report = import_runs("neptune", tmp_path, store=store)
    assert "lacks what neptune-exporter writes" in report.losses[0]
    assert report.counts["params"].lost == {"a text of more than a MiB": 1}
    assert only_run(store).params == {"q": "y" * 10}


def test_a_part_that_was_replaced_is_refused(store, tmp_path: Path):
    neptune_part(tmp_path, 0, [("m", "float_series", 1.0, 0, 10)])
    import_runs("neptune", tmp_path, store=store)
    before = held(store)
    neptune_part(tmp_path, 0, [("m", "float_series", 2.0, 0, 10), ("m", "float_series", 2.0, 1, 10)])
    assert "rewritten" in import_runs("neptune", tmp_path, store=store).losses[0]
    assert held(store) == before
