"""Points that come twice: what this process remembers of them, against a plain set. Excludes the wire."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stratal.interop.mlflow.service.seen import Point, Seen

POINTS = st.builds(
    Point, key=st.sampled_from("ab"), step=st.integers(0, 3), ms=st.integers(0, 3), value=st.sampled_from([0.0, 1.0, float("nan")])
)


def identity(point: Point) -> tuple:
    return (point.step, point.ms, None if point.value != point.value else point.value)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(POINTS, max_size=12), max_size=8), st.lists(POINTS, max_size=6))
def test_each_point_counts_once_whatever_was_there_and_however_calls_are_cut(calls, there):
    ends = Seen().of(b"r" * 16)
    kept = {(point.key, identity(point)) for point in there}
    marks = {}
    for point in there:
        if point.key not in marks or point.place > marks[point.key][0]:
            marks[point.key] = (point.place, None)
    ends.learn(marks)
    for points in calls:
        fresh = ends.fresh(points, lambda key, kept=frozenset(kept): {one for name, one in kept if name == key})
        wanted = list(dict.fromkeys((point.key, identity(point)) for point in points if (point.key, identity(point)) not in kept))
        assert [(point.key, identity(point)) for point in fresh] == wanted
        ends.note()
        kept |= set(wanted)
