"""Pure rules on columns of points: group frames by series, number steps, hide what a takeover rewound, find the last.

Nothing here reads a file or a database. Series are named by small integers (keys), sorted ascending.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stratal.store.frames import NO_STEP, Frame, counted, is_like, read_points
from stratal.store.series import Floats, Ints, Keys, Points

LAST_STEP = 2**63 - 1
# The epoch under which a fork sees what it inherits: older than any of its own.
INHERITED = -1


class Rows(NamedTuple):
    """Rows of one tuple of names: keys (n,), steps (R,), times (R,), values (R, n), sequence (R,)."""

    keys: Keys
    steps: Ints
    times: Ints
    values: Floats
    sequence: Ints


class Sorted(NamedTuple):
    """Points of many series, sorted by key and arrival. starts, ends: (m,) the place of each series."""

    keys: Keys
    points: Points
    starts: Ints
    ends: Ints

    @property
    def series(self) -> list[int]:
        """The keys, once each."""
        keys: list[int] = self.keys[self.starts].tolist()
        return keys


class Takeover(NamedTuple):
    """`epoch` took over: points of older epochs from `from_step` on are hidden (None: none are). at_ns: when."""

    epoch: int
    from_step: int | None
    at_ns: int


class Fork(NamedTuple):
    """A run goes on from another one (`of`): from its points before `step`, as they counted in its `epoch`.

    So it inherits what the two numbers say, whenever it arrives; what later epochs of the other run add or hide is not inherited.
    """

    of: bytes
    step: int
    epoch: int

    def takeovers(self, theirs: "Sequence[Takeover]") -> "tuple[Takeover, ...]":
        """Give those takeovers of the other run that the fork has seen."""
        return tuple(takeover for takeover in theirs if takeover.epoch <= self.epoch)

    def limit(self, epoch: int, theirs: "Sequence[Takeover]") -> int | None:
        """Give the step from which the other run's points of an epoch are not inherited; None: none of them is."""
        if epoch > self.epoch:
            return None
        hidden = hidden_from(epoch, self.takeovers(theirs))
        return self.step if hidden is None else min(self.step, hidden)


def gather(
    data: bytes, frames: Sequence[Frame], keys_of: Callable[[int], Keys | None]
) -> tuple[dict[tuple[bytes, int], list[Rows]], list[Frame]]:
    """Collect the rows of points frames by (run, epoch).

    keys_of: shape to keys, None if nobody knows its names. Returns also the frames whose names nobody knows.
    """
    into: dict[tuple[bytes, int], list[Rows]] = {}
    unknown: list[Frame] = []
    for place, pieces in _pieces(frames).items():
        for piece in pieces:
            rows, nameless = _rows_of(data, piece, keys_of)
            if nameless:  # of which frames these are, each of them tells by itself
                rows, nameless = [], []
                for frame in piece:
                    found, lacking = _rows_of(data, [frame], keys_of)
                    rows += found
                    nameless += lacking
            unknown += nameless
            if rows:
                into.setdefault(place, []).extend(rows)
    return into, unknown


def _pieces(frames: Sequence[Frame]) -> dict[tuple[bytes, int], list[list[Frame]]]:
    """Give the frames by (run, epoch) in their order, those together that are read together."""
    found: dict[tuple[bytes, int], list[list[Frame]]] = {}
    for frame in frames:
        pieces = found.setdefault((frame.run, frame.epoch), [])
        if pieces and is_like(pieces[-1][-1], frame):
            pieces[-1].append(frame)
        else:
            pieces.append([frame])
    return found


def _rows_of(data: bytes, piece: Sequence[Frame], keys_of: Callable[[int], Keys | None]) -> tuple[list[Rows], list[Frame]]:
    """Give the rows of frames that are read together, by shape; and these frames, if nobody knows the names of one of the shapes."""
    shapes, when, values = read_points(data, piece)
    sequence = counted(piece, [frame.sequence for frame in piece], 1)
    rows: list[Rows] = []
    unknown: list[Frame] = []
    for shape in np.unique(shapes).tolist():
        keys = keys_of(shape)
        if keys is None or len(keys) != values.shape[1]:
            unknown = list(piece)
            continue
        mine = shapes == shape
        at = slice(None) if mine.all() else mine  # nothing is copied where all rows are of one shape
        rows.append(Rows(keys, when[at, 0], when[at, 1], values[at], sequence[at]))
    return rows, unknown


def sort_series(groups: Sequence[Rows]) -> Sorted:
    """Turn rows into columns sorted by key, arrival order inside. Rows of one tuple of names take a quick way."""
    keys = groups[0].keys
    if all(group.keys is keys for group in groups) and len(np.unique(keys)) == len(keys):
        columns, points = _from_one_shape(groups)
    else:
        columns, points = _from_many_shapes(groups)
    return by_series(columns, points)


