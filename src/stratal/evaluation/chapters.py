"""The chapters of the report: the answer first, then the evidence, then what was measured and how."""

from collections.abc import Sequence
from dataclasses import dataclass

from stratal.evaluation import plots
from stratal.evaluation.champion import Comparison, Difference
from stratal.evaluation.estimates import Estimate
from stratal.evaluation.fairness import GAPS, Attribute, GroupRates
from stratal.evaluation.metrics import METRICS
from stratal.evaluation.results import Results, in_order
from stratal.evaluation.slices import Slice
from stratal.evaluation.strips import Mark, dot_table
from stratal.evaluation.summary import summary
from stratal.evaluation.wording import count, number, percent, signed, why
from stratal.tracking.drawing.markup import Markup, join, raw, tag

# Rows of slices and groups that are drawn; the rest is in evaluation.json. Bounds the size of the file.
DRAWN = 300
SHOWN_RATES = (
    ("selection_rate", "Called positive", "share of the group"),
    ("recall", "Found", "share of the group's positives"),
    ("false_positive_rate", "False alarms", "share of the group's negatives"),
)


@dataclass(frozen=True)
class Chapter:
    """A section of the page."""

    anchor: str
    link: str
    title: str
    body: Markup


def all_of(results: Results) -> list[Chapter | None]:
    """Give the chapters in order; None where there is nothing to tell."""
    return [
        Chapter("summary", "In short", "In short", summary(results)),
        _ranking(results),
        _decision(results),
        _probabilities(results),
        _champion(results),
        _slices(results.slices, results),
        _fairness(results.fairness),
        _numbers(results),
        _method(results),
    ]


def _ranking(results: Results) -> Chapter | None:
    if results.roc is None or results.precision_recall is None:
        return None
    rates = {name: results.metrics[name].value for name in ("false_positive_rate", "recall", "precision")}
    false_alarms, found, right = rates["false_positive_rate"], rates["recall"], rates["precision"]
    at_roc = None if false_alarms is None or found is None else (false_alarms, found)
    at_precision = None if found is None or right is None else (found, right)
    body = join(
        _lead("How well the scores put positives above negatives, whatever the threshold."),
        tag(
            "div",
            tag(
                "div",
                tag("h3", "Found against false alarms"),
                tag("p", "ROC curve. The higher above the dashed line, the better; the shaded band is the interval."),
                _at_threshold(at_roc, "false alarms", "found"),
                plots.roc_plot(results.roc, results.roc_band, at_roc),
                class_="panel",
            ),
            tag(
                "div",
                tag("h3", "Right alarms against found"),
                tag("p", "Precision and recall. Going right finds more positives, and more of the alarms are false."),
                _at_threshold(at_precision, "found", "right"),
                plots.precision_recall_plot(results.precision_recall, results.positives / max(results.n, 1), at_precision),
                class_="panel",
            ),
            class_="grid",
        ),
    )
    return Chapter("ranking", "Ranking", "How well it ranks", body)


def _at_threshold(point: tuple[float, float] | None, x_name: str, y_name: str) -> Markup:
    if point is None:
        return raw("")
    words = f"at the threshold: {percent(point[1])} {y_name}, {percent(point[0])} {x_name}"
    return tag("div", tag("span", tag("i", "", class_="point"), words), class_="key")


def _decision(results: Results) -> Chapter | None:
    if results.n == 0:
        return None
    panels = [_matrix(results)]
    for name, measured in in_order(results.kpis, (results.threshold_from,)):
        flattery = ""
        if measured.was_chosen:
            flattery = (
                f" The threshold was chosen on these rows, which flatters the result by about {number(measured.optimism, measured.unit)}."
            )
        ends = f"everybody: {number(measured.everybody, measured.unit)}; nobody: {number(measured.nobody, measured.unit)}"
        words = f"If this were done to {ends}. The dashed line is choosing at random.{flattery}"
        picture = plots.profit_plot(results.kpi_curves[name], measured)
        panels.insert(len(panels) - 1, tag("div", tag("h3", name), tag("p", words), picture, class_="panel"))
    body = join(
        _lead(f"Rows with a score of {number(results.threshold)} or more are called positive{_chosen(results)}."),
        tag("div", *panels, class_="grid"),
    )
    return Chapter("decision", "Decision", "What the threshold decides", body)


