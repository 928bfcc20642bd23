"""Points that are in the store already: a client repeats a call whose answer was lost, and each point counts once.

Most points lie beyond all that was written of their series before; that costs one comparison. Others are looked for.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

# Runs whose ends are remembered, and points of series that were looked through: 200 bytes each.
MOST_RUNS, MOST_POINTS = 20_000, 200_000


class Point(NamedTuple):
    """A point, as clients send it: time in milliseconds."""

    key: str
    step: int
    ms: int
    value: float

    @property
    def place(self) -> tuple[int, int]:
        return (self.step, self.ms)

    @property
    def identity(self) -> tuple[int, int, float | None]:
        """What is equal in equal points; NaN is one value."""
        return (self.step, self.ms, self.value if self.value == self.value else None)


Identities = set[tuple[int, int, float | None]]
# Of a series: the highest (step, time), and the values there; None where they are not known.
Mark = tuple[tuple[int, int], frozenset[float | None] | None]


class Seen:
    """What one process remembers. `lock` is held from asking to noting: nobody writes a point in between."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._marks: OrderedDict[bytes, dict[str, Mark]] = OrderedDict()
        self._points: OrderedDict[tuple[bytes, str], Identities] = OrderedDict()

    def knows(self, run: bytes) -> bool:
        """Tell whether the ends of a run's series are known."""
        return run in self._marks

    def learn(self, run: bytes, marks: dict[str, Mark]) -> None:
        """Remember the ends of all series that a run has."""
        self._marks[run] = marks
        while len(self._marks) > MOST_RUNS:
            self._marks.popitem(last=False)

    def fresh(self, run: bytes, points: Sequence[Point], read: Callable[[str], Identities]) -> list[Point]:
        """Give the points that are not there yet, each once. read: gives all points of a series; it is called only where it must be."""
        marks = self._marks[run]
        self._marks.move_to_end(run)
        new: list[Point] = []
        ends: dict[str, Mark] = {}
        added: dict[str, Identities] = {}
        for point in points:
            end = ends.get(point.key) or marks.get(point.key)
            if end is None or point.place > end[0]:
                ends[point.key] = (point.place, frozenset((point.identity[2],)))
            elif point.place == end[0] and end[1] is not None:
                if point.identity[2] in end[1]:
                    continue
                ends[point.key] = (end[0], end[1] | {point.identity[2]})
            elif point.identity in added.get(point.key, ()) or point.identity in self._all(run, point.key, read):
                continue
            added.setdefault(point.key, set()).add(point.identity)
            new.append(point)
        return new

    def note(self, run: bytes, points: Sequence[Point]) -> None:
        """Remember points that were written."""
        marks = self._marks[run]
        for point in points:
            end = marks.get(point.key)
            if end is None or point.place > end[0]:
                marks[point.key] = (point.place, frozenset((point.identity[2],)))
            elif point.place == end[0] and end[1] is not None:
                marks[point.key] = (end[0], end[1] | {point.identity[2]})
            if (known := self._points.get((run, point.key))) is not None:
                known.add(point.identity)

    def _all(self, run: bytes, key: str, read: Callable[[str], Identities]) -> Identities:
        place = (run, key)
        if place not in self._points:
            self._points[place] = read(key)
        self._points.move_to_end(place)
        while len(self._points) > 1 and sum(map(len, self._points.values())) > MOST_POINTS:
            self._points.popitem(last=False)
        return self._points[place]
