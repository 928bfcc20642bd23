"""What a sample of the system costs: CPU time of reading this machine, with a process alone and with 16 children."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from peers import machine, say
from stratal.core.settings import SAMPLING_S
from stratal.tracking.system.gpus import Gpus
from stratal.tracking.system.machine import LocalMachine
from stratal.tracking.system.reading import metrics_between

ROUNDS, SAMPLES = 5, 20


def sample_s() -> float:
    """Give CPU seconds of one sample."""
    reads = LocalMachine(Path(), Gpus())
    last = reads.read()
    begin = time.process_time()
    for _ in range(SAMPLES):
        now = reads.read()
        metrics_between(last, now)
        last = now
    return (time.process_time() - begin) / SAMPLES


def main() -> None:
    print(machine())
    for children in (0, 16):
        running = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(children)]
        took = statistics.median(sample_s() for _ in range(ROUNDS))
        share = 100 * took / SAMPLING_S
        say(f"a sample with {children} children, and its share of a core", f"{took * 1e3:.2f} ms, {share:.3f} %", "<= 0.5 %", share <= 0.5)
        for child in running:
            child.communicate(b"\n")


if __name__ == "__main__":
    main()