def _chosen(results: Results) -> str:
    if results.threshold_from == "default":
        return "; that is the usual default, nobody chose it"
    return "" if results.threshold_from == "given" else f"; that threshold earns the most {results.threshold_from} on these rows"


def _matrix(results: Results) -> Markup:
    cells = results.confusion
    positives = max(cells.true_positive + cells.false_negative, 1)
    negatives = max(cells.false_positive + cells.true_negative, 1)

    def cell(rows: int, of: int, words: str, tone: str) -> Markup:
        return tag("div", tag("b", count(rows)), f"{words}, {percent(rows / of)}", class_=tone)

    return tag(
        "div",
        tag("h3", "Right and wrong calls"),
        tag("p", "Shares are of the row: of all that are positive in truth, and of all that are not."),
        tag(
            "div",
            tag("div", "", class_="side"),
            tag("div", "called positive", class_="top"),
            tag("div", "called negative", class_="top"),
            tag("div", "is positive", class_="side"),
            cell(cells.true_positive, positives, "found", "right"),
            cell(cells.false_negative, positives, "missed", "wrong"),
            tag("div", "is negative", class_="side"),
            cell(cells.false_positive, negatives, "false alarms", "wrong"),
            cell(cells.true_negative, negatives, "left alone", "right"),
            class_="matrix",
        ),
        tag("p", _alarms(results), class_="after"),
        class_="panel",
    )


def _alarms(results: Results) -> str:
    called = results.confusion.true_positive + results.confusion.false_positive
    if not called:
        return "Nothing is called positive at this threshold."
    right = results.confusion.true_positive
    return f"Of {count(called)} alarms, {count(right)} are right: {percent(right / called)}."


def _probabilities(results: Results) -> Chapter | None:
    if results.histogram is None:
        return None
    panels = []
    found = results.calibration
    if found.bins:
        words = "Points on the dashed line: what is said is what happens. Bars are intervals."
        panels.append(tag("div", tag("h3", "Said against happened"), tag("p", words), plots.calibration_plot(found), class_="panel"))
    keys = tag(
        "div", tag("span", tag("i", ""), "positive in truth"), tag("span", tag("i", "", class_="two"), "negative in truth"), class_="key"
    )
    spread = plots.histogram_plot(results.histogram, results.threshold)
    panels.append(tag("div", tag("h3", "Scores of both classes"), keys, spread, class_="panel"))
    return Chapter(
        "probabilities",
        "Probabilities",
        "Whether its probabilities can be believed",
        join(_lead(_believed(results)), tag("div", *panels, class_="grid")),
    )


def _believed(results: Results) -> str:
    found = results.calibration
    if found.error.value is None:
        return why(found.error)
    verdict = ""
    if found.by_chance is not None:
        verdict = "more than chance explains" if found.error.value > found.by_chance else "no more than chance explains"
        verdict = f", {verdict}: up to {percent(found.by_chance)} would be noise"
    return f"On average, what is said and what happens lie {percent(found.error.value)} apart{verdict}."


def _champion(results: Results) -> Chapter | None:
    if results.champion is None:
        if results.champion_note is None:
            return None
        return Chapter("champion", "Champion", "Against the champion", tag("div", results.champion_note, class_="note"))
    body = join(
        _lead(f"Both models on the same {count(results.n)} rows. The champion decides at threshold {number(results.champion.threshold)}."),
        tag("div", "This is the champion itself: nothing can differ.", class_="note") if results.champion.is_same_model else raw(""),
        tag("div", *_differences(results, results.champion), class_="panel below"),
    )
    return Chapter("champion", "Champion", f"Against {results.champion.ref}", body)


