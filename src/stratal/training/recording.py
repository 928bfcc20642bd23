"""What rank 0 keeps of a job: its run, its checkpoints, and the story of its generations."""

import contextlib
import logging
from collections.abc import Mapping
from itertools import count
from pathlib import Path

from stratal.core.errors import Damaged, Misuse, NotFound, StratalError
from stratal.core.ids import short
from stratal.core.records import Record
from stratal.store.files.blobs import Digest
from stratal.store.files.disk import DiskBlobs
from stratal.store.store import Store
from stratal.tracking.active import active_run
from stratal.tracking.capturing import capture_leased
from stratal.tracking.leased import TTL_S, LeasedRun, adopt, start_leased
from stratal.tracking.opening import current_store, open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import find_id
from stratal.training.mesh import Mesh
from stratal.training.plans import Plan
from stratal.training.ranks import Membership, OpenedJob
from stratal.training.records import Checkpoint
from stratal.training.store import CheckpointStore

log = logging.getLogger(__name__)

_number = count()


class Resumption(Record, frozen=True, kw_only=True):
    """A job goes on behind this checkpoint."""

    checkpoint: Checkpoint


class Recording:
    """The run of a job, held by a lease, with the folder of its checkpoints."""

    def __init__(self, run: LeasedRun, resumption: Resumption | None, state: bytes) -> None:
        self.run = run
        self.resumption = resumption
        self._state = state
        self._rows = CheckpointStore(run.store)
        self._files = checkpoint_files(run.store, run.id)

    @classmethod
    def open(cls, plan: Plan, membership: Membership, *, mesh: Mesh, seed: int) -> "Recording":
        """Start the job's run, or take it over: from an earlier generation of this program, or to resume it."""
        store = opened_store(plan.store)
        number = next(_number)
        earlier = membership.opened[number].run if number < len(membership.opened) else plan.resume
        recording = cls._start(plan, membership, store) if earlier is None else cls._take_over(store, find_id(store, earlier), seed)
        recording._tell(membership, mesh, seed)
        return recording

    def take_state(self) -> bytes:
        """Give the state to resume from, once."""
        state, self._state = self._state, b""
        return state

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Log to the run."""
        self.run.log(metrics, step=step)

    def save(self, state: bytes, *, step: int, samples: int, rows: int, seed: int, mesh: Mesh, keep: int) -> None:
        """Make a checkpoint durable, then visible, then drop the files that no row names. Raises StaleLease after a takeover."""
        digest = self._files.put(state)
        checkpoint = Checkpoint(
            run=self.run.id,
            step=step,
            samples=samples,
            seed=seed,
            rows=rows,
            mesh=str(mesh),
            world_size=mesh.dp or 1,
            epoch=self.run.epoch,
            digest=digest,
            size_bytes=len(state),
            at_ns=self.run.store.clock.now_ns(),
        )
        kept = self._rows.add(checkpoint=checkpoint, keep=keep, token=self.run.token)
        _sweep(self._files.folder, {row.digest for row in kept})

    def finish(self, error: BaseException | None) -> None:
        """End the run: finished, or failed or stopped by an error, which stays the one that is raised."""
        if error is None:
            self.run.finish()
            return
        try:
            self.run.__exit__(type(error), error, error.__traceback__)
        except StratalError as second:
            log.warning("run not ended run=%s error=%s", self.run.short, second.message)

    @classmethod
    def _start(cls, plan: Plan, membership: Membership, store: Store) -> "Recording":
        parent = active_run()
        is_here = parent is not None and parent.store.folder == store.folder
        run = start_leased(
            plan.experiment,
            store=store,
            kind="job",
            name=plan.name or "",
            params=plan.params,
            parent=parent.id if parent is not None and is_here else membership.parent,
        )
        capture_leased(run)
        return cls(run, None, b"")

    @classmethod
    def _take_over(cls, store: Store, id: str, seed: int) -> "Recording":
        _need_files(store, id)
        found, state, refused = last_whole(store, id)
        if found is not None and found.seed != seed:
            raise Misuse(f"the checkpoint was made with seed {found.seed}, this job has {seed}", hint=f"resume with seed={found.seed}")
        run = take_over_run(store, id, from_step=found.step if found is not None else 0)
        for checkpoint, reason in refused:
            log.warning("checkpoint refused run=%s step=%d reason=%s", short(id), checkpoint.step, reason)
            run.state("checkpoint refused", {"step": checkpoint.step, "digest": checkpoint.digest, "reason": reason})
        return cls(run, Resumption(checkpoint=found) if found is not None else None, state)

    def _tell(self, membership: Membership, mesh: Mesh, seed: int) -> None:
        from_step = self.resumption.checkpoint.step if self.resumption is not None else 0
        about = {
            "generation": membership.generation,
            "mesh": str(mesh),
            "world_size": membership.world_size,
            "seed": seed,
            "from_step": from_step,
        }
        self.run.state("generation", about)
        if membership.recovery is not None:
            recovery = membership.recovery
            self.run.state(
                "recovery",
                {
                    "cause": recovery.cause,
                    "rank": recovery.rank,
                    "rung": "checkpoint",
                    "generation": membership.generation,
                    "from_step": from_step,
                    "steps_lost": max(0, recovery.steps_reached - from_step),
                    "seconds": self.run.store.clock.monotonic_s() - recovery.died_at_s,
                },
            )
        if membership.reports is not None:
            membership.reports.opened(OpenedJob(run=self.run.id, store=self.run.store.url))


def opened_store(store: "Store | Path | str | None") -> Store:
    """Give the store that a user named, or the current one."""
    if store is None:
        return current_store()
    return store if isinstance(store, Store) else open_store(store)


def checkpoint_files(store: Store, run: str) -> DiskBlobs:
    """Give the files of a run's checkpoints: synced to the disk whatever the store's durability, and apart from its blobs, so
    that old ones are dropped at once and not when garbage is collected. They lie on rank 0's machine, wherever the store is."""
    return DiskBlobs(store.folder / "checkpoints" / run, power=True)


