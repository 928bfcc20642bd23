"""Runs in a notebook, by a real kernel: cells, output, interrupts, restarts. Excludes what is the same in a script."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stratal.store.store import Store
from stratal.tracking.capture.sources import CELLS
from stratal.tracking.explaining import capture_of
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.reproducing.replaying import without_magics
from stratal.tracking.reproducing.reproduce import reproduce
from stratal.tuning.studies import find_study

if "CI" not in os.environ:  # there, one that is missing is an error, and no reason to skip
    for needed in ("ipykernel", "jupyter_client"):
        pytest.importorskip(needed, reason=f"{needed} is not installed: it is in the extra `test`")

import ipykernel  # noqa: F401  # the kernel is a process of its own
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

pytestmark = pytest.mark.slow


class Notebook:
    """A kernel in a folder of its own, and the store that it writes to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "store"
        ours = {"STRATAL_STORE": str(self.folder), "STRATAL_CAPTURE": "on", "STRATAL_USER": "test"}
        theirs = dict.fromkeys(("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"), str(folder / "jupyter"))
        self._manager = KernelManager()
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        self._manager._kernel_spec = KernelSpec(argv=command, language="python", display_name="ours")  # none is installed
        self._manager.start_kernel(env=os.environ | theirs | ours, cwd=str(folder))
        self._connect()

    def cell(self, code: str, *, interrupt_at: str = "") -> str:
        """Run a cell, and give what the notebook shows of it: text, the result, the name of an error."""
        shown: list[str] = []

        def show(message: dict[str, dict[str, object]]) -> None:
            content = message["content"]
            shown.append(str(content.get("text") or content.get("ename") or dict(content.get("data") or {}).get("text/plain", "")))
            if interrupt_at and interrupt_at in shown[-1]:
                self._manager.interrupt_kernel()

        self._client.execute_interactive(code, output_hook=show, timeout=180)
        return "".join(shown)

    def restart(self) -> None:
        self._client.stop_channels()  # the old channels may miss what the new kernel says first
        self._manager.restart_kernel(now=True)
        self._connect()

    def end(self, *, is_killed: bool = False) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=is_killed)

    def _connect(self) -> None:
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=180)

    def store(self) -> Store:
        return open_store(self.folder)


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[Notebook]:
    made = Notebook(tmp_path)
    yield made
    if made._manager.is_alive():
        made.end(is_killed=True)


def test_cells_are_kept_as_typed_and_their_output_is_shown_and_kept(notebook: Notebook):
    cells = [
        "import sys\nimport stratal as st\nst.autolog()",
        "run = st.run('nb')\nprint('first')\nrun",
        "%precision 3\nprint('second')",
        "print('third', file=sys.stderr)\nst.log({'loss': 0.5})",
        "import asyncio\nawait asyncio.sleep(0)\nprint('fourth')",
        "run.finish()",
    ]
    shown = [notebook.cell(code) for code in cells]
    (run,) = find_runs(store=notebook.store())

    assert shown[1:] == [f"first\n<Run {run.short} of 'nb', train>", "second\n", "third\n", "fourth\n", ""]
    assert (run.output, run.status, run.metrics["loss"]) == ("first\nsecond\nthird\nfourth\n", "finished", 0.5)
    capture = capture_of(run)
    assert capture is not None and capture.packages is not None and (capture.entry.kind, capture.entry.argv) == ("notebook", ())
    assert not [name for name in (*capture.inputs, *capture.files) if name.endswith(".json")], "the kernel's own file holds a key"
    blobs = notebook.store().blobs
    assert b'"asttokens":"' in blobs.read(capture.packages.digest) and b"<masked>" not in blobs.read(capture.packages.digest)
    kept = blobs.read(capture.files[CELLS].digest).decode()
    assert kept == "\n\n".join(f"# In [{number}]\n{cell}" for number, cell in enumerate(cells, 1))
    assert "pass  # %precision 3" in without_magics(kept)


def test_an_interrupted_cell_leaves_the_run_open_and_a_restarted_kernel_leaves_it_lost(notebook: Notebook):
    notebook.cell("import time\nimport stratal as st\nrun = st.run('nb', name='first')\nrun.log({'loss': 1.0})")
    # Each line asks for an interrupt: one that comes while the kernel hands a line over is lost on the way.
    waiting = "for _ in range(600):\n{0}    print('waiting', flush=True)\n{0}    time.sleep(0.1)"
    assert "KeyboardInterrupt" in notebook.cell(waiting.format(""), interrupt_at="waiting")
    assert "KeyboardInterrupt" in notebook.cell(f"with st.run(name='inner'):\n    {waiting.format('    ')}", interrupt_at="waiting")
    assert notebook.cell("run.log({'loss': 0.5})\nrun.is_open") == "True"
    found = {run.name: run for run in find_runs(store=notebook.store())}
    assert [found[name].status for name in ("first", "inner")] == ["running", "stopped"]
    assert found["inner"].parent == found["first"].id

    notebook.restart()
    first = get_run(found["first"].id, store=notebook.store())
    assert (first.status, first.metrics) == ("lost", {"loss": 0.5})
    notebook.cell(f"import stratal as st\nrun = st.run('nb', name='second')\nagain = st.run(resume='{first.id}')\nagain.finish()")
    assert "ZeroDivisionError" in notebook.cell("1 / 0")
    notebook.cell("run.log({'loss': 0.1})")
    notebook.end()
    assert {run.name: run.status for run in find_runs(store=notebook.store())} == {
        "first": "finished", "inner": "stopped", "second": "finished",
    }  # fmt: skip


def test_a_trial_whose_objective_is_a_cell_is_replayed_alone(notebook: Notebook):
    notebook.cell("import random\nimport stratal as st\nSCALE = 3.0")
    notebook.cell(
        "def loss(trial):\n    x = trial['x']\n    for step in range(3):\n        x += random.gauss(0, 1)\n"
        "        trial.report(SCALE * x, step=step)\n    return x"
    )
    assert "Study" in notebook.cell("st.study('s', {'x': st.uniform(0, 1)}, minimize='loss').optimize(loss, trials=4, workers=1)")
    assert "Study" in notebook.cell("st.study('t', {'x': st.uniform(0, 1)}, minimize='loss').optimize(loss, trials=2, workers=2)")
    notebook.end()
    store = notebook.store()
    for name, number in (("s", 2), ("t", 1)):
        made = reproduce(find_study(name, store=store).trials[number].run, here=True, check=True, store=store)
        assert (made.verdict, made.notes) == ("bit-identical", ())
