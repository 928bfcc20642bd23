"""Exports of runs: what comes back from each format, what is refused, and what is left when one fails.

Excluded: stores of other tools as a target.
"""

import csv
import json
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as some

from stratal.cli.app import main
from stratal.core.errors import Damaged, Misuse, NotFound
from stratal.core.ids import to_bytes
from stratal.interop.exporting import formats
from stratal.interop.exporting.choosing import choosing
from stratal.interop.exporting.exports import export_runs
from stratal.interop.exporting.formats import CsvFile, ParquetFile
from stratal.interop.exporting.writing import TABLE_FORMATS
from stratal.store.store import Store
from stratal.tracking import leased
from stratal.tracking.opening import use_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run
from stratal.tracking.store import runs as run_rows

HOSTILE = ["=1", "+1", "-1", "@x", "\t=1", "\r=1", "'quoted", '"', 'a"b,c', "line\nbreak\r\n", "", " ", "ünï → 𝛼", "＝1", "NaN", "\x00"]


@pytest.fixture
def filled(store: Store) -> Store:
    with run("churn", name="=one", params={"lr": 0.5, "mixed": 1, "nan": math.nan, "none": None}, tags={"=t": "@v"}, store=store) as made:
        for step in range(600):
            made.log({"loss": 1 / (step + 1), 'wéird/ñame, "x"': -0.0}, step=step)
        made.log({"odd": math.nan}, step=-5)
        made.log({"odd": math.inf}, step=2**62)
        made.log({"odd": -math.inf}, step=7)
        made.note("=HYPERLINK(1)")
        made.edge("used", "dataset:churn@1")
        made.state("checked", {"x": [1, {"y": None}]}, subject="model:m@1")
    with run("churn", params={"lr": 1, "mixed": "1", "nan": 2.5}, store=store) as made:
        made.save_bytes("a", b"one")
        made.save_bytes("a/b", b"two")
        made.save_bytes("x" * 300 + "/y", b"three")
    with run("other", store=store):
        pass
    return store


def points_of(frame: pl.DataFrame, id: str, name: str) -> list[tuple[int, int, float]]:
    mine = frame.filter(pl.col("run") == id, pl.col("metric") == name, ~pl.col("superseded"))
    rows = zip(mine["step"].to_list(), mine["time"].dt.epoch("ns").to_list(), mine["value"].to_list(), strict=True)
    return sorted(rows, key=lambda row: (row[0], row[1]))


def same(a: list[tuple[int, int, float]], b: list[tuple[int, int, float]]) -> bool:
    return [(s, t) for s, t, _ in a] == [(s, t) for s, t, _ in b] and np.array_equal(
        np.array([v for *_, v in a]).view(np.int64), np.array([v for *_, v in b]).view(np.int64)
    )


def test_parquet_gives_back_every_point_bit_for_bit(filled: Store, tmp_path: Path) -> None:
    export_runs(tmp_path / "out", store=filled)

    series = pl.read_parquet(tmp_path / "out/series.parquet")
    runs = pl.read_parquet(tmp_path / "out/runs.parquet")
    assert runs.height == 3
    for id in runs["id"]:
        read = get_run(id, store=filled)
        for name in read.metrics:
            want = read.series(name)
            points = list(zip(want.steps.tolist(), want.times.view(np.int64).tolist(), want.values.tolist(), strict=True))
            assert same(points_of(series, id, name), points)
    assert series.height == 1203


def test_the_table_of_runs_has_params_metrics_tags_and_times(filled: Store, tmp_path: Path) -> None:
    export_runs(tmp_path / "out", store=filled)

    first, second, third = pl.read_parquet(tmp_path / "out/runs.parquet").sort("started").to_dicts()

    assert (first["name"], first["status"], first["tags.=t"], first["params.none"]) == ("=one", "finished", "@v", None)
    assert (first["params.lr"], second["params.lr"], third["params.lr"]) == (0.5, 1.0, None)
    assert math.isnan(first["params.nan"]) and second["params.nan"] == 2.5
    assert (first["params.mixed"], second["params.mixed"]) == ("1", '"1"')  # of several types: JSON, so that 1 and "1" differ
    assert first["metrics.odd"] == math.inf and first['metrics.wéird/ñame, "x"'] == 0
    assert first["started"] < first["ended"] <= datetime.now(UTC)


