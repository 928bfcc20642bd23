"""This machine, read through psutil and, where it is installed, NVML."""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import psutil  # 80 ms to import: whoever imports this file does it in the sampling thread

from stratal.tracking.system.gpus import Gpus, find_gpus
from stratal.tracking.system.reading import ProcessReading, Reading

T = TypeVar("T")


class LocalMachine:
    """The machine that this process runs on, and the tree of processes under it."""

    def __init__(self, disk: Path, gpus: Gpus | None = None) -> None:
        """disk: a path on the disk whose free space counts: the store's. gpus: None for those that NVML finds."""
        self._disk = disk
        self._gpus = find_gpus() if gpus is None else gpus

    def read(self) -> Reading:
        """Read what can be read; about 2 ms and 0.1 ms for each process of the tree."""
        cpu, memory = psutil.cpu_times(), psutil.virtual_memory()
        disks, network = _or_none(psutil.disk_io_counters), _or_none(psutil.net_io_counters)
        processes = process_tree(os.getpid())
        everything = sum(cpu) - getattr(cpu, "guest", 0.0) - getattr(cpu, "guest_nice", 0.0)  # these are part of user and nice
        return Reading(
            at_s=time.monotonic(),
            cpu_busy_s=everything - cpu.idle - getattr(cpu, "iowait", 0.0),
            cpu_all_s=everything,
            memory_used_bytes=memory.total - memory.available,
            memory_total_bytes=memory.total,
            disk_free_bytes=_or_none(lambda: shutil.disk_usage(self._disk).free),
            disk_read_bytes=disks.read_bytes if disks else None,
            disk_written_bytes=disks.write_bytes if disks else None,
            received_bytes=network.bytes_recv if network else None,
            sent_bytes=network.bytes_sent if network else None,
            processes=processes,
            gpus=self._gpus.read(frozenset(pid for pid, _ in processes)),
        )


def process_tree(pid: int) -> Mapping[tuple[int, float], ProcessReading]:
    """Read a process and all below it, by pid and start time. One that ends meanwhile is left out."""
    own = psutil.Process(pid)
    found = {}
    for process in [own, *own.children(recursive=True)]:
        try:
            with process.oneshot():
                cpu, io = process.cpu_times(), _or_none(process.io_counters) if hasattr(process, "io_counters") else None
                found[process.pid, process.create_time()] = ProcessReading(
                    cpu_s=cpu.user + cpu.system,
                    memory_bytes=process.memory_info().rss,
                    threads=process.num_threads(),
                    read_bytes=io.read_bytes if io else None,
                    written_bytes=io.write_bytes if io else None,
                )
        except psutil.Error:
            continue
    return found


def _or_none(read: Callable[[], T]) -> T | None:
    """What a container hides, or a system does not have, is left out."""
    try:
        return read()
    except (psutil.Error, OSError, RuntimeError):
        return None
