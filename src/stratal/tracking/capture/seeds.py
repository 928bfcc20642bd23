"""Seeds: set in one call, and written down with the switches that decide whether equal seeds give equal numbers."""

import contextlib
import random
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from stratal.core.errors import Misuse
from stratal.core.records import Record
from stratal.core.settings import environment, set_variable

_LARGEST = 2**32 - 1  # NumPy's legacy generator takes 32 bits
_HASH, _CUBLAS = "PYTHONHASHSEED", "CUBLAS_WORKSPACE_CONFIG"
# One of the two that NVIDIA names as repeatable; it costs 24 MiB of the GPU's memory.
_REPEATABLE_WORKSPACE = ":4096:8"
# Read once: Python heeds it only when it starts.
_hash_seed = environment().get(_HASH)


class Seeds(Record, frozen=True, kw_only=True):
    """What was seeded by us, and the switches as they stand. `seed` None: nobody asked us to seed."""

    seed: int | None
    seeded: tuple[str, ...]
    hash_seed: str | None  # PYTHONHASHSEED; None: the order of sets differs per process
    torch: dict[str, bool | str] = msgspec.field(default_factory=dict)  # deterministic switches, where torch is imported
    not_done: tuple[str, ...] = ()  # what was asked for and could not be had, and how to have it


_last: tuple[int | None, tuple[str, ...], tuple[str, ...]] = (None, (), ())


def set_seeds(seed: int, *, deterministic: bool = False) -> Seeds:
    """Seed `random`, and NumPy, torch (all devices) and polars where they are imported, and give what was done.

    seed: 0 to 2**32 - 1. deterministic: also let torch and its libraries choose operations that repeat bit for bit.
    Raises Misuse for a seed out of range."""
    global _last
    if type(seed) is not int or not 0 <= seed <= _LARGEST:
        raise Misuse(f"seed = {seed!r} is not a seed", hint=f"give a whole number from 0 to {_LARGEST}")
    random.seed(seed)
    seeded, not_done = ["random"], []
    for name, set_seed in (("numpy", _seed_numpy), ("torch", _seed_torch), ("polars", _seed_polars)):
        module = sys.modules.get(name)
        if module is not None:
            set_seed(module, seed)
            seeded.append(name)
    if deterministic:
        not_done += _make_deterministic()
    _last = (seed, tuple(seeded), tuple(not_done))
    return seeds_now()


def seeds_now() -> Seeds:
    """Give what `set_seeds` did last in this process, and the switches as they stand."""
    seed, seeded, not_done = _last
    return Seeds(seed=seed, seeded=seeded, hash_seed=_hash_seed, torch=_torch_switches(), not_done=not_done)


def _seed_numpy(numpy: Any, seed: int) -> None:
    numpy.random.seed(seed)


def _seed_torch(torch: Any, seed: int) -> None:
    torch.manual_seed(seed)


def _seed_polars(polars: Any, seed: int) -> None:
    polars.set_random_seed(seed)


def _make_deterministic() -> list[str]:
    """Turn the switches, and give what could not be had."""
    missing = []
    if _hash_seed is None:
        missing.append(f"{_HASH} is not set: the order of sets differs per process; set it before Python starts")
    torch = sys.modules.get("torch")
    if torch is None:
        return [*missing, "torch is not imported: import it before seeding"]
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    if environment().get(_CUBLAS) is None:
        if torch.cuda.is_initialized():
            missing.append(f"{_CUBLAS} is not set, and CUDA is in use already: seed before the first work on a GPU")
        else:
            set_variable(_CUBLAS, _REPEATABLE_WORKSPACE)
    return missing


def _torch_switches() -> dict[str, bool | str]:
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "are_deterministic_algorithms_enabled"):  # absent, or half imported by another thread
        return {}
    return {
        "deterministic_algorithms": bool(torch.are_deterministic_algorithms_enabled()),
        "cudnn_deterministic": bool(torch.backends.cudnn.deterministic),
        "cudnn_benchmark": bool(torch.backends.cudnn.benchmark),
        **_float32_precisions(torch),
    }


def _float32_precisions(torch: Any) -> dict[str, str]:
    """How exact products of float32 are. torch has an old and a new way to set it, and refuses to read by one what was set by the other."""
    asked: dict[str, Callable[[], object]] = {
        "float32_matmul_precision": torch.get_float32_matmul_precision,
        "cuda_matmul_precision": lambda: torch.backends.cuda.matmul.fp32_precision,  # from torch 2.9 on, as the next one
        "cudnn_conv_precision": lambda: torch.backends.cudnn.conv.fp32_precision,
    }
    found = {}
    for name, read in asked.items():
        with contextlib.suppress(RuntimeError, AttributeError):
            found[name] = str(read())
    return found
