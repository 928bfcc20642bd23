"""Reading evaluations back: their results, and the report as a file."""

from pathlib import Path

from stratal.core.errors import Damaged, NotFound
from stratal.core.ids import short
from stratal.core.records import from_json
from stratal.evaluation.report import render
from stratal.evaluation.results import FORMAT, Results
from stratal.evaluation.scoring import subject
from stratal.evaluation.stating import DOCUMENT, STATEMENT
from stratal.store.store import Store
from stratal.tracking.opening import current_store
from stratal.tracking.operations.reading import RunReads
from stratal.tracking.reading import ReadRun, get_run
from stratal.tracking.values import Evaluation, Model

FOLDER = "reports"


def read_results(evaluation: Evaluation | Model | str, *, store: Store | None = None) -> Results:
    """Give everything that an evaluation measured.

    evaluation: what st.evaluate gave, the ref of its run ("run:7c41e09b"), or a model or its ref: then its newest evaluation.
    Raises NotFound where there is none, Damaged for a document of a newer format."""
    store = store or current_store()
    document = find_evaluation(evaluation, store).read_artifact(DOCUMENT)
    found = from_json(document, Results)
    if found.format > FORMAT:
        raise Damaged(f"this evaluation has format {found.format}, and {FORMAT} is known here", hint="read it with a newer Stratal")
    return found


def write_report(evaluation: Evaluation | Model | str, path: str | Path | None = None, *, store: Store | None = None) -> Path:
    """Write the HTML report of an evaluation, and give the path of the file. It is drawn anew from the results.

    path: a file; by default one in the folder `reports` of the store, named after experiment and run."""
    store = store or current_store()
    read = find_evaluation(evaluation, store)
    page = render(read_results(read.ref, store=store))
    place = Path(path) if path is not None else store.folder / FOLDER / f"{_file_name(read.experiment)}-{short(read.id)}.html"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(page, encoding="utf-8")
    return place


def find_evaluation(evaluation: Evaluation | Model | str, store: Store) -> ReadRun:
    """Find the run of an evaluation: itself, or the newest one of a model."""
    if isinstance(evaluation, Evaluation):
        return get_run(evaluation.run, store=store)
    if isinstance(evaluation, str) and not evaluation.startswith("model:"):
        read = get_run(evaluation.partition("/")[0], store=store)
        if read.kind == "evaluation":
            return read
    digest = evaluation.digest if isinstance(evaluation, Model) else subject(evaluation, store).digest
    stated = RunReads(store).stated(kind=STATEMENT, subject=f"sha256:{digest}")
    if not stated:
        name = evaluation if isinstance(evaluation, str) else f"the model of run:{short(evaluation.run)}"
        raise NotFound(f"{name} was never evaluated", hint="stratal evaluate MODEL DATA --target COLUMN")
    return get_run(max(stated, key=lambda each: each.at_ns).run, store=store)


def _file_name(text: str) -> str:
    safe = "".join(character if character.isalnum() or character in "-_" else "-" for character in text)[:80]
    return safe.strip("-") or "evaluation"
