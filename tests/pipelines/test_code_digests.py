"""The code of a step: what changes its digest, and what does not. Real modules in a folder, imported afresh."""

import importlib
import sys

import pytest

from stratal.pipelines.cache import differences, key_of
from stratal.pipelines.code import code_of

STEPS = """
import math
import numpy as np
from project_helpers import scaled, Settings
import project_helpers
import project_helpers as helpers
from project_constants import LIMIT, TABLE, imported_later
from stratal.pipelines import step

DEFAULTS = {"depth": 3}
UNUSED = 1

def local(x):
    return x + 1

@step(retries=1)
def trained(rows: list) -> float:
    \"\"\"Train.\"\"\"
    # a comment
    return local(scaled(rows)) + LIMIT + DEFAULTS["depth"] + helpers.deep(2) + np.float64(1) + Settings().size

@step
def tabled(rows: list) -> object:
    return TABLE

@step
def inside(rows: list) -> float:
    from project_helpers import hidden
    return hidden(rows)

def outer(factor):
    def inner(x):
        return factor * x
    return inner

scale_by_two = step(outer(2))
squared = lambda x: x * x

@step
def uses_lambda(x: int) -> int:
    return squared(x)

@step
def whole_module(x: int) -> int:
    return apply(project_helpers, x)

def apply(module, x):
    return module.deep(x)

def decorated_by(function):
    return function

@step
@decorated_by
def decorated(x: int) -> int:
    return x
"""
HELPERS = """
RATE = 0.5
def scaled(rows):
    return sum(rows) * RATE
def deep(x):
    return deeper(x)
def deeper(x):
    return x
def hidden(rows):
    return len(rows)
def unrelated():
    return 0
class Base:
    def half(self):
        return 0.5
class Settings(Base):
    size = 4
    def twice(self):
        return deeper(2)
"""
CONSTANTS = """
from project_helpers import unrelated
LIMIT = 10
class Table:
    def __init__(self, *columns):
        self.columns = columns
TABLE = Table("a", "b")
imported_later = 3
"""
MODULES = {"project_steps": STEPS, "project_helpers": HELPERS, "project_constants": CONSTANTS}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Give a function that writes the modules, with some replaced texts, and imports the steps afresh."""
    monkeypatch.syspath_prepend(tmp_path)

    def load(*changes):
        for name, text in MODULES.items():
            changed = text
            for old, new in changes:
                changed = changed.replace(old, new)
            (tmp_path / f"{name}.py").write_text(changed)
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        sys.dont_write_bytecode = True
        return importlib.import_module("project_steps")

    before = sys.dont_write_bytecode
    yield load
    sys.dont_write_bytecode = before
    for name in MODULES:
        sys.modules.pop(name, None)


def key(function):
    return key_of(code_of(function), {}, {})


CHANGES = {
    "the step's own body": ("trained", "local(scaled(rows))", "2 * local(scaled(rows))"),
    "a function it calls": ("trained", "return x + 1", "return x + 2"),
    "a function in another module": ("trained", "sum(rows) * RATE", "sum(rows) / RATE"),
    "a function reached through a module's name": ("trained", "return deeper(x)", "return deeper(x) + 1"),
    "a function two calls away": ("trained", "def deeper(x):\n    return x", "def deeper(x):\n    return -x"),
    "a constant": ("trained", "LIMIT = 10", "LIMIT = 11"),
    "a constant two modules away": ("trained", "RATE = 0.5", "RATE = 0.6"),
    "a value in a dict": ("trained", '{"depth": 3}', '{"depth": 4}'),
    "a class": ("trained", "size = 4", "size = 5"),
    "a base class": ("trained", "return 0.5", "return 0.25"),
    "what a method reaches": ("trained", "def deeper(x):\n    return x", "def deeper(x):\n    return 2 * x"),
    "how an object was made": ("tabled", 'Table("a", "b")', 'Table("a", "c")'),
    "the class of an object": ("tabled", "self.columns = columns", "self.columns = list(columns)"),
    "what is imported inside": ("inside", "return len(rows)", "return len(rows) + 1"),
    "a closed-over value": ("scale_by_two", "outer(2)", "outer(3)"),
    "the body of a closure": ("scale_by_two", "factor * x", "factor + x"),
    "a lambda": ("uses_lambda", "lambda x: x * x", "lambda x: x * x * x"),
    "anything in a module used as a value": ("whole_module", "def unrelated():\n    return 0", "def unrelated():\n    return 1"),
    "a decorator that is not ours": ("decorated", "    return function\n", "    return lambda x: 0\n"),
}


@pytest.mark.parametrize(("name", "old", "new"), CHANGES.values(), ids=CHANGES.keys())
def test_the_key_changes_with(project, name, old, new):
    before = key(getattr(project(), name))
    after = key(getattr(project((old, new)), name))
    assert before.digest != after.digest
    assert differences(after.parts, before.parts)


SAME = {
    "a comment": ("# a comment", "# another comment"),
    "a docstring": ('"""Train."""', '"""Fit."""'),
    "layout": ("return x + 1", "return (x\n        + 1)"),
    "lines above": ("UNUSED = 1", "UNUSED = 1\n\n\n"),
    "a constant that is not used": ("UNUSED = 1", "UNUSED = 2"),
    "a function that is not reached": ("def unrelated():\n    return 0", "def unrelated():\n    return 1"),
    "options of the step": ("@step(retries=1)", "@step(retries=3, timeout_s=9)"),
    "an import that is not used": ("import math", "import cmath"),
    "an imported name that is not used": ("imported_later = 3", "imported_later = 4"),
}


@pytest.mark.parametrize(("old", "new"), SAME.values(), ids=SAME.keys())
def test_the_key_does_not_change_with(project, old, new):
    before = key(project().trained)
    after = key(project((old, new)).trained)
    assert differences(after.parts, before.parts) == []
    assert before.digest == after.digest


def test_the_parts_name_what_is_reached(project):
    code = code_of(project().trained)
    assert {part.name for part in code.parts} == {
        "project_steps.trained",
        "project_steps.local",
        "project_steps.DEFAULTS",
        "project_helpers.scaled",
        "project_helpers.RATE",
        "project_helpers.deep",
        "project_helpers.deeper",
        "project_helpers.Settings",
        "project_helpers.Base",
        "project_steps.LIMIT",
    }
    assert set(code.libraries) == {"numpy"}
    assert code.libraries["numpy"] == importlib.import_module("numpy").__version__


def test_the_miss_is_explained_by_the_part_that_changed(project):
    before = key(project().trained)
    after = key(project(("return x + 1", "return x + 2")).trained)
    (sentence,) = differences(after.parts, before.parts)
    assert sentence.startswith("function project_steps.local changed (")


def test_a_file_edited_after_import_is_read_as_a_fresh_worker_would_import_it(project, tmp_path):
    steps = project()
    before = key(steps.trained)
    (tmp_path / "project_steps.py").write_text(STEPS.replace("return x + 1", "return x + 5"))
    assert key(steps.trained).digest != before.digest


def test_recursion_and_cycles_end():
    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - 1)

    names = {part.name.rsplit(".", 1)[-1] for part in code_of(even).parts}
    assert {"even", "odd"} <= names


def test_code_without_source_counts_by_its_instructions():
    spaces = []
    for text in ("def f(x):\n    return x + 1", "def f(x):\n\n    return x + 1", "def f(x):\n    return x + 2"):
        space = {"__name__": "made_on_the_fly"}
        exec(text, space)
        spaces.append(key(space["f"]).digest)
    assert spaces[0] == spaces[1] != spaces[2]
