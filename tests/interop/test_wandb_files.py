"""W&B run files: known values of real clients, and files that were cut, bent and forged."""

import math
import shutil
from base64 import b64encode
from hashlib import md5
from pathlib import Path

import pytest
from foreign_files import field, held, wandb_file, wandb_item, wandb_row, wandb_run

from stratal.core.errors import Misuse
from stratal.interop.foreign import Remark
from stratal.interop.importing import Options, import_runs
from stratal.interop.wandb import container
from stratal.interop.wandb.container import Record, read_records
from stratal.interop.wandb.finding import find
from stratal.tracking.alerts import find_alerts
from stratal.tracking.explaining import explain
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import use_store


def records(path: Path) -> tuple[list[Record], list[Remark]]:
    found = list(read_records(path))
    return [one for one in found if isinstance(one, Record)], [one for one in found if isinstance(one, Remark)]


def only_run(store):
    (run,) = find_runs(store=store)
    return run


def test_a_file_of_wandb_0_31_has_its_known_values(fixtures: Path, store):
    report = import_runs("wandb", fixtures / "wandb-0.31.0", store=store)
    assert report.is_complete
    run = only_run(store)
    assert (run.experiment, run.name, run.group, run.job_type, run.kind, run.status) == (
        "team/fixture",
        "tiny",
        "g1",
        "train",
        "train",
        "finished",
    )
    assert run.params == {"lr": 0.1, "model": "gbm", "opt/beta": "[0.9,0.99]", "none": None, "late": 1}
    assert run.tags.items() >= {"t1": "true", "t2": "true", "imported.from": "wandb", "imported.run": "abc12345"}.items()
    assert run.series("loss").values.tolist() == [1 / (i + 1) for i in range(5)]
    assert run.series("nested/a").steps.tolist() == [0, 1, 2, 3, 4]
    assert run.series("val/loss").values.tolist() == [2, 1, 0, -1, -2]
    assert run.series("loss").times.astype("int64").tolist()[0] == round(1795466760.6368713 * 1e9)
    assert math.isnan(run.metrics["nan"]) and (run.metrics["inf"], run.metrics["ninf"]) == (math.inf, -math.inf)
    assert run.series("nan").steps.tolist() == [7]
    assert "dropped" not in run.metrics, "the client dropped it"
    assert (run.metrics["best"], run.metrics["val/loss/min"]) == (0.2, -2.0), "what only the summary holds"
    assert [note.text for note in run.notes] == ["a note"]
    assert [(told.level, told.title, told.text) for told in run.alerts] == [("warning", "title", "text")]
    (picture,), (table,), (histogram,), (words,), (big,) = (run.media(name) for name in ("img", "tab", "h", "text", "big"))
    assert (picture.kind, picture.step, picture.caption, picture.details["width"]) == ("image", 8, "c", 4)
    assert (table.step, table.load().to_dict(as_series=False)) == (9, {"id": [1, 2], "label": ["a", "b"]})
    assert (histogram.step, histogram.load().counts.tolist(), histogram.load().edges.tolist()) == (7, [1, 0, 1, 1], [1, 1.5, 2, 2.5, 3])
    assert (words.load(), big.step, big.load()) == ("hello", 10, list(range(7000)))
    assert run.read_artifact("wandb/20261123_204600/output.log") == b"printed line\n"
    targets = {edge.target: edge.role for edge in run.edges}
    assert targets["wandb:team/fixture/data:6c771dd50843"] == "dataset" and targets["https://example.invalid/x"] == "reference"
    (dataset,) = (s.body for s in run.statements("artifact") if s.body["type"] == "dataset")
    assert (dataset["metadata"], dataset["aliases"], dataset["description"]) == ({"k": 1}, ["latest", "best"], "d")
    said = run.definitions["val/*"]
    assert (said.x, said.summary, said.goal) == ("epoch", "min", None)
    assert (run.summary["val/loss"].value, run.summary["val/loss"].how) == (-2.0, "min")
    assert run.series("val/loss").against().values.tolist() == [2, 1, 0, -1, -2]
    use_store(store)
    assert explain(f"run:{run.id}").ref == f"run:{run.id}"


