"""Likely causes of a difference between a run and its replay, the likeliest first. Pure: two descriptions in, causes out.

A difference in the last digits at the first step that differs speaks for arithmetic (threads, library, processor, GPU); a large
one for data, params, code or seeds.
"""

from collections.abc import Iterator, Mapping

import msgspec

from stratal.core.records import Record
from stratal.tracking.capture import Capture, StoredFile

# Below this relative difference at the first differing step, another order of summation is likelier than another program.
TINY = 1e-6
_NUMERIC = frozenset(
    ("accelerate", "catboost", "jax", "jaxlib", "keras", "lightgbm", "lightning", "mkl", "numba", "numpy", "pandas", "polars", "pyarrow",
     "scikit-learn", "scipy", "statsmodels", "tensorflow", "torch", "torchvision", "transformers", "xgboost")
)  # fmt: skip
_SHOWN = 5


class Cause(Record, frozen=True, kw_only=True):
    """A likely cause. subject: data, params, arguments, code, seed, packages, python, threads, arithmetic, gpu, environment, unseeded
    or unknown. what: in words, what was and what is. is_known: whether something differs, or might only."""

    subject: str
    what: str
    is_known: bool = True


class Side(Record, frozen=True, kw_only=True):
    """What is known of a run, or of its replay. used: role and digest of what it used. seeds: of studies and jobs too."""

    capture: Capture | None = None
    packages: Mapping[str, str] = msgspec.field(default_factory=dict)
    params: Mapping[str, object] = msgspec.field(default_factory=dict)
    used: frozenset[tuple[str, str]] = frozenset()
    is_seeded: bool = False


_WEIGHTS = {
    "data": 100, "params": 95, "arguments": 92, "code": 90, "seed": 88, "packages": 80, "python": 60, "threads": 50, "gpu": 48,
    "arithmetic": 46, "environment": 40, "unseeded": 30, "order": 20, "unknown": 10,
}  # fmt: skip
_WEIGHTS_OF_TINY = _WEIGHTS | {"threads": 120, "gpu": 118, "arithmetic": 116, "packages": 110}


def likely_causes(original: Side, replay: Side, *, size: float | None) -> tuple[Cause, ...]:
    """Rank what differs. size: relative difference at the first step that differs, None if there is no such number."""
    found = list(_differences(original, replay))
    if not original.is_seeded:
        hint = "st.seed_everything was not called: random numbers are drawn anew each time"
        found.append(Cause(subject="unseeded", what=hint, is_known=False))
    if original.capture is not None and original.capture.seeds is not None and original.capture.seeds.hash_seed is None:
        hint = "PYTHONHASHSEED was not set: the order of sets of texts is another one in each process"
        found.append(Cause(subject="order", what=hint, is_known=False))
    if not any(cause.is_known for cause in found):
        hint = "nothing that was captured differs: does it read the clock, the network, or a file that it was not given?"
        found.append(Cause(subject="unknown", what=hint, is_known=False))
    weights = _WEIGHTS_OF_TINY if size is not None and 0 < size < TINY else _WEIGHTS
    return tuple(sorted(found, key=lambda cause: (not cause.is_known, -weights[cause.subject])))


def _differences(original: Side, replay: Side) -> Iterator[Cause]:
    yield from _mapping("params", original.params, replay.params)
    if original.used and original.used != replay.used:
        gone, come = sorted(original.used - replay.used), sorted(replay.used - original.used)
        yield Cause(subject="data", what=f"used {_listed(gone) or 'nothing else'}, now {_listed(come) or 'not'}")
    a, b = original.capture, replay.capture
    if a is None or b is None:
        return
    yield from _inputs(a, b)
    if a.entry.argv != b.entry.argv:
        yield Cause(subject="arguments", what=f"{' '.join(a.entry.argv) or 'none'} → {' '.join(b.entry.argv) or 'none'}")
    yield from _code(a.files, b.files)
    yield from _seeds(a, b)
    yield from _packages(original.packages, replay.packages)
    if (a.implementation, a.python) != (b.implementation, b.python):
        yield Cause(subject="python", what=f"{a.implementation} {a.python} → {b.implementation} {b.python}")
    yield from _machine(a, b)
    threads = {*a.threads, *b.threads}
    variables = [{name: value for name, value in (each.environment or {}).items() if name not in threads} for each in (a, b)]
    yield from _mapping("environment", variables[0], variables[1])


