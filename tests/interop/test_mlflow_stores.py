"""Stores of MLflow as they are imported: what its own files hold, once and for all, and what hostile or broken ones do.
Excludes the frame's own laws, and registered models."""

import contextlib
import gzip
import json
import math
import os
import signal
import sqlite3
import tarfile
from pathlib import Path

import pytest
from foreign_files import held

from stratal.cli.app import main
from stratal.core.errors import Damaged, NotFound
from stratal.interop.exporting.exports import export_runs
from stratal.interop.importing import import_runs
from stratal.interop.mlflow.finding import parents_first
from stratal.interop.mlflow.lines import read_line
from stratal.interop.mlflow.meaning import value_of
from stratal.interop.mlflow.meta import read_meta
from stratal.interop.mlflow.places import Places
from stratal.store.store import Store
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import use_store
from stratal.tracking.reading import ReadRun
from stratal.tracking.runs import run as start_run

FILES = Path(__file__).parent / "mlflow_files"
MS = 1_700_000_000_000


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    """A folder with the stores that MLflow made."""
    top = tmp_path / "theirs"
    for name in ("mlruns-3.17.2", "mlruns-2.9.2", "sql-2.9.2"):
        with tarfile.open(FILES / f"{name}.tar.gz") as archive:
            archive.extractall(top / name, filter="data")
    (top / "sql-3.17.2").mkdir()
    (top / "sql-3.17.2/mlflow.db").write_bytes(gzip.decompress((FILES / "mlflow-3.17.2.db.gz").read_bytes()))
    return top


def by_name(store: Store) -> dict[str, ReadRun]:
    return {run.name: run for filter in ("", "deleted is not null") for run in find_runs(filter, store=store)}


def deleted(store: Store) -> set[str]:
    return {run.name for run in find_runs("deleted is not null", store=store)}


def folder_of(stores: Path, name: str) -> Path:
    return next(path.parent.parent for path in stores.rglob("mlflow.runName") if path.read_text() == name)


