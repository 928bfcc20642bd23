"""A reading of the machine, and what two of them say together. Pure: values in, metrics out."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from stratal.tracking.facts import SYSTEM


class ProcessReading(NamedTuple):
    """One process of our tree. io_*: None where the system does not tell."""

    cpu_s: float
    memory_bytes: int
    threads: int
    read_bytes: int | None = None
    written_bytes: int | None = None


class GpuReading(NamedTuple):
    """One GPU, numbered as its driver does. used_percent: how much of the time it computed. ours_bytes: what our tree holds of it.
    None: the driver does not tell, as of memory where the GPU uses the machine's."""

    number: int
    memory_bytes: int | None = None
    memory_total_bytes: int | None = None
    ours_bytes: int | None = None
    used_percent: float | None = None
    power_watts: float | None = None
    celsius: float | None = None


class Reading(NamedTuple):
    """The machine at one moment. Counters only grow: two readings give a rate. None: cannot be read here."""

    at_s: float
    cpu_busy_s: float
    cpu_all_s: float
    memory_used_bytes: int
    memory_total_bytes: int
    disk_free_bytes: int | None
    disk_read_bytes: int | None
    disk_written_bytes: int | None
    received_bytes: int | None
    sent_bytes: int | None
    processes: Mapping[tuple[int, float], ProcessReading]  # by pid and start time: a pid alone is used again
    gpus: tuple[GpuReading, ...] = ()


class Machine(Protocol):
    """What can be read. Laws: 1 `read` gives what it can and leaves the rest out; it raises only where nothing can be read at all."""

    def read(self) -> Reading: ...


def metrics_between(before: Reading, now: Reading) -> dict[str, float]:
    """Give the metrics of the time between two readings: rates over it, and levels at its end."""
    seconds = now.at_s - before.at_s
    if seconds <= 0:
        return {}
    found: dict[str, float | None] = {
        "cpu_percent": _share(now.cpu_busy_s - before.cpu_busy_s, now.cpu_all_s - before.cpu_all_s),
        "memory_percent": _share(now.memory_used_bytes, now.memory_total_bytes),
        "memory_bytes": now.memory_used_bytes,
        "disk_free_bytes": now.disk_free_bytes,
        "disk_read_bytes_per_s": _rate(before.disk_read_bytes, now.disk_read_bytes, seconds),
        "disk_written_bytes_per_s": _rate(before.disk_written_bytes, now.disk_written_bytes, seconds),
        "received_bytes_per_s": _rate(before.received_bytes, now.received_bytes, seconds),
        "sent_bytes_per_s": _rate(before.sent_bytes, now.sent_bytes, seconds),
        **_of_processes(before.processes, now.processes, seconds),
    }
    for gpu in now.gpus:
        found |= {f"gpu/{gpu.number}/{name}": value for name, value in _of_gpu(gpu).items()}
    return {SYSTEM + name: float(value) for name, value in found.items() if value is not None}


_Tree = Mapping[tuple[int, float], ProcessReading]


def _of_processes(before: _Tree, now: _Tree, seconds: float) -> dict[str, float | None]:
    """A process that came in between counts from its start; of one that went, what it did since the last reading is not known."""
    fresh = ProcessReading(0.0, 0, 0, 0, 0)
    pairs = [(before.get(key, fresh), process) for key, process in now.items()]
    return {
        "process/cpu_percent": 100 * sum(max(0.0, new.cpu_s - old.cpu_s) for old, new in pairs) / seconds,
        "process/memory_bytes": sum(new.memory_bytes for _, new in pairs),
        "process/threads": sum(new.threads for _, new in pairs),
        "process/count": len(pairs),
        "process/read_bytes_per_s": _sum([_rate(old.read_bytes, new.read_bytes, seconds) for old, new in pairs]),
        "process/written_bytes_per_s": _sum([_rate(old.written_bytes, new.written_bytes, seconds) for old, new in pairs]),
    }


def _of_gpu(gpu: GpuReading) -> dict[str, float | None]:
    return {
        "percent": gpu.used_percent,
        "memory_bytes": gpu.memory_bytes,
        "memory_percent": _share(gpu.memory_bytes or 0, gpu.memory_total_bytes or 0),
        "process_memory_bytes": gpu.ours_bytes,
        "power_watts": gpu.power_watts,
        "celsius": gpu.celsius,
    }


def _share(part: float, whole: float) -> float | None:
    return 100 * part / whole if whole > 0 else None


def _rate(before: int | None, now: int | None, seconds: float) -> float | None:
    if before is None or now is None:
        return None
    return max(0, now - before) / seconds  # a counter that went back was reset: a disk or card was taken out


def _sum(rates: list[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None
