"""Figures of matplotlib and plotly."""

import io
import json
from types import ModuleType
from typing import Any

from stratal.core.errors import Misuse
from stratal.tracking.media import images
from stratal.tracking.media.arrays import comes_from
from stratal.tracking.media.prepared import Content, Prepared, of_type
from stratal.tracking.media.values import Media

PLOTLY = "application/vnd.plotly.v1+json"
_DPI = 100
# A drawing of many points is smaller, and drawn quicker, as pixels.
_LARGEST_SVG = 1 << 20


def prepare(media: Media) -> Prepared:
    """Keep a figure: of matplotlib as PNG, and as SVG unless that is large; of plotly as JSON with the script that draws it."""
    value = media.value
    if isinstance(value, ModuleType) and value.__name__ == "matplotlib.pyplot":
        value = value.gcf()
    if comes_from(value, "plotly"):
        return _from_plotly(value)
    drawn = value if hasattr(value, "savefig") else getattr(value, "figure", None)  # an Axes, or a grid of seaborn
    drawn = drawn or getattr(value, "figure_", None)  # a display of scikit-learn
    if not hasattr(drawn, "savefig"):
        raise Misuse(f"{of_type(media.value)} is no figure", hint="give a figure of matplotlib or plotly")
    return _from_matplotlib(drawn)


def load(data: bytes, mime: str, details: object) -> object:
    """Give the pixels of a matplotlib figure, (H, W, 4) uint8; of plotly its figure, or a dict where plotly is not installed."""
    if mime != PLOTLY:
        return images.load(data, mime, details)
    document = json.loads(data)
    try:
        from plotly.graph_objects import Figure  # an optional library
    except ModuleNotFoundError:
        return document
    return Figure(document)


def page_of(document: bytes, script: bytes) -> bytes:
    """Give one HTML file that draws a plotly figure by itself, without a network."""
    safe = document.replace(b"</", b"<\\/")  # a text in it must not end the script
    return b"".join(
        (
            b'<!doctype html><html><head><meta charset="utf-8"></head><body style="margin:0"><div id="figure"></div><script>',
            script,
            b"</script><script>const f=",
            safe,
            b';Plotly.newPlot("figure",f.data,f.layout,{responsive:true})</script></body></html>',
        )
    )


def _from_plotly(value: Any) -> Prepared:
    if not hasattr(value, "to_json"):
        raise Misuse(f"{of_type(value)} is no figure", hint="give a plotly.graph_objects.Figure")
    from plotly.offline import get_plotlyjs  # the figure comes from plotly, so it is there

    try:
        document = value.to_json().encode()
    except (TypeError, ValueError) as error:
        raise Misuse(f"plotly cannot write this figure as JSON: {error}", hint="check what its traces hold") from error
    script = get_plotlyjs().encode()
    version = __import__("plotly").__version__
    return Prepared("figure", (Content(document, PLOTLY, ".plotly.json"), Content(script, "text/javascript", ".js", f"plotly-{version}")))


def _from_matplotlib(figure: Any) -> Prepared:
    from matplotlib import rc_context  # as above

    raster, vector = io.BytesIO(), io.BytesIO()
    try:
        with rc_context({"svg.hashsalt": "stratal"}):  # equal figures give equal files
            figure.savefig(raster, format="png", dpi=_DPI, metadata={"Software": None})
            figure.savefig(vector, format="svg", metadata={"Date": None})
    except Exception as error:  # a figure runs its owner's code when it is drawn, and may raise anything
        raise Misuse(f"matplotlib cannot draw this figure: {type(error).__name__}: {error}", hint="try figure.savefig('x.png')") from error
    pixels = raster.getvalue()
    contents = [Content(pixels, images.PNG, ".png")]
    if vector.tell() <= _LARGEST_SVG:
        contents.append(Content(vector.getvalue(), "image/svg+xml", ".svg"))
    return Prepared("figure", tuple(contents), {"width": int.from_bytes(pixels[16:20]), "height": int.from_bytes(pixels[20:24])})
