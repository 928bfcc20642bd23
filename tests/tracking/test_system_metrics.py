"""System metrics: rates from readings, and the sampler. Excludes how often the thread wakes."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from stratal.core.errors import Misuse
from stratal.core.settings import load_settings
from stratal.store.store import Store
from stratal.testing.machines import GIB, FakeGpu, FakeGpuProcess, FakeMachine, FakeMemory, FakeNvml
from stratal.tracking.compare import direction_of
from stratal.tracking.reading import get_run
from stratal.tracking.runs import Run, run
from stratal.tracking.system.gpus import Gpus
from stratal.tracking.system.machine import LocalMachine, process_tree
from stratal.tracking.system.reading import ProcessReading, metrics_between
from stratal.tracking.system.sampler import Sampler


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def machine() -> FakeMachine:
    return FakeMachine()


@pytest.fixture
def sampling_store(store: Store) -> Store:
    store.settings = replace(store.settings, system_metrics_s=15.0)
    return store


def read_twice(machine: FakeMachine, change) -> dict[str, float]:
    before = machine.read()
    change()
    return metrics_between(before, machine.read())


def test_a_rate_is_what_happened_between_two_readings(machine: FakeMachine):
    def change():
        machine.passes(10, busy_cores=1.5)
        machine.disk_written_bytes = 5000

    found = read_twice(machine, change)
    assert found["system/cpu_percent"] == 75.0
    assert found["system/disk_written_bytes_per_s"] == 500.0
    assert found["system/memory_percent"] == 25.0
    assert "system/received_bytes_per_s" not in found  # what cannot be read is left out
    assert read_twice(machine, lambda: None) == {}  # no time passed


def test_processes_are_summed_over_the_tree_and_a_reused_pid_is_another_process(machine: FakeMachine):
    machine.processes = {(7, 1.0): ProcessReading(10.0, GIB, 4), (8, 2.0): ProcessReading(99.0, GIB, 1)}

    def change():
        machine.passes(10)
        machine.processes = {(7, 1.0): ProcessReading(15.0, GIB, 4), (8, 1007.0): ProcessReading(2.0, GIB, 3)}

    found = read_twice(machine, change)
    assert found["system/process/cpu_percent"] == 70.0  # 5 s of the old one, 2 s of the one that has the pid 8 now
    assert (found["system/process/count"], found["system/process/threads"], found["system/process/memory_bytes"]) == (2, 7, 2 * GIB)


def test_counters_that_go_back_give_no_negative_rate(machine: FakeMachine):
    machine.disk_written_bytes = 5000

    def change():
        machine.passes(10)
        machine.disk_written_bytes = 100

    assert read_twice(machine, change)["system/disk_written_bytes_per_s"] == 0


def test_gpus_tell_what_they_can():
    ours, theirs = FakeGpuProcess(7, 5 * GIB), FakeGpuProcess(9, GIB)
    lost = FakeGpu(memory=None, percent=None, milliwatts=None)
    nvml = FakeNvml([FakeGpu(processes=[ours, theirs]), FakeGpu(percent=None, milliwatts=None), lost, FakeGpu(memory=None)])
    first, second, fourth = Gpus(nvml).read({7, 8})
    assert (first.number, first.used_percent, first.power_watts, first.celsius, first.ours_bytes) == (0, 50, 300, 60, 5 * GIB)
    assert (second.used_percent, second.power_watts, second.memory_total_bytes) == (None, None, 80 * GIB)
    machine = FakeMachine(gpus=(first, second, fourth))
    found = read_twice(machine, lambda: machine.passes(1))
    assert found["system/gpu/0/percent"] == 50 and found["system/gpu/1/memory_percent"] == 25
    assert "system/gpu/1/percent" not in found
    assert found["system/gpu/3/percent"] == 50  # it uses the machine's memory, and has none of its own
    assert not any(name.startswith("system/gpu/3/memory") for name in found)


@pytest.mark.parametrize("processes", [None, [FakeGpuProcess(7, 5 * GIB), FakeGpuProcess(8, None)]])
def test_what_a_tree_holds_of_a_gpu_is_left_out_where_the_driver_tells_a_part_of_it(processes):
    (reading,) = Gpus(FakeNvml([FakeGpu(processes=processes)])).read({7, 8})
    assert reading.ours_bytes is None and reading.memory_bytes == 20 * GIB
    machine = FakeMachine(gpus=(reading,))
    assert "system/gpu/0/process_memory_bytes" not in read_twice(machine, lambda: machine.passes(1))


def test_without_a_driver_or_the_package_there_are_no_gpus():
    assert Gpus(FakeNvml([FakeGpu(memory=FakeMemory(1, 1))], has_driver=False)).read({1}) == ()
    assert Gpus().read({1}) == ()


def test_a_run_gets_samples_while_it_is_open_and_none_before_it_had_time(sampling_store: Store, machine: FakeMachine):
    clock = Clock()
    sampler = Sampler(lambda _store: machine, clock)
    with run("e", store=sampling_store) as long:
        sampler.watch(long)
        sampler.sample()
        clock.now_s += 15
        machine.passes(15, busy_cores=1)
        with run("e", store=sampling_store) as short:
            sampler.watch(short)
            sampler.sample()
    clock.now_s += 15
    machine.passes(15)
    sampler.sample()
    read = get_run(long.id, store=sampling_store)
    assert read.metrics["system/cpu_percent"] == 50 and len(read.series("system/cpu_percent").values) == 1
    assert get_run(short.id, store=sampling_store).metrics == {}


def test_a_machine_that_cannot_be_read_raises_nothing_into_the_run(sampling_store: Store, machine: FakeMachine):
    machine.broken = "no /proc"
    sampler = Sampler(lambda _store: machine, Clock())
    with run("e", store=sampling_store) as sampled:
        sampler.watch(sampled)
        with pytest.raises(OSError):  # the thread's edge takes it
            sampler.sample()


def test_the_sampler_keeps_no_run_alive(sampling_store: Store, machine: FakeMachine):
    sampler = Sampler(lambda _store: machine, Clock())
    sampled = Run(sampling_store, get_id(sampling_store), "e")
    sampler.watch(sampled)
    del sampled
    sampler.sample()
    assert sampler._runs == {}


def get_id(store: Store):
    with run("e", store=store) as made:
        return made.id


def test_a_store_whose_settings_say_no_is_not_sampled(store: Store, machine: FakeMachine):
    sampler = Sampler(lambda _store: machine, Clock())
    with run("e", store=store) as unsampled:
        sampler.watch(unsampled)
        sampler.begin()
    assert sampler._thread is None


def test_this_machine_can_be_read(tmp_path: Path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        reading = LocalMachine(tmp_path, Gpus()).read()
    finally:
        child.communicate(b"\n")
    assert {os.getpid(), child.pid} <= {pid for pid, _ in reading.processes}
    assert 0 < reading.memory_used_bytes < reading.memory_total_bytes
    assert 0 < reading.cpu_busy_s <= reading.cpu_all_s
    assert reading.disk_free_bytes
    assert all(process.memory_bytes > 0 for process in process_tree(os.getpid()).values())


def test_settings_say_how_often(tmp_path: Path):
    assert load_settings(tmp_path, {}).sampling_s == 15
    assert load_settings(tmp_path, {"STRATAL_CAPTURE": "off"}).sampling_s == 0
    assert load_settings(tmp_path, {"STRATAL_CAPTURE": "off", "STRATAL_SYSTEM_METRICS_S": "5"}).sampling_s == 5
    assert load_settings(tmp_path, {"STRATAL_SYSTEM_METRICS_S": "0"}).sampling_s == 0
    for wrong in ("0.1", "-1", "often", "nan", "1e9"):
        with pytest.raises(Misuse, match="system_metrics_s"):
            load_settings(tmp_path, {"STRATAL_SYSTEM_METRICS_S": wrong})


def test_a_busy_machine_is_neither_better_nor_worse():
    assert direction_of("system/process/time_percent") == "unknown"


def test_a_process_that_logs_for_a_moment_starts_no_sampling_thread_and_imports_no_psutil(tmp_path: Path):
    script = (
        "import sys, threading, stratal as st\n"
        "with st.run('e') as run:\n"
        "    run.log({'m': 1.0})\n"
        "print([t.name for t in threading.enumerate() if 'system' in t.name], 'psutil' in sys.modules)"
    )
    environ = {**os.environ, "STRATAL_CAPTURE": "on", "STRATAL_SYSTEM_METRICS_S": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path, env=environ)
    assert done.stdout.strip() == "[] False"
