"""Every python example of the README and of docs/ runs: a page's examples in order, in one namespace, in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
WITH_EXAMPLES = [page for page in PAGES if "```python" in page.read_text()]
FENCE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page: Path, tmp_path: Path):
    script = tmp_path / "page.py"
    examples = "\n".join(FENCE.findall(page.read_text()))
    script.write_text(examples)
    environ = {**os.environ, "STRATAL_CAPTURE": "on", "XDG_CACHE_HOME": str(tmp_path / "cache"), "XDG_STATE_HOME": str(tmp_path / "state")}
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, env=environ, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_each_promise_of_durability_has_a_test_that_is_there():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/durability.md").read_text()))
    there = {
        name for file in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    assert len(named) > 20 and named <= there, sorted(named - there)


def test_the_architecture_page_is_up_to_date():
    done = subprocess.run([sys.executable, str(ROOT / "docs/make_architecture.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_each_dependency_has_its_line():
    import tomllib

    listed = (ROOT / "docs/dependencies.md").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["demo"], *project["optional-dependencies"]["train"]]
    for requirement in wanted:
        name = re.split(r"[<>=\[]", requirement)[0]
        assert name in listed, name
