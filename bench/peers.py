"""Peers, each in a virtual environment of its own under bench/.peers, driven line by line so that runs interleave."""

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).parent
MLFLOW = "mlflow==3.17.2"


class Peer:
    """A process in the peer's environment that answers requests, one JSON line each."""

    def __init__(self, name: str, requirement: str, script: str) -> None:
        python = environment(name, requirement)
        self._process = subprocess.Popen(
            [python, str(HERE / script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def ask(self, **request: object) -> float:
        """Give the seconds that the peer measured for a request."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"the peer died with {self._process.wait()} at {request}")
        return float(json.loads(answer))

    def close(self) -> None:
        self._process.communicate()


def environment(name: str, requirement: str, *more: str) -> str:
    """Make (once) a virtual environment with the peer, and give its Python. more: what it needs besides."""
    folder = HERE / ".peers" / name
    if not (folder / requirement).exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    for wanted in (requirement, *more):
        if not (ready := folder / wanted).exists():
            print(f"installing {wanted} into {folder.relative_to(HERE.parent)} (minutes, once)", flush=True)
            subprocess.run([str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", wanted], check=True)
            ready.touch()
    return str(folder / "bin/python")


def mlflow() -> Peer:
    """MLflow on a fresh SQLite store, as a script would use it."""
    return Peer("mlflow", MLFLOW, "peer_mlflow.py")


def interleaved(rounds: int, **contestants: Callable[[], float]) -> dict[str, list[float]]:
    """Run contestants in turn, `rounds` times after one warm-up; each gives its own measure."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, contestant in contestants.items():
            measure = contestant()
            if number:
                found[name].append(measure)
    return found


def median_ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """The median of the paired ratios, round by round: what both saw of the machine's mood cancels."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def say(what: str, value: str, bound: str = "", holds: bool | None = None) -> None:
    """Print one line of the result; `bound` is what the project promises."""
    mark = "" if holds is None else "holds" if holds else "MISSED"
    print(f"{what:58} {value:>26}   {bound:20} {mark}", flush=True)


def machine() -> str:
    """One line about this machine, for the benchmark page."""
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "?")
    return f"{cpu}, Python {platform.python_version()}, {platform.system()} {platform.release()}, {time.strftime('%Y-%m-%d')}"
