"""The house keeps its own rules: sizes, names, admission docstrings, quick imports, settings in one place."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import stratal

SOURCE = Path(stratal.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = [pytest.param(path, id=str(path.relative_to(SOURCE))) for path in FILES]
HEAVY = [
    "torch", "ray", "polars", "pandas", "sklearn", "skops", "scipy", "fairlearn", "optuna", "obstore", "psycopg", "sqlalchemy",
    "alembic", "litestar", "numpy", "rich", "typer", "zstandard", "pyarrow",
]  # fmt: skip
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base2"}


def test_there_is_a_house_to_look_at():
    assert len(FILES) > 60


@pytest.mark.parametrize("path", MODULES)
def test_no_file_is_over_600_lines(path: Path):
    assert len(path.read_text().splitlines()) <= 600


@pytest.mark.parametrize("path", MODULES)
def test_no_function_is_over_60_lines(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "migrations" not in path.parts:
            doc = ast.get_docstring(node, clean=False)
            lines = (node.end_lineno or 0) - node.lineno + 1 - (doc.count("\n") + 1 if doc else 0)
            assert lines <= 60, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", MODULES)
def test_every_file_says_what_it_is(path: Path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in FILES if path.parent not in (SOURCE, SOURCE / "store/migrations/versions")}), ids=str
)
def test_every_folder_says_who_may_come_in(folder: Path):
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    assert "May live here" in text
    assert "May not" in text


@pytest.mark.parametrize("path", MODULES)
def test_no_file_has_a_name_that_says_nothing(path: Path):
    assert path.stem not in FORBIDDEN_NAMES
    assert path.parent.name not in FORBIDDEN_NAMES


@pytest.mark.parametrize("path", MODULES)
def test_only_settings_read_the_environment(path: Path):
    text = path.read_text()
    reads = "os.environ" in text or "getenv" in text
    assert not reads or path.relative_to(SOURCE).as_posix() in {"core/settings.py", *MAY_SET}


# They set variables of their own process before numeric libraries are imported, and read none.
MAY_SET = {"training/worker.py"}


@pytest.mark.parametrize("path", MODULES)
def test_nothing_is_left_unfinished(path: Path):
    text = path.read_text()
    for word in ("NotImplementedError", "TODO", "FIXME", "XXX"):
        assert word not in text


def test_what_merges_and_patches_leave_is_nowhere():
    tree = Path(__file__).parents[2]
    places = [tree.glob("*"), *((tree / name).rglob("*") for name in ("src", "docs", "tests", "deploy", "examples"))]
    assert [path for place in places for path in place if path.suffix in (".orig", ".rej")] == []


def test_importing_stratal_pulls_no_heavy_library():
    script = f"import sys, stratal; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_process_that_only_logs_does_not_import_sqlalchemy(tmp_path: Path):
    script = (
        "import sys, stratal as st\n"
        "with st.run('e', params={'a': 1}) as run:\n"
        "    run.log({'m': 1.0})\n"
        "    run.save_bytes('a.txt', b'x')\n"
        "print([n for n in ('sqlalchemy', 'alembic', 'polars', 'sqlite3') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"


def test_the_public_names_are_pinned():
    pinned = (Path(__file__).parent / "public_names.txt").read_text().split()
    assert sorted(stratal.__all__) == pinned, "adding is cheap; removing needs a warning and one release"


def test_every_public_name_is_there():
    for name in stratal.__all__:
        assert getattr(stratal, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = stratal.nothing_like_it
