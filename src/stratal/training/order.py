"""The order of samples: a pure function, so that the whole state of the data is one integer.

A keyed Feistel network permutes the numbers below a power of two; walking its cycles permutes those below `size`. No list is
built: any stretch of any epoch costs time and memory for its own length only, at any size of the data set.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from stratal.core.errors import Misuse

Indices = npt.NDArray[np.int64]
_Words = npt.NDArray[np.uint64]

# Four rounds make a permutation that cannot be told from a random one (Luby and Rackoff 1988) when halves are wide;
# ours may have one bit, where more rounds are needed to mix. Ten passes the uniformity test beside this file's tests.
_ROUNDS = 10
# The constants of splitmix64 (Steele, Lea, Flood 2014).
_GOLDEN, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def indices(*, seed: int, epoch: int, position: int, count: int, size: int) -> Indices:
    """Give the samples number `position` to `position + count` of an epoch over `size` samples, cut at the epoch's end.

    Each epoch holds each sample once. Returns (n,) int64, n = min(count, size - position). O(n).
    """
    if size < 1 or not 0 <= position <= size or count < 0:
        raise Misuse(
            f"there are no {count} samples at position {position} of {size}", hint="positions run from 0 to the size of the data set"
        )
    words = np.arange(position, min(position + count, size), dtype=np.uint64)
    bits = max(2, (size - 1).bit_length())
    keys = _round_keys(seed, epoch)
    words = _permute(words, bits, keys)
    while (outside := words >= size).any():  # a cycle that starts below `size` comes back below it
        words[outside] = _permute(words[outside], bits, keys)
    return words.astype(np.int64)


def share(count: int, rank: int, world_size: int) -> slice:
    """Give the part of a global batch that one rank takes: contiguous, sizes differ by at most one, the first ranks take more."""
    small, extra = divmod(count, world_size)
    start = rank * small + min(rank, extra)
    return slice(start, start + small + (rank < extra))


def mixed(*numbers: int) -> int:
    """Hash integers of any size and sign into 64 bits: the seed of something that depends on all of them."""
    state = 0
    for number in numbers:
        state = (state + number * _GOLDEN + _GOLDEN) & _MASK
        state = ((state ^ (state >> 30)) * _MIX_1) & _MASK
        state = ((state ^ (state >> 27)) * _MIX_2) & _MASK
        state ^= state >> 31
    return state


def _permute(words: _Words, bits: int, keys: tuple[np.uint64, ...]) -> _Words:
    low_bits = bits // 2
    low_mask, high_mask = np.uint64((1 << low_bits) - 1), np.uint64((1 << (bits - low_bits)) - 1)
    high, low = words >> np.uint64(low_bits), words & low_mask
    for number, key in enumerate(keys):
        if number % 2:
            low = low ^ (_mix(high + key) & low_mask)
        else:
            high = high ^ (_mix(low + key) & high_mask)
    return (high << np.uint64(low_bits)) | low


def _mix(words: _Words) -> _Words:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(_MIX_1)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(_MIX_2)
    return words ^ (words >> np.uint64(31))


@lru_cache(maxsize=8)
def _round_keys(seed: int, epoch: int) -> tuple[np.uint64, ...]:
    return tuple(np.uint64(mixed(seed, epoch, number)) for number in range(_ROUNDS))
