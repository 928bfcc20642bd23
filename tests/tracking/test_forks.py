"""Forks: what they inherit, against a simple model; last values, search, lineage, the command. Excludes takeovers of plain runs."""

import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratal.cli.app import main
from stratal.core.errors import Misuse, NotFound
from stratal.core.ids import to_bytes
from stratal.store import latest, leases
from stratal.store.store import Store
from stratal.tracking.explaining import explain
from stratal.tracking.finding import find_runs
from stratal.tracking.forking import fork
from stratal.tracking.opening import open_store, use_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

# An operation: what, on which run (modulo how many there are), a step.
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["log", "log", "log", "log without step", "take over", "take over", "fork", "fork", "settle"]),
        st.integers(0, 5),
        st.integers(0, 12),
    ),
    min_size=4,
    max_size=40,
)


@dataclass
class ModelRun:
    """All that was ever logged to a run: (epoch, step, value), in order."""

    id: str
    fork: "tuple[ModelRun, int, int] | None" = None
    points: list[tuple[int, int, float]] = field(default_factory=list)
    takeovers: list[tuple[int, int]] = field(default_factory=list)  # epoch, from step

    @property
    def epoch(self) -> int:
        return len(self.takeovers)

    def ranked(self, seen: int | None = None, before: int = 99) -> list[tuple[tuple[int, ...], int, float]]:
        """Give (rank, step, value) of what counts before a step for somebody who has seen the takeovers up to `seen`."""
        takeovers = [(e, s) for e, s in self.takeovers if seen is None or e <= seen]
        found = []
        for epoch, step, value in self.points:
            limit = min([before, *(s for e, s in takeovers if e > epoch)])
            if (seen is None or epoch <= seen) and step < limit:
                found.append(((epoch,), step, value))
        if self.fork is not None:
            origin, fork_step, fork_epoch = self.fork
            limit = min([before, fork_step, *(s for _, s in takeovers)])
            found = [((-1, *rank), step, value) for rank, step, value in origin.ranked(fork_epoch, limit)] + found
        return found

    def free(self) -> int:
        ranked = self.ranked()
        newest = max((rank[0] for rank, _, _ in ranked), default=-1)
        began = [] if self.fork is None else [(0, self.fork[1])]
        restart = min((s for e, s in [*began, *self.takeovers] if e > newest), default=None)
        return restart if restart is not None else max([0, *(step + 1 for _, step, _ in ranked)])


def _play(store: Store, operations: list[tuple[str, int, int]]) -> list[ModelRun]:
    runs = [ModelRun(run("e", store=store).id)]
    value = 0.0
    for what, which, step in operations:
        at, value = runs[which % len(runs)], value + 1
        match what:
            case "log":
                store.writer.log(to_bytes(at.id), at.epoch, {"m": value}, step)
                at.points.append((at.epoch, step, value))
            case "log without step":
                store.settle()
                store.writer.log(to_bytes(at.id), at.epoch, {"m": value})
                at.points.append((at.epoch, at.free(), value))
            case "take over":
                with store.command() as tx:
                    leases.take_over(tx, at.id, "test", from_step=step)
                at.takeovers.append((at.epoch + 1, step))
            case "fork" if len(runs) < 6:
                made = run(fork_from=(at.id, step), store=store)
                runs.append(ModelRun(made.id, fork=(at, step, at.epoch)))
            case _:
                store.settle()
    return runs


def _check(store: Store, runs: list[ModelRun]) -> None:
    for expected in runs:
        with store.snapshot() as snapshot:
            points = snapshot.series(to_bytes(expected.id), "m")
        ranked = sorted(expected.ranked(), key=lambda point: point[1])
        assert points.steps.tolist() == [step for _, step, _ in ranked]
        assert sorted(points.values.tolist()) == sorted(value for _, _, value in ranked)


