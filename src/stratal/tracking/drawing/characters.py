"""Charts in a terminal: curves as dots of braille characters, eight to a character."""

from collections.abc import Sequence

import numpy as np

from stratal.tracking.drawing.axes import tick
from stratal.tracking.drawing.lines import Curve, stretches, value_span

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # bits of a braille character, by row and column
_EMPTY = 0x2800


def dotted(curves: Sequence[Curve], width: int, height: int) -> list[list[tuple[str, int]]]:
    """Draw curves in `height` lines of at most `width` characters. A line is pieces of text, each with the number of the curve
    that it belongs to, -1 for axes. Where curves meet, the first one is seen."""
    low, high = value_span(curves)
    ticks = [tick(float(f"{value:.4g}")) for value in np.linspace(high, low, height).tolist()]
    margin = max(len(text) for text in ticks)
    columns = max(8, width - margin - 2)
    cells = np.full((height, columns), _EMPTY)
    owners = np.full((height, columns), -1)
    left, right = _reach(curves)
    for number, curve in reversed(list(enumerate(curves))):
        for row, column in _dots(curve, (left, right), (low, high), columns * 2, height * 4):
            cells[row // 4, column // 2] |= _DOTS[row % 4][column % 2]
            owners[row // 4, column // 2] = number
    shown = {0, height // 2, height - 1}
    lines = []
    for at in range(height):
        label = ticks[at] if at in shown else ""
        lines.append([(f"{label:>{margin}} │", -1), *_pieces(cells[at].tolist(), owners[at].tolist())])
    return [*lines, [(f"{'':>{margin}} └{'─' * columns}", -1)]]


def _reach(curves: Sequence[Curve]) -> tuple[float, float]:
    ends = [value for curve in curves if len(curve.x) for value in (float(curve.x[0]), float(curve.x[-1]))]
    return (min(ends), max(ends)) if ends else (0.0, 1.0)


def _dots(curve: Curve, x: tuple[float, float], y: tuple[float, float], columns: int, rows: int) -> "set[tuple[int, int]]":
    """Give the dots of a curve: all between neighbours, so that it hangs together."""
    found = set()
    across = (columns - 1) / ((x[1] - x[0]) or 1.0)
    down = (rows - 1) / ((y[1] - y[0]) or 1.0)
    for start, stop in stretches(curve):
        at_x = np.rint((curve.x[start:stop] - x[0]) * across).astype(int)
        at_y = np.rint((y[1] - curve.last[start:stop]) * down).astype(int)
        found.add((int(at_y[0]), int(at_x[0])))
        for at in range(1, stop - start):
            steps = max(abs(int(at_x[at] - at_x[at - 1])), abs(int(at_y[at] - at_y[at - 1])), 1)
            between = np.linspace(0, 1, steps + 1)
            xs = np.rint(at_x[at - 1] + (at_x[at] - at_x[at - 1]) * between).astype(int)
            ys = np.rint(at_y[at - 1] + (at_y[at] - at_y[at - 1]) * between).astype(int)
            found.update(zip(ys.tolist(), xs.tolist(), strict=True))
    return found


def _pieces(cells: Sequence[int], owners: Sequence[int]) -> list[tuple[str, int]]:
    pieces: list[tuple[str, int]] = []
    for code, owner in zip(cells, owners, strict=True):
        if pieces and pieces[-1][1] == owner:
            pieces[-1] = (pieces[-1][0] + chr(code), owner)
        else:
            pieces.append((chr(code), owner))
    return pieces