def loss_of(run: ReadRun) -> list[tuple[int, int, float]]:
    series = run.series("loss")
    return list(zip(series.steps.tolist(), (series.times.astype("int64") // 1_000_000 - MS).tolist(), series.values.tolist(), strict=True))


@pytest.mark.parametrize("name", ["mlruns-3.17.2", "sql-3.17.2"])
def test_what_mlflow_3_wrote_is_there(stores: Path, store: Store, name: str) -> None:
    report = import_runs("mlflow", stores / name, store=store)

    runs = by_name(store)
    tiny = runs["tiny"]
    assert tiny.params == {"lr": 0.1, "model": "gbm", "empty": "", "multi": "a\nb"}
    assert (tiny.experiment, tiny.status, tiny.user, tiny.tags["k"]) == ("churn", "finished", "user", "v")
    assert [note.text for note in tiny.notes] == ["a note"]
    assert loss_of(tiny) == [(0, 0, 1.0), (1, 1, 0.5), (2, 2, 1 / 3), (2, 100, 0.5), (3, 3, 0.25), (4, 4, 0.2)]
    assert math.isnan(tiny.metrics["nan"]) and (tiny.metrics["inf"], tiny.metrics["ninf"]) == (math.inf, -math.inf)
    assert tiny.series("neg").steps.tolist() == [-3] and tiny.metrics["dir/acc"] == 0.9
    assert ("used", "mlflow-dataset:train@b2892d90", "training") in [(edge.verb, edge.target, edge.role) for edge in tiny.edges]
    assert b"s3://bucket/train.csv" in tiny.read_artifact("datasets/train-b2892d90.json")
    assert runs["child"].parent == tiny.id and runs["child"].params == {"depth": 3}
    assert deleted(store) == {"dead"}
    assert report.counts["points"].imported == 12 and report.counts["deletions"].imported == 1


def test_parents_come_first_even_in_a_ring() -> None:
    chain = {str(n): str(n + 1) for n in range(3000)} | {"3000": ""}
    assert parents_first(chain) == [str(n) for n in reversed(range(3001))]
    assert sorted(parents_first({"a": "b", "b": "a", "c": "b", "d": "gone", "e": "e"})) == ["a", "b", "c", "d", "e"]
    assert parents_first({"x": "", "kid": "p", "p": ""}) == ["x", "p", "kid"]


@pytest.mark.parametrize("name", ["mlruns-2.9.2", "sql-2.9.2"])
def test_what_mlflow_2_wrote_is_there(stores: Path, store: Store, name: str) -> None:
    report = import_runs("mlflow", stores / name, store=store)

    runs = by_name(store)
    assert loss_of(runs["old"]) == [(step, step, 1 / (step + 1)) for step in range(4)]
    assert runs["old"].metrics["inf"] == math.inf and math.isnan(runs["old"].metrics["nan"])
    assert runs["old"].read_artifact("notes/hello.txt") == b"hello"
    assert (runs["kid"].status, runs["kid"].parent) == ("failed", runs["old"].id)
    assert runs["gone"].status == "lost" and deleted(store) == {"gone"}
    assert report.is_complete


def test_files_of_runs_and_of_logged_models_come_as_bytes(stores: Path, store: Store) -> None:
    report = import_runs("mlflow", stores / "mlruns-3.17.2", store=store)

    tiny = by_name(store)["tiny"]
    paths = {artifact.path for artifact in tiny.artifacts}
    assert {"d.json", "notes/hello.txt"} < paths
    assert any(path.startswith("models/model-m-") and path.endswith("/MLmodel") for path in paths)
    assert report.counts["points"].left_out == {"stood there twice, as MLflow writes it": 2}
    assert report.is_complete


@pytest.mark.parametrize("name", ["mlruns-3.17.2", "sql-3.17.2"])
def test_logged_models_and_data_are_stated_as_clients_state_them(stores: Path, store: Store, name: str) -> None:
    import_runs("mlflow", stores / name, store=store)

    tiny = by_name(store)["tiny"]
    model, points, output, data = tiny.statements()
    assert (model.kind, output.kind, data.kind) == ("mlflow.logged_model", "mlflow.model_output", "mlflow.dataset")
    assert model.subject == points.subject == output.subject and data.subject == "train@b2892d90"
    assert (model.body["name"], model.body["source_run"]) == ("model", tiny.tags["imported.run"])
    assert model.body["status"] == "LOGGED_MODEL_READY"
    assert model.body["params"] == {"lr": "0.1", "model": "gbm", "empty": "", "multi": "a\nb"}
    assert {(key, value, step, dataset) for key, value, _ms, step, dataset, _digest in points.body["points"]} == {
        ("loss", 1.0, 0, ""), ("dir/acc", 0.9, 0, ""), ("val", 0.7, 4, "train"),
    }  # fmt: skip
    assert data.body["tags"] == {"t": "1", "mlflow.data.context": "training"}
    assert ("produced", f"mlflow-model:{model.subject}") in [(edge.verb, edge.target) for edge in tiny.edges]


@pytest.mark.parametrize("name", ["mlruns-3.17.2", "mlruns-2.9.2", "sql-2.9.2"])
def test_importing_twice_adds_nothing_even_if_the_folder_moved(stores: Path, store: Store, name: str) -> None:
    import_runs("mlflow", stores / name, store=store)
    before = held(store)
    (stores / name).rename(stores / "elsewhere")

    again = import_runs("mlflow", stores / "elsewhere", store=store)

    assert held(store) == before
    assert again.unchanged == again.sources and not any(counts.imported for counts in again.counts.values())


def test_a_folder_that_has_grown_adds_only_what_is_new(stores: Path, store: Store, fresh_store) -> None:
    import_runs("mlflow", stores / "mlruns-3.17.2", store=store)
    tiny = folder_of(stores / "mlruns-3.17.2", "tiny")
    with (tiny / "metrics/loss").open("a") as file:
        file.write(f"{MS + 500} 0.125 9\n")
    (tiny / "metrics/new").write_text(f"{MS} 1.0 0\n")
    (tiny / "tags/k").write_text("w")
    (tiny / "params/late").write_text("True")
    (tiny / "artifacts/more.txt").write_text("more")
    (tiny / "tags/mlflow.note.content").write_text("another note")

    grown = import_runs("mlflow", stores / "mlruns-3.17.2", store=store)

    run = by_name(store)["tiny"]
    assert loss_of(run)[-1] == (9, 500, 0.125) and run.metrics["new"] == 1.0
    assert run.tags["k"] == "w" and run.params["late"] is True and run.read_artifact("more.txt") == b"more"
    assert [note.text for note in run.notes] == ["a note", "another note"]
    assert grown.counts["points"].imported == 2 and grown.counts["notes"].imported == 1
    (tiny / "tags/k").write_text("v")
    import_runs("mlflow", stores / "mlruns-3.17.2", store=store)
    assert by_name(store)["tiny"].tags["k"] == "v"
    assert loss_of(by_name(store)["tiny"]) == loss_of(run)


def test_a_database_that_has_grown_adds_only_what_is_new(stores: Path, store: Store) -> None:
    path = stores / "sql-3.17.2/mlflow.db"
    import_runs("mlflow", path, store=store)
    with sqlite3.connect(path) as db:
        (id,) = db.execute("SELECT run_uuid FROM runs WHERE name = 'tiny'").fetchone()
        db.execute("INSERT INTO metrics VALUES ('loss', 0.125, ?, ?, 9, 0)", (MS + 500, id))
        db.execute("UPDATE runs SET status = 'FAILED' WHERE run_uuid = ?", (id,))
    db.close()

    grown = import_runs("mlflow", path, store=store)

    run = by_name(store)["tiny"]
    assert loss_of(run)[-1] == (9, 500, 0.125) and run.status == "failed"
    assert grown.counts["points"].imported == 1


def test_a_metric_file_that_was_rewritten_is_refused(stores: Path, store: Store) -> None:
    import_runs("mlflow", stores / "mlruns-2.9.2", store=store)
    (folder_of(stores / "mlruns-2.9.2", "old") / "metrics/loss").write_text(f"{MS} 7.0 0\n")

    report = import_runs("mlflow", stores / "mlruns-2.9.2", store=store)

    assert len(report.losses) == 1 and "rewritten" in report.losses[0]
    assert loss_of(by_name(store)["old"])[0] == (0, 0, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlruns-3.17.2", "sql-2.9.2"])
def test_an_import_killed_at_any_point_goes_on(importers, stores: Path, store: Store, fresh_store, name: str) -> None:
    import_runs("mlflow", stores / name, store=store)
    whole = held(store)
    killed = 0
    for point in range(1, 400, 13):  # each of them would take a minute
        survivor = fresh_store()
        victim = importers.start("import_victims:import_until_killed", survivor.url, "mlflow", str(stores / name), point, 3)
        if victim.wait() != -signal.SIGKILL:
            break
        killed += 1
        import_runs("mlflow", stores / name, store=survivor)
        assert held(survivor) == whole
        survivor.close()
    assert killed > 3


def test_a_metric_file_cut_anywhere_gives_a_prefix(stores: Path, fresh_store) -> None:
    path = folder_of(stores / "mlruns-2.9.2", "old") / "metrics/loss"
    whole = path.read_bytes()
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut])
        store = fresh_store()
        import_runs("mlflow", stores / "mlruns-2.9.2", store=store)
        points = whole[:cut].count(b"\n")
        run = by_name(store)["old"]
        assert (loss_of(run) if points else []) == [(step, step, 1 / (step + 1)) for step in range(points)]
        path.write_bytes(whole)
        import_runs("mlflow", stores / "mlruns-2.9.2", store=store)
        assert len(loss_of(by_name(store)["old"])) == 4
        store.close()


def test_a_record_cut_anywhere_costs_its_run_at_most(stores: Path, fresh_store) -> None:
    path = folder_of(stores / "mlruns-2.9.2", "old") / "meta.yaml"
    whole = path.read_bytes()
    for cut in range(0, len(whole), 29):
        path.write_bytes(whole[:cut])
        store = fresh_store()
        report = import_runs("mlflow", stores / "mlruns-2.9.2", store=store)
        assert {"kid", "gone"} <= set(by_name(store))
        assert "old" in by_name(store) or not report.is_complete
        store.close()


def test_a_bit_that_flips_in_a_folder_costs_what_it_hits(stores: Path, fresh_store) -> None:
    old = folder_of(stores / "mlruns-2.9.2", "old")
    for path in (old / "metrics/loss", old / "meta.yaml", old.parent / "meta.yaml"):
        whole = path.read_bytes()
        for place in range(3, len(whole), len(whole) // 3):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x15]) + whole[place + 1 :])
            store = fresh_store()
            report = import_runs("mlflow", stores / "mlruns-2.9.2", store=store)
            runs = by_name(store)
            assert {"kid", "gone"} <= set(runs) or not report.is_complete
            if path.name == "loss":  # a text has no checksum: a digit may be another one, but no more than one line is hit
                assert len(set(loss_of(runs["old"])) & {(step, step, 1 / (step + 1)) for step in range(4)}) >= 2
                assert runs["old"].metrics["dir/acc"] == 0.9
            store.close()
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("line", "point"),
    [
        (b"5 1.5 2\n", (5, 1.5, 2)), (b"5 1.5\n", (5, 1.5, 0)), (b"5 nan -3\n", None), (b"5 1.5 2 train abc\n", (5, 1.5, 2)),
        (b"5 1.5 2 my data abc\n", (5, 1.5, 2)), (b"5 1_5 2\n", None), (b"5 1.5 2", None), (b"x 1.5 2\n", None), (b"\n", None),
        (b"5 1.5 2.5\n", None), (b"5 \xff 2\n", None), (b"5 1e400 2\n", (5, math.inf, 2)),
    ],
)  # fmt: skip
def test_lines_are_points_or_nothing(line: bytes, point: tuple[int, float, int] | None) -> None:
    read = read_line(line)
    if line == b"5 nan -3\n":
        assert read is not None and math.isnan(read.value) and read.step == -3
    else:
        assert read == point


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", 0.1), ("1e-05", 1e-05), ("1e-5", "1e-5"), ("3", 3), ("03", "03"), ("True", True), ("true", "true"), ("None", None),
        ("nan", "nan"), ("1_000", "1_000"), ("'x'", "'x'"), ("[1]", "[1]"), ("", ""), ("-0.0", -0.0), (" 1", " 1"),
        ("9" * 30, int("9" * 30)), ("(" * 5000, "(" * 5000),
    ],
)  # fmt: skip
def test_params_are_what_python_wrote_and_else_texts(text: str, value: object) -> None:
    assert value_of(text) == value and type(value_of(text)) is type(value)