@pytest.mark.parametrize("wide", [1, 512])
@given(operations=OPERATIONS)
@settings(max_examples=60)
def test_a_fork_reads_as_the_model_says(migrated: Path, wide: int, operations: list[tuple[str, int, int]]):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(latest, "WIDE", wide - 1)
        shutil.copytree(migrated, Path(folder) / "store")
        store = open_store(Path(folder) / "store")
        runs = _play(store, operations)
        _check(store, runs)
        store.settle()
        _check(store, runs)
        for expected in runs:
            ranked = expected.ranked()
            [summary] = get_run(expected.id, store=store).summaries or [None]
            if not ranked:
                assert summary is None
                continue
            _, last_step, last = max(ranked, key=lambda point: (point[0], point[1], point[2]))
            assert summary is not None
            assert (summary.last, summary.step, summary.points) == (last, last_step, len(ranked))
            assert (summary.low, summary.high) == (min(v for _, _, v in ranked), max(v for _, _, v in ranked))
            assert get_run(expected.id, store=store).metrics == {"m": last}
        store.close()


@pytest.mark.here
def test_a_fork_shares_points_before_its_step_and_goes_on_from_there(store: Store):
    with run("e", params={"lr": 0.1, "odd": float("nan"), "depth": 3}, tags={"team": "growth"}, group="g", store=store) as first:
        for step in range(1000):
            first.log({"loss": float(step)}, step=step)
        with first.fork(step=600, name="second", params={"lr": 0.01}) as second:
            second.log({"loss": -1.0})
            second.log({"new": 1.0})
            second.log({"new": 2.0})
    read = get_run(second.id, store=store)
    loss = read.series("loss")
    assert loss.steps.tolist() == list(range(601)) and loss.values[-1] == -1.0
    assert read.metrics == {"loss": -1.0, "new": 2.0} and read.series("new").steps.tolist() == [600, 601]
    assert read.params["lr"] == 0.01 and read.params["depth"] == 3
    assert np.isnan(float(str(read.params["odd"])))
    assert (read.tags, read.group, read.experiment, read.status, read.parent) == ({"team": "growth"}, "g", "e", "finished", None)
    assert read.forked_from == (first.id, 600)
    assert read.envelope("loss", 10).last[-1] == -1.0
    connection = store.database.connect()
    kept = connection.execute("select sum(n) from chunk join run on run.no = chunk.run where run.id = ?", [to_bytes(second.id)]).fetchone()
    assert kept == (None,), "points are not copied"
    odd = connection.execute("select num, txt from param join key on key.id = key where name = 'odd'").fetchall()
    assert odd == [(None, "nan")] * 2


def test_a_fork_has_the_kind_group_and_job_type_of_the_other_run_unless_others_are_given(store: Store):
    with run("churn", kind="evaluation", group="week 12", job_type="eval", store=store) as first:
        first.log({"auc": 0.5}, step=0)
        with first.fork(step=1) as inside:
            pass
    with run(fork_from=(first.ref, 1), kind="job", group="week 13", job_type="redo", store=store) as other:
        pass
    with run(fork_from=(first.ref, 1), store=store) as same:
        pass
    waiting = fork(first.ref, step=1, store=store)

    said = [(read.kind, read.group, read.job_type) for read in (get_run(made.id, store=store) for made in (inside, same, waiting, other))]
    assert said == [("evaluation", "week 12", "eval")] * 3 + [("job", "week 13", "redo")]
    assert (inside.kind, run(resume=waiting.id, store=store).kind) == ("evaluation", "evaluation")


def test_search_sees_the_values_that_a_fork_inherited(store: Store):
    with run("e", params={"kind": "base"}, store=store) as first:
        for step in range(10):
            first.log({"auc": step / 10}, step=step)
    made = fork(first.id, step=5, store=store)
    assert [found.id for found in find_runs("metrics.auc = 0.4 and params.kind = 'base'", store=store)] == [made.id]
    assert made.status == "stopped"


def test_a_fork_plays_the_part_of_its_origin_unless_it_is_given_another(store: Store):
    with run("e", group="week 12", job_type="eval", store=store) as first:
        first.log({"m": 1.0}, step=0)
    forks = [fork(first.id, step=1, store=store)]
    for job_type in ("", "train"):
        with run(fork_from=(first.ref, 1), job_type=job_type, store=store) as made:
            forks.append(get_run(made.id, store=store))
    assert [(each.group, each.job_type) for each in forks] == [("week 12", "eval"), ("week 12", "eval"), ("week 12", "train")]


