"""Ranks that die in the middle, checkpoints that are torn: the job ends with the numbers of an unbroken one."""

import os
import shutil
import signal
import sys

import cloudpickle
import numpy as np
import pytest
import torch

from stratal.core.errors import Conflict, Damaged, NotFound
from stratal.tracking.finding import runs
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.training import CheckpointStore, JobFailed, job
from stratal.training.recording import checkpoint_files, last_whole

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def loss_of(model, batch):
    return torch.nn.functional.mse_loss(model(torch.nn.functional.dropout(batch[0], 0.1)), batch[1])


def train(store, *, checkpoint="4 steps", epochs=3, at_step=lambda it: None, **options):
    """Train a toy of 8 steps an epoch; `at_step` runs after each step. Gives the last loss and the run."""
    x = np.random.default_rng(0).normal(size=(61, 4))
    with job(store=str(store), experiment="toy", seed=5, checkpoint=checkpoint, **options) as it:
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()
        model, _ = it.prepare(model, torch.optim.AdamW(model.parameters(), lr=0.02))
        loss = float("nan")
        for batch in it.batches((x, np.sin(x.sum(axis=1, keepdims=True))), size=8, epochs=epochs):
            loss = it.step(batch, loss_of)
            it.log({"loss": loss})
            at_step(it)
        return loss, it.run_id


def die_once(folder, rank, step):
    """Give an at_step that kills a rank as an outsider would, once per folder, step and rank."""

    def at_step(it):
        flag = folder / f"died-{rank}-{step}"
        if it.rank == rank and it.steps == step and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    return at_step


def launch(store, **options):
    return job.run(lambda: train(store, **options), workers=2)


def read_run(store, run):
    return get_run(f"run:{run}", store=open_store(store))


def only_run(store):
    (found,) = runs(store=open_store(store))
    return found


@pytest.fixture(autouse=True)
def made_store(tmp_path):
    """Make the tables once, here: ranks would load the migrations' library each."""
    open_store(tmp_path).database.close()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    store = tmp_path_factory.mktemp("unbroken")
    loss, run = launch(store)
    return loss, read_run(store, run).series("loss")


@pytest.mark.parametrize(("place", "rank"), [("here", 0), ("here", 1), ("over http", 0), ("postgresql", 1)], indirect=["place"])
def test_a_killed_rank_costs_the_steps_since_the_checkpoint_and_nothing_else(place, tmp_path, unbroken, rank):
    loss, run = launch(place, at_step=die_once(tmp_path, rank, 11))
    found = read_run(place, run)
    series = found.series("loss")
    assert loss == unbroken[0]
    assert series.steps.tolist() == list(range(24))
    assert np.array_equal(series.values, unbroken[1].values)
    (recovery,) = found.statements("recovery")
    assert recovery.body["cause"] == f"rank {rank} was killed by signal 9 (SIGKILL)"
    assert (recovery.body["from_step"], recovery.body["steps_lost"], recovery.body["rung"]) == (8, 3, "checkpoint")
    assert [stated.body["generation"] for stated in found.statements("generation")] == [1, 2]
    assert (found.status, found.kind) == ("finished", "job")


@pytest.mark.slow
def test_each_death_is_recovered_until_no_restart_is_left(tmp_path, unbroken):
    deaths = [die_once(tmp_path, 1, 6), die_once(tmp_path, 0, 7), die_once(tmp_path, 1, 22)]
    loss, run = launch(tmp_path, at_step=lambda it: [death(it) for death in deaths])
    assert loss == unbroken[0]
    assert len(read_run(tmp_path, run).statements("recovery")) == 3


def test_more_deaths_than_restarts_fail_the_job_and_its_run(tmp_path):
    def die_always(it):
        if it.rank == 1 and it.steps == 6:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(JobFailed, match="rank 1 was killed by signal 9") as caught:
        job.run(lambda: train(tmp_path, at_step=die_always), workers=2, restarts=1)
    assert "no restart is left" in caught.value.hint
    assert only_run(tmp_path).status == "failed"


