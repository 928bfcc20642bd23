"""Comparing runs, and walking lineage: pure rules. Excluded: where the runs and edges come from."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratal.core.errors import Misuse
from stratal.tracking.capture import Capture, StoredFile, quick
from stratal.tracking.capture.hardware import read_hardware
from stratal.tracking.compare import ComparedRun, MetricRow, Row, compare
from stratal.tracking.directions import direction_of
from stratal.tracking.lineage import Edge, Node, why

A, B, C = ("a" * 32, "b" * 32, "c" * 32)


def captured(files: dict[str, str]) -> Capture:
    stored = {name: StoredFile(digest=digest, size_bytes=1) for name, digest in files.items()}
    return msgspec.structs.replace(quick(user="u", now_ns=1), files=stored)


def test_params_that_differ_or_are_missing_are_shown_and_equal_ones_counted() -> None:
    comparison = compare(
        [
            ComparedRun(id=A, params={"lr": 0.1, "depth": 3, "same": "x", "flag": True, "nan": math.nan}),
            ComparedRun(id=B, params={"lr": 0.2, "same": "x", "flag": 1, "nan": math.nan}),
            ComparedRun(id=C, params={"lr": 0.1, "depth": 3.0, "same": "x", "flag": True, "nan": math.nan}),
        ]
    )

    assert comparison.params == (
        Row(name="depth", values=(3, None, 3.0)),
        Row(name="flag", values=(True, 1, True)),
        Row(name="lr", values=(0.1, 0.2, 0.1)),
    )
    assert comparison.equal_params == 2


def test_metrics_have_deltas_to_the_first_run_and_the_best_is_marked() -> None:
    comparison = compare(
        [
            ComparedRun(id=A, metrics={"loss": 0.5, "auc": 0.8, "foo": 1.0, "bar": 1.0}),
            ComparedRun(id=B, metrics={"loss": 0.25, "auc": 0.8, "foo": 2.0}),
            ComparedRun(id=C, metrics={"loss": math.nan, "foo": 0.5}),
        ],
        maximize=["foo"],
    )
    rows = {row.name: row for row in comparison.metrics}

    assert rows["auc"] == MetricRow(
        name="auc", direction="max", values=(0.8, 0.8, None), deltas=(0.0, 0.0, None), best=(0, 1), is_guessed=True
    )
    assert (rows["loss"].direction, rows["loss"].best, rows["loss"].deltas[:2]) == ("min", (1,), (0.0, -0.25))
    assert (rows["foo"].direction, rows["foo"].best, rows["foo"].is_guessed) == ("max", (1,), False)
    assert (rows["bar"].direction, rows["bar"].best) == ("unknown", ())


def test_a_direction_that_runs_state_is_not_guessed_and_a_contradiction_is_no_statement() -> None:
    comparison = compare(
        [
            ComparedRun(id=A, metrics={"foo": 1.0, "loss": 1.0}, goals={"foo": "max", "loss": "max"}),
            ComparedRun(id=B, metrics={"foo": 2.0, "loss": 2.0}, goals={"loss": "min"}),
        ]
    )
    rows = {row.name: (row.direction, row.is_guessed, row.best) for row in comparison.metrics}

    assert rows == {"foo": ("max", False, (1,)), "loss": ("min", True, (0,))}


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("val/loss", "min"), ("logLoss", "min"), ("log_loss", "min"), ("train_RMSE", "min"), ("equalized_odds_difference[gender]", "min"),
        ("auc_difference", "min"), ("epoch_seconds", "min"), ("AUC", "max"), ("test.f1", "max"), ("val_accuracy", "max"), ("R2", "max"),
        ("roc_auc", "max"), ("campaign profit", "max"), ("neg_log_loss", "max"),
        ("epoch", "unknown"), ("lr", "unknown"), ("timeline", "unknown"),
    ],
)  # fmt: skip
def test_the_better_direction_is_read_from_the_name(name: str, direction: str) -> None:
    assert direction_of(name) == direction


def test_packages_code_and_data_that_differ_are_shown() -> None:
    first, second = captured({"sources/a.py": "1" * 64}), captured({"sources/a.py": "2" * 64})
    numpy_20, numpy_21 = {"numpy": "2.0", "polars": "1.0"}, {"numpy": "2.1", "polars": "1.0"}
    comparison = compare(
        [
            ComparedRun(id=A, name="x", capture=first, packages=numpy_20, used={"data": ("dataset:churn@1",)}),
            ComparedRun(id=B, name="x", capture=second, packages=numpy_21, used={"data": ("dataset:churn@2",)}),
            ComparedRun(id=C, name="y"),
        ]
    )

    # Of C nothing was captured: it differs from nobody.
    assert comparison.packages == (Row(name="numpy", values=("2.0", "2.1", None)),)
    assert Row(name="file sources/a.py", values=("1" * 12, "2" * 12, None)) in comparison.code
    assert comparison.data == (Row(name="data", values=("dataset:churn@1", "dataset:churn@2", None)),)
    assert comparison.not_captured == ("y",)
    assert [column.label for column in comparison.runs] == ["aaaaaaaa", "bbbbbbbb", "y"]


def test_a_run_that_ended_before_all_was_captured_differs_from_nobody_in_what_is_not_known() -> None:
    whole = captured({"sources/a.py": "1" * 64})
    whole = msgspec.structs.replace(whole, environment={"LANG": "C"}, hardware=read_hardware())

    comparison = compare(
        [ComparedRun(id=A, name="x", capture=whole, packages={"numpy": "2.0"}), ComparedRun(id=B, name="killed", capture=captured({}))]
    )

    assert (comparison.environment, comparison.packages, comparison.code) == ((), (), ())
    assert (comparison.cut_short, comparison.not_captured) == (("killed",), ())


def test_equal_runs_differ_in_nothing() -> None:
    same = captured({})

    comparison = compare([ComparedRun(id=id, params={"a": 1}, capture=same) for id in (A, B)])

    assert (comparison.params, comparison.environment, comparison.packages, comparison.code, comparison.data) == ((), (), (), (), ())


def test_a_comparison_of_one_run_or_of_one_run_twice_is_refused() -> None:
    with pytest.raises(Misuse, match="one run alone cannot be compared"):
        compare([ComparedRun(id=A)])
    with pytest.raises(Misuse, match="named twice"):
        compare([ComparedRun(id=A), ComparedRun(id=A)])
    with pytest.raises(Misuse, match="minimized and maximized"):
        compare([ComparedRun(id=A), ComparedRun(id=B)], minimize=["m"], maximize=["m"])


def edges_of(*edges: tuple[str, str, str]):
    made = [Edge(run=run, verb=verb, target=target, role="data") for run, verb, target in edges]
    return lambda ref: [edge for edge in made if f"run:{edge.run}" == ref or edge.target == ref]


def texts(node: Node) -> list[str]:
    return [f"{node.relation} {node.ref}".strip(), *(f"  {line}" for branch in node.branches for line in texts(branch))]


def test_the_tree_shows_where_a_model_came_from_and_what_came_of_it() -> None:
    walk = edges_of(
        (A, "used", "dataset:churn@1"), (A, "produced", "sha256:model"), (B, "used", "sha256:model"), (B, "produced", "sha256:report"),
        (C, "produced", "dataset:churn@1"),
    )  # fmt: skip

    lineage = why("sha256:model", walk)

    assert texts(lineage.origins) == ["sha256:model", f"  produced by run:{A}", "    used dataset:churn@1", f"      produced by run:{C}"]
    assert texts(lineage.uses) == ["sha256:model", f"  used by run:{B}", "    produced sha256:report"]


def test_a_run_that_another_run_used_stands_in_both_trees() -> None:
    walk = edges_of((A, "used", f"run:{B}"))

    assert texts(why(f"run:{A}", walk).origins) == [f"run:{A}", f"  used run:{B}"]
    assert texts(why(f"run:{B}", walk).uses) == [f"run:{B}", f"  used by run:{A}"]


def test_what_a_whole_used_is_an_origin_of_what_its_part_produced() -> None:
    walk = edges_of((A, "produced", "sha256:model"), (A, "part of", f"run:{B}"), (B, "used", "dataset:churn@1"))

    assert texts(why("sha256:model", walk).origins)[1:] == [f"  produced by run:{A}", f"    part of run:{B}", "      used dataset:churn@1"]
    assert texts(why("dataset:churn@1", walk).uses) == ["dataset:churn@1", f"  used by run:{B}"]


def test_a_cycle_ends_at_its_first_repetition() -> None:
    walk = edges_of((A, "used", "x"), (B, "produced", "x"), (B, "used", "y"), (A, "produced", "y"))

    origins = why("y", walk).origins

    assert texts(origins) == ["y", f"  produced by run:{A}", "    used x", f"      produced by run:{B}", "        used y"]
    assert origins.branches[0].branches[0].branches[0].branches[0].is_repeated


def test_bounds_say_what_they_hide() -> None:
    wide = edges_of(*((A, "used", f"sha256:{number}") for number in range(10)))
    chain = edges_of(*(edge for n in range(9) for edge in ((str(n), "used", f"t{n}"), (str(n + 1), "produced", f"t{n}"))))

    assert (len(why(f"run:{A}", wide, most=4).origins.branches), why(f"run:{A}", wide, most=4).origins.hidden) == (3, 7)
    deep = why("run:0", chain, depth=2).origins
    assert (len(texts(deep)), deep.branches[0].branches[0].hidden) == (3, 1)


@given(
    st.lists(
        st.tuples(st.sampled_from("rst"), st.sampled_from(["used", "produced"]), st.sampled_from(["x", "y", "run:r", "run:s"])), max_size=20
    )
)
def test_any_graph_ends_and_expands_each_node_once(edges: list[tuple[str, str, str]]) -> None:
    lineage = why("x", edges_of(*edges))

    for root in (lineage.origins, lineage.uses):
        expanded: list[str] = []
        waiting = [root]
        while waiting:
            node = waiting.pop()
            waiting.extend(node.branches)
            assert not (node.is_repeated and node.branches)
            if not node.is_repeated:
                expanded.append(node.ref)
        assert len(expanded) == len(set(expanded))
