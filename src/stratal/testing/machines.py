"""A machine that tests drive: it computes, reads and sends as much as it is told, in time that passes when it is told."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from stratal.tracking.system.reading import GpuReading, ProcessReading, Reading

GIB = 1 << 30
T = TypeVar("T")


@dataclass
class FakeMachine:
    """Two cores and 8 GiB. Change its fields between readings, and let time pass."""

    at_s: float = 1000.0
    cpu_busy_s: float = 500.0
    memory_used_bytes: int = 2 * GIB
    disk_written_bytes: int | None = 0
    received_bytes: int | None = None
    processes: dict[tuple[int, float], ProcessReading] = field(default_factory=lambda: {(7, 1.0): ProcessReading(10.0, GIB, 4, 0, 0)})
    gpus: tuple[GpuReading, ...] = ()
    broken: str = ""  # `read` raises it

    def passes(self, seconds: float, *, busy_cores: float = 0.0) -> None:
        """Let time pass, with so many cores busy."""
        self.at_s += seconds
        self.cpu_busy_s += busy_cores * seconds

    def read(self) -> Reading:
        """Give what its fields say."""
        if self.broken:
            raise OSError(self.broken)
        return Reading(
            at_s=self.at_s,
            cpu_busy_s=self.cpu_busy_s,
            cpu_all_s=2 * self.at_s,
            memory_used_bytes=self.memory_used_bytes,
            memory_total_bytes=8 * GIB,
            disk_free_bytes=100 * GIB,
            disk_read_bytes=None,
            disk_written_bytes=self.disk_written_bytes,
            received_bytes=self.received_bytes,
            sent_bytes=None,
            processes=dict(self.processes),
            gpus=self.gpus,
        )


class FakeNvmlError(Exception):
    """What FakeNvml raises where the driver cannot tell."""


@dataclass(frozen=True)
class FakeMemory:
    total: int
    used: int


@dataclass(frozen=True)
class FakeUtilization:
    gpu: int


@dataclass(frozen=True)
class FakeGpuProcess:
    pid: int
    usedGpuMemory: int | None  # noqa: N815  # NVML's own name


@dataclass
class FakeGpu:
    """One GPU of FakeNvml. None: this one does not tell."""

    memory: FakeMemory | None = FakeMemory(80 * GIB, 20 * GIB)
    percent: int | None = 50
    milliwatts: int | None = 300_000
    celsius: int | None = 60
    name: str = "NVIDIA H100 80GB HBM3"
    processes: Sequence[FakeGpuProcess] | None = ()


class FakeNvml:
    """NVML over GPUs that tests describe, with the names of the module `pynvml`. has_driver=False: only the package is there."""

    NVMLError = FakeNvmlError

    def __init__(self, gpus: Sequence[FakeGpu] = (), *, has_driver: bool = True) -> None:
        self.gpus = list(gpus)
        self._has_driver = has_driver

    def nvmlInit(self) -> None:  # noqa: N802  # NVML's own names, here and below
        if not self._has_driver:
            raise FakeNvmlError("Driver Not Loaded")

    def nvmlShutdown(self) -> None: ...  # noqa: N802

    def nvmlSystemGetDriverVersion(self) -> str | bytes:  # noqa: N802
        return "580.159.04"

    def nvmlDeviceGetName(self, handle: object) -> str | bytes:  # noqa: N802
        return _gpu(handle).name

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object:  # noqa: N802
        return self.gpus[index]

    def nvmlDeviceGetMemoryInfo(self, handle: object) -> FakeMemory:  # noqa: N802
        return _told(_gpu(handle).memory)

    def nvmlDeviceGetUtilizationRates(self, handle: object) -> FakeUtilization:  # noqa: N802
        return FakeUtilization(_told(_gpu(handle).percent))

    def nvmlDeviceGetPowerUsage(self, handle: object) -> int:  # noqa: N802
        return _told(_gpu(handle).milliwatts)

    def nvmlDeviceGetTemperature(self, handle: object, sensor: int) -> int:  # noqa: N802
        if sensor != 0:
            raise FakeNvmlError("Invalid Argument")
        return _told(_gpu(handle).celsius)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: object) -> Sequence[FakeGpuProcess]:  # noqa: N802
        return _told(_gpu(handle).processes)


def _gpu(handle: object) -> FakeGpu:
    assert isinstance(handle, FakeGpu)
    return handle


def _told(value: T | None) -> T:
    if value is None:
        raise FakeNvmlError("Not Supported")
    return value