def test_a_file_of_wandb_0_17_has_its_known_values(fixtures: Path, store):
    """One key per item, nested values as one JSON, and the summary after the exit."""
    assert import_runs("wandb", fixtures / "wandb-0.17.0", store=store).is_complete
    run = only_run(store)
    assert (run.experiment, run.name, run.kind, run.status) == ("team/fixture", "tiny17", "evaluation", "finished")
    assert run.params == {"lr": 0.1, "opt/name": "adam", "opt/betas": "[0.9,0.99]", "none": None, "flag": True, "late": 1}
    assert run.series("nested/deep/b").values.tolist() == [0, -1, -2, -3]
    assert run.series("val/loss").values.tolist() == [2, 1, 0, -1]
    assert (run.metrics["best"], run.metrics["val/loss/min"]) == (0.2, -1.0)
    assert [(item.name, item.kind, item.step) for item in run.media()] == [
        ("h", "histogram", 10), ("html", "html", 12), ("img", "image", 10), ("tab", "table", 11), ("text", "text", 10),
    ]  # fmt: skip


def test_two_processes_of_wandb_0_31_are_one_run(fixtures: Path, store):
    report = import_runs("wandb", fixtures / "wandb-0.31.0-resumed", store=store)
    assert report.is_complete and (len(report.runs), report.sources) == (1, 2)
    run = only_run(store)
    assert (run.status, run.error) == ("failed", "exit code 3"), "so the second one ended"
    assert run.series("loss").steps.tolist() == [0, 0, 1, 1, 2, 2, 3, 3], "its steps begin at 0 again, and are kept"
    assert len(run.series("system/proc.cpu.threads").values) == 2
    assert run.statements("environment")[0].body["python"] == "CPython 3.11.7"


def test_every_cut_of_a_file_gives_a_prefix(fixtures: Path, tmp_path: Path):
    whole_path = next((fixtures / "wandb-0.31.0").rglob("*.wandb"))
    data, whole = whole_path.read_bytes(), records(whole_path)[0]
    ends = [record.end for record in whole]
    path = tmp_path / "run.wandb"
    edges = [32768 + near for near in range(-12, 12)] + [65536 + near for near in range(-12, 12)]
    for cut in (*range(400), *edges, *range(400, len(data), 631)):
        path.write_bytes(data[:cut])
        found, remarks = records(path)
        assert found == whole[: len(found)]
        assert len(found) == sum(end <= cut for end in ends)
        assert not any(remark.is_loss for remark in remarks)


def test_every_flipped_bit_costs_the_record_that_it_hits(fixtures: Path, tmp_path: Path):
    whole_path = next((fixtures / "wandb-0.31.0").rglob("*.wandb"))
    data, whole = whole_path.read_bytes(), [record.data for record in records(whole_path)[0]]
    path = tmp_path / "run.wandb"
    for at in (*range(7, 700, 3), *range(32768, 32790), *range(700, len(data), 1471)):
        bent = bytearray(data)
        bent[at] ^= 1 << at % 8
        path.write_bytes(bent)
        found, remarks = records(path)
        good = [record.data for record in found if not record.damage]
        assert len(good) >= len(whole) - 1
        assert [one for one in whole if one in good] == good, "nothing is read wrong"
        assert len(good) == len(whole) or remarks or any(record.damage for record in found), "a loss is said"


def wandb_metric(name, *, x="", kinds=(), goal=0, is_overwriting=False):
    asked = b"".join(field(kind, 1) for kind in kinds)
    control = field(9, field(1, 1)) if is_overwriting else b""
    named = field(2 if name.endswith("*") else 1, name)
    return field(
        12, named + (field(4, x) if x else b"") + (field(7, asked) if kinds else b"") + (field(8, goal) if goal else b"") + control
    )


MIN, MAX, BEST, LAST = 1, 2, 4, 5


