"""Where the results of an evaluation go: a run, its facts, its document and its report."""

from stratal.core.records import to_json
from stratal.evaluation.report import render
from stratal.evaluation.results import Results, facts, headline
from stratal.evaluation.scoring import Subject
from stratal.store.store import Store
from stratal.tracking.runs import Run, run
from stratal.tracking.values import Evaluation

# The kind of statement that gates read.
STATEMENT = "evaluation"
DOCUMENT = "evaluation.json"
REPORT = "report.html"


def record(results: Results, ours: Subject, store: Store) -> Evaluation:
    """Record results as a run of kind "evaluation", and give its handle."""
    about = f"sha256:{ours.digest}" if ours.digest else ""
    params = {"target": results.target, "threshold": results.threshold, "confidence": results.confidence, "seed": results.seed}
    with run(results.title, name=f"evaluation of {ours.title}"[:200], kind="evaluation", params=params, store=store) as recorded:
        _record_edges(recorded, results, ours)
        if defined := headline(results.metrics, results.kpis):
            recorded.log(defined)
        recorded.save_bytes(DOCUMENT, to_json(results).encode())
        recorded.save_bytes(REPORT, render(results).encode())
        # Last: whoever finds the statement finds all that it rests on.
        recorded.state(STATEMENT, facts(results), subject=about)
        return Evaluation(run=recorded.id, subject=about)


def _record_edges(recorded: Run, results: Results, ours: Subject) -> None:
    recorded.edge("used", results.data.ref or results.data.digest, role="data", is_file=False)  # its rows, not a file
    if ours.digest:
        recorded.edge("used", f"sha256:{ours.digest}", role="model")
    if ours.ref:
        recorded.edge("used", ours.ref, role="model")
    if results.champion is not None:
        recorded.edge("used", results.champion.ref, role="champion")
