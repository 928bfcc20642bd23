"""Which nodes of a graph may begin, as a pure schedule."""

import math
from collections.abc import Iterable

from stratal.pipelines.graph import Graph


class Schedule:
    """Which nodes of a graph may begin now. Time comes in; nothing here reads a clock.

    Laws: 1 a node begins after all that it depends on is done. 2 what depends on a failed node never begins.
    3 independent nodes go on. 4 nodes begin in the order of their calls, as far as 1 allows.
    """

    def __init__(self, graph: Graph) -> None:
        self._order = {path: place for place, path in enumerate(graph.nodes)}
        self._successors = graph.successors()
        self._missing = {path: len(node.depends_on()) for path, node in graph.nodes.items()}
        self._ready_at = {path: -math.inf for path, missing in self._missing.items() if missing == 0}
        self._running: set[str] = set()
        self._over: dict[str, bool] = {}
        self._skipped: dict[str, str] = {}

    @property
    def is_over(self) -> bool:
        """Tell whether nothing runs and nothing will begin."""
        return not self._running and not self._ready_at

    @property
    def running(self) -> set[str]:
        return set(self._running)

    def ready(self, now_s: float) -> list[str]:
        """Give the nodes that may begin now."""
        return sorted((path for path, at in self._ready_at.items() if at <= now_s), key=self._order.__getitem__)

    def next_s(self) -> float:
        """Give when the next delayed node may begin, infinity if none is."""
        return min(self._ready_at.values(), default=math.inf)

    def begin(self, path: str) -> None:
        del self._ready_at[path]
        self._running.add(path)

    def done(self, path: str) -> None:
        """The node has its output, from a run of it or from the cache."""
        self._running.discard(path)
        self._ready_at.pop(path, None)
        self._over[path] = True
        for successor in self._successors[path]:
            self._missing[successor] -= 1
            if self._missing[successor] == 0 and successor not in self._skipped:
                self._ready_at[successor] = -math.inf

    def again(self, path: str, at_s: float) -> None:
        """The attempt failed; the next one may begin at `at_s`."""
        self._running.discard(path)
        self._ready_at[path] = at_s

    def fail(self, path: str) -> list[str]:
        """The node failed for good: give what can never begin because of it."""
        self._running.discard(path)
        self._over[path] = False
        found = sorted(self._below(path), key=self._order.__getitem__)
        for one in found:
            self._skipped[one] = path
        return found

    def _below(self, path: str) -> Iterable[str]:
        found: set[str] = set()
        waiting = list(self._successors[path])
        while waiting:
            one = waiting.pop()
            if one not in found and one not in self._skipped:
                found.add(one)
                waiting.extend(self._successors[one])
        return found
