"""Seeding beside runs: what is recorded where, and the switches of torch. Excludes what equal seeds give."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from stratal.core.errors import Damaged
from stratal.core.settings import environment
from stratal.store.store import Store
from stratal.tracking.capture import seeds as capturing_seeds
from stratal.tracking.capture.generators import generator_states, restore_generators
from stratal.tracking.capturing import wait_for_captures
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run
from stratal.tracking.seeding import seed_everything


@pytest.fixture
def capturing_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    store.settings = replace(store.settings, capture=True, system_metrics_s=0.0)
    monkeypatch.setattr(capturing_seeds, "_last", (None, (), ()))
    return store


@pytest.fixture
def torch_as_before(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "x")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn


def recorded(store: Store, id: str) -> object:
    assert wait_for_captures(120)
    return get_run(id, store=store).capture["seeds"]["seed"]


def test_a_seed_is_recorded_in_the_active_run_and_in_later_ones_and_each_has_its_own(capturing_store: Store):
    with run("e", store=capturing_store) as unseeded:
        pass
    with run("e", store=capturing_store) as active:
        seed_everything(7)
    with run("e", store=capturing_store) as later:
        pass
    seed_everything(8)
    with run("e", store=capturing_store) as last:
        pass
    assert [recorded(capturing_store, made.id) for made in (unseeded, active, later, last)] == [None, 7, 7, 8]
    assert get_run(last.id, store=capturing_store).capture["entry"]["seed"] == 8


def test_where_capture_is_off_nothing_is_said(store: Store):
    with run("e", store=store) as quiet:
        seed_everything(7)
    assert get_run(quiet.id, store=store).capture == {}


def test_determinism_turns_the_switches_of_torch_and_says_what_it_could_not(torch_as_before, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(capturing_seeds, "_hash_seed", None)
    seeds = seed_everything(7, deterministic=True)
    assert seeds.torch["deterministic_algorithms"] is True and seeds.torch["cudnn_deterministic"] is True
    assert environment()["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert [reason.split()[0] for reason in seeds.not_done] == ["PYTHONHASHSEED"]


def test_precisions_that_were_set_by_torchs_new_way_are_no_hindrance_to_seeding():
    if not hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        pytest.skip("this torch has the old way alone")
    before = seed_everything(7).torch
    kept, torch.backends.cuda.matmul.fp32_precision = torch.backends.cuda.matmul.fp32_precision, "tf32"
    try:
        now = seed_everything(7).torch
    finally:
        torch.backends.cuda.matmul.fp32_precision = kept
    assert (before["float32_matmul_precision"], now["cuda_matmul_precision"]) == ("highest", "tf32")
    assert "float32_matmul_precision" not in now, "torch refuses to say it by its old way"


def test_a_workspace_that_the_user_chose_stays(torch_as_before, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    seed_everything(7, deterministic=True)
    assert environment()["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_shared_generators_go_on_from_where_they_were_taken():
    random.gauss(0, 1)  # which keeps a second number in hand
    np.random.standard_normal()
    states = generator_states()
    drawn = [(random.gauss(0, 1), np.random.standard_normal(), float(torch.rand(1))) for _ in range(3)]
    random.seed(1), np.random.seed(2), torch.manual_seed(3)

    restore_generators(states)

    assert [(random.gauss(0, 1), np.random.standard_normal(), float(torch.rand(1))) for _ in range(3)] == drawn


@pytest.mark.parametrize("cut", [0, 1, -9])
def test_other_bytes_are_no_states_of_generators(cut):
    with pytest.raises(Damaged, match="no states of random generators"):
        restore_generators(generator_states()[:cut])
