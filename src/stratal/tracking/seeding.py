"""Seeding: set the seeds of this process, and tell the runs that it is writing to."""

import msgspec

from stratal.tracking import active
from stratal.tracking.capture.seeds import Seeds, set_seeds
from stratal.tracking.facts import CAPTURE


def seed_everything(seed: int, *, deterministic: bool = False) -> Seeds:
    """Seed `random`, and NumPy, torch (all devices) and polars where they are imported, and give what was done.

    seed: 0 to 2**32 - 1. deterministic: also let torch and its libraries choose operations that repeat bit for bit; an operation
    that has no such form then raises. Where capture is on it is recorded in the active run, and in all that this process starts later.
    A library imported later is not seeded: call this after the imports. Generators that were made before
    (`numpy.random.default_rng()`) keep their own state. Raises Misuse for a seed out of range."""
    seeds = set_seeds(seed, deterministic=deterministic)
    run = active.active_run()
    if run is not None and run.store.settings.capture:
        run.say(CAPTURE, {"seeds": msgspec.to_builtins(seeds)})
    return seeds
