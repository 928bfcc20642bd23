"""From rows and scores to results. No store, no run, no file: what is measured does not depend on where it is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

from stratal.core.errors import Misuse
from stratal.evaluation.calibration import calibrate
from stratal.evaluation.champion import Comparison, Pair, compare
from stratal.evaluation.costs import Kpi, best_threshold, curve, measure_kpi
from stratal.evaluation.curves import histogram, precision_recall, roc, roc_band
from stratal.evaluation.estimates import Terms, estimate
from stratal.evaluation.fairness import measure_fairness
from stratal.evaluation.intervals import check_confidence
from stratal.evaluation.metrics import METRICS, confusion
from stratal.evaluation.results import FORMAT, Confusion, Judged, Results
from stratal.evaluation.sample import Sample
from stratal.evaluation.slices import SLICE_METRICS, Partition, Slice, measure_slices

DEFAULT_THRESHOLD = 0.5
HEADLINE = tuple(METRICS)


@dataclass(frozen=True, kw_only=True)
class Rival:
    """The champion: what it is called, and what it says of the same rows. scores is None where it could not be compared: note says why."""

    ref: str
    digest: str = ""
    rows: Sample | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Question:
    """What to measure. Partitions have a code for each row of the sample."""

    title: str
    model: str
    model_digest: str
    data: Judged
    target: str
    positive: str = "true"
    at_ns: int = 0
    slices: Sequence[Partition] = ()
    sensitive: Sequence[Partition] = ()
    kpis: Sequence[Kpi] = ()
    rival: Rival | None = None
    # None: the best of the first KPI; without a KPI 0.5.
    threshold: float | None = None
    confidence: float = 0.95
    seed: int = 0
    # Groups of fewer rows are listed but not compared.
    smallest_group: int = 1


def measure(rows: Sample, question: Question) -> Results:
    """Measure everything that is asked of these rows."""
    check_confidence(question.confidence)
    _check_names(question)
    threshold, chosen_by = choose_threshold(rows, question)
    terms = Terms(threshold=threshold, confidence=question.confidence, seed=question.seed)
    counts = confusion(rows.cells, threshold)
    return Results(
        format=FORMAT,
        title=question.title,
        model=question.model,
        model_digest=question.model_digest,
        data=question.data,
        target=question.target,
        positive=question.positive,
        at_ns=question.at_ns,
        threshold=threshold,
        threshold_from=chosen_by,
        confidence=question.confidence,
        seed=question.seed,
        n=rows.count,
        positives=round(float(rows.weights[rows.labels].sum())),
        confusion=Confusion(
            true_positive=round(float(counts.tp)),
            false_positive=round(float(counts.fp)),
            false_negative=round(float(counts.fn)),
            true_negative=round(float(counts.tn)),
        ),
        metrics={name: estimate(METRICS[name], rows, terms) for name in HEADLINE},
        slices=_slices(rows, question, terms),
        fairness=tuple(measure_fairness(rows, groups, terms, smallest_group=question.smallest_group) for groups in question.sensitive),
        kpis={kpi.name: measure_kpi(kpi, rows, terms, was_chosen=kpi.name == chosen_by) for kpi in question.kpis},
        kpi_curves={kpi.name: curve(kpi, rows) for kpi in question.kpis},
        calibration=calibrate(rows, confidence=question.confidence, seed=question.seed),
        roc=roc(rows),
        roc_band=roc_band(rows, confidence=question.confidence, seed=question.seed),
        precision_recall=precision_recall(rows),
        histogram=histogram(rows),
        champion=_champion(rows, question, terms),
        champion_note=None if question.rival is None else question.rival.note,
    )


def choose_threshold(rows: Sample, question: Question) -> tuple[float, str]:
    """Give the threshold and who chose it: "given", the first KPI's name, or "default"."""
    if question.threshold is not None:
        return float(question.threshold), "given"
    if question.kpis and len(rows):
        return best_threshold(question.kpis[0], rows), question.kpis[0].name
    return DEFAULT_THRESHOLD, "default"


def _slices(rows: Sample, question: Question, terms: Terms) -> tuple[Slice, ...]:
    found = [part for parts in question.slices for part in measure_slices(rows, parts, metrics=SLICE_METRICS, terms=terms)]
    names = [part.name for part in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Misuse(f"two slices are both called {twice[0]!r}", hint="name each slice once; rename a column if two read alike")
    return tuple(found)


def _champion(rows: Sample, question: Question, terms: Terms) -> Comparison | None:
    rival = question.rival
    if rival is None or rival.rows is None:
        return None
    # The champion decides by the same rule: at the given threshold, or at its own best for the KPI.
    theirs, _ = choose_threshold(rival.rows, question)
    pair = Pair(ours=rows, theirs=rival.rows, our_threshold=terms.threshold, their_threshold=theirs)
    return Comparison(
        ref=rival.ref,
        digest=rival.digest,
        threshold=theirs,
        is_same_model=bool(rival.digest) and rival.digest == question.model_digest,
        difference=compare(pair, metrics=HEADLINE, kpis=question.kpis, confidence=terms.confidence, seed=terms.seed),
    )


def _check_names(question: Question) -> None:
    names = [kpi.name for kpi in question.kpis]
    for name in names:
        if name in METRICS or names.count(name) > 1:
            raise Misuse(f"the name {name!r} is taken", hint="give the KPI a name of its own")
    titles = [groups.title for groups in question.sensitive]
    if len(set(titles)) < len(titles):
        raise Misuse("a sensitive attribute is named twice", hint="name each column once")
