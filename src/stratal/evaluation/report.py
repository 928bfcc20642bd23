"""The report: one HTML file for people who decide. No script, nothing from the network, at most 2 MB whatever the rows.

It is drawn from results alone, so it can be drawn again from the saved evaluation.json.
"""

from pathlib import Path

from stratal.core.clock import to_utc
from stratal.evaluation import chapters
from stratal.evaluation.results import Results
from stratal.evaluation.wording import count, date, percent
from stratal.tracking.drawing.markup import Markup, join, raw, tag

STYLE = Path(__file__).with_name("report.css")
# Nothing may be loaded and nothing may run, even if a browser or a mail filter thinks otherwise.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def render(results: Results) -> str:
    """Draw the report as one HTML document."""
    sections = [chapter for chapter in chapters.all_of(results) if chapter is not None]
    title = f"{results.title}: evaluation"
    head = tag(
        "head",
        raw('<meta charset="utf-8">'),
        raw(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        raw('<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'),
        tag("title", title),
        tag("style", raw(STYLE.read_text("utf-8"))),
    )
    links = [tag("a", chapter.link, href=f"#{chapter.anchor}") for chapter in sections]
    body = tag(
        "body",
        tag("header", tag("div", _heading(results), tag("nav", *links, aria_label="Sections"))),
        tag("main", *(tag("section", tag("h2", chapter.title), chapter.body, id=chapter.anchor) for chapter in sections)),
        tag("footer", _colophon(results)),
    )
    # A lone surrogate cannot be written as UTF-8; `text` shows those, this is for what comes by another way.
    return ("<!doctype html>" + tag("html", head, body, lang="en")).encode("utf-8", "replace").decode("utf-8")


def _heading(results: Results) -> Markup:
    share = percent(results.positives / results.n) if results.n else "–"
    rows = f"{count(results.n)} rows, of which {count(results.positives)} ({share}) have {results.target} = {results.positive}"
    return join(
        tag("div", "Model evaluation", class_="kicker"),
        tag("h1", results.title),
        tag("p", results.model, " on ", results.data.ref or "the given data"),
        tag("p", rows, " · ", date(to_utc(results.at_ns))),
    )


def _colophon(results: Results) -> Markup:
    return join(
        f"Intervals have {results.confidence * 100:g} % confidence. Seed {results.seed}. ",
        "Drawn from evaluation.json, an artifact of the same run, which holds every number at full precision.",
    )