def test_definitions_of_metrics_are_our_own_and_add_up_as_they_do_there(store, tmp_path: Path):
    path = wandb_file(
        tmp_path / "w/run-a.wandb", wandb_run(),
        wandb_metric("acc", x="_step", kinds=(BEST,), goal=2), wandb_metric("acc", x="epoch"),
        wandb_metric("nested.loss", kinds=(MIN, LAST)), wandb_metric(r"dotted\.name", kinds=(MAX,)),
        wandb_metric("unsure", kinds=(BEST,)), wandb_metric("over", kinds=(MIN,), goal=1),
        wandb_metric("over", x="_timestamp", is_overwriting=True), wandb_metric("epoch", x="epoch"),
        *(wandb_row(n, {"epoch": n // 2, "acc": [1, 3, 2][n], "nested": {"loss": [5, 4, 6][n]}, "dotted.name": n}) for n in range(3)),
    )  # fmt: skip
    report = import_runs("wandb", path, store=store)
    assert report.is_complete
    run, first = only_run(store), held(store)
    said = {name: (one.x, one.summary, one.goal) for name, one in run.definitions.items()}
    assert said == {
        "acc": ("epoch", "best", "maximize"), "nested/loss": (None, "min", None), "dotted.name": (None, "max", None),
        "unsure": (None, "last", None), "over": ("time", "last", None), "epoch": (None, "last", None),
    }  # fmt: skip
    assert (run.summary["acc"].value, run.summary["acc"].step, run.summary["nested/loss"].value) == (3.0, 1, 4.0)
    assert run.series("acc").against().x.tolist() == [0.0, 0.0, 1.0]
    assert {s.subject: s.body for s in run.statements("metric")} == {
        "nested.loss": {"summary": ["min", "last"]}, "unsure": {"summary": ["best"]},
    }  # fmt: skip
    assert import_runs("wandb", path, store=store).unchanged == 1 and held(store) == first


def test_alerts_are_alerts_once_however_often_they_are_imported(store, tmp_path: Path):
    def alert(title, words, level):
        return field(10, field(1, title) + field(2, words) + field(3, level))

    records = [wandb_run(), wandb_row(0, {"m": 1}), alert("too\nhot", "90 C", "ERROR"), alert("", "no title", "odd")]
    path = wandb_file(tmp_path / "w/run-a.wandb", *records)
    assert import_runs("wandb", path, store=store).is_complete
    wandb_file(path, *records, alert("late", "", "WARN"))
    assert import_runs("wandb", path, store=store).is_complete
    assert import_runs("wandb", path, store=store).unchanged == 1
    run = only_run(store)
    assert [(told.level, told.title, told.text) for told in run.alerts] == [
        ("warning", "late", ""), ("info", "alert", "no title"), ("error", "too hot", "too\nhot\n90 C"),
    ]  # fmt: skip
    assert find_alerts(level="error", store=store)[0].run == run.id
    assert not run.notes


def test_a_record_that_names_no_run_yet_is_no_loss(store, tmp_path: Path):
    wandb_file(tmp_path / "w/run-a.wandb", field(21, field(1, field(1, "0.31"))))
    (tmp_path / "w/run-b.wandb").write_bytes(b":W&")
    report = import_runs("wandb", tmp_path, store=store)
    assert report.is_complete and len(report.remarks) == 2 and not report.runs


def test_files_of_another_kind_are_named(store, tmp_path: Path):
    (tmp_path / "run-a.wandb").write_bytes(b"PK\3\4 not at all")
    wandb_file(tmp_path / "run-b.wandb", wandb_run(), wandb_row(0, {"m": 1}))
    report = import_runs("wandb", tmp_path, store=store)
    assert "no W&B run file" in report.losses[0]
    assert only_run(store).metrics == {"m": 1.0}
    (tmp_path / "run-c.wandb").write_bytes(b":W&B\xe1\xbe\x07")
    with pytest.raises(Misuse, match="version"):
        list(read_records(tmp_path / "run-c.wandb"))


def test_a_growing_file_goes_on_and_its_end_comes_last(store, fresh_store, tmp_path: Path):
    rows = [wandb_row(step, {"loss": 1 / (step + 1)}) for step in range(9)]
    begin, end = (wandb_run(config={"lr": 0.1}), *rows[:4]), (*rows[4:], field(5, field(1, wandb_item("late", 1))), field(18, field(2, 9)))
    path = wandb_file(tmp_path / "w/run-a.wandb", *begin)
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    report = import_runs("wandb", path, store=store)
    assert report.is_complete and "no whole record" in report.remarks[0]
    assert only_run(store).status == "lost" and only_run(store).series("loss").steps.tolist() == [0, 1, 2]
    wandb_file(path, *begin, *end)
    import_runs("wandb", path, store=store)
    assert only_run(store).status == "finished"
    other = fresh_store()
    import_runs("wandb", path, store=other)
    assert held(store) == held(other)


def test_a_second_folder_with_the_same_id_goes_on_with_the_run(store, tmp_path: Path):
    for start, code in ((1_700_000_000, 3), (1_700_001_000, 0)):
        rows = [wandb_row(step, {"loss": start + step}, at_s=start + step) for step in range(3)]
        wandb_file(tmp_path / f"wandb/run-{start}-abc/run-abc.wandb", wandb_run(started_s=start), *rows, field(18, field(1, code)))
        files = tmp_path / f"wandb/run-{start}-abc/files"
        files.mkdir()
        (files / "output.log").write_text(f"from {start}")
    second = tmp_path / "wandb/run-1700001000-abc"
    first_import = import_runs("wandb", second, store=store)
    both = import_runs("wandb", tmp_path / "wandb", store=store)
    assert both.is_complete and [run.id for run in both.runs] == [first_import.runs[0].id]
    run = only_run(store)
    assert run.status == "finished", "the later process has the last word"
    assert run.series("loss").steps.tolist() == [0, 0, 1, 1, 2, 2]
    assert sorted(run.read_artifact(a.path) for a in run.artifacts if a.path.endswith("output.log")) == [
        b"from 1700000000",
        b"from 1700001000",
    ]
    assert sorted(s.body["folder"] for s in run.statements("segment")) == ["run-1700000000-abc", "run-1700001000-abc"]


@pytest.mark.parametrize(("code", "status", "error"), [(0, "finished", ""), (1, "failed", "exit code 1"), (255, "failed", "exit code 255")])
def test_exit_codes_become_the_end_of_the_run(store, tmp_path: Path, code: int, status: str, error: str):
    wandb_file(tmp_path / "run-a.wandb", wandb_run(), wandb_row(0, {"m": 1}), field(18, field(1, code) + field(2, 60)))
    import_runs("wandb", tmp_path, store=store)
    run = only_run(store)
    assert (run.status, run.error, run.duration_s) == (status, error, 60.0)


def test_config_is_what_was_said_last_and_removed_is_none(store, tmp_path: Path):
    update = field(5, field(1, wandb_item(["opt", "lr"], 0.5)) + field(2, wandb_item("gone", None)))
    run = wandb_run(config={"opt": {"lr": 0.1, "name": "adam"}, "gone": 1, "_wandb": {"x": 1}})
    wandb_file(tmp_path / "run-a.wandb", run, update)
    import_runs("wandb", tmp_path, store=store)
    assert only_run(store).params == {"opt/lr": 0.5, "opt/name": "adam", "gone": None}


def test_typed_items_and_odd_texts_of_a_history_are_read(store, tmp_path: Path):
    typed = {
        "none": b"",
        "yes": field(4, True),
        "int": field(5, 9),
        "number": field(6, 0.5),
        "text": field(7, "hello"),
        "json": field(8, "[1]"),
    }
    row = b"".join(field(1, field(1, key) + value) for key, value in typed.items())
    wandb_file(
        tmp_path / "run-a.wandb", wandb_run(), field(2, row + field(2, field(1, 4))), wandb_row(5, {"odd": "NaN", "low": "-Infinity"})
    )
    assert import_runs("wandb", tmp_path, store=store).is_complete
    run = only_run(store)
    assert {name: run.metrics[name] for name in ("yes", "int", "number", "low")} == {
        "yes": 1.0,
        "int": -5.0,
        "number": 0.5,
        "low": -math.inf,
    }
    assert math.isnan(run.metrics["odd"]) and run.series("int").steps.tolist() == [4]


def test_nothing_about_the_person_is_kept(store, tmp_path: Path):
    person = {
        5: "--token=abc",
        6: "/home/ada/x.py",
        10: "ada@lovelace.org",
        11: "/home/ada",
        12: "adas-machine",
        13: "ada",
        14: "/home/ada/python",
    }
    environment = field(26, field(1, "Linux") + field(2, "3.11") + b"".join(field(n, text) for n, text in person.items()) + field(16, 8))
    git = field(21, field(1, "https://ada:secret@github.com/x/y") + field(2, "c0ffee"))
    wandb_file(tmp_path / "run-a.wandb", wandb_run(more=field(13, "adas-machine") + git), environment)
    files = tmp_path / "files"
    files.mkdir()
    (files / "wandb-metadata.json").write_text('{"host": "adas-machine", "email": "ada@lovelace.org"}')
    import_runs("wandb", tmp_path, store=store)
    run = only_run(store)
    assert run.statements("environment")[0].body == {"os": "Linux", "python": "3.11", "cpus": 8}
    assert (run.tags["wandb.commit"], run.tags["wandb.git"]) == ("c0ffee", "https://github.com/x/y")
    said = repr(held(store)) + "".join(repr(run.read_artifact(a.path)) for a in run.artifacts)
    assert not [word for word in ("ada@", "/home/ada", "adas-machine", "secret", "token") if word in said]


def test_media_that_climb_or_are_links_are_not_read(store, tmp_path: Path):
    (tmp_path / "secret.txt").write_text("secret")
    files = tmp_path / "w/files"
    files.mkdir(parents=True)
    (files / "link.txt").symlink_to(tmp_path / "secret.txt")
    paths = ["../../secret.txt", str(tmp_path / "secret.txt"), "link.txt", "nowhere.png", 7, ""]
    rows = [wandb_row(n, {"m": {"_type": "image-file", "path": path}}) for n, path in enumerate(paths)]
    listed = wandb_row(9, {"m": {"_type": "images/separated", "filenames": ["../../secret.txt", None]}})
    wandb_file(tmp_path / "w/run-a.wandb", wandb_run(), *rows, listed)
    report = import_runs("wandb", tmp_path / "w", store=store)
    assert sum(report.counts["media"].lost.values()) == 8
    assert all(only_run(store).read_artifact(a.path) != b"secret" for a in only_run(store).artifacts)


def artifact(path: str, data: bytes, local: str) -> bytes:
    entry = field(1, path) + field(2, b64encode(md5(data).digest()).decode()) + field(4, len(data)) + field(6, local)
    return field(8, field(4, "model") + field(5, "net") + field(6, "0123456789abcdef") + field(12, field(4, entry)))


def test_contents_of_artifacts_come_from_the_data_folder_that_the_user_names(store, fresh_store, tmp_path: Path):
    staging = tmp_path / "data/artifacts/staging"
    staging.mkdir(parents=True)
    (staging / "tmp1").write_bytes(b"weights")
    (staging / "tmp2").write_bytes(b"other")
    (tmp_path / "tmp9").write_bytes(b"outside")
    said = [
        artifact("net.bin", b"weights", "/home/x/staging/tmp1"),
        artifact("bad.bin", b"forged", "/home/x/staging/tmp2"),
        artifact("../up.bin", b"outside", "../../../tmp9"),
    ]
    wandb_file(tmp_path / "w/run-a.wandb", wandb_run(), *said)
    without = import_runs("wandb", tmp_path / "w", store=fresh_store())
    assert without.is_complete and sum(without.counts["artifact files"].left_out.values()) == 3
    report = import_runs("wandb", tmp_path / "w", files=tmp_path / "data", store=store)
    assert sum(report.counts["artifact files"].lost.values()) == 2
    assert only_run(store).read_artifact("artifacts/net/net.bin") == b"weights"


@pytest.mark.parametrize(
    "bomb",
    [
        b'{"a":' * 3000 + b"1" + b"}" * 3000,
        b"[" * 100_000,
        b"1" * 5000,
        b'"\\ud800"',
        b'"a\\u0000b"',
        b"not json",
        b"\xff",
        b"[1e999, 123456789012345678901234567890]",
    ],
    ids=["deep", "brackets", "digits", "surrogate", "nul", "none", "bytes", "large"],
)
def test_bombs_in_values_cost_their_record_and_nothing_else(store, tmp_path: Path, bomb: bytes):
    row = field(2, field(1, field(1, "x") + field(16, bomb)))
    config = field(5, field(1, field(1, "x") + field(16, bomb)))
    wandb_file(tmp_path / "run-a.wandb", wandb_run(), row, config, wandb_row(1, {"m": 2.0}), field(18, b""))
    import_runs("wandb", tmp_path, store=store)
    assert only_run(store).metrics["m"] == 2.0 and only_run(store).status == "finished"


def test_odd_figures_of_rows_and_histograms_break_nothing(store, tmp_path: Path):
    packed = [{"min": 0, "size": 1, "count": count} for count in (2, math.nan, 10**400, -1)]
    rows = [wandb_row(n, {"h": {"_type": "histogram", "values": [3, 4], "packedBins": bins}}) for n, bins in enumerate(packed)]
    wandb_file(tmp_path / "run-a.wandb", wandb_run(), *rows, wandb_row(9, {"m": 1.0, "big": 10**400}, at_s=10**400))
    report = import_runs("wandb", tmp_path, store=store)
    run = only_run(store)
    assert report.counts["points"].lost == {"no number that 64 bits hold": 1}
    assert [item.kind for item in run.media("h")] == ["histogram", "json", "json", "json"]
    assert run.media("h")[0].load().edges.tolist() == [0, 1, 2]
    assert run.metrics == {"m": 1.0}


def test_a_caption_that_is_too_long_stays_in_the_document(store, tmp_path: Path):
    files = tmp_path / "files"
    files.mkdir()
    (files / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    medium = {"_type": "image-file", "path": "x.png", "caption": "c" * 20_000}
    wandb_file(tmp_path / "run-a.wandb", wandb_run(), wandb_row(0, {"m": medium}))
    assert import_runs("wandb", tmp_path, store=store).is_complete
    run = only_run(store)
    assert [item.load()["caption"] for item in run.media("m")] == ["c" * 20_000]
    assert "files/x.png" in {artifact.path for artifact in run.artifacts}


def test_records_that_are_too_large_are_refused_and_the_rest_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = wandb_file(tmp_path / "run-a.wandb", wandb_run(), wandb_row(0, {"x": "y" * 100_000}), wandb_row(1, {"m": 1}))
    monkeypatch.setattr(container, "MOST_RECORD_BYTES", 70_000)
    found, _ = records(path)
    assert [record.damage for record in found] == ["", "is over 256 MiB", ""]


def test_kinds_of_records_that_nobody_knows_are_losses(store, tmp_path: Path):
    wandb_file(tmp_path / "run-a.wandb", wandb_run(), field(99, b""), wandb_row(0, {"m": 1}))
    report = import_runs("wandb", tmp_path, store=store)
    assert report.counts["records"].lost == {"of the kind unknown 99": 1} and not report.is_complete


def test_system_metrics_and_output_without_a_file_are_kept(store, tmp_path: Path):
    stats = [field(7, field(2, field(1, 1_700_000_010 + n)) + field(3, wandb_item("gpu.0.temp", 60 + n))) for n in range(3)]
    lines = [field(13, field(1, 1) + field(3, text)) for text in ("one", "\n", "two\n")]
    wandb_file(tmp_path / "run-a.wandb", wandb_run(), *stats, *lines)
    import_runs("wandb", tmp_path, store=store)
    run = only_run(store)
    assert run.series("system/gpu.0.temp").values.tolist() == [60, 61, 62]
    assert run.series("system/gpu.0.temp").steps.tolist() == [0, 1, 2]
    assert run.read_artifact("wandb/20231114_221320/output.log") == b"one\ntwo\n"


def test_a_folder_that_was_copied_elsewhere_is_the_same_run(fixtures: Path, store, tmp_path: Path):
    import_runs("wandb", fixtures / "wandb-0.31.0", store=store)
    before = held(store)
    shutil.copytree(fixtures / "wandb-0.31.0", tmp_path / "wandb")
    assert import_runs("wandb", tmp_path / "wandb", store=store).unchanged == 1
    assert held(store) == before
    assert find(tmp_path, Options()).sources[0].run.store == "team/fixture"
