"""A job: what a training loop needs on every rank. The loop itself belongs to the user."""

import logging
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar, overload

import numpy as np
import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from stratal.core.errors import Misuse
from stratal.tracking.runs import Run
from stratal.training.batches import Batch, batches_of, count_samples
from stratal.training.every import Every, parse_every
from stratal.training.gradients import sum_gradients
from stratal.training.group import Group
from stratal.training.mesh import Mesh, parse_mesh
from stratal.training.order import mixed
from stratal.training.plans import Plan
from stratal.training.ranks import NONE, Membership, current_membership
from stratal.training.recording import Recording, Resumption
from stratal.training.states import Stateful, pack, unpack

log = logging.getLogger(__name__)

M = TypeVar("M", bound=torch.nn.Module)
O = TypeVar("O", bound=torch.optim.Optimizer)  # noqa: E741
S = TypeVar("S", bound=LRScheduler)


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler | None
    parameters: tuple[torch.nn.Parameter, ...]

    def parts(self) -> dict[str, Stateful]:
        found: dict[str, Stateful] = {"model": self.model, "optimizer": self.optimizer}
        if self.scheduler is not None:
            found["scheduler"] = self.scheduler
        return found


class Job:
    """One rank's view of a job. Made by `job(...)`."""

    def __init__(self, *, mesh: Mesh, every: Every | None, keep: int, seed: int, group: Group, membership: Membership) -> None:
        self.mesh = mesh
        self.seed = seed
        self._every = every
        self._keep = keep
        self._group = group
        self._membership = membership
        self._recording: Recording | None = None
        self._resumption: Resumption | None = None
        self._prepared: _Prepared | None = None
        self._run_id = ""
        self._steps = 0
        self._checkpoint_step = NONE
        # Samples consumed by the job, and how far the program has come: it trails while a resumed program walks over what was done.
        self._consumed = 0
        self._walked = 0
        self._epoch = 0
        self._is_in_batch = False

    @property
    def rank(self) -> int:
        """The number of this process among the ranks, from 0."""
        return self._group.rank

    @property
    def world_size(self) -> int:
        """How many ranks there are."""
        return self._group.world_size

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which logs and saves."""
        return self._group.rank == 0

    @property
    def steps(self) -> int:
        """Steps done, those before a resume included."""
        return self._steps

    @property
    def samples(self) -> int:
        """Samples consumed over all ranks, those before a resume included."""
        return self._consumed

    @property
    def run_id(self) -> str:
        """The id of the job's run, on every rank."""
        return self._run_id

    @property
    def run(self) -> Run:
        """The job's run. Raises Misuse on other ranks than 0."""
        if self._recording is None:
            raise Misuse(
                f"rank {self.rank} does not hold the run, rank 0 does", hint="ask job.is_main first; job.log is safe on every rank"
            )
        return self._recording.run

    @overload
    def prepare(self, model: M, optimizer: O) -> tuple[M, O]: ...

    @overload
    def prepare(self, model: M, optimizer: O, scheduler: S) -> tuple[M, O, S]: ...

    def prepare(self, model: M, optimizer: O, scheduler: S | None = None) -> tuple[M, O] | tuple[M, O, S]:
        """Make the parts equal on all ranks: rank 0's, or the checkpoint's when the job resumes. Gives them back.

        The scheduler is stepped once per step.
        """
        if self._prepared is not None:
            raise Misuse("this job has prepared a model already", hint="one job trains one model: put several modules into one nn.Module")
        if isinstance(scheduler, ReduceLROnPlateau):
            raise Misuse("ReduceLROnPlateau needs a metric at each step", hint="leave it out of prepare, and step it in your loop")
        self._check_equal_shapes(model)
        self._prepared = _Prepared(model=model, optimizer=optimizer, scheduler=scheduler, parameters=_trained(model, optimizer))
        if self._resumption is not None:
            state = self._recording.take_state() if self._recording is not None else b""
            unpack(self._group.tell_bytes(state), self._prepared.parts())
        else:
            self._hand_round(model.parameters())
            self._hand_round(model.buffers())
        return (model, optimizer) if scheduler is None else (model, optimizer, scheduler)

    def batches(self, dataset: object, *, size: int, epochs: int = 1) -> Iterator[Batch]:
        """Give global batches of `size` samples over so many epochs, the same on any number of ranks.

        dataset: an array, a tensor, a dict or tuple of them, or an object with `len()` and `[array of indices]`. Each epoch has an
        order of its own and holds each sample once; its last batch may be short. A resumed job goes on behind the checkpoint.
        """
        rows = count_samples(dataset)
        if size < 1 or epochs < 0:
            raise Misuse(f"size = {size} and epochs = {epochs} give no batches", hint="size is 1 or more, epochs 0 or more")
        first, begin = self._epoch, self._walked
        try:
            for _ in range(epochs):
                yield from self._epoch_of(dataset, rows, size)
        finally:  # also when the loop was left early: the next call begins behind these epochs
            self._is_in_batch = False
            self._epoch = first + epochs
            self._walked = begin + epochs * rows
            self._consumed = max(self._consumed, self._walked)

    def step(self, batch: Batch, loss_fn: Callable[[M, object], torch.Tensor]) -> float:
        """Train on one global batch and give its mean loss, the same on every rank.

        loss_fn(model, data) gives the mean loss over this rank's share of the batch. Shares are weighted by their samples, so that
        the step is that of one process on the whole batch. Torch's random numbers inside depend on seed, position and rank only.
        """
        if not isinstance(batch, Batch):
            raise Misuse(
                f"a step takes a batch of job.batches, not a {type(batch).__name__}", hint="for batch in job.batches(data, size=256): ..."
            )
        prepared = self._ready()
        data, samples = batch.part(self.rank, self.world_size)
        _seed_torch(mixed(self.seed, batch.consumed, self.rank))
        self._hand_round(prepared.model.buffers())
        prepared.optimizer.zero_grad(set_to_none=True)
        loss = 0.0
        if samples:
            share = loss_fn(prepared.model, data)  # type: ignore[arg-type]  # the model that was prepared; its class is the user's
            loss = _backward(share, samples / len(batch))
        loss = sum_gradients(self._group, prepared.parameters, loss)
        prepared.optimizer.step()
        if prepared.scheduler is not None:
            prepared.scheduler.step()
        self._steps += 1
        self._show()
        return loss

    def log(self, metrics: Mapping[str, float]) -> None:
        """Log to the job's run: inside a batch at the number of its step (from 0), outside at the number of steps done.

        Rank 0 writes; the others may call it all the same. What a resumed program says again before it reaches the checkpoint is
        already in the run, and not written twice.
        """
        has_caught_up = self._walked == self._consumed
        if self._recording is not None and has_caught_up:
            self._recording.log(metrics, step=max(self._steps - self._is_in_batch, 0))

    def _epoch_of(self, dataset: object, rows: int, size: int) -> Iterator[Batch]:
        epoch, begin = self._epoch, self._walked
        position = self._consumed - begin
        if position < rows:
            self._check_resumed_data(position, rows)
            consumed = self._consumed
            self._walked = consumed
            for batch in batches_of(dataset, size=size, seed=self.seed, epoch=epoch, position=position, consumed=consumed):
                self._is_in_batch = True
                yield batch
                self._is_in_batch = False
                self._consumed = self._walked = batch.consumed
                self._save_if_due(batch, rows)
        self._epoch = epoch + 1
        self._walked = begin + rows

    def _check_resumed_data(self, position: int, rows: int) -> None:
        if position and self._resumption is not None and self._resumption.checkpoint.rows != rows:
            raise Misuse(
                f"the checkpoint was made on {self._resumption.checkpoint.rows} samples, this data set has {rows}",
                hint="resume with the same data: the order of samples depends on their number",
            )

    def _save_if_due(self, batch: Batch, rows: int) -> None:
        if self._every is None or self._prepared is None or self._steps == self._checkpoint_step:
            return
        if not self._every.is_due(steps=self._steps, ended_epochs=batch.epoch + 1, ends_epoch=batch.ends_epoch):
            return
        if self._recording is not None:
            self._recording.save(
                pack(self._prepared.parts()),
                step=self._steps,
                samples=self._consumed,
                rows=rows,
                seed=self.seed,
                mesh=self.mesh,
                keep=self._keep,
            )
        self._checkpoint_step = self._steps
        self._show()

    def _show(self) -> None:
        if self._membership.board is not None:
            # Only rank 0 knows that a checkpoint is durable.
            self._membership.board.write(self.rank, steps=self._steps, checkpoint=self._checkpoint_step if self.is_main else NONE)

    def _hand_round(self, tensors: Iterator[torch.Tensor]) -> None:
        if self.world_size > 1:
            for tensor in tensors:
                self._group.hand_round(tensor.data)

    def _check_equal_shapes(self, model: torch.nn.Module) -> None:
        mine = [
            (name, tuple(tensor.shape), str(tensor.dtype))
            for name, tensor in model.state_dict().items()
            if isinstance(tensor, torch.Tensor)
        ]
        main = self._group.tell(mine)
        if mine != main:
            odd = next((a[0] for a, b in zip(mine, main, strict=False) if a != b), "their number of tensors")
            raise Misuse(
                f"rank {self.rank} built another model than rank 0: they differ at {odd}", hint="build the same model on every rank"
            )

    def _ready(self) -> _Prepared:
        if self._prepared is None:
            raise Misuse("there is nothing to train yet", hint="first: model, optimizer = job.prepare(model, optimizer)")
        return self._prepared

    def _begin(self, recording: Recording | None) -> None:
        """Take up the run, and the checkpoint if there is one. Rank 0 decides, the others follow."""
        self._recording = recording
        self._run_id, self._resumption = self._group.tell((recording.run.id, recording.resumption) if recording is not None else ("", None))
        if self._resumption is not None:
            checkpoint = self._resumption.checkpoint
            self._steps = self._checkpoint_step = checkpoint.step
            self._consumed = checkpoint.samples
        self._show()


