"""Line charts as PNG, by matplotlib, which is not installed with Stratal."""

import io
from collections.abc import Sequence

from stratal.core.errors import Misuse
from stratal.tracking.drawing.lines import COLOURS, Curve, stretches

_STYLES = ("-", "--", ":", "-.")


def png(curves: Sequence[Curve], *, title: str, x_name: str, y_name: str) -> bytes:
    """Draw curves as `stratal.tracking.drawing.lines.chart` does. Raises Misuse without matplotlib."""
    try:
        from matplotlib.figure import Figure  # an optional adapter
    except ImportError as error:
        raise Misuse("a PNG needs matplotlib, which is not installed", hint="pip install 'stratal[plot]', or write an .svg") from error
    figure = Figure(figsize=(9, 5), dpi=144, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    for number, curve in enumerate(curves):
        colour, style = COLOURS[number % len(COLOURS)], _STYLES[number // len(COLOURS) % len(_STYLES)]
        label = curve.label if number < 40 else None
        if curve.raw is not None:
            axes.plot(curve.raw.x, curve.raw.last, color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(curve.x, curve.last, color=colour, linestyle=style, linewidth=1.4, label=label)
        axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
        lonely = [start for start, stop in stretches(curve) if stop - start == 1]
        axes.scatter(curve.x[lonely], curve.last[lonely], color=colour, s=10)
        axes.scatter(curve.nans, [0.015] * len(curve.nans), color=colour, marker="x", s=18, transform=axes.get_xaxis_transform())
    if curves:
        figure.legend(loc="outside lower left", ncols=3, fontsize=8, frameon=False)
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return written.getvalue()
