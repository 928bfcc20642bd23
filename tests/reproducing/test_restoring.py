"""Restoring captured programs into fresh folders, also from captures that an enemy wrote. Excluded: starting them."""

import hashlib
import subprocess
from pathlib import Path

import msgspec
import pytest

from stratal.core.errors import Misuse, Refused
from stratal.store.files.blobs import Blobs
from stratal.store.files.disk import DiskBlobs
from stratal.tracking.capture import Capture, Entry, StoredFile, quick, thorough
from stratal.tracking.capture.inputs import Input
from stratal.tracking.reproducing.replaying import command_of, without_magics
from stratal.tracking.reproducing.restoring import Restored, inside, restore


def git(folder: Path, *words: str) -> None:
    options = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *options, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return DiskBlobs(tmp_path / "blobs")


def capture_of(project: Path, blobs: Blobs, files: dict[str, bytes], **changes: object) -> Capture:
    entry = Entry(kind="script", target="train.py")
    start = quick(user="u", now_ns=1, entry=entry, root=project)
    held = {name: StoredFile(digest=blobs.put(data), size_bytes=len(data)) for name, data in files.items()}
    return msgspec.structs.replace(start, files=held, **changes)


def captured(project: Path, blobs: Blobs) -> Capture:
    done = thorough(quick(user="u", now_ns=1, entry=Entry(kind="script", target="train.py"), root=project), root=project)
    for file in done.files:
        blobs.put(file.data)
    return done.capture


def test_a_dirty_repository_stands_again_and_the_users_tree_is_as_it_was(tmp_path: Path, blobs: Blobs) -> None:
    project = tmp_path / "mine"
    project.mkdir()
    (project / "train.py").write_text("lr = 1\n")
    (project / "rows.csv").write_text("a\n1\n")
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "first")
    (project / "train.py").write_text("lr = 2\n")
    (project / "new.py").write_text("x = 1\n")
    capture = captured(project, blobs)
    (project / "train.py").write_text("lr = 3\n")
    (project / "new.py").unlink()
    before = subprocess.run(["git", "status", "--porcelain"], cwd=project, capture_output=True, text=True).stdout

    restored = restore(capture, blobs, tmp_path / "fresh")

    assert {path.name: path.read_text() for path in restored.project.iterdir() if path.is_file()} == {
        "train.py": "lr = 2\n", "rows.csv": "a\n1\n", "new.py": "x = 1\n",
    }  # fmt: skip
    assert (restored.how.endswith("with its patch"), restored.notes) == (True, ())
    assert subprocess.run(["git", "status", "--porcelain"], cwd=project, capture_output=True, text=True).stdout == before


def test_without_its_repository_a_program_stands_again_from_its_captured_files(tmp_path: Path, blobs: Blobs) -> None:
    project = tmp_path / "mine"
    project.mkdir()
    (project / "train.py").write_text("lr = 1\n")
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "first")
    (project / "new.py").write_text("x = 1\n")
    capture = captured(project, blobs)
    capture = msgspec.structs.replace(
        capture, files=capture.files | {"sources/train.py": StoredFile(digest=blobs.put(b"lr = 1\n"), size_bytes=7)}
    )
    project.rename(tmp_path / "elsewhere")

    restored = restore(capture, blobs, tmp_path / "fresh")

    assert sorted(path.name for path in restored.project.iterdir()) == ["new.py", "stratal.toml", "train.py"]
    assert "is not here" in restored.notes[0]


def test_inputs_lie_where_the_program_looks_and_what_is_gone_is_told(tmp_path: Path, blobs: Blobs) -> None:
    project, working = tmp_path / "mine", tmp_path / "work"
    for folder in (project, working):
        folder.mkdir()
    (working / "there.csv").write_text("there")
    kept = Input(digest=blobs.put(b"kept"), size_bytes=4)
    there = Input(digest=hashlib.sha256(b"there").hexdigest(), size_bytes=5)
    gone = Input(digest="0" * 64, size_bytes=1)
    capture = capture_of(
        project, blobs, {"sources/train.py": b""},
        inputs={"data/kept.csv": kept, f"{working}/there.csv": there, f"{working}/gone.csv": gone},
    )  # fmt: skip
    capture = msgspec.structs.replace(capture, entry=Entry(kind="script", target="train.py", folder="../work"))

    restored = restore(capture, blobs, tmp_path / "fresh")

    assert (restored.project / "data" / "kept.csv").read_text() == "kept"
    assert (restored.working / "there.csv").read_text() == "there"
    assert not restored.working.is_relative_to(restored.project)
    assert ["gone.csv" in note for note in restored.notes] == [True]


def test_the_working_tree_of_today_can_be_taken_instead(tmp_path: Path, blobs: Blobs) -> None:
    project = tmp_path / "mine"
    project.mkdir()
    (project / "train.py").write_text("lr = 2\n")
    capture = capture_of(project, blobs, {"sources/train.py": b"lr = 1\n"})

    assert (restore(capture, blobs, tmp_path / "then").project / "train.py").read_text() == "lr = 1\n"
    today = restore(capture, blobs, tmp_path / "today", from_working_tree=True)
    assert (today.project / "train.py").read_text() == "lr = 2\n"
    assert today.notes == ("as it is today: train.py",)