def _inputs(a: Capture, b: Capture) -> Iterator[Cause]:
    for name, given in a.inputs.items():
        now = b.inputs.get(name)
        if now is not None and now.digest != given.digest:
            yield Cause(subject="data", what=f"{name}: sha256 {given.digest[:12]} → {now.digest[:12]}")


def _code(a: Mapping[str, StoredFile], b: Mapping[str, StoredFile]) -> Iterator[Cause]:
    """Only what both have, or what is new: a file that was edited before it was imported has no other name."""
    for name in sorted({*a, *b}):
        before, after = a.get(name), b.get(name)
        if name.startswith("git/") or (before is None and not name.startswith("sources/")):
            continue
        if before is not None and after is not None and (before.original or before.digest) != (after.original or after.digest):
            is_masked = before.original is not None and before.digest == after.digest
            why = "held what looked like a secret, which was not kept" if is_masked else "differs"
            yield Cause(subject="code", what=f"{name.partition('/')[2]} {why}")
        elif before is not None and after is None and name.startswith("sources/"):
            yield Cause(subject="code", what=f"{name.partition('/')[2]} is not imported any more")


def _seeds(a: Capture, b: Capture) -> Iterator[Cause]:
    if a.seeds is None or b.seeds is None:
        return
    if a.seeds.seed != b.seeds.seed:
        yield Cause(subject="seed", what=f"{a.seeds.seed} → {b.seeds.seed}")
    if a.seeds.hash_seed != b.seeds.hash_seed:
        yield Cause(subject="environment", what=f"PYTHONHASHSEED: {a.seeds.hash_seed} → {b.seeds.hash_seed}")
    known = a.seeds.torch.keys() & b.seeds.torch.keys()  # of a switch that one does not tell nothing is known
    before, after = ({name: each.torch[name] for name in known} for each in (a.seeds, b.seeds))
    yield from _mapping("arithmetic", before, after, "torch ")


def _packages(a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[Cause]:
    """Those that compute come first; of the others only so many are named."""
    changed = [f"{name} {a[name]} → {b.get(name, 'not installed')}" for name in sorted(a) if a[name] != b.get(name)]
    numeric = [text for text in changed if text.partition(" ")[0] in _NUMERIC]
    if ordered := numeric + [text for text in changed if text not in numeric]:
        yield Cause(subject="packages", what=_listed(ordered))


def _machine(a: Capture, b: Capture) -> Iterator[Cause]:
    yield from _mapping("threads", a.threads, b.threads)
    if None not in (a.slots, b.slots) and a.slots != b.slots:
        yield Cause(subject="threads", what=f"slots of workers: {a.slots} → {b.slots}")
    if a.hardware is None or b.hardware is None:
        return
    yield from _mapping("threads", a.hardware.threads, b.hardware.threads, "threads of ")
    gpus = [", ".join(gpu.name for gpu in each.hardware.gpus) or "none" if each.hardware else "" for each in (a, b)]
    if gpus[0] != gpus[1]:
        yield Cause(subject="gpu", what=f"{gpus[0]} → {gpus[1]}")
    elif (before := {gpu.driver for gpu in a.hardware.gpus}) != (after := {gpu.driver for gpu in b.hardware.gpus}):
        yield Cause(subject="gpu", what=f"driver: {_listed(sorted(before))} → {_listed(sorted(after))}")
    if a.hardware.processor != b.hardware.processor:
        yield Cause(subject="arithmetic", what=f"processor: {a.hardware.processor} → {b.hardware.processor}")
    if None not in (a.hardware.blas, b.hardware.blas) and a.hardware.blas != b.hardware.blas:
        yield Cause(subject="arithmetic", what=f"BLAS: {a.hardware.blas} → {b.hardware.blas}")


def _mapping(subject: str, a: Mapping[str, object], b: Mapping[str, object], before: str = "") -> Iterator[Cause]:
    for name in sorted({*a, *b}):
        if a.get(name) != b.get(name):
            yield Cause(subject=subject, what=f"{before}{name}: {_shown(a.get(name))} → {_shown(b.get(name))}")


def _shown(value: object) -> str:
    return "not set" if value is None else f"{value}"[:80]


def _listed(texts: object) -> str:
    items = [text if isinstance(text, str) else ": ".join(text) for text in texts]  # type: ignore[attr-defined]  # lists of texts or pairs
    return ", ".join(items[:_SHOWN]) + (f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else "")
