"""The page around charts and tables: one HTML file for light and dark screens, with nothing from the network."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from stratal.tracking.drawing.markup import Markup, raw, tag

_STYLE = Path(__file__).with_name("page.css")


def document(title: str, parts: Sequence[Markup], *, script: str = "") -> str:
    """Give a page. script: a text of ours; only this very text may run, whatever else came into the page."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy += f"; script-src 'sha256-{digest}'"
    head = tag(
        "head",
        raw('<meta charset="utf-8">'),
        raw(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        raw('<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'),
        tag("title", title),
        tag("style", raw(_STYLE.read_text("utf-8"))),
    )
    body = tag("body", tag("main", *parts), *([tag("script", raw(script))] if script else []))
    # A lone surrogate cannot be written as UTF-8.
    return ("<!doctype html>" + tag("html", head, body, lang="en")).encode("utf-8", "replace").decode("utf-8")
