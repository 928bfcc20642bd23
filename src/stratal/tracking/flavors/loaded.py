"""A loaded model: one face for all flavors, for frames, arrays and single rows."""

from typing import TYPE_CHECKING, Protocol

from stratal.core.errors import Misuse
from stratal.tracking.flavors.manifest import Manifest
from stratal.tracking.signatures import Signature

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Predictor(Protocol):
    """What a flavor gives back. Laws: 1 rows in = rows out, in order. 2 `scores` is P(positive), or raises Misuse saying why not."""

    def predict(self, x: object) -> "NDArray[np.generic]": ...

    def scores(self, x: object) -> "NDArray[np.float64]": ...


class LoadedModel:
    """A model that came back. `x`: a polars or pandas frame, a NumPy array of rows, or one row as a dict.

    Columns are picked by the signature's names, put in its order and cast to its dtypes; further columns are ignored.
    Arrays have the columns in the signature's order. Raises Misuse naming what is missing."""

    def __init__(self, predictor: Predictor, manifest: Manifest) -> None:
        self._predictor = predictor
        self.manifest = manifest

    @property
    def signature(self) -> Signature | None:
        """What goes in and comes out, as far as known."""
        return self.manifest.signature

    def predict(self, x: object) -> "NDArray[np.generic]":
        """Give the model's own answers, one per row: labels, numbers, or a module's outputs."""
        return self._predictor.predict(x)

    def scores(self, x: object) -> "NDArray[np.float64]":
        """Give P(positive) per row, (n,) float64. The positive class is the second of two (True, 1, "Yes").

        Raises Misuse for models that have no such probability."""
        scores = self._predictor.scores(x)
        if scores.ndim != 1:
            raise Misuse(f"this model gives scores of shape {scores.shape}, not one per row", hint="use predict() for such models")
        return scores
