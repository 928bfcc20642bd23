"""Seeds: set in one call, and written down with the switches that decide whether equal seeds give equal numbers."""

import random
import sys
from collections.abc import Mapping

import msgspec

from stratal.core.errors import Misuse
from stratal.core.records import Record
from stratal.core.settings import environment

_LARGEST = 2**32 - 1  # NumPy's legacy generator takes 32 bits


class Seeds(Record, frozen=True, kw_only=True):
    """What was seeded by us, and the switches as they stand. `seed` None: nobody asked us to seed."""

    seed: int | None
    seeded: tuple[str, ...]
    hash_seed: str | None  # PYTHONHASHSEED; None: the order of sets differs per process
    torch: dict[str, bool | str] = msgspec.field(default_factory=dict)  # deterministic switches, where torch is imported


_last: tuple[int | None, tuple[str, ...]] = (None, ())


def seed_everything(seed: int) -> Seeds:
    """Seed `random`, and NumPy and torch (all devices) where they are imported, and give what was done.

    seed: 0 to 2**32 - 1. A library imported later is not seeded: call this after the imports. Generators that were
    made before (`numpy.random.default_rng()`) keep their own state. Raises Misuse for a seed out of range."""
    global _last
    if type(seed) is not int or not 0 <= seed <= _LARGEST:
        raise Misuse(f"seed = {seed!r} is not a seed", hint=f"give a whole number from 0 to {_LARGEST}")
    random.seed(seed)
    seeded = ["random"]
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed)
        seeded.append("numpy")
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)
        seeded.append("torch")
    _last = (seed, tuple(seeded))
    return seeds_now()


def seeds_now(environ: Mapping[str, str] | None = None) -> Seeds:
    """Give what `seed_everything` did last in this process, and the switches as they stand."""
    seed, seeded = _last
    environ = environment() if environ is None else environ
    return Seeds(seed=seed, seeded=seeded, hash_seed=environ.get("PYTHONHASHSEED"), torch=_torch_switches())


def _torch_switches() -> dict[str, bool | str]:
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "are_deterministic_algorithms_enabled"):  # absent, or half imported by another thread
        return {}
    return {
        "deterministic_algorithms": bool(torch.are_deterministic_algorithms_enabled()),
        "cudnn_deterministic": bool(torch.backends.cudnn.deterministic),
        "cudnn_benchmark": bool(torch.backends.cudnn.benchmark),
        "float32_matmul_precision": str(torch.get_float32_matmul_precision()),
    }