@pytest.mark.parametrize(
    "bomb",
    ["a: &a [1, 2]\nb: *a\n", "!!python/object/apply:os.system ['true']\n", "[" * 5000, "- 1\n", "a: [\n", "\x00", "a: " + "x" * (5 << 20)],
    ids=["alias", "object", "depth", "list", "torn", "nul", "size"],
)
def test_records_that_are_none_are_damaged(tmp_path: Path, bomb: str) -> None:
    (tmp_path / "meta.yaml").write_text(bomb)
    with pytest.raises(Damaged):
        read_meta(tmp_path / "meta.yaml")


def test_places_are_found_beside_the_store_or_by_a_rule_and_nowhere_else(tmp_path: Path) -> None:
    id = "a" * 32
    (tmp_path / f"mlruns/0/{id}/artifacts").mkdir(parents=True)
    (tmp_path / f"else/{id}/artifacts").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / f"mlruns/0/{id}")
    places = Places([tmp_path], {"s3://bucket/x/": tmp_path / "else", "/old": tmp_path})
    here = tmp_path / f"mlruns/0/{id}/artifacts"

    for place in (
        f"/home/u/mlruns/0/{id}/artifacts",
        f"file:///home/u/mlruns/0/{id}/artifacts",
        f"mlflow-artifacts:/mlruns/0/{id}/artifacts",
    ):
        assert places.find(place, id) == here
    assert places.find(f"s3://bucket/x/{id}/artifacts", id) == tmp_path / f"else/{id}/artifacts"
    outside = ("/etc", f"/etc/../{id}", f"/older/{id}", f"/old/../{id}/artifacts", "/old/link/artifacts", f"{tmp_path}/link/artifacts")
    for place in (*outside, "", "http://["):
        assert places.find(place, id) is None
    assert places.find("/home/u/else", "else") is None


