"""What is captured of a GPU: hardware, seeds, generators. Each claim is checked against what torch says or draws."""

import json
import re
from pathlib import Path

import pytest
import torch

from stratal.tracking.capture.generators import generator_states, restore_generators
from stratal.tracking.capture.hardware import gpus_of_driver, read_hardware
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run

pytestmark = pytest.mark.gpu


def test_hardware_names_each_gpu_with_its_memory_and_driver():
    found = read_hardware().gpus
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    assert sorted(names) == sorted(gpu.name for gpu in found)
    whole = torch.cuda.get_device_properties(0).total_memory
    assert 0.95 * found[0].memory_bytes <= whole <= found[0].memory_bytes  # the driver keeps some of it
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?", found[0].driver)


def test_the_drivers_own_files_name_the_same_gpus():
    folder = Path("/proc/driver/nvidia")
    if not folder.exists():
        pytest.skip("this machine's driver has no folder under /proc")
    assert [(gpu.name, gpu.driver) for gpu in gpus_of_driver(folder)] == [(gpu.name, gpu.driver) for gpu in read_hardware().gpus]


TRAINED = """
    import hashlib, json, os, torch
    import stratal as st
    with st.run("e") as run:
        seeds = st.seed_everything(7, deterministic=True)
        net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
            torch.nn.Flatten(), torch.nn.Dropout(0.3), torch.nn.Linear(16 * 15 * 15, 10),
        ).cuda()
        optimizer = torch.optim.AdamW(net.parameters())
        for _ in range(20):
            x, y = torch.randn(64, 3, 32, 32, device="cuda"), torch.randint(10, (64,), device="cuda")
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
    digest = hashlib.sha256(b"".join(w.detach().cpu().numpy().tobytes() for w in net.parameters())).hexdigest()
    print(json.dumps([digest, seeds.not_done, os.environ["CUBLAS_WORKSPACE_CONFIG"], run.id]))
"""


def test_a_deterministic_seed_gives_the_same_bits_in_two_processes_and_is_captured(program, tmp_path):
    variables = {"STRATAL_CAPTURE": "on", "STRATAL_STORE": str(tmp_path / "store"), "PYTHONHASHSEED": "0"}
    first, second = (json.loads(program(TRAINED, **variables)) for _ in range(2))
    assert first[:3] == second[:3] == [first[0], [], ":4096:8"]
    capture = get_run(first[3], store=open_store(tmp_path / "store")).capture
    assert [gpu["name"] for gpu in capture["hardware"]["gpus"]] == [gpu.name for gpu in read_hardware().gpus]
    assert capture["seeds"]["seed"] == 7 and capture["seeds"]["torch"]["deterministic_algorithms"] is True


def test_a_seed_after_the_first_work_on_a_gpu_says_what_it_could_not_do(program):
    said = program("""
        import torch, stratal as st
        torch.ones(3, device="cuda").sum()
        print(*st.seed_everything(7, deterministic=True).not_done)
    """)
    assert "CUBLAS_WORKSPACE_CONFIG is not set, and CUDA is in use already" in said


def test_precisions_set_by_torchs_new_way_are_captured(program):
    said = program("""
        import torch, stratal as st
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        print(st.seed_everything(7).torch["cuda_matmul_precision"])
    """)
    assert said == "tf32"


def test_generators_of_a_gpu_go_on_from_where_they_were_taken(gpu):
    torch.randn(5, device=gpu)
    states = generator_states()
    drawn = torch.randn(1000, device=gpu), torch.nn.functional.dropout(torch.ones(1000, device=gpu))
    torch.manual_seed(3)

    restore_generators(states)

    assert torch.equal(torch.randn(1000, device=gpu), drawn[0])
    assert torch.equal(torch.nn.functional.dropout(torch.ones(1000, device=gpu)), drawn[1])


def test_generators_put_back_before_the_first_work_on_a_gpu_win_over_an_earlier_seed(program, tmp_path):
    torch.randn(5, device="cuda")
    (tmp_path / "states").write_bytes(generator_states())
    drawn = torch.rand(3, device="cuda").tolist()
    said = program("""
        import json, pathlib, torch
        from stratal.tracking.capture.generators import restore_generators
        torch.manual_seed(7)
        restore_generators(pathlib.Path("states").read_bytes())
        print(json.dumps(torch.rand(3, device="cuda").tolist()))
    """)
    assert json.loads(said) == drawn


def test_where_no_gpu_is_seen_the_states_of_the_others_are_put_back_all_the_same(program, tmp_path):
    torch.randn(5, device="cuda")
    (tmp_path / "states").write_bytes(generator_states())
    drawn = torch.rand(3).tolist()
    said = program(
        """
        import json, pathlib, torch
        from stratal.tracking.capture.generators import restore_generators
        restore_generators(pathlib.Path("states").read_bytes())
        print(json.dumps(torch.rand(3).tolist()))
        """,
        CUDA_VISIBLE_DEVICES="",
    )
    assert json.loads(said) == drawn
