"""Ranks as processes: started, watched, stopped. No job, no store. All ranks are forked from one warm zygote."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import cloudpickle
import psutil
import pytest

from stratal.core.errors import Bug, Misuse
from stratal.tracking import opening
from stratal.training import JobFailed, job, run_script

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path, monkeypatch):
    monkeypatch.setenv("STRATAL_STORE", str(tmp_path / "store"))


def hang_after(folder):
    (folder / f"{os.environ['RANK']}.aside").write_text(f"{os.getpid()} {os.getppid()}")
    (folder / f"{os.environ['RANK']}.aside").rename(folder / f"{os.environ['RANK']}.pid")
    time.sleep(600)


def wait_for(condition):
    """Wait for what another process is sure to do; the limit only keeps a broken build from hanging."""
    limit_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit_s, "waited for a minute"
        time.sleep(0.01)


def pids_in(folder, workers):
    wait_for(lambda: len(list(folder.glob("*.pid"))) == workers)
    return [tuple(map(int, path.read_text().split())) for path in sorted(folder.glob("*.pid"))]


def is_gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_rank_0_gives_the_value_and_every_rank_knows_its_place(tmp_path):
    out = tmp_path / "out"
    out.mkdir()

    def program(add):
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
        (out / os.environ["RANK"]).write_text(" ".join(os.environ[name] for name in names))
        return int(os.environ["RANK"]) + add

    assert job.run(program, 7, workers=3) == 7
    assert [(out / str(rank)).read_text() for rank in range(3)] == [f"{rank} {rank} 3 3" for rank in range(3)]


def test_ranks_see_the_folder_variables_and_threads_of_the_caller(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLOUR", "green")
    monkeypatch.setenv("STRATAL_SLOTS", "6")

    def program():
        import torch

        return str(Path.cwd()), os.environ["COLOUR"], torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]

    assert job.run(program, workers=2) == (str(tmp_path), "green", 3, "3")


def test_an_exception_shows_its_traceback_once_and_stops_the_others(tmp_path):
    def program():
        if os.environ["RANK"] == "0":
            hang_after(tmp_path)
        pids_in(tmp_path, 1)  # whoever is stopped before it has said who it is proves nothing
        raise ValueError("the odd one")

    with pytest.raises(JobFailed, match="rank 1 failed") as caught:
        job.run(program, workers=2)
    assert str(caught.value).count("Traceback") == 1
    assert str(caught.value).count("ValueError: the odd one") == 1
    assert "worker.py" not in str(caught.value)
    assert (caught.value.exit_code, caught.value.rank) == (1, 1)
    [(pid, _)] = pids_in(tmp_path, 1)
    assert is_gone(pid)


def test_an_exit_code_is_passed_on():
    def program():
        sys.exit(7)

    with pytest.raises(JobFailed) as caught:
        job.run(program, workers=2)
    assert caught.value.exit_code == 7


def test_a_killed_rank_without_a_checkpoint_fails_the_job_as_a_shell_would_say_it():
    def program():
        if os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(600)

    with pytest.raises(JobFailed, match="rank 1 was killed by signal 9") as caught:
        job.run(program, workers=2)
    assert caught.value.exit_code == 128 + 9
    assert "no checkpoint to go back to" in caught.value.hint


def test_what_a_rank_registered_for_its_exit_runs(tmp_path):
    out = tmp_path / "out"
    out.mkdir()

    def program():
        import atexit

        atexit.register(lambda: (out / os.environ["RANK"]).write_text("bye"))

    job.run(program, workers=2)
    assert sorted(path.name for path in out.iterdir()) == ["0", "1"]


def test_the_zygote_stays_warm_between_jobs():
    def program():
        return os.getppid()

    assert job.run(program, workers=1) == job.run(program, workers=2)


def test_ranks_use_the_store_that_the_caller_has_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "_chosen", [])
    opening.use_store(tmp_path / "chosen")

    def program():
        from stratal.tracking.opening import current_store

        return current_store().url

    assert job.run(program, workers=2) == str(tmp_path / "chosen")


def test_a_rank_does_not_start_ranks_of_its_own():
    def program():
        job.run(print, workers=2)

    with pytest.raises(JobFailed, match=r"is rank \d of 2 already"):
        job.run(program, workers=2)


@pytest.mark.slow
def test_ranks_end_when_their_supervisor_is_killed(tmp_path):
    caught = []

    def ask():
        try:
            job.run(hang_after, tmp_path, workers=2)
        except Bug as error:
            caught.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    pids = pids_in(tmp_path, 2)
    os.kill(pids[0][1], signal.SIGKILL)
    asking.join()
    assert "supervisor" in str(caught[0])
    wait_for(lambda: all(is_gone(pid) for pid, _ in pids))


@pytest.mark.slow
def test_ranks_and_supervisor_end_when_the_caller_is_killed(tmp_path):
    script = textwrap.dedent(f"""
        import os, sys, time
        from pathlib import Path
        from stratal.training import job
        def hang(folder):
            (folder / (os.environ["RANK"] + ".aside")).write_text(f"{{os.getpid()}} {{os.getppid()}}")
            (folder / (os.environ["RANK"] + ".aside")).rename(folder / (os.environ["RANK"] + ".pid"))
            time.sleep(600)
        job.run(hang, Path({str(tmp_path)!r}), workers=2)
    """)
    caller = subprocess.Popen([sys.executable, "-c", script])
    pids = pids_in(tmp_path, 2)
    caller.kill()
    caller.wait()
    wait_for(lambda: all(is_gone(pid) for pair in pids for pid in pair))


@pytest.mark.slow
def test_a_script_runs_as_main_with_its_arguments_and_its_neighbours(tmp_path):
    (tmp_path / "neighbour.py").write_text("WORD = 'hello'")
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent("""
            import os, sys
            from pathlib import Path
            from neighbour import WORD
            if __name__ == "__main__":
                Path(sys.argv[1], os.environ["RANK"]).write_text(WORD)
        """)
    )
    out = tmp_path / "out"
    out.mkdir()
    run_script(script, (str(out),), workers=2)
    assert [path.read_text() for path in sorted(out.iterdir())] == ["hello", "hello"]


def test_a_script_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(Misuse, match="there is no script"):
        run_script(tmp_path / "nothing.py", workers=2)


@pytest.mark.parametrize(("workers", "restarts"), [(0, 3), (2, -1)])
def test_numbers_that_make_no_sense_are_refused(workers, restarts):
    with pytest.raises(Misuse, match="is not a number of"):
        job.run(print, workers=workers, restarts=restarts)