def _differences(results: Results, champion: Comparison) -> list[Markup]:
    metrics = [_difference_mark(METRICS[name].title, found) for name, found in in_order(champion.difference, METRICS) if name in METRICS]
    words = "This model minus the champion. Green: better; red: worse; grey: too close to tell on these rows."
    parts = [tag("p", words)]
    parts.append(dot_table(metrics, first="difference", reference=0.0))
    for name, found in in_order(champion.difference, METRICS):
        if name not in METRICS:
            unit = results.kpis[name].unit if name in results.kpis else ""
            parts.append(dot_table([_difference_mark(name, found, unit)], first="difference", reference=0.0))
    return parts


def _difference_mark(name: str, found: Difference, unit: str = "") -> Mark:
    tone, words = "even", "too close to tell"
    if found.value is not None and found.low is not None and found.high is not None and (found.low > 0 or found.high < 0):
        better = found.higher_is_better
        tone, words = ("even", "differs") if better is None else ("up", "better") if (found.value > 0) == better else ("down", "worse")
    badge = None if found.value is None or found.low is None else (words, {"up": "good", "down": "bad", "even": "even"}[tone])
    lower = " (lower is better)" if found.higher_is_better is False else ""
    return Mark(
        name=f"{name}{lower}",
        value=found.value,
        low=found.low,
        high=found.high,
        shown=signed(found.value, unit),
        why=found.reason or "",
        badge=badge,
        tone=tone,
    )


def _slices(slices: Sequence[Slice], results: Results) -> Chapter | None:
    if not slices:
        return None
    panels: list[Markup] = []
    for by in dict.fromkeys(part.by for part in slices):
        parts = [part for part in slices if part.by == by]
        if len(panels) * 2 + len(parts) > DRAWN:
            panels.append(tag("p", "More slices are in evaluation.json.", class_="lead"))
            break
        measures = [_slice_table(parts, name, results) for name in ("auc", "recall")]
        panels.append(tag("div", tag("h3", f"By {by}"), *measures, class_="panel below"))
    lead = _lead("The same model on parts of the rows. The dashed line is all rows together; wide bars mean few rows.")
    return Chapter("slices", "Slices", "For whom it works", join(lead, *panels))


def _slice_table(parts: Sequence[Slice], metric: str, results: Results) -> Markup:
    marks = [_estimate_mark(part.name.removeprefix(f"{part.by}="), part.metrics[metric], counts=(part.n, part.positives)) for part in parts]
    return dot_table(marks, first=METRICS[metric].title, counts=("rows", "positives"), reference=results.metrics[metric].value)


