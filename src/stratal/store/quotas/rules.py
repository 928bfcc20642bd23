"""Rules of quotas, apart from any store: what a limit is, which one counts, and when one is nearly reached."""

from collections.abc import Iterator, Mapping

from stratal.core.errors import Misuse, Refused
from stratal.core.records import Record

# The experiment whose row is the default for all, and the number that says that there is no limit, whatever the default.
DEFAULT, UNLIMITED = "*", -1
# Percent of a limit at which people are told.
NEARLY = 80
# What is told of, and its bit among what was told.
BYTES, RUNS = "bytes", "runs"
BITS = {BYTES: 1, RUNS: 2}

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


class OverQuota(Refused):
    """An experiment has no room for this: nothing of it was written, and it can come again when there is."""


class Quota(Record, frozen=True, kw_only=True):
    """What an admin said. experiment: '*' for the default. None: as the default says; -1: without limit."""

    experiment: str
    most_bytes: int | None
    most_runs: int | None
    set_by: str = ""
    at_ns: int = 0


class Usage(Record, frozen=True, kw_only=True):
    """What an experiment holds, and may hold: None for no limit.

    waiting_files: that its runs named, and for whose bytes there was no room. has_own: a quota was set for it, and not only the default."""

    experiment: str
    size_bytes: int
    runs: int
    most_bytes: int | None
    most_runs: int | None
    waiting_files: int = 0
    waiting_bytes: int = 0
    has_own: bool = False

    def parts(self) -> Iterator[tuple[str, int, int | None]]:
        """Give (what, used, limit)."""
        yield BYTES, self.size_bytes, self.most_bytes
        yield RUNS, self.runs, self.most_runs


def limits(experiment: str, said: Mapping[str, Quota]) -> tuple[int | None, int | None]:
    """Give the bytes and runs that count for an experiment: its own where it says so, else the default's; None for no limit."""
    nothing = Quota(experiment=experiment, most_bytes=None, most_runs=None)
    own, default = said.get(experiment, nothing), said.get(DEFAULT, nothing)
    return _first(own.most_bytes, default.most_bytes), _first(own.most_runs, default.most_runs)


def is_nearly(used: int, limit: int | None) -> bool:
    """Tell whether people should know that a limit is near."""
    return limit is not None and used * 100 >= limit * NEARLY and used > 0


def check_limit(what: str, limit: int | None) -> None:
    """Raise Misuse for what is no limit."""
    if limit is not None and not UNLIMITED <= limit < 2**63:
        raise Misuse(f"{limit} is no limit of {what}", hint="0 or more; -1 for none; None for what the default says")


def check_experiment(name: str) -> None:
    """Raise Misuse for what no experiment can be called."""
    if not 0 < len(name) <= 500 or not name.isprintable():
        raise Misuse(f"{name[:80]!r} is no experiment", hint="write its name, or '*' for the default of all")


def shown_bytes(size: int) -> str:
    """Give bytes as people read them, in powers of 1000, as limits are said."""
    value, unit = float(size), _UNITS[0]
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            break
        value /= 1000
    return f"{size} bytes" if unit == _UNITS[0] else f"{value:.1f} {unit}"


def _first(own: int | None, default: int | None) -> int | None:
    found = default if own is None else own
    return None if found == UNLIMITED else found
