"""The features room: one definition of a feature, for frames in training and for single rows in serving.

May live here: feature views and their versions, row-separability, the online store, parity, feature frames and their split.
May not: validation of data, models, and anything that fits or learns; what is learnt from rows belongs into the model.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stratal.features.frame import FeatureFrame
    from stratal.features.online import OnlineReader
    from stratal.features.parity import Mismatch, Parity
    from stratal.features.resolving import find_features, resolve_features
    from stratal.features.separable import NotSeparable
    from stratal.features.store import FeatureStore, FeatureVersion, Materialisation
    from stratal.features.view import FeatureView, feature_view, view_of

__all__ = [
    "FeatureFrame",
    "FeatureStore",
    "FeatureVersion",
    "FeatureView",
    "Materialisation",
    "Mismatch",
    "NotSeparable",
    "OnlineReader",
    "Parity",
    "feature_view",
    "find_features",
    "resolve_features",
    "view_of",
]

_HOMES = {
    "FeatureFrame": "frame",
    "FeatureStore": "store",
    "FeatureVersion": "store",
    "FeatureView": "view",
    "Materialisation": "store",
    "Mismatch": "parity",
    "NotSeparable": "separable",
    "OnlineReader": "online",
    "Parity": "parity",
    "feature_view": "view",
    "find_features": "resolving",
    "resolve_features": "resolving",
    "view_of": "view",
}


def __getattr__(name: str) -> object:
    """Load a name when it is asked for: polars comes with it, and `import stratal` must not pay for that."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