def _fairness(attributes: Sequence[Attribute]) -> Chapter | None:
    if not attributes:
        return None
    panels: list[Markup] = []
    drawn = 0
    for attribute in attributes:
        groups = attribute.groups[: max(2, (DRAWN - drawn) // len(SHOWN_RATES))]
        drawn += len(groups) * len(SHOWN_RATES)
        panels.append(
            tag(
                "div",
                tag("h3", attribute.name),
                _gaps(attribute),
                *_group_tables(groups, attribute.name),
                *_remarks(attribute, len(groups)),
                class_="panel below",
            )
        )
        if drawn > DRAWN:
            panels.append(tag("p", "More attributes are in evaluation.json.", class_="lead"))
            break
    lead = _lead("Whether the groups of an attribute are treated alike. A gap of 0 is none; its interval says how wide it may really be.")
    return Chapter("fairness", "Fairness", "Whether groups are treated alike", join(lead, *panels))


def _gaps(attribute: Attribute) -> Markup:
    marks = [
        _estimate_mark(f"{GAPS[name].title}: {GAPS[name].meaning}", gap)
        for name, gap in in_order(attribute.gaps, GAPS)
        if not GAPS[name].is_ratio
    ]
    return dot_table(marks, first="gap between groups", reference=0.0)


def _group_tables(groups: Sequence[GroupRates], by: str) -> list[Markup]:
    tables = []
    for rate, title, of in SHOWN_RATES:
        marks = [_group_mark(group, by, rate) for group in groups]
        tables.append(dot_table(marks, first=f"{title} ({of})", counts=("rows", "positives"), span=None))
    return tables


def _group_mark(group: GroupRates, by: str, rate: str) -> Mark:
    badge = ("few rows", "bad") if group.is_tiny else None
    return _estimate_mark(group.name.removeprefix(f"{by}="), group.rates[rate], counts=(group.n, group.positives), badge=badge)


def _remarks(attribute: Attribute, drawn: int) -> list[Markup]:
    remarks = []
    if attribute.group_count > drawn:
        remarks.append(f"{count(attribute.group_count - drawn)} smaller groups are compared as well, but not drawn.")
    if attribute.left_out_count:
        names = ", ".join(attribute.left_out[:8]) + (" ..." if attribute.left_out_count > 8 else "")
        remarks.append(f"Left out of the comparison, for they have too few rows: {names}.")
    if any(group.is_tiny for group in attribute.groups[:drawn]):
        remarks.append("Groups with few rows say little: read their intervals, not their points.")
    return [tag("div", remark, class_="note") for remark in remarks]


def _numbers(results: Results) -> Chapter:
    marks = [_estimate_mark(f"{METRICS[name].title}: {METRICS[name].meaning}", found) for name, found in in_order(results.metrics, METRICS)]
    body = tag("div", dot_table(marks, first="metric", span=_unit_span(results.metrics)), class_="panel")
    return Chapter(
        "numbers",
        "All numbers",
        "All numbers",
        join(_lead(f"On all {count(results.n)} rows, at threshold {number(results.threshold)}."), body),
    )


def _unit_span(metrics: dict[str, Estimate]) -> tuple[float, float] | None:
    ends = [end for found in metrics.values() for end in (found.low, found.high, found.value) if end is not None]
    return (0.0, 1.0) if ends and min(ends) >= 0 and max(ends) <= 1 else None


def _method(results: Results) -> Chapter:
    shared = results.data.rows_shared_with_training
    seen = f"{count(shared)} rows" if shared is not None else f"unknown{': ' + results.data.reason if results.data.reason else ''}"
    entries = [
        ("Model", results.model),
        ("Model digest", results.model_digest or "–"),
        ("Data", results.data.ref or "a table without a name"),
        ("Data digest", results.data.digest),
        ("Seen in training", seen),
        ("Target", f"{results.target} = {results.positive}"),
        ("Intervals", "AUC: DeLong, or Newcombe with few rows of a class. Average precision: Boyd. Shares: Wilson."),
        ("", "Losses: Student's t, corrected for skew. All else: resampled counts."),
        (
            "Champion",
            "Paired on the same rows: DeLong for AUC, mean difference per row for losses and earnings, resampled counts for the rest.",
        ),
        ("Fairness", "Definitions of Fairlearn: differences are largest minus smallest, over the groups shown."),
        ("Undefined", "A number that has no meaning on these rows is shown as missing with its reason, never as 0."),
    ]
    pairs = [join(tag("dt", name), tag("dd", words)) for name, words in entries]
    return Chapter("method", "Method", "What was measured, and how", tag("div", tag("dl", *pairs), class_="panel"))


def _estimate_mark(name: str, found: Estimate, *, counts: tuple[int, ...] = (), badge: tuple[str, str] | None = None) -> Mark:
    return Mark(name=name, value=found.value, low=found.low, high=found.high, why=why(found), counts=counts, badge=badge)


def _lead(words: str) -> Markup:
    return tag("p", words, class_="lead")
