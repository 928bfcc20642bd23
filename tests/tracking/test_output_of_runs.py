"""What runs print: lines, streams, files, kills, and the handler of logging. Excludes what other libraries log."""

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratal.cli.app import main
from stratal.core.ids import new_id
from stratal.store.store import Store
from stratal.testing.victims import Victims
from stratal.tracking import output
from stratal.tracking.autolog import fits
from stratal.tracking.autolog.console import Console, Lines
from stratal.tracking.autologging import callback
from stratal.tracking.deleting import delete, purge
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.output import OutputFile, deliver_left, files_of
from stratal.tracking.reading import get_run
from stratal.tracking.runs import Run, run


@contextmanager
def watched() -> Iterator[Console]:
    """Watch streams of our own: pytest's are others in each phase of a test."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in before)
    watching = Console()
    watching.start()
    try:
        yield watching
    finally:
        watching.stop()
        sys.stdout, sys.stderr = before


def printed() -> str:
    return sys.stdout.buffer.getvalue().decode()


def test_what_is_printed_is_there_at_once_and_becomes_an_artifact_at_the_end(store: Store):
    with watched():
        print("before any run")
        with run("e", store=store) as printing:
            print("first", "line")
            print("a warning", file=sys.stderr)
            assert get_run(printing.id, store=store).output == "first line\na warning\n"
            print("no end", end="")
        assert printed() == "before any run\nfirst line\nno end"
    read = get_run(printing.id, store=store)
    assert read.read_artifact("output.log") == b"first line\na warning\nno end\n" and read.output == "first line\na warning\nno end\n"
    assert list((store.folder / "output").iterdir()) == []


def test_streams_are_the_same_objects_and_are_left_as_they_were():
    with watched() as console:
        stream = sys.stdout
        assert "write" in vars(stream)
        console.start()  # again changes nothing
        console.stop()
        assert sys.stdout is stream and "write" not in vars(stream) and not console.is_on


def test_a_stream_that_is_wrapped_by_others_and_put_back_is_watched_again_and_never_twice(store: Store):
    with watched() as console, run("e", store=store) as printing:
        stream = sys.stdout
        ours = stream.write
        stream.write = partial(ours)  # somebody wraps us: we are below
        console.start()
        print("below")
        del stream.write  # and takes us away with it
        print("unseen")
        console.start()
        print("above")
        over = stream.write
        stream.write = partial(over)
        console.stop()
        print("deaf")
        console.start()
        print("again")
    assert get_run(printing.id, store=store).output == "below\nabove\nagain\n"


def test_a_stream_that_cannot_be_watched_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    stream = io.StringIO()  # its methods cannot be replaced
    monkeypatch.setattr(sys, "stdout", stream)
    console = Console()
    console.start()
    print("printed")
    console.stop()
    assert stream.getvalue() == "printed\n"


def test_progress_bars_leave_what_stays_on_the_terminal():
    lines = Lines()
    assert lines.add("\r 10%|#   |") == "" and lines.add("\r 50%|##  |\r 99%|### |") == ""
    assert lines.add("\r100%|####|\n") == "100%|####|\n"
    assert lines.add("\x1b[31mred\x1b[0m\r\nplain\n") == "red\nplain\n"
    assert lines.add("x" * 70_000).rstrip("\n") == "x" * 70_000 and lines.rest() == ""


@given(st.lists(st.text(alphabet="ab\n", max_size=6)))
def test_lines_are_what_was_written_however_it_was_cut(pieces: list[str]):
    lines = Lines()
    text = "".join(pieces)
    assert "".join(lines.add(piece) for piece in pieces) + lines.rest() == (text if text.endswith("\n") or not text else text + "\n")


def test_nested_runs_and_threads_print_to_the_run_they_are_in(store: Store):
    with watched(), run("e", store=store) as outer:
        print("outer")
        with run("e", store=store) as inner:
            print("inner")
            thread = threading.Thread(target=print, args=("thread",))
            thread.start()
            thread.join()
        print("outer again")
    assert get_run(inner.id, store=store).output == "inner\nthread\n"
    assert get_run(outer.id, store=store).output == "outer\nouter again\n"


def test_what_is_printed_while_a_run_ends_harms_neither_the_output_nor_the_folder(store: Store):
    with watched(), run("e", store=store) as printing:
        print("kept")
        printing.before_end(lambda: print("too late"))
    assert get_run(printing.id, store=store).output == "kept\n" and list((store.folder / "output").iterdir()) == []


def test_who_goes_on_with_a_run_adds_to_its_output_and_who_joins_it_does_not(store: Store):
    with watched(), run("e", store=store) as first:
        print("first")
        with run(resume=first.id, store=store) as joined:
            print("joined")
            joined.leave()
    with watched(), run(resume=first.id, store=store):
        print("second")
    read = get_run(first.id, store=store)
    assert read.output == "first\nsecond\n"
    assert {artifact.path for artifact in read.artifacts} == {"output.log", "output-1.log"}


def test_output_without_end_keeps_its_beginning_and_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(output, "HEAD_BYTES", 100)
    monkeypatch.setattr(output, "TAIL_BYTES", 100)
    id = new_id()
    file = OutputFile(tmp_path, id, 0)
    for number in range(200):
        file.append(f"line {number:03d}\n".encode())
    assert len(list(tmp_path.iterdir())) == 3
    kept = files_of(tmp_path, id)[0].decode().splitlines()
    assert kept[0] == "line 000" and kept[-1] == "line 199"
    assert [line for line in kept if "left out" in line] and 20 < len(kept) < 45
    file.remove()
    assert list(tmp_path.iterdir()) == []


def test_lines_that_were_printed_survive_a_kill(store: Store, victims: Victims):
    assert victims.start("stratal.testing.workloads:print_until_killed", store.url).wait() == -9
    (lost,) = [get_run(id, store=store) for id in {path.name.split("-")[0] for path in (store.folder / "output").iterdir()}]
    assert (lost.status, lost.output) == ("lost", "acknowledged\n")
    delete(lost.id, store=store)
    purge(lost.id, store=store)
    assert list((store.folder / "output").iterdir()) == []


def test_printing_goes_on_where_the_output_cannot_be_kept(store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    (store.folder / "output").write_text("a file where a folder should be")
    monkeypatch.setattr(fits, "_complained", set())
    with watched(), caplog.at_level(logging.WARNING), run("e", store=store) as printing:
        print("one")
        print("two")
        assert printed() == "one\ntwo\n"
    assert len([r for r in caplog.records if "autolog of console" in r.message]) == 1
    (store.folder / "output").unlink()
    assert get_run(printing.id, store=store).output == ""


def test_output_that_cannot_become_an_artifact_is_kept_and_becomes_one_later(store: Store, caplog: pytest.LogCaptureFixture):
    (store.folder / "blobs").write_text("a file where a folder should be")
    with watched(), run("e", on_error="warn", store=store) as printing:
        print("all there is")
    assert printing.lost_calls == 0, "nothing is lost"
    assert [record.message.partition(":")[0] for record in caplog.records if "output.log" in record.message] == [
        f"output.log of run {printing.short} stays in a file of {store.folder / 'output'} until it can be written"
    ]
    assert get_run(printing.id, store=store).output == "all there is\n"
    assert deliver_left(store) == 0

    (store.folder / "blobs").unlink()
    assert deliver_left(store) == 1
    read = get_run(printing.id, store=store)
    assert (read.read_artifact("output.log"), read.output) == (b"all there is\n", "all there is\n")
    assert list((store.folder / "output").iterdir()) == []
    assert deliver_left(store) == 0


def test_output_is_its_runs_own_until_it_is_an_artifact(store: Store):
    class Looked:
        """A run beside which somebody looks for what others left, at the last moment."""

        def __init__(self, printing: Run) -> None:
            self.store, self.short, self._run = store, printing.short, printing

        def write(self, what: str, value: object) -> None:
            assert deliver_left(store) == 0
            self._run.write(what, value)

    with run("e", store=store) as printing:
        file = OutputFile(store.folder / "output", printing.id, 0)
        file.append(b"kept\n")
        file.keep(Looked(printing), "output.log")
    assert get_run(printing.id, store=store).output == "kept\n"
    assert list((store.folder / "output").iterdir()) == []


def test_what_a_killed_process_printed_is_delivered_by_the_next_one_and_what_goes_on_is_left_alone(store: Store, victims: Victims):
    assert victims.start("stratal.testing.workloads:print_until_killed", store.url).wait() == -9
    ((killed, _),) = [path.name.split("-") for path in (store.folder / "output").iterdir()]
    going_on = new_id()
    mine = OutputFile(store.folder / "output", going_on, 0)
    mine.append(b"mine\n")

    with watched(), run("next", store=store):
        print("begins")
        for thread in threading.enumerate():
            if thread.name == "stratal-output":
                thread.join()

    assert get_run(killed, store=store).read_artifact("output.log") == b"acknowledged\n"
    assert files_of(store.folder / "output", killed) == {}
    assert files_of(store.folder / "output", going_on) == {0: b"mine\n"}
    mine.remove()


def test_records_of_logging_become_an_artifact(store: Store):
    logger, handler = logging.getLogger("somebody.else"), callback("logging")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        logger.warning("outside")
        with run("e", store=store) as logging_run:
            logger.warning("inside %d", 7)
            logger.error("not %d a format", "x")  # a wrong call of the user's: said once, and the run goes on
            logger.warning("after")
            logging_run.before_end(lambda: logger.warning("too late"))
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
    lines = get_run(logging_run.id, store=store).read_artifact("logging.log").decode().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == ["WARNING somebody.else: inside 7", "WARNING somebody.else: after"]
    assert files_of(store.folder / "logging", logging_run.id) == {}


def test_a_script_keeps_its_output_and_the_command_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    script = (
        "import stratal as st\n"
        "report = st.autolog('console')\nassert report[0].state == 'on'\n"
        "with st.run('e') as run:\n    for i in range(3):\n        print('line', i)\n"
        "    st.autolog('console', off=True)\n    print('unseen')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "line 0\nline 1\nline 2\nunseen\n"
    (id,) = [made.id for made in find_runs("", store=open_store(tmp_path / ".stratal"))]
    for words, expected in ((["output", id], "line 0\nline 1\nline 2\n"), (["output", id, "--tail", "1"], "line 2\n")):
        with pytest.raises(SystemExit):
            main(words)
        assert capsys.readouterr().out == expected
    with pytest.raises(SystemExit):
        main(["output", id, "--json", "-n", "2"])
    assert json.loads(capsys.readouterr().out) == {"output": "line 1\nline 2\n"}
    with pytest.raises(SystemExit):
        main(["output", id, "--tail", "0"])
    assert "no number of lines" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["autolog", "--json"])
    rows = json.loads(capsys.readouterr().out)
    with pytest.raises(SystemExit):
        main(["autolog"])
    assert '[st.callback("xgboost")]' in capsys.readouterr().out or not find_spec("xgboost")
    assert {"console", "logging", "sklearn"} <= {line["name"] for line in rows}