@contextmanager
def open_job(plan: Plan, *, mesh: str, workers: int | None, checkpoint: str | None, keep: int, seed: int) -> Iterator[Job]:
    """Give a job on this rank, and end it and its run with the block. See `job`."""
    membership = current_membership()
    asked = parse_mesh(mesh)
    every = parse_every(checkpoint) if checkpoint is not None else None
    if keep < 1:
        raise Misuse(f"keep = {keep} would keep no checkpoint", hint="keep 1 or more")
    _check_workers(workers, asked, membership)
    _seed_all(seed)
    group = Group(membership)
    recording: Recording | None = None
    try:
        job = Job(mesh=asked.on(group.world_size), every=every, keep=keep, seed=seed, group=group, membership=membership)
        recording = Recording.open(plan, membership, mesh=job.mesh, seed=seed) if job.is_main else None
        job._begin(recording)
        yield job
    except BaseException as error:
        if recording is not None:
            recording.finish(error)
        raise
    else:
        if recording is not None:
            recording.finish(None)
    finally:
        group.close()


def _check_workers(workers: int | None, mesh: Mesh, membership: Membership) -> None:
    if workers is not None and workers != membership.world_size:
        there = "is one rank" if membership.world_size == 1 else f"are {membership.world_size} ranks"
        raise Misuse(
            f"{workers} workers were asked for, but there {there}",
            hint=f"start them: stratal train SCRIPT --workers {workers}, or job.run(function, workers={workers})",
        )
    if mesh.dp not in (None, 1) and membership.world_size == 1:
        log.warning("mesh %s runs on one rank here, with the same results: to use more, stratal train SCRIPT --workers %s", mesh, mesh.dp)


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)  # the user's code may draw from it
    torch.manual_seed(seed)


def _seed_torch(seed: int) -> None:
    """Seed torch's generators. Without a GPU in use only the CPU's: torch writes down a stack for a seed that waits for one."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call, unused-ignore]  # depends on torch's version
        torch.cuda.manual_seed_all(seed)


def _trained(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[torch.nn.Parameter, ...]:
    owned = {id(parameter): parameter for parameter in model.parameters() if parameter.requires_grad}
    stepped = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if stepped - {id(parameter) for parameter in model.parameters()}:
        raise Misuse("the optimizer holds parameters that are not the model's", hint="put all that is trained into one nn.Module")
    return tuple(parameter for key, parameter in owned.items() if key in stepped)


def _backward(loss: torch.Tensor, weight: float) -> float:
    if getattr(loss, "shape", None) != ():
        raise Misuse("loss_fn has to give one number, the mean loss over the samples it got", hint="return F.cross_entropy(model(x), y)")
    weighted = loss if weight == 1.0 else loss * weight
    weighted.backward()  # type: ignore[no-untyped-call]  # torch's own signature
    return float(weighted.detach())
