"""Plots: which points are drawn, gaps and odd numbers, smoothing, other axes, files. Excluded: how the store makes envelopes."""

import math
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from stratal.core.errors import Misuse, NotFound
from stratal.store.store import Store
from stratal.tracking.drawing.characters import dotted
from stratal.tracking.drawing.lines import Curve, chart, stretches
from stratal.tracking.finding import find_runs
from stratal.tracking.plotting import plot, smoothed
from stratal.tracking.runs import run


def make(store: Store, name: str, values: list[float], **more: float) -> str:
    with run("churn", name=name, store=store) as made:
        for step, value in enumerate(values):
            made.log({"loss": value, "samples": step * 32.0}, step=step)
    return made.id


def curve(values: list[float], label: str = "a") -> Curve:
    y = np.array(values)
    known = np.where(np.isfinite(y), y, np.nan)
    return Curve(label, np.arange(len(y), dtype=float), known, known, known, np.flatnonzero(~np.isfinite(y)).astype(float))


def test_short_series_are_drawn_point_by_point_and_odd_numbers_leave_gaps(store: Store) -> None:
    id = make(store, "a", [1.0, math.nan, 3.0, 4.0, math.inf, 2.0])

    (drawn,) = plot([id], "loss", store=store).curves

    assert drawn.x.tolist() == [0, 1, 2, 3, 4, 5]
    assert stretches(drawn) == [(0, 1), (2, 4), (5, 6)]
    assert drawn.nans.tolist() == [1, 4]


def test_a_long_series_keeps_its_extremes_in_a_thousand_buckets(store: Store) -> None:
    values = np.sin(np.arange(6000) / 50)
    values[4321] = 9.0
    id = make(store, "long", values.tolist())

    by_step, by_time, by_samples = (plot([id], "loss", x=x, store=store).curves[0] for x in ("step", "time", "samples"))

    for drawn in (by_step, by_time, by_samples):
        assert len(drawn.x) <= 1000
        assert (np.nanmax(drawn.high), np.nanmin(drawn.low)) == (9.0, values.min())
        assert (np.diff(drawn.x) >= 0).all()
    assert by_samples.x[-1] > 32 * 5900


def test_a_metric_may_be_named_as_filters_name_it(store: Store) -> None:
    id = make(store, "a", [1.0, 2.0])
    assert plot([id], "metrics.loss", store=store).metric == "loss"
    with run("churn", store=store) as odd:
        odd.log({"metrics.loss": 3.0})
    assert plot([odd.id], "metrics.loss", store=store).curves[0].high.tolist() == [3.0]


def test_smoothing_is_the_corrected_exponential_mean_and_passes_over_what_is_odd() -> None:
    values = np.array([2.0, 4.0, math.nan, 6.0])

    found = smoothed(values, 0.5)

    weights = [[1], [0.5, 1], [0.25, 0.5, 1]]
    expected = [np.average(known, weights=w) for known, w in zip(([2.0], [2.0, 4.0], [2.0, 4.0, 6.0]), weights, strict=True)]
    assert found[[0, 1, 3]].tolist() == pytest.approx(expected)
    assert math.isnan(found[2])


def test_a_picture_is_well_formed_escaped_and_names_its_runs(store: Store, tmp_path: Path) -> None:
    ids = [make(store, "<script>alert(1)</script>", [1.0, 2.0]), make(store, "b", [2.0, math.nan])]
    drawn = plot(ids, "loss", smooth=0.5, store=store)

    svg, page = (drawn.save(tmp_path / name).read_text() for name in ("a.svg", "a.HTML"))

    assert [element.tag for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}svg")]
    assert "<script>" not in svg + page
    assert "&lt;script&gt;" in svg
    assert "default-src 'none'" in page
    assert not re.search(r"https?://(?!www\.w3\.org)", svg + page)
    assert drawn._repr_html_() == svg


def test_many_curves_have_a_legend_that_ends() -> None:
    picture = chart([curve([1.0, 2.0], f"run {number}") for number in range(100)], title="loss", x_name="step", y_name="loss")

    assert "run 39" in picture
    assert "and 60 more" in picture
    assert len(re.findall(r'class="label"', picture)) == 40


def test_a_chart_without_a_number_says_so() -> None:
    assert "no number to draw" in chart([curve([math.nan])], title="loss", x_name="step", y_name="loss")


def test_characters_draw_a_line_from_corner_to_corner_with_its_owner() -> None:
    lines = dotted([curve([0.0, 1.0])], 30, 5)

    assert len(lines) == 6
    body = ["".join(text for text, owner in line if owner == 0) for line in lines[:-1]]
    assert all(body)
    assert lines[0][-1][1] == 0 and lines[4][1][1] == 0
    assert {owner for line in dotted([curve([math.nan])], 30, 4) for _, owner in line} == {-1}


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda store, id: plot([], "loss", store=store), Misuse, "no run is named"),
        (lambda store, id: plot([id], "los", store=store), NotFound, "they have: loss, samples"),
        (lambda store, id: plot([id], "loss", smooth=1.0, store=store), Misuse, "no weight"),
        (lambda store, id: plot([id], "loss", x="other", store=store), NotFound, "no step has both"),
        (lambda store, id: plot([id], "loss", store=store).save("x.gif"), Misuse, "no kind of picture"),
        (lambda store, id: plot([id], "loss", store=store).save("nowhere/x.svg"), Misuse, "cannot be written"),
    ],
)
def test_what_cannot_be_drawn_is_refused(store: Store, call, error, says: str) -> None:
    with pytest.raises(error, match=says):
        call(store, make(store, "a", [1.0]))


def test_a_png_without_matplotlib_says_what_to_install(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(Misuse, match=r"pip install 'stratal\[plot\]'"):
        plot([make(store, "a", [1.0])], "loss", store=store).save(tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


def test_a_png_is_drawn_by_matplotlib(store: Store, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    ids = [make(store, "a", [1.0, math.nan, 2.0]), make(store, "b", [2.0])]

    written = plot(ids, "loss", smooth=0.3, store=store).save(tmp_path / "a.png").read_bytes()

    assert written.startswith(b"\x89PNG\r\n")


def test_found_runs_are_plotted_as_they_are(store: Store) -> None:
    make(store, "same", [1.0])
    make(store, "same", [2.0])

    labels = [drawn.label for drawn in plot(find_runs(store=store), "loss", store=store).curves]

    assert all(re.fullmatch(r"same [0-9a-f]{8}", label) for label in labels)
