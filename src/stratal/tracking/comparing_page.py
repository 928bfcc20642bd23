"""A comparison as one HTML file: tables with differences marked, curves over each other, parallel coordinates, code."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from stratal.core.errors import Misuse
from stratal.core.ids import short
from stratal.store.store import Store
from stratal.tracking.compare import Comparison, MetricRow, Row
from stratal.tracking.coordinates import axes_of
from stratal.tracking.diffing import FileDiff
from stratal.tracking.directions import MAXIMIZE, MINIMIZE
from stratal.tracking.drawing.lines import COLOURS, chart
from stratal.tracking.drawing.markup import Markup, join, name, tag
from stratal.tracking.drawing.page import document
from stratal.tracking.drawing.parallel import Upright, parallel
from stratal.tracking.explaining import compare_runs
from stratal.tracking.finding import plain_params
from stratal.tracking.importance import Importance, importance_of
from stratal.tracking.opening import current_store
from stratal.tracking.plotting import curve_of
from stratal.tracking.reading import ReadRun, get_run

_MOST_CHARTS, _MOST_AXES, _MOST_ROWS = 12, 12, 300
_WAYS = {MINIMIZE: "less is better", MAXIMIZE: "more is better"}
_SCRIPT = """
document.querySelectorAll('svg.parallel').forEach(picture => {
  let kept = null;
  const runs = picture.querySelectorAll('g.run');
  const show = run => {
    picture.classList.toggle('has-chosen', run !== null);
    runs.forEach(each => each.querySelector('path').classList.toggle('chosen', each === run));
  };
  runs.forEach(run => {
    run.addEventListener('mouseenter', () => show(run));
    run.addEventListener('mouseleave', () => show(kept));
    run.addEventListener('click', () => { kept = kept === run ? null : run; show(kept); });
  });
});
"""


def comparison_html(
    runs: Sequence[str | ReadRun],
    *,
    metrics: Collection[str] | None = None,
    minimize: Collection[str] = (),
    maximize: Collection[str] = (),
    store: Store | None = None,
) -> str:
    """Give a comparison as one HTML file, with nothing from the network. Arguments as those of `st.compare`.

    Cost: one read per curve, at most 12 metrics; about 30 KB and 10 KB per curve."""
    store = store or current_store()
    read = [run if isinstance(run, ReadRun) else get_run(run, store=store) for run in runs]
    comparison = compare_runs(read, metrics=metrics, minimize=minimize, maximize=maximize, diff=True, store=store)
    sections = [
        _heading(comparison),
        _runs_table(comparison, read),
        _metrics_table(comparison),
        _charts(comparison, read),
        _params(comparison),
        _coordinates(comparison),
        _weights(comparison, read),
        _rows("Data", "What the runs used.", comparison, comparison.data),
        _rows("Code", "", comparison, comparison.code),
        _diffs(comparison),
        _rows("Environment", "", comparison, comparison.environment),
        _rows("Packages", "", comparison, comparison.packages),
        _footer(comparison),
    ]
    return document(f"{len(read)} runs compared", [section for section in sections if section], script=_SCRIPT)


def save_comparison(page: str, path: str | Path) -> Path:
    """Write the page. Raises Misuse if it cannot be written there."""
    try:
        Path(path).write_text(page, "utf-8")
    except OSError as error:
        raise Misuse(f"{path} cannot be written: {error.strerror}", hint="check that the folder is there, and yours to write") from error
    return Path(path)


def _heading(comparison: Comparison) -> Markup:
    experiments = ", ".join(dict.fromkeys(column.experiment for column in comparison.runs))
    equal = comparison.equal_params
    return join(
        tag("h1", f"{len(comparison.runs)} runs compared"),
        tag(
            "p",
            f"Of {experiments}. Differences are to the first, ",
            tag("b", name(comparison.runs[0].label)),
            f". {len(comparison.params)} params differ, {equal} {'is' if equal == 1 else 'are'} equal.",
        ),
    )


def _head(comparison: Comparison, first: str = "") -> Markup:
    labels = (tag("th", _swatch(number), name(column.label)) for number, column in enumerate(comparison.runs))
    return tag("thead", tag("tr", tag("th", first), *labels))


def _swatch(number: int) -> Markup:
    return tag("span", class_="swatch", style=f"background:{COLOURS[number % len(COLOURS)]}")


def _table(head: Markup, rows: Sequence[Markup]) -> Markup:
    return tag("div", tag("table", head, tag("tbody", *rows)), class_="panel")


def _runs_table(comparison: Comparison, read: Sequence[ReadRun]) -> Markup:
    facts: dict[str, Callable[[ReadRun], str]] = {
        "id": lambda run: short(run.id),
        "experiment": lambda run: run.experiment,
        "status": lambda run: run.status,
        "started": lambda run: f"{run.started:%Y-%m-%d %H:%M}" if run.started else "–",
        "took": lambda run: "–" if run.duration_s is None else f"{run.duration_s:,.1f} s",
        "user": lambda run: run.user or "–",
    }
    rows = [tag("tr", tag("th", what), *(tag("td", name(say(run))) for run in read)) for what, say in facts.items()]
    return _table(_head(comparison), rows)


def _metrics_table(comparison: Comparison) -> Markup:
    if not comparison.metrics:
        return join()
    guessed = any(row.is_guessed for row in comparison.metrics)
    said = "Last values, or what a metric's definition makes of it; the best is marked, the difference to the first run stands below."
    if guessed:
        said += " Which way is better was guessed from the name where it says so."
    rows = [_metric_row(row) for row in comparison.metrics[:_MOST_ROWS]]
    return join(tag("h2", "Metrics"), tag("p", said), _table(_head(comparison), rows), _left_out(len(comparison.metrics)))


def _metric_row(row: MetricRow) -> Markup:
    way = _WAYS.get(row.direction, "")
    why = tag("span", f"{way}{', by its name' if row.is_guessed else ''}", class_="why") if way else join()
    cells = []
    for at, (value, delta) in enumerate(zip(row.values, row.deltas, strict=True)):
        below = tag("small", f"{delta:+.4g}") if at and delta is not None and delta == delta else join()
        cells.append(tag("td", "–" if value is None else f"{value:.6g}", below, class_="best" if at in row.best else None))
    return tag("tr", tag("th", name(row.name), why), *cells)


def _charts(comparison: Comparison, read: Sequence[ReadRun]) -> Markup:
    counts = {(run.id, summary.name): summary.points for run in read for summary in run.summaries}
    drawn = [row.name for row in comparison.metrics if any(counts.get((run.id, row.name), 0) > 1 for run in read)]
    pictures = []
    for metric in drawn[:_MOST_CHARTS]:
        labels = [column.label for column in comparison.runs]
        # A run without the metric keeps its colour: an empty curve stands in its place.
        curves = [curve_of(run, label, metric, buckets=400) for run, label in zip(read, labels, strict=True)]
        picture = chart(curves, title=metric, x_name="step", y_name=metric, width=560, height=300, has_legend=len(read) <= 10)
        pictures.append(tag("div", picture, class_="panel"))
    if not pictures:
        return join()
    more = len(drawn) - _MOST_CHARTS
    said = tag("p", f"{more} more metrics have curves; name those to draw.") if more > 0 else join()
    return join(tag("h2", "Curves"), said, tag("div", *pictures, class_="charts"))


def _params(comparison: Comparison) -> Markup:
    return _rows("Params", "Those that differ.", comparison, comparison.params)


def _rows(title: str, said: str, comparison: Comparison, rows: Sequence[Row]) -> Markup:
    if not rows:
        return join()
    body = [_row(row) for row in rows[:_MOST_ROWS]]
    return join(tag("h2", title), tag("p", said) if said else join(), _table(_head(comparison), body), _left_out(len(rows)))


def _row(row: Row) -> Markup:
    base = row.values[0]
    cells = (tag("td", name(_shown(value)), class_="other" if at and value != base else None) for at, value in enumerate(row.values))
    return tag("tr", tag("th", name(row.name)), *cells)


def _left_out(count: int) -> Markup:
    return tag("p", f"… and {count - _MOST_ROWS:,} more.") if count > _MOST_ROWS else join()


def _coordinates(comparison: Comparison) -> Markup:
    columns = {row.name: row.values for row in comparison.params[:_MOST_AXES]}
    judged = sorted(comparison.metrics, key=lambda row: (not row.best, row.name))[: max(1, min(3, _MOST_AXES - len(columns)))]
    columns |= {row.name: row.values for row in reversed(judged) if row.name not in columns}
    if len(columns) < 2 or not comparison.params or not judged:
        return join()
    axes = [Upright(f"{axis.name} (log)" if axis.is_log else axis.name, axis.ticks, axis.heights) for axis in axes_of(columns)]
    many = len(comparison.runs) > len(COLOURS)
    said = "Each line is a run: its params, then metrics. Point at one to see it alone, click to keep it."
    said += f" The colour is {axes[-1].name}: blue is low, red is high." if many else ""
    picture = parallel(axes, [column.label for column in comparison.runs], by_last=many)
    return join(tag("h2", "Params and metrics"), tag("p", said), tag("div", picture, class_="panel"))


def _weights(comparison: Comparison, read: Sequence[ReadRun]) -> Markup:
    judged = [row for row in comparison.metrics if row.best]
    if not judged or not comparison.params or len(read) < 3:
        return join()
    params = [plain_params(run) for run in read]
    names = [row.name for row in comparison.params]
    try:
        found = importance_of(judged[0].name, judged[0].values, {each: [held.get(each) for held in params] for each in names})
    except Misuse as error:
        return join(tag("h2", "Which params matter"), tag("p", f"Not said: {error.message}.", class_="note"))
    return join(tag("h2", f"Which params matter for {found.metric}"), *_bars(found))


def _bars(found: Importance) -> list[Markup]:
    said = (
        f"Over {found.runs} runs; a forest explains {max(0.0, found.explained) * 100:.0f} % of the order of unseen runs. The bar: how "
        "much its error grows when the param is shuffled, in variances, with a 95 % interval. Params that go together share theirs."
    )  # fmt: skip
    top = max([each.loss for each in found.params] + [1e-9])
    rows = [
        tag(
            "tr", tag("th", name(each.name)), tag("td", f"{each.loss:.2f}"), tag("td", f"{each.low:.2f} to {each.high:.2f}"),
            tag("td", "–" if each.correlation is None else f"{each.correlation:+.2f}"),
            tag("td", tag("div", class_="bar", style=f"width:{max(0.0, each.loss) / top * 260:.0f}px")),
        )
        for each in found.params
    ]  # fmt: skip
    head = tag("thead", tag("tr", *(tag("th", word) for word in ("param", "loss", "95 %", "rank correlation", ""))))
    unsure = [] if found.is_meaningful else [tag("p", "The params explain next to nothing: read nothing into the bars.", class_="note")]
    return [tag("p", said), *unsure, tag("div", tag("table", head, tag("tbody", *rows)), class_="panel bars")]


def _diffs(comparison: Comparison) -> Markup:
    if not comparison.diffs:
        return join()
    parts = [tag("h3", f"Sources of {each.label} against {comparison.runs[0].label}") for each in comparison.diffs]
    shown: list[Markup] = []
    for heading, each in zip(parts, comparison.diffs, strict=True):
        shown += [heading, *(_file(file, is_open=len(each.files) <= 3) for file in each.files[:40])]
        if len(each.files) > 40:
            shown.append(tag("p", f"… and {len(each.files) - 40} more files."))
    return join(*shown)


def _file(file: FileDiff, *, is_open: bool) -> Markup:
    kinds = {"+": "add", "-": "del", "@": "hunk"}
    lines = [tag("span", line or " ", class_=kinds.get(line[:1])) for line in file.lines]
    if file.hidden:
        lines.append(tag("span", f"… {file.hidden:,} more lines"))
    body = tag("div", tag("pre", *lines), class_="panel") if lines else tag("p", "no text, or gone")
    return tag("details", tag("summary", name(file.name), tag("span", file.change, class_="why")), body, open="" if is_open else None)


def _footer(comparison: Comparison) -> Markup:
    parts = []
    if comparison.not_captured:
        parts.append(tag("p", f"No capture of {_named(comparison.not_captured)}: code and environment are not known.", class_="note"))
    if comparison.cut_short:
        early = f"{_named(comparison.cut_short)} ended before all was captured: packages, code and machine are not known."
        parts.append(tag("p", early, class_="note"))
    return join(*parts, tag("footer", "Made by Stratal from ", ", ".join(short(column.id) for column in comparison.runs[:60])))


def _named(labels: Sequence[str]) -> str:
    return ", ".join(labels) if len(labels) <= 6 else f"{len(labels)} of these runs"


def _shown(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)
