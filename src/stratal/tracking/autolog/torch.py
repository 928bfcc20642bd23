"""PyTorch: norms and histograms of gradients and parameters, after a step of the optimizer. By torch's own hook for that.

All norms of a step come from the device in one transfer: a call of `.item()` for each would stall it hundreds of times.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from stratal.core.errors import Misuse
from stratal.tracking.active import OpenRun
from stratal.tracking.autolog.fits import Fit, begin, guarded
from stratal.tracking.media.histograms import Histogram

LIBRARY = "torch"
BINS = 64

_guard = guarded(LIBRARY)
_Named = list[tuple[str, torch.Tensor]]


class Watching:
    """Watches one module until its run ends."""

    def __init__(self, fit: Fit, module: torch.nn.Module, *, every: int, histograms: bool) -> None:
        self._fit, self._module, self._every, self._histograms = fit, module, every, histograms
        self._step = 0
        self._own = {id(weight) for weight in module.parameters()}
        self._remove: Callable[[], None] | None = None

    def hook(self, optimizer: Optimizer | None) -> None:
        """Begin: with this optimizer, or with any that has a parameter of the module."""
        handle = optimizer.register_step_post_hook(self._after) if optimizer is not None else register_optimizer_step_post_hook(self._after)
        self._remove = handle.remove
        self._fit.run.before_end(self.close)

    def close(self) -> None:
        """Stop."""
        if self._remove is not None:
            self._remove()
            self._remove = None
            self._fit.end()

    @_guard
    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not any(id(weight) in self._own for group in optimizer.param_groups for weight in group["params"]):
            return
        step, self._step = self._step, self._step + 1
        if step % self._every == 0 and self._fit.run.is_open:
            self._log(step)

    @torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]  # depends on torch's version
    def _log(self, step: int) -> None:
        weights = [(name, weight.detach()) for name, weight in self._module.named_parameters()]
        gradients = [(name, weight.grad) for name, weight in self._module.named_parameters() if weight.grad is not None]
        self._fit.log(_norms({"parameters": weights, "gradients": gradients}), step=step)
        if self._histograms:
            shown = {f"histograms/parameters/{name}": _histogram(tensor) for name, tensor in weights}
            self._fit.show(shown | {f"histograms/gradients/{name}": _histogram(tensor) for name, tensor in gradients}, step=step)


def watch(run: OpenRun, module: torch.nn.Module, *, optimizer: object, every: int, histograms: bool) -> None:
    """Log a module's norms at each `every`-th step, the first one too. optimizer: None for any that has its parameters."""
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise Misuse(f"optimizer={optimizer!r:.60} is no optimizer of torch", hint="pass a torch.optim.Optimizer, or leave it out")
    if every < 1:
        raise Misuse(f"every={every} is no number of steps", hint="give 1 or more")
    fit = begin(LIBRARY, run=run)
    if fit is not None:
        Watching(fit, module, every=every, histograms=histograms).hook(optimizer)


def _norms(groups: dict[str, _Named]) -> dict[str, float]:
    """Give the norm of each tensor, and of all of a group together (`all`). One transfer for each device."""
    found = dict(_transferred([(f"{kind}/{name}", tensor) for kind, tensors in groups.items() for name, tensor in tensors]))
    alls = {f"{kind}/all": math.hypot(*(found[f"{kind}/{name}"] for name, _ in tensors)) for kind, tensors in groups.items() if tensors}
    return found | alls


def _transferred(tensors: _Named) -> Iterable[tuple[str, float]]:
    for device in {tensor.device for _, tensor in tensors}:
        own = [(name, tensor) for name, tensor in tensors if tensor.device == device]
        norms = torch.stack([torch.linalg.vector_norm(tensor.float()) for _, tensor in own])
        yield from zip([name for name, _ in own], norms.tolist(), strict=True)


def _histogram(tensor: torch.Tensor) -> Histogram:
    """Count on the device: only edges and counts leave it."""
    values = tensor.float().flatten()
    finite = values[values.isfinite()]
    low, high = torch.stack([finite.min(), finite.max()]).tolist() if finite.numel() else (0.0, 1.0)
    high = high if low < high else low + 1.0  # all are equal
    # Not torch.histc: on a GPU it has no form that repeats, and raises where such forms are asked for.
    bins = ((finite - low) / (high - low) * BINS).long().clamp(0, BINS - 1)
    counts = torch.bincount(bins, minlength=BINS)
    nan, below, above = torch.stack([values.isnan().sum(), (values == -math.inf).sum(), (values == math.inf).sum()]).tolist()
    return Histogram(
        edges=np.linspace(low, high, BINS + 1),
        counts=counts.cpu().numpy().astype(np.int64),
        nan=int(nan),
        low_infinite=int(below),
        high_infinite=int(above),
    )