def by_series(keys: Keys, points: Points) -> Sorted:
    """Find where each series starts and ends in columns that are sorted by key; there is at least one point."""
    starts = np.flatnonzero(np.diff(keys, prepend=np.int32(keys[0] - 1)))
    return Sorted(keys, points, starts, np.append(starts[1:], len(keys)))


def number_steps(rows: Sorted, next_step: Mapping[int, int]) -> Sorted:
    """Give steps to points that came without: one more than the highest of their series so far, as long as there is one.

    next_step: key to the next free step; a series that is missing starts at 0.
    """
    if not (rows.points.steps == NO_STEP).any():
        return rows
    steps = rows.points.steps.copy()
    for start, end, key in zip(rows.starts.tolist(), rows.ends.tolist(), rows.series, strict=True):
        here, following = steps[start:end], next_step.get(key, 0)
        if (here == NO_STEP).all():
            here[:] = following + np.minimum(np.arange(len(here)), min(LAST_STEP - following, len(here)))
            continue
        for i, step in enumerate(here.tolist()):
            here[i] = following if step == NO_STEP else step
            following = min(max(following, int(here[i]) + 1), LAST_STEP)
    return rows._replace(points=rows.points._replace(steps=steps))


def hidden_from(epoch: int, takeovers: Sequence[Takeover]) -> int | None:
    """Give the step from which points of this epoch are hidden, None if none are."""
    return min((t.from_step for t in takeovers if t.epoch > epoch and t.from_step is not None), default=None)


def superseded_at(epoch: int, takeovers: Sequence[Takeover]) -> int | None:
    """Give the time (ns) from which facts without a step do not count any more in this epoch, None if all do."""
    return min((t.at_ns for t in takeovers if t.epoch > epoch), default=None)


def starts_at(epoch: int, last_epoch: int, takeovers: Sequence[Takeover]) -> int | None:
    """Give the step at which a series without steps goes on in `epoch`, after points of `last_epoch`; None: where it was."""
    return min((t.from_step for t in takeovers if last_epoch < t.epoch <= epoch and t.from_step is not None), default=None)


def newest(rows: Sorted) -> Ints:
    """Give the index of the last point of each series: the highest (step, time, arrival)."""
    last = rows.ends - 1
    steps, times = rows.points.steps, rows.points.times
    repeats = steps[1:] == steps[:-1]
    ascending = np.append((steps[1:] > steps[:-1]) | (repeats & (times[1:] >= times[:-1])), True)
    ascending[last] = True
    if ascending.all():
        return last
    group = np.repeat(np.arange(len(rows.starts)), rows.ends - rows.starts)
    order: Ints = np.lexsort((np.arange(len(group)), rows.points.times, rows.points.steps, group))
    return order[last]


def keep(rows: Sorted, mask: NDArray[np.bool_]) -> Sorted | None:
    """Keep the points under a mask; None if there are none."""
    if mask.all():
        return rows
    if not mask.any():
        return None
    return by_series(rows.keys[mask], rows.points.take(mask))


def in_order(parts: Sequence[tuple[int, Points]]) -> Points:
    """Merge parts (epoch, points) of one series into order of (step, time, epoch, arrival)."""
    points = Points(*(np.concatenate(columns) for columns in zip(*(p for _, p in parts), strict=True)))
    if points.n < 2 or bool((points.steps[1:] > points.steps[:-1]).all()):
        return points
    epochs = np.concatenate([np.full(p.n, epoch, np.int64) for epoch, p in parts])
    return points.take(np.lexsort((np.arange(points.n), epochs, points.times, points.steps)))


def _from_one_shape(groups: Sequence[Rows]) -> tuple[Keys, Points]:
    order = np.argsort(groups[0].keys, kind="stable")
    steps = np.concatenate([group.steps for group in groups])
    times = np.concatenate([group.times for group in groups])
    values = np.concatenate([group.values for group in groups])
    n, m = len(steps), len(order)
    return np.repeat(groups[0].keys[order], n), Points(np.tile(steps, m), np.tile(times, m), values.T[order].ravel())


def _from_many_shapes(groups: Sequence[Rows]) -> tuple[Keys, Points]:
    keys = np.concatenate([np.tile(group.keys, len(group.steps)) for group in groups])
    widths = [len(group.keys) for group in groups]
    steps, times, sequence = (
        np.concatenate([np.repeat(group[i], width) for group, width in zip(groups, widths, strict=True)]) for i in (1, 2, 4)
    )
    values = np.concatenate([group.values.ravel() for group in groups])
    order = np.lexsort((sequence, keys))
    return keys[order], Points(steps[order], times[order], values[order])
