"""Jobs against a plain torch loop: the same numbers on any number of ranks, with uneven and empty shares, after any resume."""

import sys

import cloudpickle
import numpy as np
import pytest
import torch

from stratal.core.errors import Misuse
from stratal.tracking.finding import runs
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run
from stratal.training import JobFailed, indices, job

cloudpickle.register_pickle_by_value(sys.modules[__name__])

ROWS = 61  # a prime: no batch size and no number of ranks divides it
SEED = 5


def make_data(rows=ROWS):
    drawn = np.random.default_rng(0)
    x = drawn.normal(size=(rows, 4))
    return {"x": x, "y": np.sin(x.sum(axis=1, keepdims=True))}


def make_model():
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()
    drawn = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=drawn, dtype=torch.float64) / 3)
    return model


def make_optimizer(model):
    return torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.1)


def loss_of(model, batch):
    return torch.nn.functional.mse_loss(model(batch["x"]), batch["y"])


def noisy_loss_of(model, batch):
    return loss_of(model, {"x": torch.nn.functional.dropout(batch["x"], 0.3), "y": batch["y"]})


def plain_losses(size, epochs):
    """What one process computes on whole global batches, without anything of ours but the order."""
    data, model = make_data(), make_model()
    optimizer = make_optimizer(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5, gamma=0.7)
    losses = []
    for epoch in range(epochs):
        order = indices(seed=SEED, epoch=epoch, position=0, count=ROWS, size=ROWS)
        for start in range(0, ROWS, size):
            chosen = order[start : start + size]
            optimizer.zero_grad()
            loss = loss_of(model, {name: torch.from_numpy(part[chosen]) for name, part in data.items()})
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
    return losses


def read_run(store, run):
    return get_run(f"run:{run}", store=open_store(store))


def newest_run(store):
    return runs(order_by="started desc", limit=1, store=open_store(store))[0]


def train(store, *, size=16, epochs=2, checkpoint=None, resume=None, stop_after=None, loss_fn=loss_of, **more):
    """Train the toy; give the losses of the steps done here, the run, and a digest of the model's weights."""
    with job(store=str(store), experiment="toy", seed=SEED, checkpoint=checkpoint, resume=resume, **more) as it:
        model = make_model()
        optimizer = make_optimizer(model)
        model, optimizer, _ = it.prepare(model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 5, gamma=0.7))
        losses = []
        for batch in it.batches(make_data(), size=size, epochs=epochs):
            losses.append(it.step(batch, loss_fn))
            it.log({"loss": losses[-1]})
            if it.steps == stop_after:
                break
        return losses, it.run_id, [parameter.detach().numpy().copy() for parameter in model.parameters()]


def train_on(store, options):
    return train(store, **options)


@pytest.fixture(autouse=True)
def made_store(tmp_path):
    """Make the tables once, here: ranks would load the migrations' library each."""
    open_store(tmp_path).database.close()


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("size", [16, 7])
def test_losses_equal_those_of_one_plain_process(tmp_path, workers, size):
    losses, _, _ = job.run(train_on, tmp_path, {"size": size}, workers=workers)
    plain = plain_losses(size, 2)
    assert len(losses) == len(plain)
    assert np.abs(np.subtract(losses, plain)).max() <= 1e-12


def test_a_batch_smaller_than_the_ranks_leaves_some_without_and_changes_nothing(tmp_path):
    losses, _, _ = job.run(train_on, tmp_path, {"size": 2, "epochs": 1}, workers=3)
    assert np.abs(np.subtract(losses, plain_losses(2, 1))).max() <= 1e-12


def test_every_rank_ends_with_the_same_bits(tmp_path):
    def program():
        _, _, weights = train(tmp_path / "store")
        import os

        np.savez(tmp_path / f"{os.environ['RANK']}.npz", *weights)

    job.run(program, workers=3)
    parts = [np.load(tmp_path / f"{rank}.npz") for rank in range(3)]
    assert all(np.array_equal(parts[0][name], part[name]) for part in parts for name in part)


def test_ranks_of_another_launcher_join_by_its_variables(tmp_path):
    def program():
        from stratal.training import ranks

        ranks._here = None  # as in a process that torchrun has started: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT are set
        return train(tmp_path)

    losses, _, _ = job.run(program, workers=2)
    assert np.abs(np.subtract(losses, plain_losses(16, 2))).max() <= 1e-12


