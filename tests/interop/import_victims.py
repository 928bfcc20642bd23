"""Imports for processes that are killed."""

import os
import signal
from itertools import count

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