def last_whole(store: Store, run: str) -> tuple[Checkpoint | None, bytes, list[tuple[Checkpoint, str]]]:
    """Give the last checkpoint whose file holds what its row says, its bytes, and the later ones that were refused, with reasons.

    A refused file is removed, so that the same state can be stored again.
    """
    files = checkpoint_files(store, run)
    refused: list[tuple[Checkpoint, str]] = []
    for checkpoint in CheckpointStore(store).checkpoints(run=run):
        try:
            return checkpoint, files.read(checkpoint.digest), refused
        except (Damaged, NotFound) as error:
            refused.append((checkpoint, error.message))
            with contextlib.suppress(NotFound):
                files.path(checkpoint.digest).unlink()
    return None, b"", refused


def take_over_run(store: Store, run: str, *, from_step: int | None) -> LeasedRun:
    """Hold a run's lease from now on. Raises Conflict if a living process does."""
    rows = CheckpointStore(store)
    holder = rows.holder(run=run)
    is_dead = holder is not None and store.is_dead(holder)
    token = rows.take_over(run=run, from_step=from_step, dead_holder=holder if is_dead else None, ttl_s=TTL_S)
    return adopt(store, find_id(store, run), get_run(run, store=store).experiment, token, kind="job")


def end_lost(opened: OpenedJob, status: str, reason: str) -> None:
    """End a job's run if its process could not do it itself."""
    store = open_store(opened.store)
    if get_run(opened.run, store=store).record.status == "running":
        take_over_run(store, opened.run, from_step=None).finish(status, error=reason[:2000])


def _need_files(store: Store, run: str) -> None:
    """Refuse to begin anew where checkpoints were made on another machine: what was logged would be hidden. Raises NotFound."""
    made, folder = CheckpointStore(store).checkpoints(run=run), checkpoint_files(store, run).folder
    if made and not any(folder.glob("??/*")):
        raise NotFound(
            f"the checkpoints of run {short(run)} are not on this machine; the last is of step {made[0].step}",
            hint=f"resume it where its rank 0 ran, or copy the folder checkpoints/{run} of its store or spool there to {folder} here",
        )


def _sweep(folder: Path, kept: set[str]) -> None:
    """Drop what no row names. This rank is the only writer of the folder: the row that was just written was guarded."""
    for file in folder.glob("*/*"):
        if file.parent.name == "incoming" or Digest(file.parent.name + file.name) not in kept:
            file.unlink(missing_ok=True)
