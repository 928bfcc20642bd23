"""When is a study another one? What an objective's digest sees, what it does not, and digests of data."""

import functools
import subprocess
import sys
import textwrap
import threading

import msgspec
import numpy as np
import polars as pl
import pytest

from stratal.core.errors import Misuse
from stratal.tracking.frames import frame_digest
from stratal.tracking.values import Dataset
from stratal.tuning.identity import data_digest, objective_digest, ref_of


def digest_of(tmp_path, name, source, objective="objective", **files):
    """The digest of an objective in a file of a project, taken in a fresh process."""
    folder = tmp_path / name
    folder.mkdir()
    for file, text in {"script": source, **files}.items():
        (folder / f"{file}.py").write_text(textwrap.dedent(text))
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import script\nfrom stratal.tuning.identity import objective_digest\n"
    code += f"print(objective_digest(script.{objective}))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


PLAIN = """
    import math
    SCALE = 2
    def inner(x):
        return x * SCALE
    def objective(trial):
        return inner(trial["x"]) + math.pi
"""


@pytest.mark.slow
def test_comments_docstrings_and_layout_do_not_count(tmp_path):
    same = """
    import math

    SCALE = 2   # a constant


    def inner(x):
        '''Scale.'''
        return x * SCALE
    def unrelated():
        return 7
    def objective(trial):
        '''What is measured.'''
        # here
        return (inner(trial["x"])
                + math.pi)
    """
    assert digest_of(tmp_path, "one", PLAIN) == digest_of(tmp_path, "two", PLAIN) == digest_of(tmp_path, "three", same)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new"),
    [('trial["x"]', 'trial["y"]'), ("x * SCALE", "x + SCALE"), ("SCALE = 2", "SCALE = 3"), ("math.pi", "math.e")],
)
def test_the_objective_and_what_it_reaches_count(tmp_path, old, new):
    assert digest_of(tmp_path, "one", PLAIN) != digest_of(tmp_path, "two", PLAIN.replace(old, new))


@pytest.mark.slow
def test_a_module_of_the_project_counts_by_its_content(tmp_path):
    source = "import beside\ndef objective(trial):\n    return beside.loss(trial)\n"
    one = digest_of(tmp_path, "one", source, beside="def loss(t):\n    return 1.0\n")
    assert one == digest_of(tmp_path, "two", source, beside="def loss(t):\n    return 1.0\n")
    assert one != digest_of(tmp_path, "three", source, beside="def loss(t):\n    return 2.0\n")


@pytest.mark.slow
def test_a_function_of_a_script_has_the_same_digest_in_a_worker(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(PLAIN)
        + textwrap.dedent("""
        from stratal.compute import LocalWorkers
        from stratal.tuning.identity import objective_digest

        with LocalWorkers(1) as workers:
            there = workers.submit(objective_digest, objective).result()
        print(there == objective_digest(objective))
        """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


@pytest.mark.slow
def test_recursion_between_functions_ends(tmp_path):
    source = """
    def even(n):
        return n == 0 or odd(n - 1)
    def odd(n):
        return n > 0 and even(n - 1)
    def objective(t):
        return even(4)
    """
    assert digest_of(tmp_path, "one", source) != digest_of(tmp_path, "two", source.replace("even(4)", "odd(4)"))


def test_what_is_closed_over_and_defaults_count():
    def make(factor, power=2):
        def objective(trial, power=power):
            return factor * trial["x"] ** power

        return objective

    assert objective_digest(make(1.0)) == objective_digest(make(1.0))
    assert len({objective_digest(make(f, p)) for f, p in [(1.0, 2), (2.0, 2), (1.0, 3)]}) == 3


def test_partials_methods_and_callable_objects_have_digests_too():
    def objective(weight, trial):
        return weight * trial["x"]

    class Objective:
        def __init__(self, weight):
            self.weight = weight

        def __call__(self, trial):
            return self.weight * trial["x"]

    made = [
        functools.partial(objective, 1),
        functools.partial(objective, 2),
        Objective(1),
        Objective(2),
        Objective(1).__call__,
        Objective(2).__call__,
    ]
    assert len({objective_digest(f) for f in made}) == len(made)
    assert objective_digest(Objective(1)) == objective_digest(Objective(1))


def test_objects_that_are_closed_over_count_by_their_content():
    class Config:
        def __init__(self, depth):
            self.depth = depth

    def make(value):
        return lambda trial: value is not None

    assert objective_digest(make(Config(1))) == objective_digest(make(Config(1)))
    assert objective_digest(make(Config(1))) != objective_digest(make(Config(2)))
    assert objective_digest(make(np.arange(3))) != objective_digest(make(np.arange(4)))
    assert objective_digest(make(threading.Lock())) == objective_digest(make(threading.Lock()))


def test_code_without_source_is_told_apart_by_what_it_does():
    functions = [eval(text) for text in ("lambda t: t['x'] + 1", "lambda t: t['x'] + 2", "lambda t: t['y'] + 1")]
    assert len({objective_digest(f) for f in functions}) == 3
    assert objective_digest(functions[0]) == objective_digest(eval("lambda t: t['x'] + 1"))


def test_data_is_told_apart_by_content_and_type():
    values = [
        None,
        1,
        1.0,
        True,
        "1",
        b"1",
        (1,),
        [1],
        {1},
        {"a": 1},
        {"a": 2},
        np.arange(3),
        np.arange(3.0),
        np.arange(3)[None],
        (1, (2,)),
        ((1, 2),),
    ]
    assert len({data_digest(value) for value in values}) == len(values)


def test_frames_count_by_content_and_lineage_knows_them_by_digest():
    frame = pl.DataFrame({"x": [1, 2, 3]})
    assert data_digest(frame) == data_digest(pl.concat([frame[:1], frame[1:]], rechunk=False))
    assert data_digest(frame) != data_digest(frame.rename({"x": "y"}))
    assert data_digest((frame, 1)) != data_digest((frame[:2], 1))
    assert ref_of(frame) == f"sha256:{frame_digest(frame)}"
    dataset = Dataset(ref="dataset:churn@3", name="churn", version=3, digest="d" * 64, rows=1, columns=("x",))
    assert ref_of(dataset) == "dataset:churn@3"
    assert data_digest(dataset) != data_digest(msgspec.structs.replace(dataset, digest="e" * 64))
    assert ref_of([1, 2]) is None


def test_equal_data_has_equal_digests():
    assert data_digest({"a": 1, "b": 2}) == data_digest({"b": 2, "a": 1})
    assert data_digest(np.arange(10)[::2]) == data_digest(np.arange(0, 10, 2))
    assert data_digest({"x", "y", "z"}) == data_digest({"z", "y", "x"})


def test_data_that_cannot_be_digested_is_misuse():
    with pytest.raises(Misuse, match="generator"):
        data_digest(x for x in range(3))
