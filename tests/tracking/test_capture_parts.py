"""The parts of a capture on real folders, repositories and processes. Excluded: secrets in text."""

import hashlib
import random
import subprocess
import sys
import threading
from pathlib import Path

import numpy
import pytest
import torch

from stratal.core.errors import Misuse
from stratal.core.records import from_json, to_json
from stratal.testing.machines import GIB, FakeGpu, FakeNvml
from stratal.tracking.capture import Capture, entry_of_function, project_root, quick, set_seeds, thorough
from stratal.tracking.capture.git import read_git
from stratal.tracking.capture.hardware import Gpu, gpus_of_driver, gpus_of_library, read_hardware
from stratal.tracking.capture.packages import Packages, normal_name, read_packages
from stratal.tracking.capture.sources import imported_sources, read_configurations

SECRET = "sk" + "-proj-abcdefghijklmnop1234567890"


def git(folder: Path, *words: str) -> str:
    options = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *options, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init")
    for name, text in {
        "train.py": "lr = 1\n",
        "old name.py": "a = 1\nb = 2\nc = 3\n",
        "image.bin": "\0\1",
        "settings.env": "A=1\n",
    }.items():
        (folder / name).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-m", "first")
    return folder


def test_a_clean_repository_has_a_commit_and_no_patch(repository: Path) -> None:
    state = read_git(repository)

    assert state is not None
    assert state.git.commit == git(repository, "rev-parse", "HEAD").strip()
    assert (state.git.branch, state.git.is_dirty, state.git.patch, state.git.remote) == ("main", False, None, None)


def test_the_patch_restores_the_dirty_tree(repository: Path, tmp_path: Path) -> None:
    (repository / "train.py").write_text("lr = 2\n")
    git(repository, "mv", "old name.py", "new name.py")
    (repository / "new name.py").write_text("a = 1\nb = 2\nc = 4\n")

    state = read_git(repository)

    assert state is not None
    git(tmp_path, "clone", "-q", str(repository), "copy")
    subprocess.run(["git", "apply", "--index", "-"], cwd=tmp_path / "copy", input=state.patch, text=True, check=True)
    assert (tmp_path / "copy" / "train.py").read_text() == "lr = 2\n"
    assert (tmp_path / "copy" / "new name.py").read_text() == "a = 1\nb = 2\nc = 4\n"


def test_the_patch_leaves_out_binaries_and_secret_files_and_masks_secrets(repository: Path) -> None:
    (repository / "image.bin").write_bytes(b"\0\2\3")
    (repository / "settings.env").write_text("A=plain-but-private\n")
    (repository / "train.py").write_text(f"lr = 1\nkey = '{SECRET}'\n")

    state = read_git(repository)

    assert state is not None
    assert SECRET not in state.patch
    assert "plain-but-private" not in state.patch
    assert "image.bin" not in state.patch
    assert [line.partition(":")[0] for line in state.git.left_out] == ["image.bin", "settings.env", "train.py"]


def test_untracked_sources_are_named_and_data_and_secrets_are_not(repository: Path) -> None:
    for name in ("new.py", "data.parquet", ".env", "credentials.json"):
        (repository / name).write_text("x")

    state = read_git(repository)

    assert state is not None
    assert state.git.untracked == ("new.py",)
    assert not state.git.is_dirty


def test_a_repository_without_a_commit_and_a_folder_without_repository_are_read(tmp_path: Path) -> None:
    assert read_git(tmp_path) is None
    git(tmp_path, "init")
    (tmp_path / "a.py").write_text("x")
    git(tmp_path, "add", "a.py")

    state = read_git(tmp_path)

    assert state is not None
    assert (state.git.commit, state.git.is_dirty) == (None, True)


def test_a_detached_head_has_no_branch_and_a_folder_below_is_named(repository: Path) -> None:
    git(repository, "checkout", "-q", "--detach")
    git(repository, "remote", "add", "origin", "https://user:topsecret@example.org/r.git")
    (repository / "below").mkdir()

    state = read_git(repository / "below")

    assert state is not None
    assert (state.git.branch, state.git.folder, state.git.remote) == (None, "below", "https://example.org/r.git")


def test_reading_does_not_touch_the_index_nor_run_the_users_programs(repository: Path) -> None:
    marker = repository / "was-run"
    git(repository, "config", "diff.external", f"touch {marker}")
    git(repository, "config", "core.fsmonitor", f"touch {marker}; false")
    (repository / "train.py").write_text("lr = 3\n")
    before = (repository / ".git" / "index").stat().st_mtime_ns

    state = read_git(repository)

    assert state is not None
    assert "+lr = 3" in state.patch
    assert not marker.exists()
    assert (repository / ".git" / "index").stat().st_mtime_ns == before