def test_a_fork_waits_to_be_resumed(store: Store):
    with run("e", store=store) as first:
        first.log({"m": 1.0}, step=0)
    made = fork(first.id, step=1, store=store)
    with run(resume=made.id, store=store) as going_on:
        going_on.log({"m": 2.0})
    assert get_run(made.id, store=store).series("m").steps.tolist() == [0, 1]
    assert get_run(made.id, store=store).status == "finished"


@pytest.mark.here
def test_a_takeover_of_a_run_changes_nothing_that_its_fork_inherited(store: Store):
    first = run("e", store=store)
    for step in range(5):
        first.log({"m": float(step)}, step=step)
    made = fork(first.id, step=4, store=store)
    with store.command(runs=[first.id]) as tx:
        token = leases.take_over(tx, first.id, "test", from_step=0)
    store.writer.log(to_bytes(first.id), token, {"m": 9.0}, 1)
    assert get_run(first.id, store=store).series("m").values.tolist() == [9.0]
    read = get_run(made.id, store=store)
    assert read.series("m").values.tolist() == [0.0, 1.0, 2.0, 3.0] and read.metrics == {"m": 3.0}


def test_what_a_living_run_logs_later_before_the_step_counts_in_its_fork(store: Store):
    first = run("e", store=store)
    first.log({"m": 1.0}, step=0)
    made = fork(first.id, step=10, store=store)
    again = fork(made.id, step=8, store=store)
    first.log({"m": 5.0}, step=5)
    first.log({"m": 20.0}, step=20)
    assert get_run(made.id, store=store).metrics == {"m": 5.0}
    assert get_run(again.id, store=store).metrics == {"m": 5.0}
    assert get_run(again.id, store=store).series("m").steps.tolist() == [0, 5]


def test_lineage_goes_through_a_fork_both_ways(store: Store):
    with run("e", store=store) as first:
        first.log({"m": 1.0}, step=0)
    made = fork(first.id, step=1, store=store)
    assert [(node.ref, node.relation, node.role) for node in explain(made.id, store=store).origins.branches] == [
        (f"run:{first.id}", "used", "fork")
    ]
    assert [node.ref for node in explain(first.id, store=store).uses.branches] == [f"run:{made.id}"]


@pytest.mark.parametrize("step", [True, 0.5, 2**63, -(2**63), "3"])
def test_a_step_that_is_none_is_refused(store: Store, step: int):
    first = run("e", store=store)
    with pytest.raises(Misuse, match="no step to fork at"):
        first.fork(step=step)
    assert len(find_runs(store=store)) == 1


def test_what_is_no_run_cannot_be_forked(store: Store):
    with pytest.raises(NotFound):
        run(fork_from=("run:00000000", 3), store=store)
    with pytest.raises(Misuse, match="no run and step"):
        run(fork_from="run:00000000", store=store)  # type: ignore[arg-type]


def test_the_command_makes_a_fork_to_resume(store: Store, capsys: pytest.CaptureFixture[str]):
    use_store(store)
    with run("e", params={"lr": 0.1}) as first:
        first.log({"m": 1.0}, step=0)
    with pytest.raises(SystemExit) as left:
        main(["fork", first.short, "--step", "1", "--param", "lr=0.5", "--param", "name=gbm", "--tag", "a=b", "--json"])
    assert left.value.code == 0
    made = json.loads(capsys.readouterr().out)
    assert made["params"] == {"lr": 0.5, "name": "gbm"} and made["tags"] == {"a": "b"}
    assert made["forked_from"] == [first.id, 1] and made["metrics"] == {"m": 1.0}
    with pytest.raises(SystemExit):
        main(["fork", first.short, "--step", "1"])
    assert 'st.run(resume="' in capsys.readouterr().out
    with pytest.raises(SystemExit) as left:
        main(["fork", first.short, "--step", "1", "--param", "lr"])
    assert left.value.code == 2
