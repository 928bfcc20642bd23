"""Pipelines that run. Most tests have threads as workers, because they start at once; `in_processes` marks what is about processes."""

import os
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pipeline_victims import ThreadWorkers, leave, left

from stratal.compute import LocalWorkers
from stratal.core.errors import Misuse, NotFound, Refused
from stratal.pipelines import Permanent, Temporary, step
from stratal.pipelines import pipeline as plain_pipeline
from stratal.pipelines.lookup import check_result
from stratal.pipelines.payloads import encode
from stratal.pipelines.rows import Result
from stratal.pipelines.running import StepFailed
from stratal.pipelines.store import PipelineStore
from stratal.tracking import refs
from stratal.tracking.doctor import doctor
from stratal.tracking.opening import use_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import log
from stratal.tracking.runs import run as start_run
from stratal.tracking.values import File

in_processes = pytest.mark.slow
here_only = pytest.mark.parametrize("seen", ["here"], indirect=True)  # processes start slowly, and use the store as threads do


@pytest.fixture(autouse=True)
def _store(store):
    use_store(store)


def pipeline(function):
    """A pipeline whose steps run in threads."""
    return plain_pipeline(function).with_options(compute=ThreadWorkers)


@pytest.fixture
def trace(tmp_path):
    """A file that bodies of steps write their names to."""
    return Traced(str(tmp_path / "trace"))


class Traced:
    def __init__(self, path):
        self.path = path

    def names(self):
        return left(self.path)

    def clear(self):
        Path(self.path).unlink(missing_ok=True)


@step
def numbers(trace: str, count: int) -> pl.DataFrame:
    leave(trace, "numbers")
    return pl.DataFrame({"x": range(count)})


