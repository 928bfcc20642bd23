"""Hugging Face Trainer: arguments, what it logs, the best checkpoint. By its `TrainerCallback`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import transformers
from transformers.integrations import integration_utils

from stratal.tracking.active import OpenRun
from stratal.tracking.autolog.fits import Fit, begin, guarded

LIBRARY = "transformers"
# Of the arguments, some hundred, those that differ from their defaults are params, and always these.
_ALWAYS = (
    "learning_rate", "per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "max_steps", "weight_decay",
    "warmup_steps", "optim", "lr_scheduler_type", "seed", "bf16", "fp16",
)  # fmt: skip
_NEVER = frozenset(("output_dir", "logging_dir", "report_to", "run_name", "hub_token", "push_to_hub_token"))
_PARTS = ("eval_", "test_", "train_")

_guard = guarded(LIBRARY)


class TransformersCallback(transformers.TrainerCallback):  # type: ignore[misc]  # the library may be absent where types are checked
    """Logs each training of the Trainers that it is given to, on their first process."""

    def __init__(self, run: OpenRun | None = None) -> None:
        """run: None for the active one."""
        super().__init__()
        self._run = run
        self._fit: Fit | None = None

    @_guard
    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Begin a fit."""
        if not state.is_world_process_zero:
            return
        if self._fit is not None:
            self._fit.end()  # it was broken off: Trainer does not say so
        self._fit = begin(LIBRARY, run=self._run)
        if self._fit is not None:
            self._fit.log_params(arguments(args))
            if model is not None:
                parameters = sum(weight.numel() for weight in model.parameters())
                self._fit.log_params({"model_class": type(model).__name__, "parameters": parameters})

    @_guard
    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        """Log what the Trainer logs, when it does: values are numbers by then, and no device waits."""
        if not state.is_world_process_zero:
            return
        if self._fit is None:  # an evaluation without a training before
            self._fit = begin(LIBRARY, run=self._run)
        if self._fit is not None:
            self._fit.log({_named(name): value for name, value in (logs or {}).items()}, step=state.global_step)

    @_guard
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Log what came out, and end the fit; an evaluation after it is still its own."""
        if self._fit is None:
            return
        try:
            if state.best_metric is not None:
                self._fit.log({"best_metric": float(state.best_metric)})
            if state.best_model_checkpoint:
                self._fit.log_params({"best_checkpoint": str(state.best_model_checkpoint)})
        finally:
            self._fit.end()


def arguments(args: Any) -> dict[str, object]:
    """Give the arguments that differ from their defaults, and the usual ones; never tokens or folders."""
    found: dict[str, object] = {}
    for field in dataclasses.fields(args):
        value = getattr(args, field.name)
        plain = getattr(value, "value", value)  # an enumeration
        differs = field.default is not dataclasses.MISSING and plain != getattr(field.default, "value", field.default)
        if field.name in _ALWAYS or (differs and field.name not in _NEVER and isinstance(plain, bool | int | float | str)):
            found[field.name] = plain
    return found


def _named(name: str) -> str:
    for part in _PARTS:
        if name.startswith(part):
            return f"{part[:-1]}/{name[len(part) :]}"
    return f"train/{name}"


def register(*, off: bool = False) -> None:
    """Make `TrainingArguments(report_to="stratal")` known, in the table that the library has for it."""
    if off:
        integration_utils.INTEGRATION_TO_CALLBACK.pop("stratal", None)
    else:
        integration_utils.INTEGRATION_TO_CALLBACK["stratal"] = TransformersCallback


def watch(run: OpenRun, trainer: Any) -> None:
    """Log the trainings of a Trainer."""
    if not any(isinstance(callback, TransformersCallback) for callback in trainer.callback_handler.callbacks):
        trainer.add_callback(TransformersCallback(run))
