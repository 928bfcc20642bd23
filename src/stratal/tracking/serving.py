"""Models by ref, for serving."""

from stratal.core.errors import Misuse
from stratal.store.store import Store
from stratal.tracking.flavors import LoadedModel
from stratal.tracking.loading import load_by_digest
from stratal.tracking.opening import current_store
from stratal.tracking.refs import parse_ref, resolve
from stratal.tracking.values import Model


def load(model: str | Model, *, store: Store | None = None) -> LoadedModel:
    """Load a model: `st.load("model:churn@production").predict(row)`. What comes back can predict, and run nothing else.

    model: a ref, or the handle that run.log_model gave. Raises NotFound if it is not there, Damaged if its bytes were changed.
    """
    store = store or current_store()
    if isinstance(model, str):
        found = resolve(parse_ref(model, default_kind="model"), store).value
        if not isinstance(found, Model):
            raise Misuse(f"{model!r} is no model", hint="write for example model:churn@production")
        model = found
    return load_by_digest(model.digest, store)