def test_git_that_does_not_answer_is_named_as_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "git"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    with pytest.raises(TimeoutError, match="git rev-parse"):
        read_git(tmp_path, timeout_s=0.05)


def test_git_is_read_where_no_thread_may_be_started(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")  # Python's own word since 3.12, while it ends

    monkeypatch.setattr(threading.Thread, "start", refuse)

    state = read_git(repository)

    assert state is not None and state.git.commit is not None


def test_packages_are_what_the_importer_would_find_first(tmp_path: Path) -> None:
    for folder, names in {
        "one": ["Some_Pkg-1.0.dist-info", "other-2.1-py3.11.egg-info"],
        "two": ["some.pkg-9.0.dist-info", "third-3.0.dist-info"],
    }.items():
        for name in names:
            (tmp_path / folder / name).mkdir(parents=True)
    (tmp_path / "two" / "third-3.0.dist-info" / "direct_url.json").write_text(
        '{"url": "https://u:topsecret@example.org/third.git", "dir_info": {}}'
    )

    packages = read_packages([str(tmp_path / "one"), str(tmp_path / "none.zip"), str(tmp_path / "two")])

    assert packages.versions == {"other": "2.1", "some-pkg": "1.0", "third": "3.0"}
    assert packages.direct == {"third": "https://example.org/third.git"}


def test_packages_of_a_repository_are_named_with_their_commit_and_editable_ones_are_told(tmp_path: Path) -> None:
    for name, origin in {
        "one-1.0": '{"url": "https://u:topsecret@example.org/one", "vcs_info": {"vcs": "git", "commit_id": "abc"}}',
        "two-1.0": '{"url": "file:///home/two", "dir_info": {"editable": true}}',
    }.items():
        (tmp_path / f"{name}.dist-info").mkdir()
        (tmp_path / f"{name}.dist-info" / "direct_url.json").write_text(origin)

    packages = read_packages([str(tmp_path)])

    assert packages.direct == {"one": "git+https://example.org/one@abc", "two": "file:///home/two"}
    assert packages.editable == ("two",)


def test_the_scan_gives_what_the_metadata_says() -> None:
    from importlib.metadata import distributions

    expected = {normal_name(each.name): each.version for each in reversed(list(distributions()))}

    assert read_packages().versions == expected


def test_only_imported_files_of_the_project_are_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = {"mine.py": "x = 1", "package/__init__.py": "", ".venv/lib/foreign.py": "", "never_imported.py": ""}
    for name, text in inside.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in ("mine.py", "package/__init__.py", ".venv/lib/foreign.py"):
        module = type(sys)(f"captured_{len(sys.modules)}")
        module.__file__ = str(tmp_path / name)
        monkeypatch.setitem(sys.modules, module.__name__, module)

    monkeypatch.setitem(sys.modules, "barred", None)  # how a name is kept from being imported
    assert [path.relative_to(tmp_path).as_posix() for path in imported_sources(tmp_path)] == ["mine.py", "package/__init__.py"]


def test_configuration_files_are_kept_verbatim_and_secret_ones_are_not_read(tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.toml").write_text("lr = 0.1 # café\n")
    (project / ".env").write_text("PASSWORD=x")
    (outside / "train.toml").write_text("lr = 0.2\n")

    read = read_configurations([project / "train.toml", project / ".env", project / "none.toml", outside / "train.toml"], project)

    assert {file.name: file.data.decode() for file in read.files} == {
        "configuration/train.toml": "lr = 0.1 # café\n",
        "configuration/train.toml-2": "lr = 0.2\n",
    }
    assert [reason.partition(": ")[2] for reason in read.left_out] == ["may hold secrets", "cannot be read (No such file or directory)"]


def test_a_secret_in_a_source_is_masked_and_the_files_own_digest_kept(tmp_path: Path) -> None:
    text = f"lr = 0.1\nclient = connect(api_key='{SECRET}')\n"
    (tmp_path / "train.py").write_text(text)

    (file,) = read_configurations([tmp_path / "train.py"], tmp_path).files

    assert file.data.decode() == text.replace(SECRET, "<masked>")
    assert file.digest == hashlib.sha256(file.data).hexdigest()
    assert file.original == hashlib.sha256(text.encode()).hexdigest()


def test_a_project_ends_at_its_mark_and_never_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = tmp_path / "project" / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert project_root(below) == below

    (tmp_path / "project" / "pyproject.toml").touch()
    assert project_root(below) == tmp_path / "project"


def test_seeds_are_set_for_what_is_imported_and_written_down() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(numpy.random.random()), float(torch.rand(()))

    seeds = set_seeds(7)
    first = draw()
    set_seeds(7)

    assert draw() == first
    assert seeds.seed == 7 and {"random", "numpy", "torch"} <= set(seeds.seeded)
    assert seeds.torch["deterministic_algorithms"] is False


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, True, "7"])
def test_what_is_no_seed_is_refused(seed: object) -> None:
    with pytest.raises(Misuse, match="is not a seed"):
        set_seeds(seed)  # type: ignore[arg-type]