def test_a_job_is_part_of_the_run_that_is_active_where_it_was_started(place):
    with run("outer", store=open_store(place)) as outer:
        _, alone, _ = train(place, epochs=1)
        _, on_ranks, _ = job.run(train_on, place, {"epochs": 1}, workers=2)
    assert read_run(place, alone).parent == outer.id
    assert read_run(place, on_ranks).parent == outer.id


def test_ranks_that_built_different_weights_start_from_rank_0(tmp_path):
    def program():
        import os

        with job(store=str(tmp_path), seed=SEED) as it:
            model = make_model()
            with torch.no_grad():
                model[0].weight += int(os.environ["RANK"])
            model, _ = it.prepare(model, make_optimizer(model))
            assert torch.equal(model[0].weight, make_model()[0].weight)

    job.run(program, workers=2)


def test_ranks_that_built_different_shapes_are_told(tmp_path):
    def program():
        import os

        with job(store=str(tmp_path)) as it:
            model = torch.nn.Linear(4, 1 + int(os.environ["RANK"]))
            it.prepare(model, make_optimizer(model))
            it.step(next(it.batches(np.zeros((4, 4), dtype=np.float32), size=4)), lambda model, x: model(x).mean())

    with pytest.raises(JobFailed, match="built another model than rank 0: they differ at weight"):
        job.run(program, workers=2)


def test_a_parameter_that_no_sample_used_keeps_no_gradient(tmp_path):
    def program():
        with job(store=str(tmp_path)) as it:
            model = torch.nn.ModuleDict({"used": torch.nn.Linear(4, 1), "unused": torch.nn.Linear(4, 1)})
            before = model["unused"].weight.detach().clone()
            model, _ = it.prepare(model, make_optimizer(model))
            for batch in it.batches(np.ones((8, 4), dtype=np.float32), size=4):
                it.step(batch, lambda model, x: model["used"](x).mean())
            assert model["unused"].weight.grad is None
            assert torch.equal(model["unused"].weight, before)  # weight decay would have moved it

    job.run(program, workers=2)


def test_randomness_in_a_step_is_the_same_in_every_process(tmp_path):
    first, _, _ = job.run(train_on, tmp_path, {"loss_fn": noisy_loss_of}, workers=2)
    again, _, _ = job.run(train_on, tmp_path, {"loss_fn": noisy_loss_of}, workers=2)
    assert first == again


@pytest.mark.parametrize(("place", "workers"), [("here", 1), ("here", 2), ("over http", 2), ("postgresql", 2)], indirect=["place"])
def test_a_resumed_job_gives_the_losses_of_an_unbroken_one_bit_for_bit(place, workers):
    options = {"epochs": 3, "loss_fn": noisy_loss_of}
    unbroken, _, weights = job.run(train_on, place, options, workers=workers)
    _, run, _ = job.run(train_on, place, {**options, "checkpoint": "3 steps", "stop_after": 8}, workers=workers)
    rest, same_run, resumed_weights = job.run(train_on, place, {**options, "resume": run}, workers=workers)
    assert same_run == run
    assert rest == unbroken[6:]
    assert all(map(np.array_equal, weights, resumed_weights))


@pytest.mark.parametrize(("before", "after"), [(2, 3), (3, 1), (1, 2)])
def test_a_job_resumes_on_another_number_of_ranks(tmp_path, before, after):
    _, run, _ = job.run(train_on, tmp_path, {"checkpoint": "1 epoch", "stop_after": 6}, workers=before)
    rest, _, _ = job.run(train_on, tmp_path, {"resume": run}, workers=after)
    plain = plain_losses(16, 2)[4:]
    assert len(rest) == len(plain)
    assert np.abs(np.subtract(rest, plain)).max() <= 1e-6


def test_a_resume_shows_each_step_once(place):
    _, run, _ = train(place, checkpoint="3 steps", stop_after=5)
    train(place, resume=run)
    series = read_run(place, run).series("loss")
    assert series.steps.tolist() == list(range(8))
    assert np.abs(np.subtract(series.values, plain_losses(16, 2))).max() <= 1e-12


def test_a_resume_without_a_checkpoint_starts_from_the_beginning(tmp_path):
    _, run, _ = train(tmp_path, stop_after=3)
    losses, _, _ = train(tmp_path, resume=run)
    assert losses == train(tmp_path)[0]
    assert read_run(tmp_path, run).series("loss").steps.tolist() == list(range(8))


