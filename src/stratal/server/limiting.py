"""Limiting: how often one may try to sign in. Pure: time comes in as an argument."""

from collections import OrderedDict

# Wrong passwords in a row that are free, seconds until one more is, by name and by address; names and addresses that are remembered.
# A name: 10, then one in 30 s makes 2,900 a day. An address stands for many people. Guesses.
NAME_FREE, NAME_S, ADDRESS_FREE, ADDRESS_S = 10, 30.0, 50, 6.0
MOST_KNOWN = 20_000


class Tries:
    """Counts failures per key: each costs one of `free`, which come back one per `each_s` seconds. Memory is bounded by `most` keys."""

    def __init__(self, free: int, each_s: float, *, most: int = MOST_KNOWN) -> None:
        self._free, self._each_s, self._most = free, each_s, most
        self._full_at_s: OrderedDict[str, float] = OrderedDict()  # when all tries are back

    def wait_s(self, key: str, now_s: float) -> float:
        """Give the seconds until another try is free, 0 for now."""
        owed_s = self._full_at_s.get(key, now_s) - now_s
        return max(0.0, owed_s - (self._free - 1) * self._each_s)

    def failed(self, key: str, now_s: float) -> None:
        """Count a failure."""
        self._full_at_s[key] = max(self._full_at_s.pop(key, now_s), now_s) + self._each_s
        while len(self._full_at_s) > self._most:
            self._full_at_s.popitem(last=False)

    def forgive(self, key: str) -> None:
        """Take one failure back."""
        if key in self._full_at_s:
            self._full_at_s[key] -= self._each_s
