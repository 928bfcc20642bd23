"""The model that is judged: by handle, by ref, or by its scores alone."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl

from stratal.core.errors import Misuse, NotFound
from stratal.core.ids import short
from stratal.evaluation.sample import Floats
from stratal.store.store import Store
from stratal.tracking.models import STATEMENT, load_model
from stratal.tracking.reading import get_run
from stratal.tracking.refs import resolve
from stratal.tracking.values import Label, Model


@runtime_checkable
class Scorer(Protocol):
    """Anything that says how sure it is of each row: P(positive), or any number that is higher for more surely positive."""

    def scores(self, frame: pl.DataFrame, /) -> Floats: ...


@runtime_checkable
class Versioned(Protocol):
    """A registered version, as far as finding its files needs it."""

    ref: str
    digest: str
    run: str
    path: str
    flavor: str


@dataclass(frozen=True)
class Subject:
    """A model by what it is called, its digest ('' if it has none), the run that made it, and how it scores (None: scores are given)."""

    title: str
    digest: str = ""
    run: str | None = None
    ref: str | None = None
    scorer: Scorer | None = None
    positive: Label | None = None


def subject(model: object, store: Store) -> Subject:
    """Find out what was passed as a model. Raises Misuse for what cannot score, NotFound for refs to nothing."""
    if model is None:
        return Subject("scores without a model")
    if isinstance(model, str):
        return _of_ref(model, store)
    if isinstance(model, Model):
        return _of_handle(model, store, title=f"run:{short(model.run)}, {model.path}", ref=None)
    if isinstance(model, Versioned) and isinstance(model.digest, str):
        handle = Model(run=model.run, path=model.path, digest=model.digest, flavor=model.flavor)
        return _of_handle(handle, store, title=model.ref, ref=model.ref)
    if isinstance(model, Scorer):
        return Subject(type(model).__name__, scorer=model)
    raise Misuse(
        f"a {type(model).__name__} gives no scores", hint="pass what run.log_model returned, a ref such as 'model:churn@3', or scores=..."
    )


def scores_of(found: Subject, frame: pl.DataFrame) -> Floats:
    """Ask the model for the scores of all rows, (n,) float64. Raises Misuse if it does not give one per row."""
    if found.scorer is None:
        raise Misuse("there is nothing that gives scores", hint="pass a model, or scores=...")
    if frame.is_empty():  # many models refuse to be asked about nothing
        return np.zeros(0)
    given = np.asarray(found.scorer.scores(frame), dtype=np.float64)
    if given.shape != (len(frame),):
        raise Misuse(f"{found.title} gave scores of shape {given.shape} for {len(frame)} rows", hint="it must give one number per row")
    return given


def _of_ref(text: str, store: Store) -> Subject:
    if text.startswith("run:") or ":" not in text:
        return _of_run(text, store)
    resolved = resolve(text, store)
    found = subject(resolved.value, store)
    return Subject(found.ref or text, found.digest, found.run, found.ref or text, found.scorer, found.positive)


def _of_run(text: str, store: Store) -> Subject:
    """`run:ID` or `run:ID/path`: the model that this run made."""
    name, _, path = text.partition("/")
    read = get_run(name, store=store)
    made = [each for each in read.statements(STATEMENT) if not path or each.body.get("path") == path]
    if len(made) != 1:
        known = ", ".join(f"run:{read.short}/{each.body.get('path')}" for each in read.statements(STATEMENT)) or "none"
        what = f"made {len(made)} models" if made else f"made no model{f' {path!r}' if path else ''}"
        error = Misuse if made else NotFound
        raise error(f"run:{read.short} {what}", hint=f"models of this run: {known}")
    body = made[0].body
    handle = Model(
        run=read.id,
        path=str(body.get("path")),
        digest=made[0].subject.removeprefix("sha256:"),
        flavor=str(body.get("flavor")),
        features=None,
    )
    return _of_handle(handle, store, title=f"run:{read.short}, {handle.path}", ref=None)


def _of_handle(model: Model, store: Store, *, title: str, ref: str | None) -> Subject:
    loaded = load_model(model, store)
    classes = loaded.signature.classes if loaded.signature else ()
    return Subject(f"{title} ({model.flavor})", model.digest, model.run, ref, loaded, classes[-1] if len(classes) == 2 else None)
