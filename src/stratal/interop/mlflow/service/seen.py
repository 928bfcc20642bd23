"""Points that are in the store already: a client repeats a call whose answer was lost, and each point counts once.

Most points lie beyond all that was written of their series before; that costs one comparison. Others are looked for.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

# Ends of series that are remembered, and points of series that were looked through: 300 and 200 bytes each.
MOST_ENDS, MOST_POINTS = 200_000, 200_000
# A point, as clients send it: key, step, time in milliseconds, value.
Point = tuple[str, int, int, float]
# Step, time and value of points; NaN is None, so that it is one value.
Identities = set[tuple[int, int, float | None]]
# The highest (step, time) of a series, and the values there; None where they are not known.
End = tuple[tuple[int, int], tuple[float | None, ...] | None]
# Gives what a series holds: all of it, or, of a long one, what it holds at some steps; and whether that is all.
Read = Callable[[str, set[int]], tuple[Identities, bool]]


def identities(points: Iterable[Point], key: str) -> Identities:
    """Give what the points of one series are known by."""
    return {(step, ms, value if value == value else None) for name, step, ms, value in points if name == key}


class Seen:
    """What one process remembers, of the runs that it wrote to lately."""

    def __init__(self, most_points: int = MOST_POINTS) -> None:
        self._most_points = most_points
        self._lock = threading.Lock()
        self._runs: OrderedDict[bytes, Ends] = OrderedDict()
        self._points: OrderedDict[tuple[bytes, str], Identities] = OrderedDict()

    def of(self, run: bytes) -> "Ends":
        """Give what is remembered of a run."""
        with self._lock:
            ends = self._runs.setdefault(run, Ends(self, run))
            self._runs.move_to_end(run)
            return ends

    def points(self, run: bytes, key: str) -> Identities | None:
        """Give the points of a series, if they were looked through lately."""
        with self._lock:
            return self._points.get((run, key))

    def keep(self, run: bytes, key: str, points: Identities) -> None:
        """Remember all points of a series, as long as there are not too many."""
        with self._lock:
            self._points[run, key] = points
            while sum(map(len, self._points.values())) > self._most_points:
                self._points.popitem(last=False)

    def trim(self) -> None:
        """Forget the runs that were written to the longest ago, when there are many."""
        with self._lock:
            while len(self._runs) > 1 and sum(len(ends.by_key) for ends in self._runs.values()) > MOST_ENDS:
                self._runs.popitem(last=False)


class Ends:
    """The ends of one run's series. `lock` is held from asking to noting: nobody writes a point of the run in between."""

    def __init__(self, seen: Seen, run: bytes) -> None:
        self.lock = threading.Lock()
        self.is_known = False
        self.heard_ns = 0  # when it was written down last that a client of the run is there
        self.by_key: dict[str, End] = {}
        self._seen, self._run = seen, run
        self._asked: tuple[dict[str, End], list[Point]] = ({}, [])

    def learn(self, ends: dict[str, End]) -> None:
        """Remember the ends of all series that the run has."""
        self.by_key, self.is_known = ends, True
        self._seen.trim()

    def fresh(self, points: Sequence[Point], read: Read) -> list[Point]:
        """Give the points that are not there yet, each once. read: is called only where it must be."""
        new: list[Point] = []
        ends: dict[str, End] = {}
        added: dict[str, Identities] = {}  # of what is new, for series of which a point lies before the end
        there: dict[str, Identities] = {}  # of what was there, for the same
        for point in points:  # a thousand at a time: nothing is called for one that lies beyond its series
            key, step, ms, value = point
            place, kept = (step, ms), value if value == value else None
            end = ends.get(key) or self.by_key.get(key)
            if end is None or place > end[0]:
                ends[key] = (place, (kept,))
            elif place == end[0] and end[1] is not None:
                if kept in end[1]:
                    continue
                ends[key] = (place, (*end[1], kept))
            else:
                if key not in added:
                    added[key] = identities(new, key)
                    there[key] = self._there(key, {step for name, step, _, _ in points if name == key}, read)
                if (step, ms, kept) in added[key] or (step, ms, kept) in there[key]:
                    continue
            if key in added:
                added[key].add((step, ms, kept))
            new.append(point)
        self._asked = ends, new
        return new

    def note(self) -> None:
        """Remember the points that `fresh` gave last: they are written."""
        ends, new = self._asked
        self.by_key.update(ends)
        for key in {key for key, _, _, _ in new}:
            if (known := self._seen.points(self._run, key)) is not None:
                known |= identities(new, key)
                self._seen.keep(self._run, key, known)

    def _there(self, key: str, steps: set[int], read: Read) -> Identities:
        known = self._seen.points(self._run, key)
        if known is None:
            known, is_all = read(key, steps)
            if is_all:
                self._seen.keep(self._run, key, known)
        return known
