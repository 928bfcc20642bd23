"""Entry points that other libraries call by themselves, in any process that has both installed: light, and silent until asked for."""

from typing import Any

# What `st.autolog` has switched on of the libraries that call us.
switched: set[str] = set()


def lightning_callbacks() -> list[Any]:
    """Give the callbacks of each Trainer of `lightning`."""
    return _callbacks("lightning.pytorch")


def pytorch_lightning_callbacks() -> list[Any]:
    """Give the callbacks of each Trainer of `pytorch_lightning`, whose classes are others."""
    return _callbacks("pytorch_lightning")


def _callbacks(namespace: str) -> list[Any]:
    if "lightning" not in switched:
        return []
    try:
        from stratal.tracking.autolog.lightning import callback_of  # only where a Trainer is made, and autolog is on

        return [callback_of(namespace)]
    except Exception as error:  # noqa: BLE001  # the edge: a Trainer must not fail because of its log
        from stratal.tracking.autolog.fits import complain  # who does not use autolog pays for nothing but this file

        complain("lightning", f"{type(error).__name__}: {error}")
        return []
