"""Comparisons with code, as frames and as one HTML file; parallel coordinates. Excluded: the rules of comparison."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from stratal.cli.app import main
from stratal.core.errors import Misuse
from stratal.store.store import Store
from stratal.tracking.capture import StoredFile
from stratal.tracking.compare import ComparedRun, compare
from stratal.tracking.comparing_page import comparison_html, save_comparison
from stratal.tracking.coordinates import axes_of
from stratal.tracking.diffing import MOST_LINES, diff_files
from stratal.tracking.explaining import compare_runs
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import use_store
from stratal.tracking.runs import run


def kept(store: Store, text: bytes) -> StoredFile:
    return StoredFile(digest=store.blobs.put(text), size_bytes=len(text))


def make(store: Store, count: int = 3) -> list[str]:
    ids = []
    for number in range(count):
        with run("churn", name=f"<b>{number}</b>", params={"lr": 10.0**-number, "model": "<i>gbm"}, store=store) as made:
            for step in range(5):
                made.log({"auc": number + step / 10, "</script>": 1.0}, step=step)
        ids.append(made.id)
    return ids


def test_files_are_compared_line_by_line(store: Store) -> None:
    base = {"sources/a.py": kept(store, b"x = 1\ny = 2\n"), "gone.py": kept(store, b"z\n"), "same.py": kept(store, b"s")}
    other = {"sources/a.py": kept(store, b"x = 1\ny = 3\n"), "new.py": kept(store, b"n\n"), "same.py": kept(store, b"s")}

    found = {each.name: each for each in diff_files(base, other, store.blobs)}

    assert {name: each.change for name, each in found.items()} == {"gone.py": "removed", "new.py": "added", "sources/a.py": "changed"}
    assert found["sources/a.py"].lines == ("@@ -1,2 +1,2 @@", " x = 1", "-y = 2", "+y = 3")


def test_what_is_no_text_or_too_long_is_named_and_counted(store: Store) -> None:
    base = {"a.bin": kept(store, b"\xff\xfe\x00"), "gone": StoredFile(digest="0" * 64, size_bytes=1)}
    long = {"long.py": kept(store, b"\n".join(b"%d" % n for n in range(1000)))}

    found = {each.name: each for each in diff_files(base, long, store.blobs)}

    assert found["a.bin"].lines == found["gone"].lines == ()
    assert len(found["long.py"].lines) == MOST_LINES
    assert found["long.py"].hidden == 1001 - MOST_LINES


def test_a_comparison_of_some_metrics_is_a_frame(store: Store) -> None:
    comparison = compare_runs(find_runs(order_by="started", store=store)[:] or make(store), metrics=["auc"], store=store)

    frame = comparison.to_polars()

    assert frame.columns == ["name", "better", "<b>0</b>", "<b>1</b>", "<b>2</b>"]
    assert frame.row(0) == ("auc", "max", 0.4, 1.4, 2.4)
    assert comparison.to_polars("params")["name"].to_list() == ["lr"]
    with pytest.raises(Misuse, match="no part"):
        comparison.to_polars("weather")
    with pytest.raises(Misuse, match="has the metric 'nope'"):
        compare([ComparedRun(id="a" * 32), ComparedRun(id="b" * 32)], metrics=["nope"])


class Page(HTMLParser):
    """Counts elements, and checks that they are closed in order."""

    VOID = {"meta", "line", "path", "circle"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, element: str, attributes: object) -> None:
        self.seen.append(element)
        if element != "meta":
            self.open.append(element)

    def handle_endtag(self, element: str) -> None:
        assert self.open.pop() == element


def test_the_page_is_one_well_formed_file_that_shows_texts_as_texts(store: Store, tmp_path: Path) -> None:
    text = comparison_html(make(store), store=store)

    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.seen.count("script") == 1
    assert page.seen.count("svg") == 3  # two metrics, and parallel coordinates
    assert "<b>0</b>" not in text and "&lt;b&gt;0&lt;/b&gt;" in text
    assert not re.search(r"(https?:)?//[a-z]", text.replace("http://www.w3.org", ""))
    assert "script-src 'sha256-" in text
    assert "more is better, by its name" in text
    assert save_comparison(text, tmp_path / "c.html").read_text() == text
    with pytest.raises(Misuse, match="cannot be written"):
        save_comparison(text, tmp_path / "nowhere" / "c.html")


def test_importance_is_on_the_page_where_there_are_runs_enough(store: Store) -> None:
    assert "are too few to say what matters" in comparison_html(make(store, 4), store=store)
    many = comparison_html(make(store, 20)[:20], metrics=["auc"], store=store)
    assert "Which params matter for auc" in many
    assert 'class="bar"' in many


def test_axes_stand_by_size_by_logarithm_and_by_level() -> None:
    linear, log, level, odd = axes_of(
        {"a": [0, 5, None, 10.0], "b": [0.001, 0.1, 10.0, 0.001], "c": ["x", True, "x", None], "d": [1.0, 1.0, float("nan"), None]}
    )

    assert linear.heights == (0.0, 0.5, None, 1.0)
    assert (log.is_log, log.heights) == (True, (0.0, pytest.approx(0.5), 1.0, 0.0))
    assert level.heights == (0.0, 1.0, 0.0, None)
    assert odd.heights == (0.5, 0.5, None, None)
    many = axes_of({"m": [f"level {number}" for number in range(40)]})[0]
    assert len(many.ticks) == 13
    assert many.ticks[0] == (0.0, "(others)")


def test_the_command_line_writes_the_page_and_shows_sources(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    use_store(store)
    ids = make(store)

    for words in (["--html", str(tmp_path / "c.html")], ["--metrics", "auc", "--diff"]):
        with pytest.raises(SystemExit) as ended:
            main(["compare", *ids, *words])
        assert ended.value.code == 0

    assert (tmp_path / "c.html").read_text().startswith("<!doctype html>")
    printed = capsys.readouterr().out
    assert "auc ↑?" in printed
    assert "guessed from the name" in printed
