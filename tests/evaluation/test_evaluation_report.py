"""The report: one bounded file that nothing can break into, drawn from results alone."""

import html
import re
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from stratal.core.records import from_json, to_json
from stratal.evaluation.costs import kpi
from stratal.evaluation.measuring import Question, Rival, measure
from stratal.evaluation.report import render
from stratal.evaluation.results import Judged, Results
from stratal.evaluation.sample import sample
from stratal.evaluation.slices import partition
from stratal.evaluation.wording import number, percent, signed
from stratal.tracking.drawing.axes import nice_ticks
from stratal.tracking.drawing.markup import Markup, join, tag, text

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><script>alert(1)</script>",
    "' onload='alert(1)",
    "javascript:alert(1)",
    "&lt;b&gt;",
    "\u202egnp.exe",
    "a\x00b\x1b[31m",
    "\ud800",
    "]]>--><!--",
    "x" * 100_000,
    "🙂 Ünïcödé 表",
]
VOID = {"meta"}


class Page(HTMLParser):
    """What a browser would see: tags, attributes, text; and whether every tag is closed in order."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.words, self.open = [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def question(**more):
    place = Judged(digest="sha256:" + "b" * 64, ref="dataset:churn/test@1", rows=400, rows_shared_with_training=0)
    return Question(**({"title": "churn", "model": "model:churn@3", "model_digest": "a" * 64, "data": place, "target": "churn"} | more))


def judged(n=400, seed=1):
    random = np.random.default_rng(seed)
    labels = random.random(n) < 0.3
    return sample(labels, 1 / (1 + np.exp(-(random.standard_normal(n) + 1.2 * labels - 1))))


def full(n=400, names=("a", "b"), kpi_name="campaign profit", **more):
    random = np.random.default_rng(2)
    rows, other = judged(n), judged(n, seed=1)
    frame = pl.DataFrame({"group": random.choice(np.array(names, dtype=object), n).tolist()}, schema={"group": pl.String})
    worse = sample(other.labels, np.clip(other.scores + random.normal(0, 0.3, n), 0, 1))
    asked = question(
        slices=[partition(frame, "group", at_most=40)],
        sensitive=[partition(frame, "group")],
        kpis=[kpi(kpi_name, true_positive=110.0, false_positive=-15.0, unit="EUR")],
        rival=Rival(ref="model:churn@production", digest="c" * 64, rows=worse),
        **more,
    )
    return measure(rows, asked)


def test_the_page_is_whole_and_loads_nothing():
    page = Page(render(full()))
    assert page.open == []
    assert not {"script", "iframe", "object", "embed", "link", "img", "form", "base", "audio", "video", "foreignobject"} & set(page.tags)
    assert not [
        each for each in page.attributes if each[1].startswith("on") or each[1] in ("src", "srcset", "action", "style", "xlink:href")
    ]
    assert all(value.startswith("#") for _, name, value in page.attributes if name == "href")
    assert "http" not in render(full()).replace("http-equiv", "")
    assert not re.search(r"url\(|@import|@font-face", render(full()))
    assert any("default-src 'none'" in (value or "") for _, name, value in page.attributes if name == "content")


def test_each_section_is_linked_and_each_picture_has_a_name():
    page = Page(render(full()))
    anchors = {value for tag, name, value in page.attributes if tag == "section" and name == "id"}
    assert {value[1:] for _, name, value in page.attributes if name == "href"} == anchors
    assert {"summary", "ranking", "decision", "probabilities", "champion", "slices", "fairness", "numbers", "method"} == anchors
    pictures = [value for tag, name, value in page.attributes if tag == "svg" and name == "aria-label"]
    assert {"ROC curve", "Precision and recall", "Calibration", "Value over share", "Scores by class"} == set(pictures)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_is_shown_and_never_obeyed(name):
    printable = "".join(c for c in name if c.isprintable())[:400] or "?"
    results = full(
        names=(name.encode("utf-8", "replace").decode(), "other"),
        kpi_name=printable,
        title=name,
        model=name,
        target=name,
        positive=name,
        data=Judged(digest=name, ref=name, rows=1, rows_shared_with_training=None, reason=name),
    )
    plain = Page(render(full()))
    page = Page(render(results))
    assert page.open == []
    assert set(page.tags) <= set(plain.tags)
    assert {each[:2] for each in page.attributes} <= {each[:2] for each in plain.attributes} | {("td", "colspan")}
    shown = render(results)
    assert len(shown.encode()) < 300_000
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", shown)


@pytest.mark.slow
def test_the_report_stays_small_whatever_the_rows():
    random = np.random.default_rng(3)
    n = 60_000
    labels = random.random(n) < 0.3
    rows = sample(labels, 1 / (1 + np.exp(-(random.standard_normal(n) + labels - 1))))
    frame = pl.DataFrame(
        {f"column {i} {'long name ' * 30}": [f"value {'very long ' * 30}{j}" for j in random.integers(0, 500, n)] for i in range(2)}
        | {"zip": random.integers(0, 9000, n).astype(str)}
    )
    results = measure(
        rows,
        question(
            slices=[partition(frame, name, at_most=40) for name in frame.columns],
            sensitive=[partition(frame, name) for name in frame.columns],
            kpis=[kpi("profit", true_positive=110.0, false_positive=-15.0)],
        ),
    )
    assert len(render(results).encode()) < 1_000_000
    assert len(to_json(results)) < 2_000_000
    assert "in evaluation.json" in render(results) or "not drawn" in render(results)


def test_results_survive_their_document_and_give_the_same_page():
    results = full()
    again = from_json(to_json(results), Results)
    assert again == results
    assert render(again) == render(results)


@pytest.mark.parametrize(
    ("labels", "scores"),
    [([], []), ([1], [0.5]), ([0, 0, 0], [0.1, 0.2, 0.3]), ([1, 1], [0.5, 0.5]), ([1, 0], [0.5, 0.5]), ([1, 0, 1], [-4.0, 9.0, 1e9])],
)
def test_poor_rows_have_a_report_that_says_what_is_missing(labels, scores):
    results = measure(
        sample(labels, scores),
        question(
            slices=[partition(pl.DataFrame({"g": ["x"] * len(labels)}, schema={"g": pl.String}), "g")],
            sensitive=[partition(pl.DataFrame({"g": ["x"] * len(labels)}, schema={"g": pl.String}), "g")],
            kpis=[kpi("profit", true_positive=1.0, false_positive=-1.0)],
            rival=Rival(ref="model:churn@production", rows=sample(labels, scores)),
        ),
    )
    page = render(results)
    assert Page(page).open == []
    assert "nan" not in page.lower().replace("finance", "")
    assert not re.search(r"\binf\b", page)
    reasons = [found.reason for found in results.metrics.values() if found.value is None]
    assert all(html.escape(reason[0].upper() + reason[1:], quote=True) in page for reason in reasons)


def test_rows_that_training_has_seen_are_shouted():
    page = render(full(data=Judged(digest="sha256:0", ref=None, rows=400, rows_shared_with_training=12)))
    assert "12 of these rows were in the training data" in page


def test_no_champion_yet_is_said():
    page = render(
        measure(judged(), question(rival=Rival(ref="model:churn@production", note="There is no champion to compare with: none.")))
    )
    assert "There is no champion to compare with" in page


# --- the small parts ---


def test_markup_escapes_all_but_markup():
    assert tag("b", "<i>", tag("i", "x"), class_='"') == '<b class="&quot;">&lt;i&gt;<i>x</i></b>'
    assert join("<", Markup("<br>")) == "&lt;<br>"
    assert text("a\u202eb") == "a⟨U+202E⟩b"
    assert text("x" * 700).endswith("…")
    assert len(text("x" * 700)) == 600


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"), (0, "0"), (0.8444, "0.844"), (-0.0001, "0.000"), (-0.5, "−0.500"), (12.34, "12.3"), (1234.5, "1,234"),
        (31240.0, "31,240"), (2.5e7, "2.5e+07"), (-31240.0, "−31,240"),
    ],
)  # fmt: skip
def test_numbers_read_well(value, words):
    assert number(value) == words


def test_differences_have_signs_and_shares_a_percent():
    assert (signed(0.02), signed(-0.02), signed(0), signed(1200.0, "EUR")) == ("+0.020", "−0.020", "0", "+1,200 EUR")
    assert (percent(0.034), percent(0.5), percent(0), percent(1)) == ("3.4 %", "50 %", "0 %", "100 %")


def test_ticks_are_round_and_inside():
    assert nice_ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert nice_ticks(-3, 47_000) == pytest.approx([0, 10_000, 20_000, 30_000, 40_000])
    assert nice_ticks(2.0, 2.0) == [2.0]