def test_a_death_before_the_first_checkpoint_fails_the_job_and_its_run(place, tmp_path):
    with pytest.raises(JobFailed) as caught:
        launch(place, at_step=die_once(tmp_path, 0, 2))
    assert "no checkpoint to go back to" in caught.value.hint
    found = only_run(place)
    assert (found.status, found.error) == ("failed", "rank 0 was killed by signal 9 (SIGKILL)")


def test_an_exception_on_another_rank_ends_the_run_as_failed(tmp_path):
    def raise_on_1(it):
        if it.rank == 1 and it.steps == 6:
            raise ValueError("the odd one")

    with pytest.raises(JobFailed, match="ValueError: the odd one"):
        launch(tmp_path, at_step=raise_on_1)
    assert only_run(tmp_path).status == "failed"


def test_only_the_last_checkpoints_are_kept_on_disk_and_in_the_store(place):
    _, run = train(place, keep=2)
    store = open_store(place)
    kept = CheckpointStore(store).checkpoints(run=run)
    assert [checkpoint.step for checkpoint in kept] == [24, 20]
    files = [path for path in checkpoint_files(store, run).folder.glob("*/*") if path.is_file()]
    assert sorted(path.parent.name + path.name for path in files) == sorted(checkpoint.digest for checkpoint in kept)


@pytest.mark.parametrize(("place", "left"), [("here", 0), ("here", 1), ("here", 1000), ("over http", 1)], indirect=["place"])
def test_a_torn_checkpoint_is_refused_and_the_one_before_it_used(place, tmp_path, left):
    expected, _ = train(tmp_path / "unbroken")
    run = stopped_run(place, 17)
    store = open_store(place)
    files, (last, before) = checkpoint_files(store, run), CheckpointStore(store).checkpoints(run=run)
    tear(files.path(last.digest), left)
    with pytest.raises(Damaged):
        files.read(last.digest)

    loss, _ = train(place, resume=run)

    assert loss == expected
    (refused,) = read_run(place, run).statements("checkpoint refused")
    assert refused.body["step"] == last.step == 16
    assert [stated.body["from_step"] for stated in read_run(place, run).statements("generation")] == [0, before.step]
    assert read_run(place, run).series("loss").steps.tolist() == list(range(24))


def test_a_checkpoint_with_one_flipped_bit_is_refused(tmp_path):
    run = stopped_run(tmp_path, 9)
    store = open_store(tmp_path)
    last, before = CheckpointStore(store).checkpoints(run=run)
    path = checkpoint_files(store, run).path(last.digest)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    found, _, refused = last_whole(store, run)
    assert found == before
    assert [checkpoint for checkpoint, _ in refused] == [last]


def test_a_file_without_a_row_is_not_a_checkpoint(tmp_path):
    run = stopped_run(tmp_path, 5)
    store = open_store(tmp_path)
    (made,) = CheckpointStore(store).checkpoints(run=run)
    checkpoint_files(store, run).put(b"written, but its process died before the row")
    assert last_whole(store, run)[0] == made


def test_a_run_that_a_living_process_holds_is_not_taken_over(place):
    with job(store=str(place)) as it, pytest.raises(Conflict, match="is held by"), job(store=str(place), resume=it.run_id):
        pass


@pytest.mark.parametrize("place", ["over http"], indirect=True)
def test_a_job_resumes_on_another_machine_only_where_its_checkpoints_were_brought(place, tmp_path, monkeypatch):
    expected, _ = train(tmp_path / "unbroken")
    run = stopped_run(place, 9)
    first = open_store(place)
    there = checkpoint_files(first, run).folder
    first.uploader.finish()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(NotFound, match="are not on this machine; the last is of step 8") as caught:
        train(place, resume=run)
    before = read_run(place, run)
    assert (before.status, len(before.series("loss").steps)) == ("stopped", 9)

    shutil.copytree(there, caught.value.hint.split()[-2])

    assert train(place, resume=run) == (expected, run)
    assert [stated.body["from_step"] for stated in read_run(place, run).statements("generation")] == [0, 8]


def stopped_run(store, step):
    """Leave a run that was interrupted after a step."""

    def at_step(it):
        if it.steps == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(store, at_step=at_step)
    found = only_run(store)
    assert found.status == "stopped"
    return found.id


def tear(path, left):
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.truncate(left)
