"""Progress: whom long work tells how far it is."""

from collections.abc import Callable

# Is told of what is being done, how much of it is done, and of how much, in what it is counted in: bytes, rows, places.
Progress = Callable[[str, int, int], None]


def silent(_what: str, _done: int, _all: int) -> None:
    """Tell nobody."""
