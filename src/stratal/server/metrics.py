"""Metrics: what the server counts of itself, as Prometheus reads it. https://prometheus.io/docs/instrumenting/exposition_formats/"""

import os
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from stratal.version import __version__

KIND = "text/plain; version=0.0.4"  # the framework adds the charset; twice is no type to Prometheus, which then refuses it all
# Upper bounds of the buckets of latency, in seconds.
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Statuses that are there from the beginning, as 0: Prometheus sees no rise in what appears with its first count.
_FROM_0 = (429, 500, 503)
_STATM = Path("/proc/self/statm")


class Metrics:
    """Counters of one server. The event loop is the only writer, and needs no lock. surfaces: those that there are."""

    def __init__(self, surfaces: Iterable[str] = ()) -> None:
        self._began_s = time.time()
        self._requests = Counter({(surface, status): 0 for surface in surfaces for status in _FROM_0})
        self._buckets: dict[str, list[int]] = defaultdict(lambda: [0] * (len(BUCKETS_S) + 1))
        self._seconds: Counter[str] = Counter()
        self.open = 0

    def count(self, surface: str, status: int, seconds: float) -> None:
        """Note a request that has been answered. surface: one of few names, never of a user's making."""
        self._requests[surface, status] += 1
        self._buckets[surface][bisect_left(BUCKETS_S, seconds)] += 1
        self._seconds[surface] += seconds  # type: ignore[assignment]  # a Counter of floats adds up as well

    def text(self, gauges: Mapping[str, tuple[str, float]], counters: Mapping[str, tuple[str, float]]) -> str:
        """Give all as text. gauges, counters: name to (what it is, value) of what others count."""
        own = {
            "open_requests": ("Requests under way.", float(self.open)),
            "process_resident_bytes": ("Memory of the process.", float(resident_bytes())),
            "start_time_seconds": ("When the server began, in seconds since 1970.", self._began_s),
        }
        lines = [*_head("build_info", "gauge", "The version that runs."), f'stratal_build_info{{version="{__version__}"}} 1']
        lines += self._requests_lines()
        for kind, values in (("gauge", {**own, **gauges}), ("counter", counters)):
            for name, (what, value) in values.items():
                lines += [*_head(name, kind, what), f"stratal_{name} {value:.17g}"]
        return "\n".join(lines) + "\n"

    def _requests_lines(self) -> Iterator[str]:
        yield from _head("requests_total", "counter", "Requests by surface and status.")
        for (surface, status), count in sorted(self._requests.items()):
            yield f'stratal_requests_total{{surface="{surface}",status="{status}"}} {count}'
        yield from _head("request_seconds", "histogram", "Seconds from the head of a request to the end of its answer.")
        for surface, counts in sorted(self._buckets.items()):
            reached = 0
            for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), counts, strict=True):
                reached += count
                yield f'stratal_request_seconds_bucket{{surface="{surface}",le="{bound}"}} {reached}'
            yield f'stratal_request_seconds_sum{{surface="{surface}"}} {self._seconds[surface]:.6f}'
            yield f'stratal_request_seconds_count{{surface="{surface}"}} {reached}'


def resident_bytes() -> int:
    """Give the memory that this process holds; 0 where the system does not say."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def _head(name: str, kind: str, what: str) -> tuple[str, str]:
    return f"# HELP stratal_{name} {what}", f"# TYPE stratal_{name} {kind}"
