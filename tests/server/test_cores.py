"""Where threads of a process that serves may run. Excludes what it serves."""

import json
import os
import subprocess
import sys

SCRIPT = """
import json, os, threading
from stratal.core import cores
from stratal.core.threads import start_aside

def seen(begin):
    found = []
    def run():
        begin()
        found.append(sorted(os.sched_getaffinity(0)))
    thread = threading.Thread(target=run)
    thread.start(), thread.join()
    return found[0]

def aside():
    found = []
    start_aside(lambda: found.append(sorted(os.sched_getaffinity(0))), "aside").join()
    return found[0]

before = [seen(cores.near), seen(cores.elsewhere)]
cores.stay_here()
after = [sorted(os.sched_getaffinity(0)), seen(cores.near), seen(lambda: None), seen(cores.elsewhere), aside()]
print(json.dumps([before, after]))
"""


def places(cores: set[int]) -> tuple[list[list[int]], list[list[int]]]:
    """Give where threads ran, in a process that may have these cores: before it served, and then."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    return json.loads(done.stdout)


def test_the_loop_and_what_is_near_stay_on_one_core_and_all_else_goes_where_there_is_room():
    everywhere = os.sched_getaffinity(0)
    before, (loop, near, child, elsewhere, aside) = places(everywhere)
    assert before == [sorted(everywhere)] * 2, "nothing is moved in a process that does not serve"
    assert len(loop) == 1 and loop == near == child and set(loop) <= everywhere
    assert elsewhere == aside == sorted(everywhere)


def test_a_process_that_was_given_one_core_keeps_to_it():
    one = min(os.sched_getaffinity(0))
    before, after = places({one})
    assert before == [[one]] * 2 and after == [[one]] * 5
