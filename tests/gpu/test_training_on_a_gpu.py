"""Jobs whose model is on a GPU: the numbers of a plain loop, and of an unbroken job after any death."""

import json
import os
import signal
import socket
import sys

import cloudpickle
import numpy as np
import pytest
import torch

from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.training import CheckpointStore, JobFailed, job

cloudpickle.register_pickle_by_value(sys.modules[__name__])
pytestmark = pytest.mark.gpu
DROPOUT = 0.2


def loss_of(model, batch):
    x, y = (part.cuda() for part in batch)
    return torch.nn.functional.mse_loss(model(torch.nn.functional.dropout(x, DROPOUT)), y)


def plain_loss_of(model, batch):
    x, y = (part.to(next(model.parameters()).device) for part in batch)
    return torch.nn.functional.mse_loss(model(x), y)


def train(store, *, device="cuda", loss_fn=loss_of, epochs=3, at_step=lambda it: None, fused=False, **options):
    """Train a toy of 8 steps an epoch. Gives losses, weights and states of Adam as bytes of the CPU, and the run."""
    x = np.random.default_rng(0).normal(size=(61, 4)).astype("float32")
    with job(store=str(store), experiment="toy", seed=5, checkpoint="4 steps", **options) as it:
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        model = (model if loss_fn is loss_of else torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 1))).to(device)
        model, optimizer = it.prepare(model, torch.optim.AdamW(model.parameters(), lr=0.02, fused=fused))
        losses = []
        for batch in it.batches((x, np.sin(x.sum(axis=1, keepdims=True))), size=8, epochs=epochs):
            losses.append(it.step(batch, loss_fn))
            it.log({"loss": losses[-1]})
            at_step(it)
        states = [value for state in optimizer.state.values() for value in state.values()]
        kept = [each.detach().cpu().numpy().tobytes() for each in (*model.state_dict().values(), *states)]
        return losses, kept, it.run_id, {str(each.device) for each in model.parameters()}


def die_once(folder, rank, step):
    def at_step(it):
        flag = folder / f"died-{rank}-{step}"
        if it.rank == rank and it.steps == step and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    return at_step


@pytest.fixture(autouse=True)
def made_store(tmp_path):
    open_store(tmp_path).database.close()


def test_a_job_on_a_gpu_gives_the_numbers_of_a_cpu(tmp_path):
    there, _, _, devices = train(tmp_path, loss_fn=plain_loss_of)
    here, _, _, _ = train(tmp_path, loss_fn=plain_loss_of, device="cpu")
    assert devices == {"cuda:0"}
    np.testing.assert_allclose(there, here, rtol=1e-3)


@pytest.mark.parametrize("fused", [False, True])
def test_a_resumed_job_has_the_bits_of_an_unbroken_one_in_the_middle_of_an_epoch_dropout_included(tmp_path, fused):
    def stop(it):
        if it.steps == 14:
            raise KeyboardInterrupt

    unbroken = train(tmp_path, fused=fused)
    again = train(tmp_path, fused=fused)
    assert unbroken[:2] == again[:2], "two unbroken jobs differ, so that nothing can be said of a resumed one"
    runs = []
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, fused=fused, at_step=lambda it: (runs.append(it.run_id), stop(it)))
    assert CheckpointStore(open_store(tmp_path)).checkpoints(run=runs[0])[0].step == 12
    torch.rand(100, device="cuda")  # the generators are elsewhere by then

    resumed = train(tmp_path, fused=fused, resume=runs[0])

    assert resumed[0] == unbroken[0][12:]
    assert resumed[1] == unbroken[1]


def test_a_killed_rank_on_a_gpu_costs_the_steps_since_the_checkpoint_and_nothing_else(tmp_path):
    unbroken = job.run(lambda: train(tmp_path), workers=1)
    losses, kept, run, devices = job.run(lambda: train(tmp_path, at_step=die_once(tmp_path, 0, 11)), workers=1)
    assert (losses, kept, devices) == (unbroken[0][8:], unbroken[1], {"cuda:0"})
    found = get_run(f"run:{run}", store=open_store(tmp_path))
    assert found.series("loss").values.tolist() == unbroken[0]
    assert found.statements("recovery")[0].body["cause"] == "rank 0 was killed by signal 9 (SIGKILL)"


def test_two_ranks_share_a_gpu_and_give_the_numbers_of_one_also_after_a_death(tmp_path):
    alone, *_ = train(tmp_path, loss_fn=plain_loss_of)
    both, *_, devices = job.run(lambda: train(tmp_path, loss_fn=plain_loss_of), workers=2)
    broken, _, run, _ = job.run(lambda: train(tmp_path, loss_fn=plain_loss_of, at_step=die_once(tmp_path, 1, 11)), workers=2)
    assert devices == {"cuda:0"}
    np.testing.assert_allclose(both, alone, rtol=1e-4)
    assert broken == both[8:]
    assert get_run(f"run:{run}", store=open_store(tmp_path)).series("loss").values.tolist() == both


def test_ranks_see_the_gpus_that_the_caller_allows(monkeypatch):
    def count():
        return os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count()

    assert job.run(count, workers=1)[1] == torch.cuda.device_count()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert job.run(count, workers=2) == ("", 0)


def test_an_error_of_a_gpu_is_told_with_its_traceback():
    def program():
        torch.empty(1 << 45, device="cuda")

    with pytest.raises(JobFailed, match="OutOfMemoryError"):
        job.run(program, workers=1)


def test_a_job_runs_in_a_programs_own_group_of_nccl(program, tmp_path):
    if not torch.distributed.is_nccl_available():
        pytest.skip("this torch has no NCCL")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    said = program(
        """
        import json, numpy as np, torch
        import stratal as st
        torch.distributed.init_process_group("nccl", device_id=torch.device("cuda", 0))
        one = torch.ones(1, device="cuda")
        torch.distributed.all_reduce(one)
        x = np.random.default_rng(0).normal(size=(61, 4)).astype("float32")
        with st.job(experiment="nccl", checkpoint="1 epoch") as job:
            model = torch.nn.Linear(4, 1).cuda()
            model, optimizer = job.prepare(model, torch.optim.Adam(model.parameters()))
            for batch in job.batches(x, size=8, epochs=2):
                loss = job.step(batch, lambda model, x: model(x.cuda()).square().mean())
        print(json.dumps([loss, one.item(), job.world_size]))
        torch.distributed.destroy_process_group()
        """,
        RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), STRATAL_STORE=str(tmp_path / "store"),
    )  # fmt: skip
    loss, one, ranks = json.loads(said.splitlines()[-1])
    assert np.isfinite(loss) and (one, ranks) == (1.0, 1)
