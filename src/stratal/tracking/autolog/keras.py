"""Keras 3: optimizer, metrics per epoch, the summary of the model. By its `Callback`."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from stratal.tracking.active import OpenRun
from stratal.tracking.autolog.fits import Fit, begin, guarded

LIBRARY = "keras"

_guard = guarded(LIBRARY)


class KerasCallback(keras.callbacks.Callback):  # type: ignore[misc]  # the library may be absent where types are checked
    """Logs each `model.fit(..., callbacks=[st.callback("keras")])`."""

    def __init__(self, run: OpenRun | None = None) -> None:
        """run: None for the active one."""
        super().__init__()
        self._run_given = run
        self._fit: Fit | None = None

    @_guard
    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Begin a fit."""
        if self._fit is not None:
            self._fit.end()  # it was broken off: Keras does not say so
        self._fit = begin(LIBRARY, run=self._run_given)
        if self._fit is not None:
            self._fit.log_params(_params(self.model, self.params or {}))

    @_guard
    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log the metrics of an epoch; Keras has brought them from the device."""
        if self._fit is not None:
            self._fit.log({_named(name): float(value) for name, value in (logs or {}).items()}, step=epoch)

    @_guard
    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Save the summary, now that all layers are built, and end the fit."""
        fit, self._fit = self._fit, None
        if fit is None:
            return
        try:
            lines: list[str] = []
            self.model.summary(print_fn=lambda line, **_: lines.append(line))
            fit.save("model_summary.txt", "\n".join(lines).encode())
            fit.log_params({"parameters": self.model.count_params()})
        finally:
            fit.end()


def _params(model: Any, given: Mapping[str, Any]) -> dict[str, object]:
    found: dict[str, object] = {"model_class": type(model).__name__, "epochs": given.get("epochs"), "steps_per_epoch": given.get("steps")}
    config = model.optimizer.get_config() if model.optimizer is not None else {}
    if config:
        found["optimizer"] = type(model.optimizer).__name__
    found |= {f"optimizer/{name}": _plain(value) for name, value in config.items() if name != "name"}
    if isinstance(model.loss, str):
        found["loss"] = model.loss
    return {name: value for name, value in found.items() if isinstance(value, bool | int | float | str)}


def _plain(value: object) -> object:
    """Keras keeps numbers as 32-bit floats: 0.05000000074505806 was 0.05."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def _named(name: str) -> str:
    return f"val/{name[4:]}" if name.startswith("val_") else name