def test_whole_numbers_beyond_float64_stay_exact(store: Store, tmp_path: Path) -> None:
    for value in (2**60 + 1, 0.5):
        run("e", params={"n": value}, store=store).finish()

    export_runs(tmp_path / "out", store=store)

    assert sorted(pl.read_parquet(tmp_path / "out/runs.parquet")["params.n"]) == ["0.5", str(2**60 + 1)]


def test_notes_lineage_statements_and_artifacts_have_their_tables(filled: Store, tmp_path: Path) -> None:
    done = export_runs(tmp_path / "out", "experiment = 'churn'", store=filled)

    tables = {name: pl.read_parquet(tmp_path / f"out/{name}.parquet") for name in done.tables}
    assert {name: table.height for name, table in tables.items()} == done.tables
    assert tables["notes"]["text"].to_list() == ["=HYPERLINK(1)"] and tables["notes"]["author"].to_list() == ["tester"]
    assert tables["lineage"].row(0)[1:4] == ("used", "dataset:churn@1", "data")
    assert json.loads(tables["statements"]["body"][0]) == {"x": [1, {"y": None}]}
    assert sorted(tables["artifacts"]["size_bytes"]) == [3, 3, 5] and tables["artifacts"]["file"].null_count() == 3


def test_media_have_a_table_and_their_files_are_artifacts(store: Store, tmp_path: Path) -> None:
    with run("e", job_type="eval", store=store) as made:
        made.define_metric("loss", goal="minimize")
        made.log({"picture": np.zeros((4, 4, 3), np.uint8), "word": "short", "loss": 1.0}, step=3)

    export_runs(tmp_path / "out", artifacts=True, store=store)

    table, files = (pl.read_parquet(tmp_path / f"out/{name}.parquet") for name in ("media", "artifacts"))
    items = {row["name"]: row for row in table.to_dicts()}
    picture = json.loads(items["picture"]["files"])[0]
    assert (items["picture"]["kind"], items["picture"]["step"], items["word"]["text"]) == ("image", 3, "short")
    assert (tmp_path / "out" / files.filter(path=picture["path"])["file"][0]).read_bytes()[1:4] == b"PNG"
    (row,) = pl.read_parquet(tmp_path / "out/runs.parquet").to_dicts()
    assert row["job_type"] == "eval" and json.loads(row["definitions"])["loss"]["goal"] == "minimize" and row["lost_calls"] == 0


def test_files_of_artifacts_are_copied_even_where_no_file_can_have_their_path(filled: Store, tmp_path: Path) -> None:
    done = export_runs(tmp_path / "out", artifacts=True, store=filled)

    table = pl.read_parquet(tmp_path / "out/artifacts.parquet")
    found = {path: (tmp_path / "out" / file).read_bytes() for path, file in table.select("path", "file").rows()}
    assert found == {"a": b"one", "a/b": b"two", "x" * 300 + "/y": b"three"}
    assert done.artifact_files == 3


def test_points_that_a_takeover_hid_are_marked(store: Store, tmp_path: Path) -> None:
    made = leased.start_leased("e", store=store, kind="job", ttl_s=0.0)
    for step in range(10):
        made.log({"loss": 1.0}, step=step)
    with store.command(runs=[made.id]) as tx:
        token = run_rows.take_over(tx, store, made.id, ttl_s=60.0, from_step=4)
    store.writer.log(to_bytes(made.id), token, {"loss": 2.0}, 4)

    export_runs(tmp_path / "out", store=store)

    series = pl.read_parquet(tmp_path / "out/series.parquet")
    assert series.filter("superseded")["step"].to_list() == [4, 5, 6, 7, 8, 9]
    assert series.filter(~pl.col("superseded"))["step"].to_list() == [0, 1, 2, 3, 4]
    assert series.filter(pl.col("value") == 2.0)["epoch"].to_list() == [token]


