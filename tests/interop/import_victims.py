"""Imports for processes that are killed."""

import os
import signal
from itertools import count
from pathlib import Path

from stratal.core.settings import Settings
from stratal.interop import framing
from stratal.interop.importing import import_runs
from stratal.tracking.opening import open_store


def import_until_killed(url, tool, path, points, most_values):
    """Import with small batches, and die at the n-th named point of the write protocol."""
    framing.MOST_VALUES = most_values
    store = open_store(url)
    passed = count(1)

    def perhaps_die(_point):
        if next(passed) == points:
            os.kill(os.getpid(), signal.SIGKILL)

    store.database.fault = perhaps_die
    import_runs(tool, path, store=store)


def import_there_until_killed(url, path, batches, state):
    """Import through a server with small batches, and die after the n-th."""
    framing.MOST_VALUES = 4
    store = open_store(url, settings=Settings(user="tester", capture=False, state_home=Path(state)))
    passed = count(1)

    def perhaps_die(*_place):
        if next(passed) == batches:
            os.kill(os.getpid(), signal.SIGKILL)

    import_runs("tensorboard", path, store=store, progress=perhaps_die)
    store.close()
