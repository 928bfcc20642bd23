"""Graphs: paths, edges and their checks. No engine, no store."""

from collections.abc import Sequence
from typing import Any, Literal, Optional

import pytest

from stratal.core.errors import Misuse
from stratal.core.records import Record
from stratal.pipelines import Permanent, pipeline, step
from stratal.pipelines.annotations import describe, fits
from stratal.pipelines.graph import Output, call_arguments
from stratal.tracking.values import File


class Shape(Record, frozen=True, kw_only=True):
    sides: int


class Square(Shape, frozen=True, kw_only=True):
    pass


@step
def square() -> Square:
    return Square(sides=4)


@step
def area(shape: Shape, scale: float = 1.0) -> float:
    return shape.sides * scale


@step
def two() -> tuple[int, str]:
    return 1, "b"


@step
def spelled(text: str) -> str:
    return text


@step
def total(numbers: list[float], *more: float, **named: float) -> float:
    return sum(numbers) + sum(more) + sum(named.values())


@step
def nothing() -> None:
    pass


@step
def read(rows: File) -> int:
    return len(rows.read())


def built(body, **options):
    @pipeline
    def whole() -> None:
        return body()

    return whole.graph()


def test_nodes_are_named_by_their_place_and_repeats_are_numbered():
    @pipeline
    def inner() -> float:
        return area(square())

    def body():
        inner()
        inner()
        square.with_options(name="other")()

    assert list(built(body).nodes) == ["inner/square", "inner/area", "inner#2/square", "inner#2/area", "other"]


def test_edges_come_from_arguments_lists_items_and_order():
    def body():
        a, b = area(square()), area(Square(sides=3))
        total([a, b, 1.0], b, x=a)
        nothing.after(a)()

    edges = built(body).edges()
    assert edges == [("square", "area"), ("area", "total"), ("area#2", "total"), ("area", "nothing")]


def test_arguments_hold_outputs_and_filled_in_defaults():
    node = built(lambda: area(square())).nodes["area"]
    assert node.arguments == {"shape": Output(node="square"), "scale": 1.0}


def test_star_arguments_come_back_as_they_were_given():
    node = built(lambda: total([1.0], 2.0, 3.0, x=4.0)).nodes["total"]
    args, kwargs = call_arguments(total, node.arguments)
    assert total(*args, **kwargs) == 10.0


def test_an_item_of_a_tuple_keeps_its_position():
    def body():
        _number, text = two()
        spelled(text)

    assert built(body).nodes["spelled"].arguments == {"text": Output(node="two", item=(1,))}


def test_an_edge_whose_ends_do_not_fit_is_refused_when_the_graph_is_built():
    with pytest.raises(Misuse, match="spelled: text wants str, but <the output of step 'square', a Square"):
        built(lambda: spelled(square()))


def test_a_forgotten_unpacking_is_named():
    with pytest.raises(Misuse) as caught:
        built(lambda: spelled(two()))
    assert "unpack them: a, b = two(...)" in caught.value.hint


def test_a_wrong_value_is_refused_when_the_graph_is_built():
    with pytest.raises(Misuse, match="spelled: text wants str, but got 7, a int"):
        built(lambda: spelled(7))


def test_a_path_where_a_file_is_wanted_names_the_file_handle():
    with pytest.raises(Misuse) as caught:
        built(lambda: read("rows.csv"))
    assert "st.File('rows.csv')" in caught.value.hint


def test_items_of_a_list_are_checked_one_by_one():
    with pytest.raises(Misuse, match=r"total: numbers\[1\] wants float"):
        built(lambda: total([area(square()), spelled("a")]))


def test_a_missing_argument_is_refused_with_the_signature():
    with pytest.raises(Misuse, match="missing a required argument: 'shape'") as caught:
        built(area)
    assert "(shape:" in caught.value.hint


def test_an_output_of_nothing_cannot_be_used_but_ordered_after():
    with pytest.raises(Misuse) as caught:
        built(lambda: spelled(nothing()))
    assert ".after(" in caught.value.hint


def test_a_handle_of_another_graph_is_refused():
    kept = []
    built(lambda: kept.append(square()))
    with pytest.raises(Misuse, match="belongs to another graph"):
        built(lambda: area(kept[0]))


def test_a_pipeline_without_steps_is_refused():
    with pytest.raises(Misuse, match="calls no step"):
        built(lambda: None)


def test_the_result_of_the_pipeline_is_in_the_graph():
    assert built(lambda: {"area": area(square())}).result == {"area": Output(node="area")}


def test_pipeline_parameters_are_checked():
    @pipeline
    def whole(rows: File, scale: float = 2) -> None:
        read(rows)

    with pytest.raises(Misuse, match="whole: rows wants File"):
        whole.graph("rows.csv")


def test_a_pipeline_called_plainly_runs_plainly():
    @pipeline
    def whole(sides: int) -> float:
        return area(Square(sides=sides), 0.5)

    assert whole(4) == 2.0


def test_a_step_without_a_return_value_is_not_cached_unless_it_says_so():
    def body():
        nothing()
        nothing.with_options(cache=True)()
        square()

    nodes = built(body).nodes
    assert [node.is_cached for node in nodes.values()] == [False, True, True]


def test_options_that_cannot_be_meant_are_refused():
    for wrong in ({"retries": -1}, {"timeout_s": 0}, {"backoff_s": -1.0}, {"name": "a/b"}):
        with pytest.raises(Misuse):
            step(**wrong)(lambda: 1)
    with pytest.raises(Misuse, match="workers = 0"):
        pipeline(workers=0)(square)


def test_an_error_in_the_function_of_a_pipeline_passes_and_ends_building():
    def body():
        raise Permanent("no")

    with pytest.raises(Permanent):
        built(body)
    assert spelled("plain again") == "plain again"


FITTING = [
    (int, float, True),
    (bool, int, True),
    (float, int, False),
    (Square, Shape, True),
    (Shape, Square, False),
    (int, Any, True),
    (int, object, True),
    (int | None, int, False),
    (int, int | None, True),
    (Optional[int], int | None, True),  # noqa: UP045
    (int | str, int | str | None, True),
    (list[int], list[float], True),
    (list[str], list[int], False),
    (list[int], Sequence[int], True),
    (list, list[int], True),
    (dict[str, int], dict[str, float], True),
    (dict[str, int], dict[int, int], False),
    (tuple[int, str], tuple[int, str], True),
    (tuple[int, str], tuple[int, int], False),
    (tuple[int, str], tuple[int, ...], False),
    (tuple[int, int], tuple[float, ...], True),
    (Literal["a", "b"], str, True),
    (Literal["a", 1], str, False),
    (str, Literal["a"], False),
    (type(None), None, True),
    (int, str, False),
]


@pytest.mark.parametrize(("made", "wanted", "expected"), FITTING)
def test_annotations_fit_as_type_checkers_say(made, wanted, expected):
    assert fits(made, wanted) is expected


def test_annotations_are_shown_as_people_write_them():
    assert describe(tuple[int, str]) == "tuple[int, str]"
    assert describe(int | None) == "int | None"
    assert describe(Literal["a", 1]) == "Literal['a', 1]"
    assert describe(Any) == "Any"