def test_the_machine_is_described() -> None:
    hardware = read_hardware()

    assert hardware.memory_bytes > 1 << 28
    assert 0 < hardware.usable_cores <= hardware.cores
    assert hardware.processor
    assert hardware.blas is not None
    assert hardware.threads["torch"] == torch.get_num_threads()


def test_gpus_are_named_by_the_drivers_library_with_their_memory() -> None:
    found = gpus_of_library(FakeNvml([FakeGpu(), FakeGpu(memory=None, name="NVIDIA GB10")]))
    assert [(gpu.name, gpu.memory_bytes, gpu.driver) for gpu in found] == [
        ("NVIDIA H100 80GB HBM3", 80 * GIB, "580.159.04"),
        ("NVIDIA GB10", 0, "580.159.04"),
    ]
    assert gpus_of_library(FakeNvml([FakeGpu()], has_driver=False)) == ()


def test_gpus_are_named_by_the_driver_where_its_library_has_no_package(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.10.01  Release Build\n")
    for bus in ("0000:04:00.0", "0000:05:00.0"):
        (tmp_path / "gpus" / bus).mkdir(parents=True)
        (tmp_path / "gpus" / bus / "information").write_text("Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 51\n")

    assert gpus_of_driver(tmp_path) == (Gpu(name="NVIDIA H100 80GB HBM3", memory_bytes=0, driver="570.10.01"),) * 2
    assert gpus_of_driver(tmp_path / "none") == ()


def test_a_capture_survives_json_and_its_files_match_their_digests(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "train.py").write_text("lr = 9\n")
    (repository / "train.toml").write_text("x = 1\n")
    monkeypatch.chdir(repository)

    done = thorough(quick(user="ada", now_ns=5), configurations=[repository / "train.toml"])

    assert from_json(to_json(done.capture), Capture) == done.capture
    assert done.capture.skipped == ()
    assert {file.name: file.digest for file in done.files if not file.name.endswith("packages.json")} == {
        name: file.digest for name, file in done.capture.files.items()
    }
    named = {"git/patch.diff", "configuration/train.toml", "untracked/train.toml"}
    assert set(done.capture.files) - {"entry/command.py"} == named  # how the tests themselves were started
    assert done.capture.packages is not None
    assert done.files[-1].digest == done.capture.packages.digest
    assert from_json(done.files[-1].data, Packages) == read_packages()
    assert all(hashlib.sha256(file.data).hexdigest() == file.digest for file in done.files)
    assert (done.capture.user, done.capture.at_ns) == ("ada", 5)


def test_a_part_that_fails_is_named_and_the_others_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "git"
    program.write_text("not a program")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    done = thorough(quick(user="ada", now_ns=5), root=tmp_path)

    assert [part.partition(":")[0] for part in done.capture.skipped] == ["git"]
    assert done.capture.git is None
    assert done.capture.packages is not None


def test_a_script_and_a_function_are_named_so_that_they_can_be_started_again(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "jobs").mkdir()
    script = tmp_path / "jobs" / "train.py"
    script.write_text(
        "from pathlib import Path\nfrom stratal.tracking.capture import quick, entry_of_function\n"
        "from stratal.core.records import to_json\n"
        "def go(): pass\nprint(quick(user='u', now_ns=1).entry)\nprint(entry_of_function(go, Path('..')).target)\n"
    )

    done = subprocess.run(
        [sys.executable, "train.py", "--lr", "0.1", "--token", "abc"], cwd=script.parent, capture_output=True, text=True, check=True
    )

    entry, function = done.stdout.splitlines()
    assert entry == "Entry(kind='script', target='jobs/train.py', argv=('--lr', '0.1', '--token', '<masked>'), folder='jobs', seed=None)"
    assert function == "jobs/train.py:go"
    assert entry_of_function(project_root, tmp_path).target == "stratal.tracking.capture.sources:project_root"
