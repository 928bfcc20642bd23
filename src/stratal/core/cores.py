"""Cores: an event loop and the threads that work for it in small steps stay on one core.

Only one thread at a time has the interpreter, and a call that waits for a disk or a database gives it away: several times in each request
of a server. From core to core that is a wake-up of an idle core each time; on one core it is a switch. Nobody else is kept off the others.
"""

import os

_all: frozenset[int] = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()  # elsewhere than on Linux
_home: int | None = None


def stay_here() -> None:
    """Keep this thread, which is that of an event loop, on one core from now on. For a process that does nothing else."""
    global _home
    if len(_all) < 2:
        return
    cores = sorted(_all)
    home = cores[os.getpid() % len(cores)]  # another one for another server on this machine
    try:
        os.sched_setaffinity(0, {home})
    except OSError:  # forbidden here: it is only slower
        return
    _home = home


def near() -> None:
    """Put this thread, which has just begun, beside the event loop. Threads begin where the one is that started them."""
    if _home is not None:
        os.sched_setaffinity(0, {_home})


def elsewhere() -> None:
    """Let this thread, which has just begun, run wherever there is room."""
    if _home is not None:
        os.sched_setaffinity(0, _all)