def test_hostile_paths_and_links_bring_nothing_in(stores: Path, store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("secret")
    old = folder_of(stores / "mlruns-2.9.2", "old")
    meta = (old / "meta.yaml").read_text().replace("file:///home/user/project/mlruns", f"file://{tmp_path}/secret")
    (old / "meta.yaml").write_text(meta)
    for name in ("params/stolen", "tags/stolen", "artifacts/stolen", "metrics/stolen"):
        (old / name).symlink_to(tmp_path / "secret/key")
    (old / "artifacts/folder").symlink_to(tmp_path / "secret")
    db = sqlite3.connect(stores / "sql-2.9.2/mlflow.db")
    db.execute("UPDATE runs SET artifact_uri = ?", (f"{tmp_path}/secret",))
    db.execute("DELETE FROM params")
    db.execute("DROP TABLE tags")
    db.execute("CREATE VIEW tags AS SELECT 'k' AS key, 'v' AS value, run_uuid FROM runs")
    db.commit()
    db.close()

    import_runs("mlflow", stores / "mlruns-2.9.2", store=store)
    with pytest.raises(Damaged, match="no table 'tags'"):
        import_runs("mlflow", stores / "sql-2.9.2", store=store)

    assert "stolen" not in str(held(store)) and "key" not in {a.path for run in find_runs(store=store) for a in run.artifacts}


def test_rows_of_wrong_types_are_lost_and_counted(stores: Path, store: Store) -> None:
    with sqlite3.connect(stores / "sql-3.17.2/mlflow.db") as db:
        (id,) = db.execute("SELECT run_uuid FROM runs WHERE name = 'tiny'").fetchone()
        db.execute("INSERT INTO metrics VALUES ('loss', 'text', ?, ?, 50, 0)", (MS, id))
        db.execute("INSERT INTO metrics VALUES (x'ff', 1.0, ?, ?, 51, 0)", (MS, id))
        db.execute("INSERT INTO params VALUES ('bytes', CAST(x'ff' AS TEXT), ?)", (id,))
    db.close()

    report = import_runs("mlflow", stores / "sql-3.17.2/mlflow.db", store=store)

    assert report.counts["points"].imported == 12 and report.counts["points"].lost == {"the row is no point": 2}
    assert report.counts["params"].lost == {"holds NUL or half characters": 1}
    assert not report.is_complete


def test_bits_that_flip_in_a_database_never_crash_an_import(stores: Path, fresh_store) -> None:
    path = stores / "sql-2.9.2/mlflow.db"
    whole = path.read_bytes()
    for place in range(101, len(whole), len(whole) // 25):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        store = fresh_store()
        with contextlib.suppress(Damaged, NotFound):
            import_runs("mlflow", path, store=store)
        store.close()


def test_a_database_is_read_without_a_trace(stores: Path, store: Store) -> None:
    path = stores / "sql-2.9.2/mlflow.db"
    path.chmod(0o444)
    before = path.read_bytes()
    import_runs("mlflow", path, store=store)
    assert path.read_bytes() == before
    assert sorted(os.listdir(path.parent)) == ["mlflow.db", "mlruns"]


def test_what_was_exported_to_mlflow_comes_back(store: Store, fresh_store, tmp_path: Path) -> None:
    with start_run(
        "churn",
        name="first",
        kind="trial",
        group="g",
        job_type="eval",
        params={"lr": 0.1, "n": 3, "on": True},
        tags={"k": "v"},
        store=store,
    ) as made:
        for step in range(300):
            made.log({"loss": 1 / (step + 1), "odd": math.inf}, step=step)
        made.note("fine")
        made.save_bytes("a/b.txt", b"b")
    export_runs(tmp_path / "out", format="mlflow", artifacts=True, store=store)
    other = fresh_store()

    report = import_runs("mlflow", tmp_path / "out", store=other)

    (back,) = find_runs(store=other)
    (was,) = find_runs(store=store)
    assert report.is_complete
    assert (back.name, back.kind, back.group, back.status, back.params) == (was.name, was.kind, was.group, was.status, was.params)
    assert (back.job_type, [name for name in back.tags if name.startswith("stratal.")]) == ("eval", [])
    assert back.tags["k"] == "v" and [note.text for note in back.notes] == ["fine"] and back.read_artifact("a/b.txt") == b"b"
    assert not any("artifact-root" in remark for remark in report.remarks)
    for name in ("loss", "odd"):
        assert back.series(name).values.tolist() == was.series(name).values.tolist()
        assert back.series(name).steps.tolist() == was.series(name).steps.tolist()


def test_of_two_stores_in_a_folder_one_is_read_and_the_other_named(stores: Path, store: Store) -> None:
    (stores / "sql-2.9.2/mlflow.db").rename(stores / "mlruns-2.9.2/mlflow.db")
    report = import_runs("mlflow", stores / "mlruns-2.9.2", store=store)
    assert len(report.runs) == 4 and any("another store" in remark for remark in report.remarks)


def test_a_folder_that_is_no_store_says_so(store: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "some.db").write_bytes(b"SQLite format 3\0 and then nothing")
    with pytest.raises(NotFound, match="nothing that mlflow wrote"):
        import_runs("mlflow", tmp_path / "empty", store=store)
    with pytest.raises(Damaged, match="no SQLite database"):
        import_runs("mlflow", tmp_path / "some.db", store=store)


def test_experiments_without_files_are_named_once_for_each_place_of_files(stores: Path, store: Store) -> None:
    path = stores / "sql-3.17.2/mlflow.db"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        [[columns]] = database.execute(
            "SELECT group_concat(name) FROM pragma_table_info('experiments') WHERE name NOT IN ('experiment_id', 'name')"
        )
        for number in range(900, 905):
            database.execute(f"INSERT INTO experiments SELECT {number}, 'bare {number}', {columns} FROM experiments LIMIT 1")
            root = "s3://other" if number == 904 else "mlflow-artifacts:"
            values = (f"{number:032x}", "bare", 1_700_000_000_000, number, f"{root}/{number}/{number:032x}/artifacts", "active", "FINISHED")
            names = "run_uuid, name, start_time, experiment_id, artifact_uri, lifecycle_stage, status"
            database.execute(f"INSERT INTO runs ({names}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    told = [remark for remark in import_runs("mlflow", path, store=store).remarks if "bare" in remark]

    assert len(told) == 2
    assert "'bare 900', 'bare 901', 'bare 902' and 1 more" in told[0] and f"mlflow-artifacts:/900/{900:032x}/artifacts" in told[0]
    assert "'bare 904' has artifacts here" in told[1] and "s3://other/904" in told[1]


def test_the_command_takes_rules_for_places(stores: Path, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    use_store(store)
    (stores / "sql-2.9.2/mlruns").rename(tmp_path / "away")
    database = str(stores / "sql-2.9.2/mlflow.db")
    with pytest.raises(SystemExit) as left:
        main(["import", "mlflow", database, "--artifact-root", "nonsense"])
    assert left.value.code == 2 and "write OLD=NEW" in capsys.readouterr().err

    with pytest.raises(SystemExit) as left:
        main(["import", "mlflow", database])
    assert left.value.code == 1
    assert "--artifact-root OLD=NEW says where that is here" in " ".join(capsys.readouterr().out.split())

    rule = f"/home/user/project/db/mlruns={tmp_path}/away"
    with pytest.raises(SystemExit) as left:
        main(["import", "mlflow", database, "--artifact-root", rule, "--json"])
    assert left.value.code == 0 and json.loads(capsys.readouterr().out)["is_complete"]
    assert by_name(store)["old"].read_artifact("notes/hello.txt") == b"hello"
