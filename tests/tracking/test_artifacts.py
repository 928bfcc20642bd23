"""Artifacts as handles: lazy, by file and by folder, used with lineage both ways, listed and downloaded. Excludes the cache's laws."""

import json
import pickle
from pathlib import Path

import pytest

from stratal.cli.app import main
from stratal.core.errors import Conflict, Damaged, Misuse, NotFound
from stratal.core.settings import load_settings
from stratal.store.store import Store
from stratal.tracking.artifacts import ArtifactFile, ArtifactFolder
from stratal.tracking.explaining import explain
from stratal.tracking.opening import use_store
from stratal.tracking.reading import get_run
from stratal.tracking.resolving import get
from stratal.tracking.runs import Run, run


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRATAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def made(store: Store, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(store, "settings", load_settings())
    use_store(store)
    with run("e", store=store) as saving:
        saving.save_bytes("plots/roc.svg", b"<svg/>")
        saving.save_bytes("plots/deep/auc.txt", b"0.9")
        saving.save_bytes("plotsother", b"other")
    return saving


def test_nothing_of_a_file_is_read_before_somebody_asks(made: Run, store: Store):
    store.blobs.path(made.save_bytes("x", b"gone").digest).unlink()
    file = get(f"artifact:{made.short}/x")
    assert isinstance(file, ArtifactFile)
    assert (file.size_bytes, file.name, file.ref) == (4, "x", f"artifact:{made.id}/x")
    for ask in (file.read, file.open, file.path, lambda: file.path(named=True)):
        with pytest.raises(NotFound, match="is not in this store"):
            ask()


@pytest.mark.here
def test_a_path_is_the_stores_own_file_or_a_named_one(made: Run, store: Store):
    file = get(f"artifact:{made.id}/plots/roc.svg")
    assert isinstance(file, ArtifactFile)
    assert file.path().samefile(store.blobs.path(file.digest)), "no copy"
    assert file.read() == file.open().read() == file.path(named=True).read_bytes() == b"<svg/>"
    assert file.path(named=True).name == "roc.svg"
    assert pickle.loads(pickle.dumps(file)).read() == b"<svg/>"


def test_a_path_that_is_no_file_is_a_folder(made: Run, tmp_path: Path):
    folder = get(f"artifact:{made.id}/plots/")
    assert isinstance(folder, ArtifactFolder)
    assert [file.path_in_run for file in folder] == ["plots/deep/auc.txt", "plots/roc.svg"], "plotsother is not below plots"
    assert folder["deep/auc.txt"].read() == b"0.9"  # type: ignore[union-attr]
    assert (folder.path() / "deep/auc.txt").read_bytes() == b"0.9"
    assert folder.path().is_relative_to(tmp_path / "cache")
    assert pickle.loads(pickle.dumps(folder)).digest == folder.digest
    with pytest.raises(NotFound, match="has no file 'none'"):
        folder["none"]
    with pytest.raises(NotFound, match="has no artifact 'plo'"):
        get(f"artifact:{made.id}/plo")


def test_a_download_keeps_what_is_there(made: Run, tmp_path: Path):
    folder = get(f"artifact:{made.id}/plots")
    assert isinstance(folder, ArtifactFolder)
    assert len(folder.download(tmp_path / "out")) == len(folder.download(tmp_path / "out")) == 2
    (tmp_path / "out/roc.svg").write_bytes(b"mine")
    with pytest.raises(Conflict, match="another file"):
        folder.download(tmp_path / "out")
    assert (tmp_path / "out/roc.svg").read_bytes() == b"mine"
    with pytest.raises(Misuse, match="is not a path"):
        folder[0].download(tmp_path, name="../roc.svg")  # type: ignore[union-attr]


def test_a_download_spoils_no_file_beside_it(made: Run, tmp_path: Path):
    (tmp_path / "roc.svg.new").write_bytes(b"mine")
    file = get(f"artifact:{made.id}/plots/roc.svg")
    assert isinstance(file, ArtifactFile)
    file.download(tmp_path)
    assert (tmp_path / "roc.svg.new").read_bytes() == b"mine"


def test_a_damaged_file_is_not_downloaded(made: Run, store: Store, tmp_path: Path):
    file = get(f"artifact:{made.id}/plots/roc.svg")
    assert isinstance(file, ArtifactFile)
    file.path().chmod(0o644)
    file.path().write_bytes(b"<xml/>")
    with pytest.raises(Damaged):
        file.download(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_lineage_leads_from_a_run_to_those_that_use_its_files_and_back(made: Run):
    with run("e") as reading:
        used = reading.use(f"artifact:{made.short}/plots/roc.svg", role="plot")
    with run("e") as other:
        other.use(f"artifact:{made.short}/plots", role="plots")
    uses = {node.ref: [run.ref for run in node.branches] for node in explain(made.id).uses.branches}
    assert uses == {f"sha256:{used.digest}": [f"run:{reading.id}"], f"artifact:{made.id}/plots": [f"run:{other.id}"]}
    for reader in (reading, other):
        [what] = explain(reader.id).origins.branches
        assert [node.ref for node in what.branches] == [f"run:{made.id}"]
    assert [node.ref for node in explain(f"artifact:{made.short}/plots").uses.branches] == [f"run:{other.id}"]


def test_a_dataset_and_a_file_are_used_by_ref_as_before(made: Run, tmp_path: Path):
    Path("rows.csv").write_text("a\n1\n")
    with run("e") as reading:
        reading.use("rows.csv")
        reading.use(made.ref)
    assert [edge.target.partition(":")[0] for edge in get_run(reading.id).edges] == ["sha256", "run"]


def test_the_command_lists_and_downloads(made: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    def ask(*words: str) -> str:
        with pytest.raises(SystemExit) as left:
            main(["artifacts", made.short, *words])
        assert left.value.code == 0
        return capsys.readouterr().out

    listed = json.loads(ask("--json"))
    assert [file["path"] for file in listed["artifacts"]] == ["plots/deep/auc.txt", "plots/roc.svg", "plotsother"]
    assert "plots/roc.svg" in ask()
    assert ask("plots", "--download", "out") == "2 files in out\n"
    assert Path("out/plots/deep/auc.txt").read_bytes() == b"0.9"
    assert json.loads(ask("plots", "--download", "out", "--json"))["downloaded"] == [
        "out/plots/deep/auc.txt",
        "out/plots/roc.svg",
    ]