def test_forks_have_the_points_that_they_go_on_from(store: Store, tmp_path: Path) -> None:
    first = leased.start_leased("e", store=store, kind="job", ttl_s=0.0)
    for step in range(400):
        first.log({"loss": float(step), "few": 1.0} if step < 3 else {"loss": float(step)}, step=step)
    with first.fork(step=300) as second:
        for step in range(300, 320):
            second.log({"loss": -1.0}, step=step)
        with second.fork(step=310) as third:
            third.log({"loss": -2.0}, step=310)
    with store.command(runs=[first.id]) as tx:
        run_rows.take_over(tx, store, first.id, ttl_s=60.0, from_step=100)

    done = export_runs(tmp_path / "out", store=store)

    series, runs = pl.read_parquet(tmp_path / "out/series.parquet"), pl.read_parquet(tmp_path / "out/runs.parquet")
    for id in runs["id"]:
        read = get_run(id, store=store)
        for name in read.metrics:
            want = read.series(name)
            assert [(step, value) for step, _, value in points_of(series, id, name)] == list(
                zip(want.steps.tolist(), want.values.tolist(), strict=True)
            )
    assert runs.filter(id=third.id).select("forked_from", "forked_at").row(0) == (second.id, 310)
    assert done.tables["series"] == 403 + (320 + 3) + (311 + 3)


def unescaped(text: str) -> str:
    return text.removeprefix("'") if text.startswith("'") else text


@given(some.lists(some.one_of(some.text(some.characters(exclude_categories=["Cs"])), some.sampled_from(HOSTILE)), min_size=1))
def test_texts_in_csv_come_back_and_none_begins_like_a_formula(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String()})
    made = CsvFile(path, frame.schema)
    made.write(frame)
    made.close()

    with path.open(newline="", encoding="utf-8") as file:
        cells = [row[0] for row in csv.reader(file)][1:]

    assert [unescaped(cell) for cell in cells] == texts
    assert not any(cell[:1] in ("=", "+", "-", "@", "\t", "\r", "\n") for cell in cells if cell)


def test_csv_tells_nothing_from_an_empty_text_and_keeps_odd_numbers(tmp_path: Path) -> None:
    values = [math.nan, math.inf, -math.inf, None, -0.0, 0.1, 5e-324, 1.7976931348623157e308]
    frame = pl.DataFrame({"text": ["", None] * 4, "number": values})
    made = CsvFile(tmp_path / "t.csv", frame.schema)
    made.write(frame)

    back = pl.read_csv(tmp_path / "t.csv", schema=frame.schema)

    assert back.equals(frame)
    assert math.copysign(1, back["number"][4]) == -1


@given(some.lists(some.floats(), min_size=1))
def test_numbers_in_csv_come_back_exactly(tmp_path_factory: pytest.TempPathFactory, numbers: list[float]) -> None:
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    frame = pl.DataFrame({"number": numbers})
    CsvFile(path, frame.schema).write(frame)

    with path.open() as file:
        back = [float(row["number"]) for row in csv.DictReader(file)]

    assert [repr(number) for number in back] == [repr(number) for number in numbers]


def test_json_has_a_run_with_all_its_types_in_each_line(filled: Store, tmp_path: Path) -> None:
    export_runs(tmp_path / "out", format="json", store=filled)

    runs = [json.loads(line) for line in (tmp_path / "out/runs.jsonl").read_text().splitlines()]
    points = [json.loads(line) for line in (tmp_path / "out/series.jsonl").read_text().splitlines()]
    assert runs[0]["params"] == {"lr": 0.5, "mixed": 1, "nan": "NaN", "none": None} and runs[1]["params"]["mixed"] == "1"
    assert runs[0]["metrics"]["odd"] == "Infinity" and runs[0]["tags"] == {"=t": "@v"}
    assert {(p["step"], p["value"]) for p in points if p["metric"] == "odd"} == {(-5, "NaN"), (2**62, "Infinity"), (7, "-Infinity")}
    assert datetime.fromisoformat(runs[0]["started"][:26]).year >= 2026 and runs[0]["deleted"] is None


