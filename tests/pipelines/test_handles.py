"""Handles refuse what needs a value, and say what to write. No engine, no store."""

import copy
import os
import pickle

import pytest

from stratal.core.errors import Misuse
from stratal.pipelines import pipeline, step
from stratal.pipelines.handles import Handle


@step
def numbers() -> list[int]:
    return [1, 2]


@step
def pair() -> tuple[int, str]:
    return 1, "a"


@step
def doubled(number: int) -> int:
    return 2 * number


def in_pipeline(body):
    """Run `body` where step calls build a graph."""

    @pipeline
    def building() -> None:
        numbers()
        body()

    building.graph()


REFUSALS = {
    "bool": bool,
    "not": lambda handle: not handle,
    "len": len,
    "==": lambda handle: handle == 1,
    "!=": lambda handle: handle != 1,
    "<": lambda handle: handle < 1,
    "reversed comparison": lambda handle: max(1, handle),
    "in": lambda handle: 1 in handle,
    "str": str,
    "f-string": lambda handle: f"{handle}",
    "format": lambda handle: format(handle, ">10"),
    "for": list,
    "unpack": lambda handle: [*handle],
    "index": lambda handle: handle[0],
    "key": lambda handle: handle["auc"],
    "attribute": lambda handle: handle.best,
    "method": lambda handle: handle.append(1),
    "+": lambda handle: handle + 1,
    "reversed +": lambda handle: 1 + handle,
    "sum": lambda handle: sum([handle]),
    "int": int,
    "float": float,
    "call": lambda handle: handle(1),
    "with": lambda handle: handle.__enter__(),
    "pickle": pickle.dumps,
    "deepcopy": copy.deepcopy,
    "assignment": lambda handle: handle.__setitem__(0, 1),
    "path": os.fspath,
}


@pytest.mark.parametrize("use", REFUSALS.values(), ids=REFUSALS.keys())
def test_a_handle_refuses_what_needs_the_value_and_names_its_step(use):
    def body():
        with pytest.raises(Misuse, match="step 'numbers") as caught:
            use(numbers())
        assert caught.value.hint

    in_pipeline(body)


def test_the_hint_for_an_attribute_is_a_step_that_reads_it():
    def body():
        with pytest.raises(Misuse) as caught:
            _ = numbers().best
        assert "pass it whole to a step that reads .best" in caught.value.hint
        assert "list[int]" in caught.value.hint

    in_pipeline(body)


def test_the_hint_for_unpacking_an_unannotated_output_is_the_annotation():
    def body():
        with pytest.raises(Misuse, match="unknown length") as caught:
            _first, _second = numbers()
        assert "tuple[A, B]" in caught.value.hint

    in_pipeline(body)


def test_the_hint_for_an_attribute_of_a_tuple_is_unpacking():
    def body():
        with pytest.raises(Misuse) as caught:
            _ = pair().upper
        assert "a, b = pair(...)" in caught.value.hint

    in_pipeline(body)


def test_a_fixed_tuple_unpacks_and_is_indexed_from_both_ends():
    def body():
        first, second = pair()
        assert isinstance(first, Handle)
        assert isinstance(second, Handle)
        doubled(first)
        doubled(pair()[-2])
        with pytest.raises(Misuse, match="2 items, so no \\[2\\]"):
            pair()[2]

    in_pipeline(body)


def test_unpacking_into_the_wrong_number_of_names_is_pythons_own_error():
    def body():
        with pytest.raises(ValueError, match="not enough values"):
            _a, _b, _c = pair()

    in_pipeline(body)


def test_repr_shows_what_will_be_there():
    def body():
        assert repr(pair()[1]) == "<the output of step 'pair'[1], a str that is not there yet>"

    in_pipeline(body)


def test_outside_of_a_pipeline_a_step_is_a_plain_call():
    assert doubled(3) == 6
    assert pair() == (1, "a")
