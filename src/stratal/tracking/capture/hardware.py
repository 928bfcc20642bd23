"""Hardware and arithmetic: processor, cores, memory, GPUs, and the library that multiplies matrices.

Libraries are asked only if the process has imported them already: capture pulls nothing in.
"""

import os
import platform
import re
import sys
from pathlib import Path

import msgspec

from stratal.core.records import Record
from stratal.tracking.system.gpus import Nvml

_DRIVER = Path("/proc/driver/nvidia")
_SIGNS = (_DRIVER, Path("/dev/nvidiactl"), Path("/dev/dxg"))  # of a driver: Linux's, a container's, WSL's
_MODEL = re.compile(r"^Model:\s*(.+)$", re.MULTILINE)
_VERSION = re.compile(r"\b(\d+\.\d+(?:\.\d+)?)\b")


class Gpu(Record, frozen=True, kw_only=True):
    """One GPU. memory_bytes: 0 if nobody says."""

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
    """Ask the driver's own library where its Python package is installed, else read what the driver says under /proc."""
    if not any(sign.exists() for sign in _SIGNS):
        return ()
    try:
        import pynvml  # only machines with an NVIDIA driver get here
    except ImportError:
        return gpus_of_driver(_DRIVER)
    return gpus_of_library(pynvml) or gpus_of_driver(_DRIVER)


def gpus_of_library(nvml: Nvml) -> tuple[Gpu, ...]:
    """Ask NVML. There are none where it cannot start, as after an update of the driver before the machine was started again."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return ()
    try:
        driver = _text(nvml.nvmlSystemGetDriverVersion())
        handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
        return tuple(Gpu(name=_text(nvml.nvmlDeviceGetName(each)), memory_bytes=_memory(nvml, each), driver=driver) for each in handles)
    except nvml.NVMLError:  # one of them fell off the bus
        return ()
    finally:
        nvml.nvmlShutdown()


def _memory(nvml: Nvml, handle: object) -> int:
    try:
        return nvml.nvmlDeviceGetMemoryInfo(handle).total
    except nvml.NVMLError:  # it has none of its own: it uses the machine's
        return 0


def gpus_of_driver(folder: Path) -> tuple[Gpu, ...]:
    """Read the names of GPUs, and the driver's version, from the driver's folder; how much memory they have is not said there."""
    try:
        version = _VERSION.search((folder / "version").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        version = None
    gpus = []
    for file in sorted(folder.glob("gpus/*/information")):
        model = _MODEL.search(file.read_text(encoding="utf-8", errors="replace"))
        gpus.append(Gpu(name=model[1].strip() if model else "unknown", memory_bytes=0, driver=version[1] if version else ""))
    return tuple(gpus)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value  # bytes from older packages


def _blas() -> str | None:
    config = sys.modules.get("numpy.__config__")
    if config is None or not hasattr(config, "CONFIG"):
        return None
    blas = config.CONFIG.get("Build Dependencies", {}).get("blas", {})
    return " ".join(str(blas[key]) for key in ("name", "version") if blas.get(key)) or None
