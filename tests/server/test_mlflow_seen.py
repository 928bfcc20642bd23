"""Points that come twice: what this process remembers of them, against a plain set. Excludes the wire."""

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from stratal.interop.mlflow.service.seen import Point, Seen

POINTS = st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 3), st.sampled_from([0.0, 1.0, float("nan")]))


def read(kept: frozenset, most: int, key: str, steps: set[int]) -> tuple[set, bool]:
    all = {one for name, one in kept if name == key}
    return (all, True) if len(all) <= most else ({one for one in all if one[0] in steps}, False)


def identity(point: Point) -> tuple:
    key, step, ms, value = point
    return key, (step, ms, None if value != value else value)


@given(st.lists(st.lists(POINTS, max_size=12), max_size=8), st.lists(POINTS, max_size=6), st.integers(0, 8))
def test_each_point_counts_once_whatever_was_there_and_however_calls_are_cut(calls, there, most):
    """most: points of a series that is remembered."""
    ends = Seen(most).of(b"r" * 16)
    kept = {identity(point) for point in there}
    marks = {}
    for key, step, ms, _ in there:
        if key not in marks or (step, ms) > marks[key][0]:
            marks[key] = ((step, ms), None)
    ends.learn(marks)
    for points in calls:
        fresh = ends.fresh(points, partial(read, frozenset(kept), most))
        wanted = list(dict.fromkeys(identity(point) for point in points if identity(point) not in kept))
        assert [identity(point) for point in fresh] == wanted
        ends.note()
        kept |= set(wanted)
