"""Environments that are rebuilt from recorded packages: a tiny program in one, and what is asked for. Excluded: verdicts."""

import os
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from stratal.core.errors import Misuse, Refused
from stratal.store.store import Store
from stratal.tracking.capture import Packages
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.reproducing.environments import rebuild
from stratal.tracking.reproducing.reproduce import reproduce, write_container
from stratal.tracking.reproducing.requirements import Requirements, requirements_of, without_pin

# All that a program needs that only logs, and the check of an environment.
FEW = ("msgspec", "numpy", "zstandard", "sqlalchemy", "typing_extensions")
SOURCE = str(Path(__file__).parents[2] / "src")


def few_packages(folder: Path) -> Path:
    """Make an import path that holds only these packages, with what says their versions."""
    folder.mkdir()
    for name in FEW:
        info = Path(str(distribution(name)._path))  # type: ignore[attr-defined]
        for path in (info, *info.parent.glob(f"{name}.py"), *info.parent.glob(name), *info.parent.glob(f"{name}.libs")):
            (folder / path.name).symlink_to(path)
    return folder


def program(project: Path, site: Path, text: str) -> Store:
    project.mkdir()
    (project / "train.py").write_text(text)
    environ = {**os.environ, "STRATAL_CAPTURE": "on", "PYTHONPATH": os.pathsep.join([SOURCE, str(site)])}
    subprocess.run([sys.executable, "-S", "train.py"], cwd=project, env=environ, check=True)  # -S: without the packages of this Python
    return open_store(project / ".stratal")


WALK = (
    "import numpy as np\nimport stratal as st\nst.seed_everything(7)\nwith st.run('walk') as run:\n"
    "    for step, x in enumerate(np.random.normal(size=50).cumsum()): run.log({'x': float(x)}, step=step)\n"
)


@pytest.mark.slow
def test_a_tiny_program_comes_out_bit_for_bit_in_a_rebuilt_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = program(tmp_path / "project", few_packages(tmp_path / "site"), WALK)
    run = find_runs(store=store)[0]
    monkeypatch.setenv("PIP_CACHE_DIR", str(Path("~/.cache/pip").expanduser()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    try:
        made = reproduce(run.id, store=store)
    except Refused as refused:
        if _has_no_index():
            pytest.skip(f"no package index answers: {refused.message}")
        raise
    again = reproduce(run.id, check=True, store=store)

    assert (made.verdict, made.notes, made.exit_code) == ("bit-identical", (), 0)
    assert made.environment.startswith(str(tmp_path / "cache"))
    assert again.environment == made.environment, "the second time it comes from the cache"
    assert len(list((tmp_path / "cache" / "stratal" / "environments").glob("*/whole"))) == 1
    (stated, _) = run_statements(store, run.id)
    assert stated["environment"] == "rebuilt"


def run_statements(store: Store, run: str) -> list[dict[str, object]]:
    return [each.body for each in find_runs(f"id = '{run}'", store=store)[0].statements("reproduction")]


def _has_no_index() -> bool:
    words = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", os.devnull, "typing_extensions"]
    return b"No matching distribution" in subprocess.run(words, capture_output=True).stderr


def test_packages_are_asked_for_exactly_and_what_lies_nowhere_is_told(tmp_path: Path) -> None:
    packages = Packages(
        versions={
            "numpy": "2.0",
            "mine": "1",
            "theirs": "1",
            "gone": "3",
            "stratal": "0.1",
            "pip": "24",
            "--index-url": "1",
            "odd": "1\n-r x",
        },
        direct={"mine": f"file://{tmp_path}", "theirs": "git+https://example.org/r@abc", "gone": "file:///no/such/folder"},
        editable=("mine",),
    )

    wanted = requirements_of(packages, "3.11.7")

    assert wanted.text() == f"-e {tmp_path}\nnumpy==2.0\ntheirs @ git+https://example.org/r@abc\n"
    assert [text.split()[0] for text in wanted.gone] == ["gone", "'--index-url'", "'odd'"]
    assert without_pin(wanted, ("numpy",)).lines["numpy"] == "numpy"
    assert wanted.digest != without_pin(wanted, ("numpy",)).digest
    assert wanted.text_for_others().splitlines()[0] == f"# only on the machine of the run: -e {tmp_path}"
    assert wanted.ours == "0.1"


def test_what_can_no_longer_be_had_is_said_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    python = ".".join(map(str, sys.version_info[:3]))

    with pytest.raises(Refused, match=r"1 package of the run can no longer be had: lost 1 \(it lay in /x\)"):
        rebuild(Requirements(python=python, lines={}, gone=("lost 1 (it lay in /x)",)))
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_packages_that_no_index_has_are_all_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"XDG_CACHE_HOME": str(tmp_path), "PIP_NO_INDEX": "1", "UV_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    python = ".".join(map(str, sys.version_info[:3]))

    with pytest.raises(Refused, match=r"2 packages of the run can no longer be had: first==1, second==2"):
        rebuild(Requirements(python=python, lines={"first": "first==1", "second": "second==2"}))
    assert not list((tmp_path / "stratal" / "environments").glob("*/bin"))


@pytest.mark.slow
def test_a_container_has_all_that_it_copies_and_its_store_is_judged_later(tmp_path: Path) -> None:
    store = program(tmp_path / "project", few_packages(tmp_path / "site"), WALK)
    run = find_runs(store=store)[0]

    how = write_container(run.id, tmp_path / "image", store=store)
    write_container(run.id, tmp_path / "sif", apptainer=True, store=store)

    recipe = (tmp_path / "image" / "Dockerfile").read_text()
    assert how.startswith("docker build")
    for line in recipe.splitlines():
        if line.startswith("COPY"):
            assert (tmp_path / "image" / line.split()[1]).exists(), line
    assert 'WORKDIR /reproduction/project\nCMD ["python","train.py"]' in recipe
    assert f"numpy=={distribution('numpy').version}\n" in (tmp_path / "image" / "requirements.txt").read_text()
    assert "exec python train.py" in (tmp_path / "sif" / "apptainer.def").read_text()
    with pytest.raises(Misuse, match="is there already"):
        write_container(run.id, tmp_path / "image", store=store)

    # What the container would do, here.
    environ = {**os.environ, "STRATAL_STORE": str(tmp_path / "image" / "store"), "STRATAL_CAPTURE": "on", "PYTHONPATH": SOURCE}
    subprocess.run([sys.executable, "train.py"], cwd=tmp_path / "image" / "project", env=environ, check=True)
    made = reproduce(run.id, result=tmp_path / "image" / "store", store=store)
    assert (made.verdict, made.environment) == ("bit-identical", "elsewhere")
