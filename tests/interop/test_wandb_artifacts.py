"""Artifacts of scripts for W&B: versions by content, aliases, what is read of them. Manifests in W&B's files are in
test_wandb_files.py."""

import pickle
from pathlib import Path

import numpy as np
import pytest

import stratal.interop.wandb as wandb
from stratal.core.errors import Misuse
from stratal.interop.wandb.script import session
from stratal.tracking import active
from stratal.tracking.opening import use_store
from stratal.tracking.reading import get_run


@pytest.fixture(autouse=True)
def _in_use(store):
    use_store(store)
    session._made.clear()
    session._current.clear()
    yield
    while (left := active.active_run()) is not None:
        left.finish()


def log(text: str, *, aliases: list[str] | None = None) -> wandb.Artifact:
    Path("data.txt").write_text(text)
    artifact = wandb.Artifact("data", type="dataset", description="d", metadata={"rows": 1, "at": np.float64(0.5)})
    artifact.add_file("data.txt")
    return wandb.log_artifact(artifact, aliases=aliases).wait()


def test_versions_go_by_content_and_aliases_move_over_two_runs():
    with wandb.init(project="p") as first:
        assert [log("a", aliases=["best"]).version, log("b").version, log("a").version] == ["v0", "v1", "v0"]
        assert log("c", aliases=["best"]).aliases == ["best", "latest"]
    with wandb.init(project="p") as second:
        used = {name: second.use_artifact(name) for name in ("data", "data:v1", "data:best", "team/p/data:v0")}
        assert {name: Path(one.file()).read_text() for name, one in used.items()} == {
            "data": "c", "data:v1": "b", "data:best": "c", "team/p/data:v0": "a",
        }  # fmt: skip
        best = used["data:best"]
        assert (best.name, best.type, best.description, best.metadata) == ("data:v2", "dataset", "d", {"rows": 1, "at": 0.5})
        with pytest.raises(wandb.Error, match="v0, v1, v2"):
            second.use_artifact("data:worst")
        with pytest.raises(wandb.Error, match="has the type 'dataset', not 'model'"):
            second.use_artifact("data", type="model")
    edges = get_run(second.ours.id).edges
    assert {edge.verb for edge in edges} == {"used"} and all(edge.target.startswith(f"artifact:{first.ours.id}/") for edge in edges)
    assert Path(wandb.Api().artifact("p/data:v1").file()).read_text() == "b"
    with pytest.raises(wandb.Error, match="in project 'uncategorized': none"):
        wandb.Api().artifact("data:v1")


def test_files_folders_references_and_tables_come_back(tmp_path: Path):
    Path("deep/er").mkdir(parents=True)
    Path("deep/er/x.bin").write_bytes(b"x")
    artifact = wandb.Artifact("all", type="dataset")
    artifact.add_dir("deep", name="inside")
    artifact.add_reference("s3://bucket/key.csv")
    artifact.add(wandb.Table(columns=["id", "err"], data=[[1, np.float64(0.5)]]), "cases")
    with artifact.new_file("words.txt") as file:
        file.write("ä")
    run = wandb.init(project="p")
    run.log_artifact(artifact)
    used = run.use_artifact("all:latest")
    folder = Path(used.download(tmp_path / "copy"))
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        "cases.table.json", "inside/er/x.bin", "words.txt",
    ]  # fmt: skip
    assert (folder / "words.txt").read_text("utf-8") == "ä" and used.references == {"key.csv": "s3://bucket/key.csv"}
    assert (used.get("cases").columns, used.get("cases").data) == (["id", "err"], [[1, 0.5]])
    assert used.get_path("inside/er/x.bin").read() == b"x" and len(used.files()) == 3
    with pytest.raises(wandb.Error, match="has 3 files"):
        used.file()
    with pytest.raises(wandb.Error, match=r"it has: cases\.table\.json, inside/er/x\.bin, words\.txt"):
        used.get_entry("none")


def test_models_and_bare_paths_are_artifacts_too():
    Path("m.bin").write_bytes(pickle.dumps(1))
    run = wandb.init(project="p")
    run.log_model("m.bin", name="net", aliases=["prod"])
    assert Path(run.use_model("net:prod")).read_bytes() == pickle.dumps(1)
    assert run.log_artifact("m.bin").name == f"run-{run.id}-m.bin"
    assert run.log_artifact("s3://bucket/m.bin", name="far", type="model").version == "v0"
    far = run.use_artifact("far")
    with pytest.raises(wandb.Error, match="references only"):
        far.download()


def test_a_file_that_went_before_it_was_logged_is_missed_in_words():
    run = wandb.init(project="p")
    artifact = wandb.Artifact("data", type="dataset")
    for name in ("a.txt", "b.txt"):
        Path(name).write_text(name)
        artifact.add_file(name)
    Path("b.txt").unlink()
    with pytest.raises(wandb.Error, match=r"b\.txt was added, and is gone"):
        run.log_artifact(artifact)
    assert get_run(run.ours.id).artifacts == []


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda a: wandb.Artifact("a/b", type="x"), "cannot name an artifact"),
        (lambda a: wandb.Artifact("a", type="x", incremental=True), "incremental=True cannot be honoured"),
        (lambda a: a.add_file("none.txt"), "there is no file none.txt"),
        (lambda a: a.add_dir("none"), "there is no folder none"),
        (lambda a: a.add(wandb.Image(np.zeros((2, 2))), "img"), r"wandb\.Image cannot be added"),
        (lambda a: a.add(wandb.Table(columns=["a"], data=[[wandb.Html("x")]]), "t"), r"wandb\.Html in a cell of a table"),
        (lambda a: wandb.log_artifact("none.txt"), "there is no file none.txt"),
        (lambda a: wandb.use_artifact("nobody:v0"), "there is no artifact 'nobody:v0'"),
    ],
)
def test_what_cannot_be_is_refused_in_words(call, words):
    run = wandb.init(project="p")
    with pytest.raises(Misuse, match=words):
        call(wandb.Artifact("good", type="x"))
    assert get_run(run.ours.id).artifacts == []
