"""Shares: how much of something each person has, and all have. One person gets half of what there is, so that who sends or takes slowly
keeps out nobody else."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Shares:
    """What is taken of one thing. For one event loop. name: of who has it, '' where nobody knows, which is bound by no half."""

    def __init__(self) -> None:
        self.total = 0
        self._of = Counter[str]()

    def of(self, name: str) -> int:
        """Give what one has."""
        return self._of[name]

    def has_room(self, name: str, count: int, most: float) -> bool:
        """Tell whether one may have more of at most so many in all, and of half of them."""
        return self.total + count <= most and self.is_within_half(name, count, most)

    def is_within_half(self, name: str, count: int, most: float) -> bool:
        """Tell whether one who gets more has at most half of so many; half of an odd number is rounded up."""
        return not name or 2 * (self.of(name) + count) <= most + 1

    def take(self, name: str, count: int) -> None:
        """Let one have more, until `give_back`."""
        self.total += count
        self._of[name] += count

    def give_back(self, name: str, count: int) -> None:
        """Let one have less."""
        self.total -= count
        self._of[name] -= count
        if not self._of[name]:
            del self._of[name]

    @contextmanager
    def more(self, name: str, count: int) -> Iterator[None]:
        """Let one have more while the block runs."""
        self.take(name, count)
        try:
            yield
        finally:
            self.give_back(name, count)
