"""The schedule, the states and the lines of progress. Pure."""

import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratal.core.errors import Bug
from stratal.pipelines.graph import Graph, Node, Output
from stratal.pipelines.policy import StepOptions
from stratal.pipelines.progress import LinePrinter, StepEvent
from stratal.pipelines.schedule import Schedule
from stratal.pipelines.states import ALLOWED, FAILED, FINISHED, HIT, LOST, RUNNING, SKIPPED, check_transition


def graph_of(edges):
    """Make a graph: node number -> numbers of nodes before it."""
    nodes = {}
    for number, before in enumerate(edges):
        arguments = {f"a{one}": Output(node=str(one)) for one in before}
        nodes[str(number)] = Node(path=str(number), function=print, options=StepOptions(), arguments=arguments)
    return Graph(name="whole", nodes=nodes)


EDGES = st.integers(1, 8).flatmap(lambda count: st.tuples(*[st.sets(st.integers(0, max(0, n - 1)), max_size=n) for n in range(count)]))


@given(EDGES, st.integers(0, 10**6), st.integers(1, 3))
def test_every_order_of_events_keeps_the_laws(edges, seed, width):
    graph, dice = graph_of(edges), random.Random(seed)
    schedule = Schedule(graph)
    done, failed, skipped = set(), set(), set()
    while not schedule.is_over:
        ready = schedule.ready(0.0)
        assert ready == sorted(ready, key=int)
        for path in ready[: width - len(schedule.running)]:
            assert set(graph.nodes[path].depends_on()) <= done
            assert path not in done | failed | skipped
            schedule.begin(path)
        path = dice.choice(sorted(schedule.running))
        event = dice.random()
        if event < 0.6:
            schedule.done(path)
            done.add(path)
        elif event < 0.8:
            schedule.again(path, -1.0)
        else:
            below = schedule.fail(path)
            assert not set(below) & (done | failed | skipped)
            failed.add(path)
            skipped |= set(below)
    assert done | failed | skipped == set(graph.nodes)
    for path in skipped:
        assert set(graph.nodes[path].depends_on()) & (failed | skipped)
    for path in done | failed:
        assert set(graph.nodes[path].depends_on()) <= done


def test_a_node_that_waits_for_its_next_attempt_is_ready_at_its_time():
    schedule = Schedule(graph_of([set()]))
    schedule.begin("0")
    schedule.again("0", 5.0)
    assert schedule.ready(4.9) == []
    assert schedule.next_s() == 5.0
    assert schedule.ready(5.0) == ["0"]
    assert not schedule.is_over


def test_what_is_in_the_cache_is_done_without_having_begun():
    schedule = Schedule(graph_of([set(), {0}]))
    schedule.done("0")
    assert schedule.ready(0.0) == ["1"]


def test_transitions_outside_of_the_table_are_bugs():
    states = (RUNNING, FINISHED, HIT, FAILED, LOST, SKIPPED)
    for before in (None, *states):
        for after in states:
            if after in ALLOWED[before]:
                check_transition(before, after)
            else:
                with pytest.raises(Bug):
                    check_transition(before, after)


def test_progress_is_one_line_per_event():
    out = io.StringIO()
    show = LinePrinter(out)
    common = {"run": "r", "pipeline": "churn", "at_ns": 0, "total": 3}
    show(StepEvent(path="valid", attempt=1, state=HIT, done=1, duration_s=0.0, **common))
    show(StepEvent(path="train", attempt=2, state=RUNNING, done=1, why=("input x was 1, is 2", "polars 1 became 2"), **common))
    show(StepEvent(path="train", attempt=2, state=FAILED, done=1, duration_s=1.5, error="ValueError: ü\nmore", retry_s=4.0, **common))
    show(StepEvent(path="check", attempt=1, state=SKIPPED, done=1, why=("train failed",), **common))
    assert out.getvalue().splitlines() == [
        "= [1/3] valid is in the cache",
        "> [1/3] train runs, attempt 2 (input x was 1, is 2, ...)",
        "! [1/3] train failed, attempt 2 after 1.50 s: ValueError: ü; again in 4 s",
        "- [1/3] check skipped (train failed)",
    ]