@step
def halves(trace: str, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    leave(trace, "halves")
    return frame[: frame.height // 2], frame[frame.height // 2 :]


@step
def summed(trace: str, frame: pl.DataFrame, *, scale: float = 1.0) -> float:
    leave(trace, "summed")
    log({"total": float(frame["x"].sum())})
    return float(frame["x"].sum()) * scale


@step
def announced(trace: str, total: float) -> None:
    leave(trace, "announced")


@pipeline
def adding(trace: str, count: int = 10, scale: float = 1.0) -> dict[str, float]:
    low, high = halves(trace, numbers(trace, count))
    found = {"low": summed(trace, low), "high": summed(trace, high, scale=scale)}
    announced(trace, found["high"])
    return found


@in_processes
def test_values_flow_and_a_second_run_comes_from_the_cache_except_effects(trace):
    first = plain_pipeline(adding.__wrapped__).with_options(workers=2).run(trace.path)
    assert first.value == {"low": 10.0, "high": 35.0}
    assert sorted(trace.names()) == ["announced", "halves", "numbers", "summed", "summed"]
    trace.clear()
    second = adding.run(trace.path)
    assert second.value == first.value
    assert trace.names() == ["announced"]
    assert second.states() == {"numbers": "hit", "halves": "hit", "summed": "hit", "summed#2": "hit", "announced": "finished"}
    assert second.output("halves")[1].equals(pl.DataFrame({"x": range(5, 10)}))


def test_a_changed_parameter_runs_what_it_reaches_and_says_why(trace, store):
    adding.run(trace.path)
    trace.clear()
    second = adding.run(trace.path, scale=2.0)
    assert second.value == {"low": 10.0, "high": 70.0}
    assert sorted(trace.names()) == ["announced", "summed"]
    whys = {row.path: row.why for row in second.steps}
    assert whys["summed#2"] == ("input scale was 1.0, is 2.0",)
    assert whys["announced"] == ("its results are not cached",)
    third = adding.run(trace.path, 12)
    (why,) = {row.path: row.why for row in third.steps}["numbers"]
    assert why == "input count was 10, is 12"
    assert {row.path: row.why for row in third.steps}["halves"][0].startswith("input frame (from numbers) was frame of 10 rows")


def test_the_first_run_says_that_it_is_the_first(trace):
    first = adding.run(trace.path)
    assert {row.path: row.why for row in first.steps}["numbers"] == ("it was never run before",)


def test_without_the_cache_everything_runs_and_serves_later_runs(trace):
    adding.run(trace.path)
    trace.clear()
    again = adding.with_options(cache=False).run(trace.path)
    assert len(trace.names()) == 5
    assert {row.path: row.why for row in again.steps}["numbers"] == ("the pipeline was run with cache=False",)


def test_equal_content_from_changed_code_upstream_stops_the_change_there(trace):
    @step(name="numbers")
    def differently(trace: str, count: int) -> pl.DataFrame:
        leave(trace, "differently")
        return pl.DataFrame({"x": [*range(count)]})

    @pipeline
    def one() -> float:
        return summed(trace.path, numbers(trace.path, 4))

    @pipeline
    def other() -> float:
        return summed(trace.path, differently(trace.path, 4))

    one.run()
    assert other.run().states() == {"numbers": "finished", "summed": "hit"}
    assert trace.names() == ["numbers", "summed", "differently"]


def test_each_step_is_a_child_run_with_params_metrics_and_lineage(trace, store):
    done = adding.run(trace.path)
    whole = get_run(done.id, store=store)
    assert (whole.kind, whole.status, whole.experiment) == ("pipeline", "finished", "adding")
    assert whole.params == {"trace": trace.path, "count": 10, "scale": 1.0}
    children = {run.name: run for run in (get_run(id, store=store) for id in whole.children)}
    assert set(children) == {"numbers", "halves", "summed", "summed#2", "announced"}
    assert {run.status for run in children.values()} == {"finished"}
    assert children["summed#2"].metrics == {"total": 35.0}
    assert children["summed#2"].params == {"trace": trace.path, "scale": 1.0}
    made = {(edge.verb, edge.role): edge.target for edge in children["halves"].edges}
    used = {(edge.verb, edge.role): edge.target for edge in children["summed#2"].edges}
    assert made["produced", "output[1]"] == used["used", "frame"]
    assert made["produced", "output[1]"].startswith("sha256:")
    assert {check.name: check.state for check in doctor(store=store)}["files"] == "good", "digests of frames are those of no files"


@step
def with_runs_inside() -> str:
    with start_run("inner", params={"depth": 3}) as run:
        log({"loss": 0.5})
    return run.id


@in_processes
def test_runs_inside_of_a_step_are_its_children(store):
    @plain_pipeline
    def whole() -> str:
        return with_runs_inside()

    done = whole.run()
    inner = get_run(done.value, store=store)
    assert inner.parent == done.steps[0].step_run
    assert inner.metrics == {"loss": 0.5}


@step
def meets(folder: str, me: str, other: str) -> float:
    """Finish only if another step is running at the same time."""
    (Path(folder) / me).touch()
    while not (Path(folder) / other).exists():
        time.sleep(0.005)
    return 0.0


@here_only
@in_processes
@pytest.mark.parametrize("workers", [2, 3])
def test_steps_run_at_the_same_time(tmp_path, workers):
    @plain_pipeline
    def whole() -> None:
        meets(str(tmp_path), "a", "b")
        meets(str(tmp_path), "b", "a")

    done = whole.with_options(workers=workers).run()
    first, second = done.steps
    assert first.started_ns < second.ended_ns
    assert second.started_ns < first.ended_ns


@step(retries=3, backoff_s=0.0)
def flaky(trace: str, fails: int, kind: str) -> int:
    leave(trace, "try")
    tries = Path(trace).read_text().split().count("try")
    if tries <= fails:
        raise {"value": ValueError, "temporary": Temporary, "permanent": Permanent, "refused": Refused}[kind](f"boom {tries}")
    return tries


def test_retries_end_with_the_value_and_leave_each_attempt(trace, store):
    @pipeline
    def whole() -> int:
        return flaky(trace.path, 2, "value")

    done = whole.run()
    assert done.value == 3
    attempts = PipelineStore(store).steps(run=done.id)
    assert [(row.attempt, row.state) for row in attempts] == [(1, "failed"), (2, "failed"), (3, "finished")]
    assert [get_run(row.step_run, store=store).status for row in attempts] == ["failed", "failed", "finished"]
    assert attempts[1].error.message == "boom 2"
    assert attempts[1].why == ("attempt 1 ended with ValueError: boom 1",)


@pytest.mark.parametrize("command", ["record", "renew", "end"])
def test_what_is_sent_again_because_its_answer_was_lost_counts_once(trace, store, monkeypatch, command):
    once = getattr(PipelineStore, command)

    def twice(self, **values):
        assert once(self, **values) is not None
        return once(self, **values)

    monkeypatch.setattr(PipelineStore, command, twice)

    @pipeline
    def whole() -> dict[str, int]:
        return {"flaky": flaky(trace.path, 1, "value"), "other": flaky(trace.path, 0, "value")}

    done = whole.with_options(lease_s=0.03).run()  # so short that it is renewed
    steps = PipelineStore(store).steps(run=done.id)
    assert sorted((row.path, row.attempt, row.state) for row in steps) == [
        ("flaky", 1, "failed"), ("flaky", 2, "finished"), ("flaky#2", 1, "finished"),
    ]  # fmt: skip
    assert [get_run(row.step_run, store=store).status for row in steps if row.state == "finished"] == ["finished"] * 2
    assert get_run(f"run:{done.id}", store=store).status == "finished" and whole.run().states() == {"flaky": "hit", "flaky#2": "hit"}


@pytest.mark.parametrize(("kind", "tries"), [("value", 4), ("permanent", 1), ("refused", 1)])
def test_retries_are_bounded_and_not_for_permanent_errors(trace, kind, tries):
    @pipeline
    def whole() -> int:
        return flaky(trace.path, 99, kind)

    with pytest.raises(StepFailed) as caught:
        whole.run()
    assert len(trace.names()) == tries
    assert caught.value.attempt == tries


def test_temporary_errors_are_tried_again_without_asking(trace):
    @pipeline
    def whole() -> int:
        return flaky.with_options(retries=0)(trace.path, 2, "temporary")

    assert whole.run().value == 3


@step
def fails(why: str) -> int:
    return deeper(why)


def deeper(why):
    raise ValueError(f"boom {why}")


@step
def follows(number: int) -> int:
    return number + 1


def test_a_failed_step_stops_its_dependents_and_nothing_else(trace, store):
    @pipeline
    def whole() -> None:
        follows(follows(fails("ü")))
        summed(trace.path, numbers(trace.path, 3))

    with pytest.raises(StepFailed) as caught:
        whole.run()
    error = caught.value
    assert error.message.startswith("step 'fails' failed in attempt 1: ValueError: boom ü")
    assert "in deeper" in error.message
    assert "pipelines/working.py" not in error.message
    assert (error.step, error.attempt, error.type) == ("fails", 1, "ValueError")
    states = {row.path: row.state for row in PipelineStore(store).steps(run=error.run)}
    assert states == {"fails": "failed", "follows": "skipped", "follows#2": "skipped", "numbers": "finished", "summed": "finished"}
    assert get_run(error.run, store=store).status == "failed"


def test_a_failed_run_resumes_with_what_is_left(trace, store):
    @pipeline
    def whole() -> int:
        return flaky.with_options(retries=0)(trace.path, 1, "value")

    with pytest.raises(StepFailed) as caught:
        whole.run()
    done = whole.resume(caught.value.run)
    assert done.value == 2
    assert done.id == caught.value.run
    assert get_run(done.id, store=store).status == "finished"
    assert [row.state for row in PipelineStore(store).steps(run=done.id)] == ["failed", "finished"]


def test_resuming_a_finished_run_runs_nothing(trace):
    done = adding.run(trace.path)
    trace.clear()
    assert adding.resume(done.id).value == done.value
    assert trace.names() == []


def test_a_run_of_another_pipeline_is_not_resumed(trace):
    done = adding.run(trace.path)

    @pipeline
    def other() -> float:
        return summed(trace.path, numbers(trace.path, 4))

    with pytest.raises(Misuse, match="is of pipeline 'adding', not 'other'"):
        other.resume(done.id)


@step(timeout_s=0.2)
def sleeps() -> int:
    time.sleep(60)
    return 1


@here_only
@in_processes
def test_a_step_that_runs_too_long_is_ended_and_named():
    @plain_pipeline
    def whole() -> None:
        sleeps()

    with pytest.raises(StepFailed, match=r"Timeout: it ran longer than its timeout of 0\.2 s"):
        whole.run()


@step
def odd(kind: str) -> object:
    if kind == "exit":
        raise SystemExit(3)
    if kind == "interrupt":
        raise KeyboardInterrupt
    if kind == "open file":
        return Path("x").open("w")
    raise Untellable


class Untellable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


@here_only
@in_processes
def test_whatever_a_step_raises_is_its_failure(store):
    @plain_pipeline
    def whole() -> None:
        for kind in ("exit", "interrupt", "open file", "untellable"):
            odd.with_options(name=kind)(kind)

    with pytest.raises(StepFailed, match="also failed: interrupt, open file, untellable") as caught:
        whole.run()
    told = {row.path: f"{row.error.type}: {row.error.message}" for row in PipelineStore(store).steps(run=caught.value.run)}
    assert told["exit"] == "SystemExit: 3"
    assert told["interrupt"] == "KeyboardInterrupt: "
    assert "the output of step 'open file' cannot travel" in told["open file"]
    assert told["untellable"] == "Untellable: (its text cannot be made)"


@step
def echoed(value: object) -> object:
    return value


@in_processes
def test_large_and_odd_values_pass_between_steps(store):
    value = {"größe": "ü" * 100_000, "array": np.arange(200_000.0), "tuple": (1, [None, b"\x00" * 5000]), "empty": pl.DataFrame()}

    @plain_pipeline
    def whole() -> object:
        return echoed(echoed(value))

    back = whole.run().value
    assert back["größe"] == value["größe"]
    assert np.array_equal(back["array"], value["array"])
    assert back["tuple"] == value["tuple"]
    assert back["empty"].equals(value["empty"])
    assert {check.name: check.state for check in doctor(store=store)}["quotas"] == "good", "what they hold is counted"


@step
def read(rows: File) -> str:
    return f"{rows.name}: {rows.read().decode()}"


def test_a_file_counts_by_content_and_keeps_its_name(tmp_path):
    @pipeline
    def whole(rows: File) -> str:
        return read(rows)

    (tmp_path / "x.csv").write_text("a")
    (tmp_path / "y.csv").write_text("a")
    assert whole.run(rows=File(str(tmp_path / "x.csv"))).value == "x.csv: a"
    assert whole.run(rows=File(str(tmp_path / "y.csv"))).states() == {"read": "hit"}
    (tmp_path / "x.csv").write_text("b")
    assert whole.run(rows=File(str(tmp_path / "x.csv"))).value == "x.csv: b"


def test_a_result_whose_blob_is_gone_does_not_serve(here, store, tmp_path):
    @step
    def large() -> str:
        return "x" * 100_000

    @pipeline
    def whole() -> str:
        return large()

    done = whole.run()
    blob = here.blobs.path(done.steps[0].output.blob)
    for place in tmp_path.rglob(f"{blob.parent.name}/{blob.name}"):  # where the store lies, and in the spool
        place.unlink()
    again = whole.run()
    assert again.states() == {"large": "finished"}
    assert "is gone" in again.steps[0].why[0]
    assert len(again.value) == 100_000


@step
def compared(pointer: str) -> str:
    from stratal.tracking import refs
    from stratal.tracking.opening import current_store

    refs.register_resolver("dataset", pointed_by(pointer))
    return refs.resolve("dataset:churn@previous", current_store()).digest


def pointed_by(pointer):
    from stratal.core.errors import NotFound
    from stratal.tracking import refs

    def resolve(ref, store):
        if not Path(pointer).exists():
            raise NotFound("no such version")
        return refs.Resolved(ref=ref, digest=Path(pointer).read_text(), value=None)

    return resolve


def test_a_ref_that_has_moved_is_a_miss_and_one_that_moved_back_a_hit(tmp_path, monkeypatch):
    monkeypatch.setattr(refs, "_resolvers", {})
    pointer = tmp_path / "pointer"
    refs.register_resolver("dataset", pointed_by(str(pointer)))

    @pipeline
    def whole() -> str:
        return compared(str(pointer))

    pointer.write_text("a" * 64)
    assert whole.run().value == "a" * 64
    assert whole.run().states() == {"compared": "hit"}
    pointer.write_text("b" * 64)
    moved = whole.run()
    assert moved.value == "b" * 64
    assert "used dataset:churn@previous, which was aaaaaaaa and is bbbbbbbb now" in moved.steps[0].why[0]
    pointer.write_text("a" * 64)
    assert whole.run().value == "a" * 64
    assert whole.run().states() == {"compared": "hit"}
    pointer.unlink()
    with pytest.raises(StepFailed, match="no such version"):
        whole.run()


@step
def with_workers_of_its_own(numbers: list[int]) -> list[int]:
    with LocalWorkers(2) as workers:
        futures = [workers.submit(process_of, number) for number in numbers]
        return [future.result() for future in futures] + [os.getpid()]


def process_of(number):
    return os.getpid()


@here_only
@in_processes
def test_a_step_has_workers_of_its_own():
    @plain_pipeline
    def whole() -> list[int]:
        return with_workers_of_its_own([1, 2, 3, 4])

    *inner, own = whole.run().value
    assert own not in inner
    assert os.getpid() not in inner


def test_a_pipeline_inside_of_a_pipeline_is_one_graph(trace):
    @pipeline
    def outer() -> float:
        return follows_float(adding(trace.path)["low"])

    @step
    def follows_float(number: float) -> float:
        return number + 1

    done = outer.run()
    assert done.value == 11.0
    inner = ["adding/numbers", "adding/halves", "adding/summed", "adding/summed#2", "adding/announced"]
    assert list(done.states()) == [*inner, "follows_float"]
    assert adding.run(trace.path).states()["numbers"] == "hit"


def test_order_without_data_is_kept(trace):
    @pipeline
    def whole() -> None:
        first = announced(trace.path, 1.0)
        numbers.after(first)(trace.path, 3)

    whole.with_options(workers=2).run()
    assert trace.names() == ["announced", "numbers"]


def test_events_tell_the_story_in_order(trace):
    events = []
    adding.with_options(on_event=events.append).run(trace.path)
    assert [(event.path, event.state) for event in events][:4] == [
        ("numbers", "running"),
        ("numbers", "finished"),
        ("halves", "running"),
        ("halves", "finished"),
    ]
    assert (events[-1].done, events[-1].total) == (5, 5)


def test_an_error_in_a_listener_ends_the_run_as_failed(trace, store):
    def listener(event):
        if event.state == "finished":
            raise RuntimeError("the terminal is gone")

    with pytest.raises(RuntimeError, match="the terminal is gone"):
        adding.with_options(on_event=listener).run(trace.path)
    (row,) = [row for row in PipelineStore(store).steps(run=PipelineStore(store).recent()[0]) if row.path == "numbers"]
    assert row.state == "finished"
    assert get_run(row.run, store=store).status == "failed"


def test_a_run_that_is_none_of_a_pipeline_is_not_found(store):
    with start_run("plain") as run:
        pass
    with pytest.raises(NotFound, match="no run of a pipeline"):
        PipelineStore(store).pipeline_run(run=run.id)


def test_a_ref_names_runs_of_a_pipeline_by_their_order(trace, store):
    with pytest.raises(NotFound, match="no run of a pipeline 'adding'"):
        refs.resolve("pipeline:adding", store)
    runs = [adding.run(trace.path, count).id for count in (2, 4, 4)]
    for selector, place in {"latest": 2, "previous": 1, "1": 0, "3": 2}.items():
        assert refs.resolve(f"pipeline:adding@{selector}", store).value.run == runs[place]
    assert refs.resolve("pipeline:adding", store).value.run == runs[2]
    digests = [refs.resolve(f"pipeline:adding@{number}", store).digest for number in (1, 2, 3)]
    assert digests[0] != digests[1] == digests[2]
    assert refs.resolve(f"pipeline:adding@sha256:{digests[0]}", store).value.run == runs[0]
    for missing in ("4", "0"):
        with pytest.raises(NotFound, match="has 3 runs"):
            refs.resolve(f"pipeline:adding@{missing}", store)
    with pytest.raises(Misuse, match="no stages"):
        refs.resolve("pipeline:adding@production", store)


def test_a_ref_that_was_looked_for_in_vain_must_still_be_missing(tmp_path, store, monkeypatch):
    monkeypatch.setattr(refs, "_resolvers", {})
    pointer = tmp_path / "pointer"
    refs.register_resolver("study", pointed_by(str(pointer)))
    output = encode(1, store.blobs, what="x")
    result = Result(key="k", refs=(("study:churn", ""),), output=output, step_run="7" * 32, at_ns=0)
    assert check_result(result, store) is None
    pointer.write_text("a" * 64)
    assert "looked for study:churn in vain, which is there now" in check_result(result, store)
