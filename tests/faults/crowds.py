"""A crowd: clients of a server that ship journals, command, send MLflow's batches and ask whether it is ready; all that was answered is
noted, and in the end held against what is there."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
from test_remote_kills import check_run

from stratal.core.errors import StoreDown
from stratal.core.ids import new_id
from stratal.store.calling import Server
from stratal.store.shipping import Shipper
from stratal.store.store import Store
from stratal.testing.victims import Victim, Victims
from stratal.testing.workloads import acknowledged_steps

LONGEST_S = 120
BATCH = 20
# Seconds between two bursts of 40 points: more of them would prove no more.
PAUSE_S = 0.05
_MLFLOW = "/api/2.0/mlflow"


def wait_until(is_so: Callable[[], object], what: str, saw: Callable[[], str] = str) -> None:
    """Wait for something that comes in the end; `saw` says what was seen instead."""
    ends_s = time.monotonic() + LONGEST_S
    while not is_so():
        assert time.monotonic() < ends_s, f"{what}: it never came{saw()}"
        time.sleep(0.01)


def is_ready(url: str) -> bool:
    """Tell whether a server serves."""
    try:
        return httpx.get(f"{url}/ready", timeout=60).status_code == 200
    except httpx.TransportError:
        return False


class Crowd:
    """Machines that log, each with a run with files, one without and a shipper; clients that command, one of MLflow, and some that carry
    files by its protocol. `url` is all that they know."""

    def __init__(
        self,
        victims: Victims,
        folder: Path,
        url: str,
        *,
        machines: int = 2,
        commanders: int = 3,
        carriers: int = 0,
        has_batches: bool = True,
    ) -> None:
        self.url = url
        self.answers: Counter[tuple[str, int]] = Counter()  # by who asked; 0: no answer
        self.wrong: list[str] = []
        self.commands: dict[str, bool] = {}  # by name: whether it was acknowledged, or nobody knows
        self.batches = 0
        self.is_ready: bool | None = None
        self.looks = 0  # at `/ready`, that said yes
        self.files: dict[str, bytes] = {}  # that were acknowledged
        self._victims, self._folder = victims, folder
        self._spools = [folder / f"machine{number}" for number in range(machines)]
        self._told: dict[str, tuple[Path, bool]] = {}  # of runs: where each burst is noted, and whether it has files
        self._running: list[Victim] = []
        self._has_ended = threading.Event()
        self._threads = [threading.Thread(target=each) for each in ((self._batch, self._look) if has_batches else (self._look,))]
        self._has_batches = has_batches
        self._threads += [threading.Thread(target=self._command, args=(number,)) for number in range(commanders)]
        self._threads += [threading.Thread(target=self._carry, args=(number,)) for number in range(carriers)]
        self.run = ""

    def __enter__(self) -> "Crowd":
        for spool in self._spools:
            (spool / "journal").mkdir(parents=True)
            work = "stratal.testing.remote_workloads"
            for has_files in (True, False):
                id = new_id()
                told, self._told[id] = str(self._folder / f"told-{id}"), (self._folder / f"told-{id}", has_files)
                self._running.append(self._victims.start(f"{work}:log_bursts_until_killed", str(spool), told, id, has_files, PAUSE_S))
            self._running.append(self._victims.start(f"{work}:ship_until_killed", str(spool), self.url))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Let nobody send anything more; what was logged and not shipped stays in the spools."""
        self._has_ended.set()
        while self._running:
            self._running.pop().kill()
        for thread in self._threads:
            thread.join()

    def wait_until(self, is_so: Callable[[], object], what: str) -> None:
        """Wait, and say what was answered if it never comes."""
        wait_until(is_so, what, lambda: f"; {len(self.files)} files, answers {sorted(self.answers.items())}")

    def wait_for_progress(self, arrived: Callable[[], int], rounds: int = 3) -> None:
        """Wait until each kind of client has got on. arrived: how many shipments are there."""

        def now() -> list[int]:
            return [arrived(), sum(self.commands.values()), *([self.batches] if self._has_batches else [])]

        before = now()
        self.wait_until(lambda: all(got >= had + rounds for got, had in zip(now(), before, strict=True)), f"progress from {before}")

    def ship_the_rest(self) -> None:
        for spool in self._spools:
            shipper = Shipper(spool, Server(self.url, "tester"), keeps=False)
            ends_s = time.monotonic() + LONGEST_S
            while True:
                try:
                    shipper.ship()
                    break
                except StoreDown as error:
                    assert time.monotonic() < ends_s, error
                    time.sleep(0.05)
            assert shipper.done.refused == []

    def check(self, store: Store) -> str:
        """Count: what was acknowledged is there once, and nothing is there twice. store: the one that is served, on this machine."""
        assert self.wrong == []
        self.ship_the_rest()
        rows = 0
        for id, (told, has_files) in self._told.items():
            bursts = acknowledged_steps(told)
            assert bursts
            check_run(store, id, bursts, has_files=has_files)
            rows += bursts
        self._check_commands()
        if self._has_batches:
            self._check_batches()
        self._check_files()
        return (
            f"{rows} acknowledged bursts of 40 points, {sum(self.commands.values())} of {len(self.commands)} commands, "
            f"{self.batches} batches of {BATCH}, {len(self.files)} files; answers {sorted(self.answers.items())}"
        )

    def _check_commands(self) -> None:
        found = Counter(one["name"] for one in self._listed())
        twice = [name for name, count in found.items() if count > 1]
        lost = [name for name, is_acknowledged in self.commands.items() if is_acknowledged and name not in found]
        assert (twice, lost) == ([], [])
        assert set(found) <= set(self.commands)

    def _listed(self) -> list[dict]:
        found: list[dict] = []
        with httpx.Client(base_url=self.url, timeout=60) as http:
            [experiment] = [one for one in http.post(f"{_MLFLOW}/experiments/search", json={"max_results": 100}).json()["experiments"]
                            if one["name"] == "commanded"]  # fmt: skip
            token = None
            while True:
                page = http.post(
                    f"{_MLFLOW}/runs/search", json={"experiment_ids": [experiment["experiment_id"]], "page_token": token}
                ).json()
                found += [{"name": one["info"]["run_name"]} for one in page.get("runs", [])]
                if not (token := page.get("next_page_token")):
                    return found

    def _check_batches(self) -> None:
        values: list[float] = []
        token = ""
        with httpx.Client(base_url=self.url, timeout=60) as http:
            while True:
                query = {"run_id": self.run, "metric_key": "m", "max_results": 20_000, **({"page_token": token} if token else {})}
                page = http.get(f"{_MLFLOW}/metrics/get-history", params=query).json()
                values += [one["value"] for one in page["metrics"]]
                if not (token := page.get("next_page_token", "")):
                    break
        assert sorted(values) == [float(n) for n in range(len(values))], "lost or doubled"
        assert len(values) - self.batches * BATCH in (0, BATCH), "the last one may be known to the server alone"

    def _check_files(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as http:
            assert [name for name, data in self.files.items() if http.get(self._place_of(name)).content != data] == []

    def _place_of(self, name: str) -> str:
        return f"/api/2.0/mlflow-artifacts/artifacts/0/{self.run}/artifacts/{name}"

    def _command(self, who: int) -> None:
        """Start runs, each once: one that nobody knows of is not started again."""
        number = 0
        with httpx.Client(base_url=self.url, timeout=60) as http:
            while not self._has_ended.is_set():
                name = f"c{who}-{number}"
                body = {"experiment": "commanded", "start": {"experiment": "commanded", "name": name}, "ttl_s": 60}
                self.commands[name] = False
                self.commands[name] = (
                    self._ask("command", lambda body=body: http.post("/api/v1/tracking/start_leased", json=body)) is not None
                )
                number += 1
                self._has_ended.wait(0.01)

    def _batch(self) -> None:
        """Send points, each batch again until it is acknowledged, as MLflow's client does."""
        with httpx.Client(base_url=self.url, timeout=60) as http:
            while not self._has_ended.is_set() and not self.run:
                made = self._ask("mlflow", lambda: http.post(f"{_MLFLOW}/runs/create", json={"experiment_id": "0"}))
                self.run = made["run"]["info"]["run_id"] if made is not None else ""
            while not self._has_ended.is_set():
                first = self.batches * BATCH
                metrics = [{"key": "m", "value": n, "timestamp": 1000 + n, "step": n} for n in range(first, first + BATCH)]
                body = {"run_id": self.run, "metrics": metrics}
                if self._ask("mlflow", lambda body=body: http.post(f"{_MLFLOW}/runs/log-batch", json=body)) is not None:
                    self.batches += 1
                self._has_ended.wait(0.01)

    def _carry(self, who: int) -> None:
        """Send files, each again until it is acknowledged."""
        number = 0
        with httpx.Client(base_url=self.url, timeout=100) as http:
            while not self._has_ended.is_set():
                name, data = f"f{who}-{number}", f"{who}:{number}".encode() * 1000
                if self.run and self._ask("carrier", lambda name=name, data=data: http.put(self._place_of(name), content=data)) is not None:
                    self.files[name], number = data, number + 1
                self._has_ended.wait(0.05)

    def _look(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as http:
            while not self._has_ended.is_set():
                with contextlib.suppress(httpx.TransportError):
                    self.is_ready = http.get("/ready").status_code == 200
                    self.looks += self.is_ready
                self._has_ended.wait(0.05)

    def _ask(self, who: str, call: Callable[[], httpx.Response]) -> dict | None:
        """Give what was answered; None: not now. All else is wrong, and noted."""
        try:
            answer = call()
        except httpx.TransportError:
            self.answers[who, 0] += 1
            return None
        self.answers[who, answer.status_code] += 1
        if answer.status_code == 200:
            return answer.json()
        if answer.status_code not in (429, 503) or not answer.headers.get("retry-after", "").isdigit():
            self.wrong.append(f"{who}: {answer.status_code} {dict(answer.headers)} {answer.text[:300]}")
        self._has_ended.wait(0.05)
        return None
