"""The first screen of the report: what a person who decides needs to know, in sentences."""

from stratal.evaluation.fairness import Attribute
from stratal.evaluation.results import Results, in_order
from stratal.evaluation.wording import count, interval, number, of_hundred, percent, signed, why
from stratal.tracking.drawing.markup import Markup, join, raw, tag


def summary(results: Results) -> Markup:
    """Give the cards, and warnings that no reader may miss."""
    cards = [_auc(results), *_kpis(results), _found(results), _champion(results), _fairness(results)]
    return join(tag("div", *(card for card in cards if card is not None), class_="cards"), *_warnings(results))


def _card(name: str, value: str, range_: str, words: str) -> Markup:
    return tag(
        "div",
        tag("div", name, class_="name"),
        tag("b", value),
        tag("div", range_ or raw("&nbsp;"), class_="range"),
        tag("p", words),
        class_="card",
    )


def _auc(results: Results) -> Markup:
    found = results.metrics["auc"]
    if found.value is None:
        return _card("AUC", "–", "", why(found))
    words = f"Of 100 pairs of a positive and a negative row, it ranks {found.value * 100:.0f} the right way round. Chance: 50."
    return _card("AUC", number(found.value), interval(found.low, found.high), words)


def _kpis(results: Results) -> list[Markup]:
    cards = []
    for name, found in in_order(results.kpis, (results.threshold_from,)):
        if found.value is None:
            cards.append(_card(name, "–", "", f"{found.reason}."))
            continue
        called = results.confusion.true_positive + results.confusion.false_positive
        best = max(found.everybody, found.nobody)
        gain = f"{signed(found.value - best, found.unit)} against acting on {'all' if found.everybody >= found.nobody else 'none'}"
        words = f"By acting on {percent(called / max(results.n, 1))} of the rows; {gain}."
        cards.append(_card(name, number(found.value, found.unit), interval(found.low, found.high), words))
    return cards


def _found(results: Results) -> Markup:
    recall, precision = results.metrics["recall"], results.metrics["precision"]
    if recall.value is None:
        return _card("Found", "–", "", why(recall))
    alarms = "No row is called positive." if precision.value is None else f"Of its alarms, {of_hundred(precision.value)} are right."
    words = f"It finds {of_hundred(recall.value)} positives. {alarms}"
    return _card(f"Found at threshold {number(results.threshold)}", percent(recall.value), _percents(recall.low, recall.high), words)


def _champion(results: Results) -> Markup | None:
    champion = results.champion
    if champion is None:
        return None if results.champion_note is None else _card("Against the champion", "–", "", results.champion_note)
    found = champion.difference["auc"]
    if found.value is None or found.low is None or found.high is None:
        return _card("AUC against the champion", signed(found.value), "", f"{found.reason or ''}.")
    words = (
        "Too close to tell which is better."
        if found.low <= 0 <= found.high
        else f"Better than {champion.ref}."
        if found.value > 0
        else f"Worse than {champion.ref}."
    )
    p = "" if found.p is None else f" p = {number(found.p)}." if found.p >= 0.0005 else " p < 0.001."
    return _card("AUC against the champion", signed(found.value), f"{signed(found.low)} to {signed(found.high)}", words + p)


def _fairness(results: Results) -> Markup | None:
    if not results.fairness:
        return None
    worst = max(results.fairness, key=_odds)
    found = worst.gaps["equalized_odds_difference"]
    if found.value is None:
        return _card(f"Fairness by {worst.name}", "–", "", why(found))
    others = "" if len(results.fairness) == 1 else f" It is the widest gap of {len(results.fairness)} attributes."
    words = f"Between groups, the share found or falsely alarmed differs by up to {found.value * 100:.0f} points.{others}"
    return _card(f"Equalized odds by {worst.name}", number(found.value), interval(found.low, found.high), words)


def _odds(attribute: Attribute) -> float:
    value = attribute.gaps["equalized_odds_difference"].value
    return 2.0 if value is None else value


def _warnings(results: Results) -> list[Markup]:
    shared = results.data.rows_shared_with_training
    found = []
    if shared:
        found.append(f"{count(shared)} of these rows were in the training data: every number here is better than it should be.")
    rarer = min(results.positives, results.n - results.positives)
    if results.n and rarer < 20:
        found.append(f"Only {count(rarer)} rows are of the rarer class: intervals are wide, believe them.")
    tiny = sum(group.is_tiny for attribute in results.fairness for group in attribute.groups)
    if tiny:
        found.append(
            f"{count(tiny)} group{'s have' if tiny > 1 else ' has'} fewer than 30 rows; their rates are shown, with wide intervals."
        )
    return [tag("div", words, class_="note bad") for words in found]


def _percents(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{percent(low)} to {percent(high)}"
