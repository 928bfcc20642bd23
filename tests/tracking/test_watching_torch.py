"""Watching modules of torch: norms, histograms, hooks. Excludes what libraries over torch log."""

import pytest
import torch

from stratal.core.errors import Misuse
from stratal.store.store import Store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run


def train(module: torch.nn.Module, steps: int) -> torch.optim.Optimizer:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        module(torch.ones(4, 2)).square().mean().backward()
        optimizer.step()
    return optimizer


def test_norms_are_those_of_the_tensors_at_each_nth_step(store: Store):
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    module[1].bias.requires_grad_(False)
    with run("e", store=store) as logged:
        assert logged.watch(module, every=2) is module
        train(module, 5)
    read = get_run(logged.id, store=store)
    assert list(read.series("parameters/0.weight").steps) == [0, 2, 4]
    for name, weight in module.named_parameters():
        assert read.metrics[f"parameters/{name}"] == pytest.approx(float(weight.detach().norm()))
    norms = torch.stack([weight.grad.norm() for weight in module.parameters() if weight.grad is not None])
    assert read.metrics["gradients/all"] == pytest.approx(float(norms.norm())) and "gradients/1.bias" not in read.metrics


def test_only_the_modules_own_optimizer_counts_and_the_hook_goes_with_the_run(store: Store):
    watched, other = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    from torch.optim.optimizer import _global_optimizer_post_hooks as hooks

    with run("e", store=store) as logged:
        logged.watch(watched, every=1)
        train(other, 3)
        assert get_run(logged.id, store=store).metrics == {} and len(hooks) == 1
    assert len(hooks) == 0
    train(watched, 1)
    assert get_run(logged.id, store=store).metrics == {}


def test_histograms_count_every_finite_value(store: Store):
    module = torch.nn.Linear(2, 1)
    with torch.no_grad():
        module.weight[0, 0] = float("nan")
    optimizer = torch.optim.SGD(module.parameters(), lr=0.0)
    with run("e", store=store) as logged:
        logged.watch(module, optimizer=optimizer, every=1, histograms=True)
        module.weight.grad, module.bias.grad = torch.tensor([[1.0, 2.0]]), torch.tensor([3.0])
        optimizer.step()
    read = get_run(logged.id, store=store)
    gradients, weights, bias = (
        read.media(f"histograms/{name}")[0].load() for name in ("gradients/weight", "parameters/weight", "parameters/bias")
    )
    assert (gradients.edges[0], gradients.edges[-1], gradients.counts.sum()) == (1.0, 2.0, 2)
    assert (weights.counts.sum(), weights.nan, bias.counts.sum()) == (1, 1, 1)


def test_what_cannot_be_is_refused(store: Store):
    with run("e", store=store) as logged:
        with pytest.raises(Misuse, match="is no optimizer"):
            logged.watch(torch.nn.Linear(1, 1), optimizer="sgd")
        with pytest.raises(Misuse, match="every=0"):
            logged.watch(torch.nn.Linear(1, 1), every=0)
        with pytest.raises(Misuse, match="takes no model"):
            logged.watch(torch.nn.Linear(1, 1), model="m")