def test_row_groups_are_joined_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(formats, "GROUP", 10)
    made = ParquetFile(tmp_path / "t.parquet", {"n": pl.Int64()})
    for start in range(0, 100, 7):
        made.write(pl.DataFrame({"n": list(range(start, min(start + 7, 100)))}))
    made.close()

    assert pl.read_parquet(tmp_path / "t.parquet")["n"].to_list() == list(range(100))
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_runs_are_read_page_by_page_oldest_first(store: Store) -> None:
    made = [run("e", store=store).id for _ in range(7)]

    with choosing(store, "", None) as chosen:
        pages = [[one.id for one in page] for page in chosen.pages(3)]

    assert [len(page) for page in pages] == [3, 3, 1]
    assert [id for page in pages for id in page] == made


@pytest.mark.parametrize("format", TABLE_FORMATS)
def test_tables_without_rows_have_their_files(store: Store, tmp_path: Path, format: str) -> None:
    run("e", store=store).finish()

    done = export_runs(tmp_path / "out", format=format, store=store)

    assert len(list((tmp_path / "out").iterdir())) == 8 and done.tables["series"] == 0
    assert done.tables["runs"] == 1


def test_a_place_that_holds_something_else_is_refused_even_with_force(filled: Store, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")

    for force in (False, True):
        with pytest.raises(Misuse, match="no export"):
            export_runs(tmp_path / "mine", force=force, store=filled)

    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"


def test_an_older_export_is_replaced_only_with_force(filled: Store, tmp_path: Path) -> None:
    export_runs(tmp_path / "out", format="csv", store=filled)
    with pytest.raises(Misuse, match="already holds an export"):
        export_runs(tmp_path / "out", store=filled)

    export_runs(tmp_path / "out", store=filled, force=True)

    assert (tmp_path / "out/runs.parquet").exists() and not (tmp_path / "out/runs.csv").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".out")]


def test_an_export_that_fails_leaves_nothing(filled: Store, tmp_path: Path) -> None:
    digest = filled.blobs.put(b"one")
    blob = filled.blobs.path(digest)
    blob.chmod(0o644)
    blob.write_bytes(b"eno")

    with pytest.raises(Damaged, match="artifact 'a' "):
        export_runs(tmp_path / "out", artifacts=True, store=filled)

    assert {path.name for path in tmp_path.iterdir()} == {"store"}


def test_an_artifact_that_was_collected_stops_the_export_with_its_name(filled: Store, tmp_path: Path) -> None:
    filled.blobs.path(filled.blobs.put(b"two")).unlink()

    with pytest.raises(NotFound, match="'a/b'"):
        export_runs(tmp_path / "out", artifacts=True, store=filled)


def test_a_filter_that_nothing_passes_writes_nothing(filled: Store, fresh_store, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no run passes"):
        export_runs(tmp_path / "out", "metrics.loss > 1e9", store=filled)
    with pytest.raises(NotFound, match="there is no run in"):
        export_runs(tmp_path / "out", store=fresh_store())
    assert not (tmp_path / "out").exists()


def test_progress_counts_runs(filled: Store, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    export_runs(tmp_path / "out", store=filled, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_the_command_exports_and_says_what(filled: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    use_store(filled)
    with pytest.raises(SystemExit) as left:
        main(["export", "out", "--format", "csv", "-e", "churn", "-q", "params.lr > 0.7", "--artifacts", "--json"])
    assert left.value.code == 0
    assert json.loads(capsys.readouterr().out)["artifact_files"] == 3

    with pytest.raises(SystemExit) as left:
        main(["export", "out", "--format", "xls"])
    assert left.value.code == 2
    assert "parquet, csv, json" in capsys.readouterr().err

    with pytest.raises(SystemExit) as left:
        main(["export", "out2", "-e", "churn"])
    assert left.value.code == 0
    assert "2 runs in out2, as parquet" in capsys.readouterr().out