def test_loops_over_single_epochs_resume_as_one_loop_over_all(tmp_path):
    def epochs_one_by_one(*, breaks=False, **options):
        with job(store=str(tmp_path), experiment="toy", seed=SEED, **options) as it:
            model = make_model()
            model, _ = it.prepare(model, make_optimizer(model))
            losses = []
            for epoch in range(3):
                for batch in it.batches(make_data(), size=16):
                    losses.append(it.step(batch, loss_of))
                    if breaks and it.steps == 11:
                        raise KeyboardInterrupt
                it.log({"epoch": epoch})
            return losses, it.run_id

    unbroken, _ = epochs_one_by_one()
    with pytest.raises(KeyboardInterrupt):
        epochs_one_by_one(checkpoint="1 epoch", breaks=True)
    run = newest_run(tmp_path).id
    losses, _ = epochs_one_by_one(resume=run)
    assert losses == unbroken[8:]
    series = read_run(tmp_path, run).series("epoch")
    assert series.values.tolist() == [0, 1, 2]
    assert series.steps.tolist() == [4, 8, 12]


def test_a_job_is_a_run_that_says_how_it_ran(place):
    _, run, _ = job.run(train_on, place, {"name": "first", "params": {"lr": 0.02}}, workers=2)
    found = read_run(place, run)
    assert (found.kind, found.status, found.params["lr"]) == ("job", "finished", 0.02)
    (generation,) = found.statements("generation")
    assert generation.body["mesh"] == "dp=2"
    assert generation.body["world_size"] == 2


def test_another_rank_than_0_holds_no_run_and_may_log(tmp_path):
    def program():
        with job(store=str(tmp_path)) as it:
            it.log({"x": 1.0})
            assert len(it.run_id) == 32
            assert it.is_main == (it.rank == 0)
            if not it.is_main:
                with pytest.raises(Misuse, match="rank 0 does"):
                    _ = it.run
            else:
                assert it.run.id == it.run_id

    job.run(program, workers=2)


def test_a_failed_program_leaves_a_failed_run(place):
    with pytest.raises(ZeroDivisionError), job(store=str(place)):
        _ = 1 / 0
    assert newest_run(place).status == "failed"


def test_a_job_that_asks_for_more_workers_than_there_are_is_refused(tmp_path):
    with pytest.raises(Misuse, match="2 workers were asked for, but there is one rank"), job(store=str(tmp_path), workers=2):
        pass


def test_a_mesh_of_another_size_than_the_ranks_is_refused(tmp_path):
    def program():
        with job(store=str(tmp_path), mesh="dp=2"):
            pass

    with pytest.raises(JobFailed, match="needs 2 ranks, but 3 were started"):
        job.run(program, workers=3)


@pytest.mark.parametrize("text", ["often", "0 steps", "50", "-1 epochs", "1.5 steps"])
def test_how_often_must_be_said_in_steps_or_epochs(tmp_path, text):
    with pytest.raises(Misuse, match="does not say how often"), job(store=str(tmp_path), checkpoint=text):
        pass


def test_wrong_calls_say_what_is_wrong(tmp_path):
    with job(store=str(tmp_path)) as it:
        batch = next(it.batches(make_data(), size=4))
        with pytest.raises(Misuse, match="nothing to train yet"):
            it.step(batch, loss_of)
        model = make_model()
        with pytest.raises(Misuse, match="not the model's"):
            it.prepare(model, torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1))
        it.prepare(model, make_optimizer(model))
        with pytest.raises(Misuse, match="prepared a model already"):
            it.prepare(model, make_optimizer(model))
        with pytest.raises(Misuse, match="a step takes a batch"):
            it.step(make_data(), loss_of)
        with pytest.raises(Misuse, match="has to give one number"):
            it.step(batch, lambda model, data: model(data["x"]))
        with pytest.raises(Misuse, match="give no batches"):
            next(it.batches(make_data(), size=0))


def test_a_resume_with_another_seed_is_refused_and_leaves_the_run_alone(place):
    _, run, _ = train(place, checkpoint="3 steps")
    with pytest.raises(Misuse, match="was made with seed 5, this job has 6"), job(store=str(place), seed=6, resume=run):
        pass
    assert read_run(place, run).status == "finished"


def test_a_resume_with_other_data_is_refused(tmp_path):
    _, run, _ = train(tmp_path, checkpoint="3 steps", stop_after=5)
    with job(store=str(tmp_path), seed=SEED, resume=run) as it:
        model = make_model()
        optimizer = make_optimizer(model)
        it.prepare(model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 5))
        with pytest.raises(Misuse, match="made on 61 samples, this data set has 60"):
            next(it.batches(make_data(60), size=16))
