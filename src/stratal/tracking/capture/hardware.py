"""Hardware and arithmetic: processor, cores, memory, GPUs, and the library that multiplies matrices.

Libraries are asked only if the process has imported them already: capture pulls nothing in.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from stratal.core.records import Record

_GPU_TIMEOUT_S = 5.0


class Gpu(Record, frozen=True, kw_only=True):
    """One GPU."""

    name: str
    memory_bytes: int
    driver: str


class Hardware(Record, frozen=True, kw_only=True):
    """The machine as this process may use it. `usable_cores` and `memory_limit_bytes` heed affinity and container limits."""

    processor: str
    architecture: str
    cores: int
    usable_cores: float
    memory_bytes: int
    memory_limit_bytes: int | None = None
    gpus: tuple[Gpu, ...] = ()
    blas: str | None = None  # of NumPy, where it is imported
    threads: dict[str, int] = msgspec.field(default_factory=dict)  # threads that a library uses now: {"torch": 2, "openblas": 4}


def read_hardware() -> Hardware:
    """Read it all; about 1 ms without a GPU."""
    page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    return Hardware(
        processor=_processor(),
        architecture=platform.machine(),
        cores=os.cpu_count() or 1,
        usable_cores=_usable_cores(),
        memory_bytes=page * pages,
        memory_limit_bytes=_limit(Path("/sys/fs/cgroup/memory.max")),
        gpus=_gpus(),
        blas=_blas(),
        threads=thread_counts(),
    )


def thread_counts() -> dict[str, int]:
    """Ask the libraries that are imported how many threads they use."""
    counts: dict[str, int] = {}
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        counts["torch"] = int(torch.get_num_threads())
    pools = sys.modules.get("threadpoolctl")
    if pools is not None and hasattr(pools, "threadpool_info"):
        for pool in pools.threadpool_info():
            counts[str(pool.get("internal_api", "unknown"))] = int(pool.get("num_threads", 0))
    polars = sys.modules.get("polars")
    if polars is not None and hasattr(polars, "thread_pool_size"):
        counts["polars"] = int(polars.thread_pool_size())
    return counts


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith(("model name", "Hardware")):
                    return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _usable_cores() -> float:
    granted = float(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else float(os.cpu_count() or 1)
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return granted
    return granted if quota == "max" else min(granted, round(int(quota) / int(period), 2))


def _limit(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _gpus() -> tuple[Gpu, ...]:
    program = shutil.which("nvidia-smi")
    if program is None or not Path("/proc/driver/nvidia").exists():
        return ()
    words = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=_GPU_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL)
    return gpus_of(done.stdout) if done.returncode == 0 else ()


def gpus_of(table: str) -> tuple[Gpu, ...]:
    """Read the program's table: name, MiB, driver. A line that is none (a warning, `[N/A]`) is passed over."""
    gpus = []
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 3 and cells[1].isdigit():
            gpus.append(Gpu(name=cells[0], memory_bytes=int(cells[1]) << 20, driver=cells[2]))
    return tuple(gpus)


def _blas() -> str | None:
    config = sys.modules.get("numpy.__config__")
    if config is None or not hasattr(config, "CONFIG"):
        return None
    blas = config.CONFIG.get("Build Dependencies", {}).get("blas", {})
    return " ".join(str(blas[key]) for key in ("name", "version") if blas.get(key)) or None