EVIL = ["../evil.py", "a/../../evil.py", "a\\..\\evil.py", "", "a/../../../etc/cron.d/x", "nul\0.py"]


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        *((prefix, name) for prefix in ("sources/", "configuration/", "inputs/") for name in EVIL),
        ("sources/", "/tmp/evil.py"),
        ("configuration/", "/tmp/evil.py"),  # an absolute input is looked at, and never written
    ],
)
def test_a_captured_path_that_leaves_the_folder_is_refused(tmp_path: Path, blobs: Blobs, name: str, prefix: str) -> None:
    given = {"inputs": {name: Input(digest=blobs.put(b"x"), size_bytes=1)}} if prefix == "inputs/" else {}
    capture = capture_of(tmp_path / "mine", blobs, {} if given else {f"{prefix}{name}": b"x"}, **given)

    with pytest.raises(Refused, match="outside of the fresh folder"):
        restore(capture, blobs, tmp_path / "deep" / "fresh")
    assert not list(tmp_path.rglob("evil.py"))


def test_a_link_in_the_repository_leads_nowhere(tmp_path: Path, blobs: Blobs) -> None:
    project, outside = tmp_path / "mine", tmp_path / "outside"
    for folder in (project, outside):
        folder.mkdir()
    (project / "train.py").write_text("lr = 1\n")
    (project / "link").symlink_to(outside)
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "first")
    capture = captured(project, blobs)
    capture = msgspec.structs.replace(capture, files={"sources/link/evil.py": StoredFile(digest=blobs.put(b"x"), size_bytes=1)})

    with pytest.raises(Refused, match="outside of the fresh folder"):
        restore(capture, blobs, tmp_path / "fresh")
    assert not (outside / "evil.py").exists()


def test_a_repository_that_is_no_folder_of_this_machine_is_not_cloned(tmp_path: Path, blobs: Blobs) -> None:
    project = tmp_path / "mine"
    project.mkdir()
    (project / "train.py").write_text("lr = 1\n")
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "first")
    capture = captured(project, blobs)
    assert capture.git is not None
    for top in ("ext::sh -c touch% evil", "--upload-pack=touch evil", "relative", "https://example.org/r.git", ""):
        hostile = msgspec.structs.replace(capture, git=msgspec.structs.replace(capture.git, top=top))
        assert restore(hostile, blobs, tmp_path / f"fresh{len(top)}").how == "the captured files"
    hostile = msgspec.structs.replace(capture, git=msgspec.structs.replace(capture.git, commit="--orphan"))
    assert restore(hostile, blobs, tmp_path / "fresh").how == "the captured files"
    assert not list(tmp_path.rglob("evil"))


def test_entries_that_leave_the_folder_or_were_masked_are_not_started(tmp_path: Path, blobs: Blobs) -> None:
    restored = Restored(project=tmp_path, working=tmp_path, how="", notes=())
    capture = capture_of(tmp_path, blobs, {})

    def entry(**changes: object) -> Capture:
        return msgspec.structs.replace(capture, entry=Entry(**{"kind": "script", "target": "train.py", **changes}))  # type: ignore[arg-type]

    with pytest.raises(Refused, match="outside"):
        command_of(entry(target="../../bin/evil.py"), blobs, restored, python="py")
    with pytest.raises(Misuse, match="secret") as raised:
        command_of(entry(argv=("--token", "<masked>")), blobs, restored, python="py")
    assert "--argv" in raised.value.hint
    with pytest.raises(Misuse, match="interactive"):
        command_of(entry(kind="interactive"), blobs, restored, python="py")
    assert command_of(entry(argv=("--token", "<masked>")), blobs, restored, python="py", argv=["--lr", "1"])[2:] == ["--lr", "1"]
    assert command_of(entry(kind="module", target="pkg.train"), blobs, restored, python="py") == ["py", "-m", "pkg.train"]
    assert command_of(entry(kind="stratal", argv=("demo",)), blobs, restored, python="py")[-1] == "demo"


def test_the_root_of_the_folder_itself_is_inside(tmp_path: Path) -> None:
    assert inside(tmp_path, ".") == tmp_path.resolve()


def test_lines_of_a_notebook_that_are_no_python_become_comments() -> None:
    assert without_magics("%matplotlib inline\nif x:\n    !ls\nhelp?\ny = 5 % 3\n") == (
        "pass  # %matplotlib inline\nif x:\n    pass  # !ls\npass  # help?\ny = 5 % 3\n"
    )
    assert without_magics("# In [1]\n%%time\nx = 1\n\n# In [2]\n%%bash\nls | wc\n\n# In [3]\nprint(x)\n") == (
        "# In [1]\npass  # %%time\nx = 1\n\n# In [2]\n# %%bash\n# ls | wc\n# \n# In [3]\nprint(x)\n"
    )
