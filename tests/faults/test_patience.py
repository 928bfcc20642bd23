"""Pipelines and studies whose server is killed and comes back on the same port: they wait, say so, and go on. Excludes their own kills."""

import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from crowds import is_ready, wait_until

from stratal.core.errors import OutcomeUnknown, StoreDown
from stratal.store.patience import patient, patiently
from stratal.testing.ports import held_port
from stratal.testing.victims import Victims
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tuning.store import StudyStore

WORKS = """
import os, sys, time
from pathlib import Path
import stratal as st

FOLDER = Path(os.environ["FOLDER"])

def hold(name):
    (FOLDER / f"{name} began").touch()
    while not (FOLDER / "go").exists():
        time.sleep(0.01)

@st.step
def first() -> int:
    hold("step")
    return 20

@st.step
def second(value: int) -> int:
    return value + 1

@st.pipeline
def waits() -> int:
    return second(second(first()))

@st.step
def more(value: int) -> int:
    return value + 1

@st.pipeline
def many() -> int:
    value = 0
    for _ in range(15):
        value = more(value)
    return value

def objective(trial):
    hold("trial")
    return trial["x"] ** 2

if __name__ == "__main__":
    if sys.argv[1] == "pipeline":
        print(waits.run().value)
    elif sys.argv[1] == "many":
        print(many.run().value)
    else:
        found = st.study("bowl", {"x": st.uniform(0, 1)}, minimize="x2", seed=7)
        print(len(found.optimize(objective, trials=4, workers=int(sys.argv[2])).trials))
"""


@pytest.fixture(scope="module")
def servers():
    with Victims(
        [f"stratal.{name}" for name in ("testing.remote_workloads", "store.migrating", "store.settling", "server.app")]
    ) as running:
        yield running


class Service:
    """A server of one store on one port, which is killed and comes back, and programs that work behind its URL."""

    def __init__(self, servers: Victims, folder: Path) -> None:
        self._servers, self.folder, self._port = servers, folder, held_port()
        self.url = f"http://127.0.0.1:{self._port}"
        (folder / "works.py").write_text(WORKS)
        self.programs: list[subprocess.Popen[str]] = []
        self.start()

    def start(self) -> None:
        self._server = self._servers.start("stratal.testing.remote_workloads:serve_until_killed", str(self.folder / "team"), self._port)
        wait_until(lambda: is_ready(self.url), "the server is ready")

    def kill(self) -> None:
        assert self._server.kill() == -signal.SIGKILL

    def begin(self, *arguments: str, patience_s: str = "") -> subprocess.Popen[str]:
        environ = {
            **os.environ, "STRATAL_STORE": self.url, "FOLDER": str(self.folder), "STRATAL_PATIENCE_S": patience_s,
            "XDG_STATE_HOME": str(self.folder / f"state{len(self.programs)}"),
        }  # fmt: skip
        with (self.folder / f"said{len(self.programs)}").open("w") as said:
            program = subprocess.Popen(
                [sys.executable, "works.py", *arguments], cwd=self.folder, env=environ, stdout=subprocess.PIPE, stderr=said, text=True
            )
        self.programs.append(program)
        return program

    def said(self, program: subprocess.Popen[str]) -> str:
        return (self.folder / f"said{self.programs.index(program)}").read_text()

    def end(self) -> None:
        for program in self.programs:
            program.kill()
            program.communicate()
        with contextlib.suppress(AssertionError, ProcessLookupError):
            self.kill()


@pytest.fixture
def service(servers, tmp_path):
    made = Service(servers, tmp_path)
    yield made
    made.end()


@pytest.mark.slow
def test_pipelines_and_studies_wait_for_a_server_that_is_away_and_go_on(service):
    pipeline, here, workers = service.begin("pipeline"), service.begin("study", "1"), service.begin("study", "2")
    wait_until(lambda: (service.folder / "step began").exists() and (service.folder / "trial began").exists(), "they work")
    service.kill()
    (service.folder / "go").touch()
    for program in (pipeline, here, workers):
        wait_until(lambda program=program: "waiting for the server" in service.said(program), "it says that it waits")
        assert "STRATAL_PATIENCE_S" in service.said(program) and program.poll() is None
    service.start()
    assert [program.communicate(timeout=120)[0].strip() for program in (pipeline, here, workers)] == ["22", "4", "4"]
    assert "the server is there again" in service.said(pipeline)
    store = open_store(service.folder / "team")
    assert [found.status for found in find_runs(experiment="waits", store=store)] == ["finished"] * 4, "no step ran twice"
    assert [trial.status for trial in StudyStore(store).trials(name="bowl", version=1)] == ["finished"] * 4
    store.close()


@pytest.mark.slow
def test_a_pipeline_whose_server_is_killed_at_any_moment_records_each_step_once(service):
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    program = service.begin("many")
    store = open_store(service.folder / "team")

    def steps() -> int:
        return len(find_runs(experiment="many", store=store))

    for _ in range(3):
        goal = steps() + dice.randint(2, 4)
        wait_until(lambda goal=goal: steps() >= goal or program.poll() is not None, "steps begin")
        service.kill()
        service.start()
    assert program.communicate(timeout=120)[0].strip() == "15", service.said(program)
    found = find_runs(experiment="many", store=store)
    assert (len(found), {each.status for each in found}) == (16, {"finished"}), "each step ran, and was recorded, once"
    store.close()


@pytest.mark.slow
def test_who_has_no_patience_is_told_at_once(service):
    program = service.begin("pipeline", patience_s="0")
    wait_until((service.folder / "step began").exists, "it works")
    service.kill()
    (service.folder / "go").touch()
    program.communicate(timeout=120)
    assert program.returncode == 1 and "is not reached" in service.said(program) and "waiting" not in service.said(program)


def test_what_may_have_been_done_is_sent_again_only_if_that_changes_nothing_more():
    def asking(*answers):
        left = list(answers)

        def ask():
            answer = left.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return ask

    with patient(60.0):
        assert patiently(asking(StoreDown("away"), 1), is_repeatable=False) == 1
        assert patiently(asking(OutcomeUnknown("lost"), 1), is_repeatable=True) == 1
        with pytest.raises(OutcomeUnknown):
            patiently(asking(OutcomeUnknown("lost"), 1), is_repeatable=False)
        with patient(0), pytest.raises(StoreDown):
            patiently(asking(StoreDown("away"), 1), is_repeatable=True)
    with pytest.raises(StoreDown):
        patiently(asking(StoreDown("away"), 1), is_repeatable=True)
