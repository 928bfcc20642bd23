"""System metrics of a real GPU, through NVML. What is made of them is tested elsewhere."""

import os

import pytest
import torch

from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.system.gpus import find_gpus

pytestmark = pytest.mark.gpu
pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed: it is in the extra `gpu`")
GIB = 1 << 30


def test_a_reading_holds_what_torch_has_taken(gpu):
    gpus = find_gpus()
    (before, *_) = gpus.read({os.getpid()})
    held = torch.ones(GIB, dtype=torch.uint8, device=gpu)
    torch.cuda.synchronize()
    (after, *_) = gpus.read({os.getpid()})
    assert before.memory_bytes + held.numel() <= after.memory_bytes <= after.memory_total_bytes
    assert after.memory_total_bytes >= torch.cuda.get_device_properties(0).total_memory
    assert after.ours_bytes is None or after.ours_bytes >= held.numel()
    assert 10 < after.power_watts < 2000 and 10 < after.celsius < 110 and 0 <= after.used_percent <= 100


def test_a_run_that_computes_gets_samples_of_a_busy_gpu(program, tmp_path):
    id = program(
        """
        import time, torch, stratal as st
        a = torch.randn(8192, 8192, device="cuda")
        end = time.monotonic() + 8
        with st.run("busy") as run:
            while time.monotonic() < end:
                a @ a
                torch.cuda.synchronize()
        print(run.id)
        """,
        STRATAL_STORE=str(tmp_path / "store"),
        STRATAL_SYSTEM_METRICS_S="1",
    )
    read = get_run(id, store=open_store(tmp_path / "store"))
    assert read.series("system/gpu/0/percent").values.max() > 50
    assert read.metrics["system/gpu/0/memory_bytes"] > 8192 * 8192 * 4
    assert read.metrics["system/gpu/0/power_watts"] > 50
