"""`st.evaluate`: judge a model on rows it has not seen, and state what was found where gates can read it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from stratal.core.errors import Misuse, NotFound
from stratal.evaluation.costs import Kpi
from stratal.evaluation.inputs import Table, labels, numbers, table, weights
from stratal.evaluation.measuring import Question, Rival, measure
from stratal.evaluation.results import Judged
from stratal.evaluation.sample import Sample, sample
from stratal.evaluation.scoring import Subject, scores_of, subject
from stratal.evaluation.seen import Seen, rows_seen
from stratal.evaluation.slices import AT_MOST as MOST_SLICES
from stratal.evaluation.slices import partition
from stratal.evaluation.stating import record
from stratal.store.store import Store
from stratal.tracking.active import active_run
from stratal.tracking.opening import current_store
from stratal.tracking.reading import get_run
from stratal.tracking.refs import resolve
from stratal.tracking.values import Evaluation, Label

EXPERIMENT = "evaluation"

# A column, or several whose values are taken together.
By = str | Sequence[str]


@dataclass(frozen=True)
class _Truth:
    """Where the truth stands, its positive class as the caller says, and as the model learnt it."""

    target: str
    positive: Label | None
    learnt: Label | None


@dataclass(frozen=True)
class _Rows:
    """The rows that count, as everything downstream needs them."""

    frame: pl.DataFrame
    truth: npt.NDArray[np.bool_]
    weights: npt.NDArray[np.float64]
    positive: str

    def scored(self, scores: npt.NDArray[np.float64]) -> Sample:
        return sample(self.truth, scores, self.weights)


def evaluate(
    model: object,
    data: object,
    *,
    target: str,
    slices: Sequence[By] = (),
    sensitive: Sequence[By] = (),
    kpi: Kpi | Sequence[Kpi] | None = None,
    champion: str | None = None,
    threshold: float | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    positive: Label | None = None,
    weights: str | None = None,
    scores: object | None = None,
    smallest_group: int = 1,
    experiment: str | None = None,
    store: Store | None = None,
) -> Evaluation:
    """Judge a binary classifier, and record it as a run of kind "evaluation" with facts, report.html and evaluation.json.

    model: what run.log_model gave, a ref ("model:churn@3", "run:7c41e09b"), or anything with scores(frame); None with `scores`.
    data: rows to judge it on: a frame, a dataset or its ref, or a file. target: the column that holds the truth.
    positive: the positive class; the model's own, True or 1 if not given. weights: a column that counts rows.
    scores: the scores, or the column that holds them, instead of asking the model.
    slices, sensitive: columns, or lists of columns taken together. smallest_group: smaller groups are listed, not compared.
    kpi: what decisions earn; the first one chooses the threshold if none is given (else 0.5).
    champion: ref of the model to compare with on the same rows; that there is none yet is recorded, and no error.

    Raises Misuse for what cannot be judged, NotFound for what is not there. Cost: a sort of the scores; about 0.2 s for 2,000 rows
    and 4 s for a million with slices, groups and champion, beside the models' own time.
    """
    store = store or current_store()
    ours = subject(model, store)
    judged = table(data, store)
    rows, given = _rows(judged, _Truth(target, positive, ours.positive), weights, scores)
    our_scores = scores_of(ours, rows.frame) if given is None else given
    kpis = (kpi,) if isinstance(kpi, Kpi) else tuple(kpi or ())
    place = experiment or _experiment(ours, store)
    question = Question(
        title=place,
        model=ours.title,
        model_digest=ours.digest,
        data=_judged(judged, rows_seen(judged.frame, ours.run, store)),
        target=target,
        positive=rows.positive,
        at_ns=store.clock.now_ns(),
        slices=[partition(rows.frame, by, at_most=MOST_SLICES) for by in slices],
        sensitive=[partition(rows.frame, by) for by in sensitive],
        kpis=kpis,
        rival=_rival(champion, rows, store),
        threshold=threshold,
        confidence=confidence,
        seed=seed,
        smallest_group=smallest_group,
    )
    results = measure(rows.scored(our_scores), question)
    return record(results, ours, store)


def _judged(judged: Table, seen: Seen) -> Judged:
    return Judged(digest=judged.digest, ref=judged.ref, rows=judged.frame.height, rows_shared_with_training=seen.rows, reason=seen.reason)


def _rows(judged: Table, truth_is: _Truth, weigh_by: str | None, scores: object | None) -> tuple[_Rows, npt.NDArray[np.float64] | None]:
    """Give the rows of weight above zero, and the given scores of them."""
    truth, positive_text = labels(judged.frame, truth_is.target, truth_is.positive, truth_is.learnt)
    weight = weights(judged.frame, weigh_by)
    given = None if scores is None else numbers(scores, judged.frame)
    counts = weight != 0
    if counts.all():
        return _Rows(judged.frame, truth, weight, positive_text), given
    frame = judged.frame.filter(pl.Series(counts))
    return _Rows(frame, truth[counts], weight[counts], positive_text), None if given is None else given[counts]


def _rival(champion: str | None, rows: _Rows, store: Store) -> Rival | None:
    if champion is None:
        return None
    try:
        value = resolve(champion, store).value
    except NotFound as error:
        return Rival(ref=champion, note=f"There is no champion to compare with: {error.message}.")
    theirs = subject(value, store)
    if theirs.scorer is None:
        raise Misuse(f"{champion} is no model", hint="a champion is a ref such as 'model:churn@production'")
    return Rival(ref=theirs.ref or champion, digest=theirs.digest, rows=rows.scored(scores_of(theirs, rows.frame)))


def _experiment(ours: Subject, store: Store) -> str:
    if ours.run is not None:
        try:
            return get_run(ours.run, store=store).experiment
        except NotFound:
            pass  # a model whose run was deleted, or lies in another store, can be judged all the same
    active = active_run()
    return EXPERIMENT if active is None else active.experiment
