"""Laws of `Workers` on this machine's processes, with real kills. Not here: what rooms do with them."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from concurrent.futures import CancelledError

import numpy as np
import psutil
import pytest

from stratal.compute import LocalWorkers, WorkerDied, WorkerTraceback, WorkFailed
from stratal.core.errors import Misuse, NotFound


@pytest.fixture(scope="module")
def pair():
    with LocalWorkers(2, slots=2) as workers:
        yield workers


def wait_until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def is_gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_closure_travels_and_its_value_comes_back(pair):
    factor = 3
    assert pair.submit(lambda x, *, y: factor * x + y, 4, y=1).result() == 13


def test_work_runs_in_other_processes_that_stay_warm(pair):
    pids = {pair.submit(os.getpid).result() for _ in range(6)}
    assert os.getpid() not in pids
    assert len(pids) <= 2


def test_the_argument_is_taken_as_it_is_at_submit(pair):
    values = [1]
    future = pair.submit(lambda v: (time.sleep(0.05), list(v))[1], values)
    values.append(2)
    assert future.result() == [1]


def test_an_exception_keeps_its_type_and_brings_the_workers_traceback(pair):
    def deep_inside():
        raise NotFound("no such thing", hint="look elsewhere")

    error = pair.submit(deep_inside).exception()
    assert isinstance(error, NotFound)
    assert error.hint == "look elsewhere"
    assert isinstance(error.__cause__, WorkerTraceback)
    text = "".join(traceback.format_exception(error))
    assert "in deep_inside" in text
    assert 'raise NotFound("no such thing"' in text
    assert __file__ in text


def test_an_exception_that_cannot_be_rebuilt_is_reported_in_words(pair):
    class Stubborn(Exception):
        def __init__(self, one, two):
            super().__init__("only one argument is kept")

    def fails():
        raise Stubborn(1, 2)

    error = pair.submit(fails).exception()
    assert isinstance(error, WorkFailed)
    assert "only one argument is kept" in str(error)
    assert "fails" in error.__cause__.text


def test_leaving_the_interpreter_inside_a_task_is_a_failure_not_an_end(pair):
    assert isinstance(pair.submit(sys.exit, 3).exception(), SystemExit)
    assert pair.submit(abs, -1).result() == 1


def test_a_value_that_cannot_travel_is_misuse(pair):
    with pytest.raises(Misuse, match="lock"):
        pair.submit(threading.Lock).result()


def test_an_argument_that_cannot_travel_is_misuse_at_submit(pair):
    with pytest.raises(Misuse, match="argument 1"):
        pair.submit(id, threading.Lock())


@pytest.mark.slow
def test_threads_are_bounded_before_any_library_is_imported():
    def seen():
        import torch

        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "POLARS_MAX_THREADS", "STRATAL_SLOTS")
        return [os.environ[name] for name in names], torch.get_num_threads()

    with LocalWorkers(2, slots=2) as workers:
        assert workers.submit(seen).result() == (["1"] * 6, 1)


def test_a_worker_lends_its_slots_to_workers_of_its_own():
    def outer():
        with LocalWorkers(2) as inner:
            return inner.submit(lambda: (os.getppid(), os.environ["STRATAL_SLOTS"])).result(), os.getpid()

    with LocalWorkers(2, slots=8) as workers:
        (parent, slots), pid = workers.submit(outer).result()
    assert (parent, slots) == (pid, "2")


def test_the_store_reaches_workers_as_an_absolute_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STRATAL_STORE", "here/store")
    with LocalWorkers(1) as workers:
        assert workers.submit(os.getenv, "STRATAL_STORE").result() == str(tmp_path / "here/store")
    with LocalWorkers(1, store="http://team:8000") as workers:
        assert workers.submit(os.getenv, "STRATAL_STORE").result() == "http://team:8000"


def test_a_worker_pays_for_no_heavy_import(pair):
    loaded = pair.submit(lambda: sorted(sys.modules)).result()
    assert not {"torch", "polars", "sqlalchemy", "sklearn", "pandas"} & set(loaded)


def test_a_killed_worker_fails_its_task_and_is_replaced(tmp_path):
    def dies(path):
        with path.open("a") as log:
            log.write("x")
        os.kill(os.getpid(), signal.SIGKILL)

    with LocalWorkers(1) as workers:
        first = workers.submit(os.getpid).result()
        error = workers.submit(dies, tmp_path / "log").exception()
        assert isinstance(error, WorkerDied)
        assert error.retryable
        assert "SIGKILL" in str(error)
        assert (tmp_path / "log").read_text() == "x"  # at most once: trying again is the caller's to decide
        assert workers.submit(os.getpid).result() != first


def test_a_worker_killed_while_idle_costs_no_task():
    with LocalWorkers(1) as workers:
        for _ in range(5):
            pid = workers.submit(os.getpid).result()
            os.kill(pid, signal.SIGKILL)
            assert workers.submit(abs, -2).result() == 2


def test_a_kill_leaves_the_other_task_alone(tmp_path):
    go = tmp_path / "go"

    def waits(path):
        while not path.exists():
            time.sleep(0.005)
        return "done"

    with LocalWorkers(2) as workers:
        other = workers.submit(waits, go)
        assert isinstance(workers.submit(lambda: os.kill(os.getpid(), signal.SIGKILL)).exception(), WorkerDied)
        go.touch()
        assert other.result() == "done"


def test_a_death_is_seen_though_a_forked_child_holds_the_socket(tmp_path):
    def forks_and_dies(path):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        path.write_text(str(child))
        os.kill(os.getpid(), signal.SIGKILL)

    with LocalWorkers(1) as workers:
        assert isinstance(workers.submit(forks_and_dies, tmp_path / "child").exception(timeout=30), WorkerDied)
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def test_a_large_argument_is_sent_once_per_worker():
    def count_reads(array):
        return float(array.sum()), psutil.Process().io_counters().read_chars

    data = np.ones(4_000_000)  # 32 MB
    with LocalWorkers(1) as workers:
        first = workers.submit(count_reads, data).result()
        second = workers.submit(count_reads, data).result()
    assert first[0] == second[0] == 4_000_000.0
    assert second[1] - first[1] < data.nbytes / 10


def test_a_large_argument_is_fresh_for_each_task():
    def spoil(array):
        array[:] = 0
        return 1

    data = np.ones(100_000)
    with LocalWorkers(1) as workers:
        workers.submit(spoil, data).result()
        assert workers.submit(np.sum, data).result() == 100_000


def test_large_arguments_beyond_the_limit_are_forgotten_and_sent_again(monkeypatch):
    monkeypatch.setattr("stratal.compute.process.HELD_BYTES", 1_000_000)
    arrays = [np.full(100_000, i) for i in range(4)]
    with LocalWorkers(1) as workers:
        for _ in range(2):
            for i, array in enumerate(arrays):
                assert workers.submit(np.max, array).result() == i


def test_a_waiting_task_is_cancelled_and_a_running_one_is_ended(tmp_path):
    def runs(path):
        path.touch()
        time.sleep(600)

    with LocalWorkers(1) as workers:
        running = workers.submit(runs, tmp_path / "begun")
        waiting = workers.submit(abs, 1)
        wait_until((tmp_path / "begun").exists)
        assert workers.interrupt(waiting)
        assert waiting.cancelled()
        assert workers.interrupt(running)
        assert isinstance(running.exception(), WorkerDied)
        assert not workers.interrupt(running)
        assert workers.submit(abs, -5).result() == 5


def test_close_cancels_what_waits_and_ends_what_runs(tmp_path):
    def runs(path):
        path.touch()
        time.sleep(600)

    workers = LocalWorkers(1)
    running = workers.submit(runs, tmp_path / "begun")
    waiting = workers.submit(abs, 1)
    wait_until((tmp_path / "begun").exists)
    workers.close(grace_s=0.0)
    assert isinstance(running.exception(), WorkerDied)
    with pytest.raises(CancelledError):
        waiting.result()
    with pytest.raises(Misuse, match="closed"):
        workers.submit(abs, 1)
    workers.close()


def test_close_leaves_no_process():
    with LocalWorkers(2) as workers:
        pids = {workers.submit(os.getpid).result() for _ in range(4)}
    assert all(is_gone(pid) for pid in pids)


PARENT = """
    import itertools, os, sys, time
    from stratal.compute import LocalWorkers

    def busy(place):
        open(os.path.join(place, str(os.getpid())), "w").close()
        {body}

    workers = LocalWorkers(2)
    futures = [workers.submit(busy, sys.argv[1]) for _ in range(2)]
    time.sleep(600)
