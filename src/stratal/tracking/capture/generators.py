"""Generators: the states of the random generators that a whole process shares, taken and put back. `random`, NumPy's, torch's.

Not those that somebody made and holds (`numpy.random.default_rng()`), nor polars', which nobody can ask.
"""

import random
import sys
from array import array
from typing import Any

import msgspec

from stratal.core.errors import Damaged
from stratal.core.records import Record

_NUMPY = "MT19937"  # what numpy.random.seed drives; somebody may have put another one there, whose state we do not know


class _States(Record, frozen=True, kw_only=True):
    """python: version, 625 words of 32 bits, what gauss() has in hand. numpy: the same without a version. Others: torch's bytes."""

    python: tuple[int, bytes, float | None]
    numpy: tuple[bytes, int, int, float] | None = None
    torch: bytes | None = None
    cuda: tuple[bytes, ...] = ()


def generator_states() -> bytes:
    """Give the states of all shared generators of libraries that are imported, as bytes: 2.5 to 10 KB. Takes 0.1 ms."""
    version, words, in_hand = random.getstate()
    torch = _torch()
    return msgspec.msgpack.encode(
        _States(
            python=(version, array("I", words).tobytes(), in_hand),
            numpy=_of_numpy(),
            torch=None if torch is None else torch.get_rng_state().numpy().tobytes(),
            cuda=() if torch is None or not torch.cuda.is_initialized() else tuple(_bytes(each) for each in torch.cuda.get_rng_state_all()),
        )
    )


def restore_generators(states: bytes) -> None:
    """Put states back; those of libraries that are not imported here are passed over. Raises Damaged for other bytes."""
    try:
        found = msgspec.msgpack.decode(states, type=_States)
        version, words, in_hand = found.python
        random.setstate((version, tuple(array("I", words)), in_hand))
        _put_numpy(found)
        _put_torch(found)
    except (msgspec.MsgspecError, TypeError, ValueError, RuntimeError) as error:
        raise Damaged(f"these are no states of random generators: {error}") from error


def _of_numpy() -> tuple[bytes, int, int, float] | None:
    numpy = sys.modules.get("numpy")
    if numpy is None or not hasattr(numpy, "random"):  # half imported by another thread
        return None
    name, keys, place, has_gauss, gauss = numpy.random.get_state()
    return (keys.tobytes(), int(place), int(has_gauss), float(gauss)) if name == _NUMPY else None


def _put_numpy(states: _States) -> None:
    numpy = sys.modules.get("numpy")
    if numpy is not None and states.numpy is not None and hasattr(numpy, "random"):
        keys, place, has_gauss, gauss = states.numpy
        numpy.random.set_state((_NUMPY, numpy.frombuffer(keys, dtype=numpy.uint32), place, has_gauss, gauss))


def _put_torch(states: _States) -> None:
    torch = _torch()
    if torch is None or states.torch is None:
        return
    torch.set_rng_state(torch.frombuffer(bytearray(states.torch), dtype=torch.uint8))
    if states.cuda and torch.cuda.is_available():
        torch.cuda.init()  # a seed that waits for it would otherwise come over these states then: torch runs waiting seeds last
        for device, state in enumerate(states.cuda[: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8), device)


def _torch() -> Any:
    """Give torch if it is imported whole."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and hasattr(torch, "get_rng_state") and hasattr(torch, "cuda") else None


def _bytes(tensor: Any) -> bytes:
    data: bytes = tensor.cpu().numpy().tobytes()
    return data
