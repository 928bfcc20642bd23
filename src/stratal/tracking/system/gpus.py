"""NVIDIA's GPUs, through NVML: the package nvidia-ml-py, of the extra `gpu`. Without it, or without a driver, there are none."""

import logging
from collections.abc import Callable, Sequence, Set
from typing import Protocol, TypeVar

from stratal.tracking.system.reading import GpuReading

log = logging.getLogger(__name__)
T = TypeVar("T")

_CELSIUS = 0  # NVML_TEMPERATURE_GPU


class Memory(Protocol):
    """Memory of one GPU, in bytes."""

    total: int
    used: int


class Utilization(Protocol):
    """Percent of the last fraction of a second in which it computed."""

    gpu: int


class GpuProcess(Protocol):
    """A process on a GPU. usedGpuMemory: None where the driver does not tell, as inside of some containers."""

    pid: int
    usedGpuMemory: int | None  # noqa: N815  # NVML's own name


class Nvml(Protocol):
    """What we use of the module `pynvml`. Each call raises `NVMLError` if it cannot tell."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None: ...  # noqa: N802  # NVML's own names, here and below

    def nvmlShutdown(self) -> None: ...  # noqa: N802

    def nvmlSystemGetDriverVersion(self) -> str | bytes: ...  # noqa: N802  # bytes: of older packages

    def nvmlDeviceGetName(self, handle: object) -> str | bytes: ...  # noqa: N802

    def nvmlDeviceGetCount(self) -> int: ...  # noqa: N802

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object: ...  # noqa: N802

    def nvmlDeviceGetMemoryInfo(self, handle: object) -> Memory: ...  # noqa: N802

    def nvmlDeviceGetUtilizationRates(self, handle: object) -> Utilization: ...  # noqa: N802

    def nvmlDeviceGetPowerUsage(self, handle: object) -> int: ...  # noqa: N802

    def nvmlDeviceGetTemperature(self, handle: object, sensor: int) -> int: ...  # noqa: N802

    def nvmlDeviceGetComputeRunningProcesses(self, handle: object) -> Sequence[GpuProcess]: ...  # noqa: N802


class Gpus:
    """The GPUs of this machine, all of them, whatever CUDA_VISIBLE_DEVICES says. Without `nvml` there are none."""

    def __init__(self, nvml: Nvml | None = None) -> None:
        self._nvml = nvml
        self._handles: list[object] = []
        if nvml is not None:
            try:
                nvml.nvmlInit()
                self._handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
            except nvml.NVMLError as error:  # installed, but there is no driver
                log.info("no gpus reason=%s", error)

    def read(self, pids: Set[int]) -> tuple[GpuReading, ...]:
        """Read each GPU. pids: the processes whose share of its memory is ours. One that fell off the bus is left out."""
        readings = (self._read(number, handle, pids) for number, handle in enumerate(self._handles))
        return tuple(reading for reading in readings if reading is not None)

    def _read(self, number: int, handle: object, pids: Set[int]) -> GpuReading | None:
        nvml = self._nvml
        assert nvml is not None  # else there is no handle
        memory = self._or_none(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        used = self._or_none(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
        milliwatts = self._or_none(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        if memory is None and used is None and milliwatts is None:
            return None
        return GpuReading(
            number=number,
            memory_bytes=None if memory is None else memory.used,
            memory_total_bytes=None if memory is None else memory.total,
            ours_bytes=self._of_processes(handle, pids),
            used_percent=None if used is None else used.gpu,
            power_watts=None if milliwatts is None else milliwatts / 1000,
            celsius=self._or_none(lambda: nvml.nvmlDeviceGetTemperature(handle, _CELSIUS)),
        )

    def _of_processes(self, handle: object, pids: Set[int]) -> int | None:
        """Add up what these processes hold. None if the driver does not tell it of all of them: a part of it would pass for the whole."""
        nvml = self._nvml
        assert nvml is not None
        processes = self._or_none(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle))
        told = None if processes is None else [process.usedGpuMemory for process in processes if process.pid in pids]
        return None if told is None or None in told else sum(filter(None, told))

    def _or_none(self, read: Callable[[], T]) -> T | None:
        assert self._nvml is not None
        try:
            return read()
        except self._nvml.NVMLError:
            return None


def find_gpus() -> Gpus:
    """Give this machine's GPUs, none if the package or the driver is not there."""
    try:
        import pynvml  # optional
    except ImportError:
        return Gpus()
    return Gpus(pynvml)