"""


@pytest.mark.parametrize(
    "body",
    ["time.sleep(600)", "sum(itertools.repeat(1))", "LocalWorkers(1).submit(busy, place); time.sleep(600)"],
    ids=["sleeping", "holding the interpreter lock", "with workers of its own"],
)
def test_workers_end_when_their_parent_is_killed(tmp_path, body):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(PARENT).format(body=body))
    place = tmp_path / "pids"
    place.mkdir()
    parent = subprocess.Popen([sys.executable, script, place], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    wait_until(lambda: len(list(place.iterdir())) >= 2)
    parent.kill()
    parent.wait()
    wait_until(lambda: all(is_gone(int(path.name)) for path in place.iterdir()))


@pytest.mark.slow
def test_functions_classes_and_prints_of_a_script_without_a_main_guard_work(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        from stratal.compute import LocalWorkers
        from beside import helped

        SCALE = 10

        class Point:
            def __init__(self, x):
                self.x = x

        def scaled(point):
            print("from the worker")
            return Point(helped(point.x) * SCALE)

        with LocalWorkers(1) as workers:
            point = workers.submit(scaled, Point(2)).result()
        print(type(point) is Point, point.x)
        """)
    )
    (tmp_path / "beside.py").write_text("def helped(x):\n    return x + 1\n")
    (tmp_path / "queue.py").write_text("raise SystemExit('a file of the user stood in for the standard library')\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONSAFEPATH": ""}
    (tmp_path / "elsewhere").mkdir()
    script.rename(tmp_path / "elsewhere" / "script.py")
    (tmp_path / "beside.py").rename(tmp_path / "elsewhere" / "beside.py")
    done = subprocess.run(
        [sys.executable, "elsewhere/script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split("\n")[:2] == ["from the worker", "True 30"], done.stderr


def test_a_function_of_a_module_that_no_fresh_process_could_import_travels(pair, tmp_path):
    import importlib.util

    path = tmp_path / "hidden_module.py"
    path.write_text("OFFSET = 5\ndef inner(x):\n    return x + OFFSET\ndef outer(x):\n    return inner(x) * 2\n")
    spec = importlib.util.spec_from_file_location("hidden_module", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["hidden_module"] = module
    try:
        spec.loader.exec_module(module)
        assert pair.submit(module.outer, 1).result() == 12
        assert pair.submit(lambda f: f(2), module.inner).result() == 7
    finally:
        del sys.modules["hidden_module"]


def test_a_task_may_start_daemonic_and_other_processes(pair):
    def starts():
        context = multiprocessing.get_context("spawn")
        return context is not None and not multiprocessing.current_process().daemon

    assert pair.submit(starts).result()


def test_workers_that_cannot_start_say_so(monkeypatch):
    monkeypatch.setattr("stratal.compute.process._BOOT", "raise SystemExit(7)")
    with LocalWorkers(1) as workers:
        error = workers.submit(abs, 1).exception(timeout=60)
    assert isinstance(error, WorkerDied)
    assert "exit status 7" in str(error)


def test_no_workers_is_misuse():
    with pytest.raises(Misuse, match="0 workers"):
        LocalWorkers(0)


def test_many_small_tasks_all_come_back(pair):
    futures = [pair.submit(pow, i, 2) for i in range(300)]
    assert [f.result() for f in futures] == [i * i for i in range(300)]


@pytest.mark.slow
def test_random_kills_lose_no_future():
    def slow(i):
        time.sleep(0.002)
        return i

    others, outcomes, kills = set(psutil.Process().children()), [], 0
    random = np.random.default_rng(0)
    with LocalWorkers(2) as workers:
        futures = [workers.submit(slow, i) for i in range(300)]
        for future in futures:
            outcomes.append(future.exception(timeout=120) or future.result())
            if random.random() < 0.04:  # between tasks, inside one, or before one has begun
                time.sleep(float(random.uniform(0.0, 0.003)))
                for child in [p for p in psutil.Process().children() if p not in others][:1]:
                    with contextlib.suppress(psutil.NoSuchProcess):  # one that was killed before, and is reaped just now
                        child.kill()
                    kills += 1
    assert all(isinstance(outcome, WorkerDied) or outcome == i for i, outcome in enumerate(outcomes))
    assert kills > 3
    assert sum(isinstance(outcome, WorkerDied) for outcome in outcomes) <= kills
