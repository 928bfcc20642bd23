"""Beside W&B offline, trackio and Aim: what a log call costs, how soon all of it is stored, how many bytes it takes.

Ours survives kill -9 after each call. W&B, trackio and Aim hand over to a thread or process and lose what that had not written.
"""

import math
import shutil
import statistics
import tempfile
from pathlib import Path

from peers import Peer, interleaved, machine, median_ratio, say, seconds
from stratal.core.ids import new_id
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

ROUNDS, CALLS, POINTS, MANY = 5, 500, 5_000, 20_000
PEERS = {"wandb": "wandb==0.31.0", "trackio": "trackio==0.43.0", "aim": "aim==3.29.1"}


def main() -> None:
    print(machine())
    folder = Path(tempfile.mkdtemp())
    peers = {name: Peer(name, requirement, f"peer_{name}.py") for name, requirement in PEERS.items()}
    store = open_store(folder / "store")
    for width in (1, 100):
        metrics = {f"m{i}": i * 0.1 for i in range(width)}

        def log(metrics: dict[str, float] = metrics) -> float:
            with run("bench", store=store) as logging:
                return seconds(lambda: [logging.log(metrics, step=step) for step in range(CALLS)])

        others = {name: _ask(peer, what="log_calls", width=width, calls=CALLS) for name, peer in peers.items()}
        found = interleaved(ROUNDS, ours=log, **others)
        _say(f"a log call of {width} metrics", found, lambda took: f"{1e6 * took / CALLS:.1f} us")
    found = interleaved(ROUNDS, ours=lambda: ours(folder), **{n: _ask(p, what="ingest", points=POINTS) for n, p in peers.items()})
    _say("first call to all stored (ours: read back)", found, lambda took: f"{POINTS / took:,.0f} points/s")
    found = interleaved(ROUNDS, ours=lambda: size(folder), **{n: _ask(p, what="size", points=MANY) for n, p in peers.items()})
    _say("bytes a point", found, lambda bytes: f"{bytes:.1f}")
    for peer in peers.values():
        peer.close()
    store.close()
    shutil.rmtree(folder)


def ours(folder: Path) -> float:
    """Give seconds from the first call until all points were read."""
    store = open_store(folder / new_id())
    store.settle()

    def everything() -> None:
        with run("bench", store=store) as logging:
            for step in range(POINTS):
                logging.log({"m": math.sin(step)}, step=step)
        assert len(get_run(logging.id, store=store).series("m").values) == POINTS

    took = seconds(everything)
    store.close()
    return took


def size(folder: Path) -> float:
    """Give the bytes that a point adds to the database."""
    store = open_store(folder / new_id())
    store.settle()
    store.database.connect().execute("pragma wal_checkpoint(truncate)")  # the empty schema is no part of it
    before = store.database.path.stat().st_size
    with run("bench", store=store) as logging:
        for step in range(MANY):
            logging.log({"m": math.sin(step)}, step=step)
    store.settle()
    store.database.connect().execute("pragma wal_checkpoint(truncate)")
    grown = (store.database.path.stat().st_size - before) / MANY
    store.close()
    return grown


def _ask(peer: Peer, **request: object):
    return lambda: peer.ask(**request)


def _say(what: str, found: dict[str, list[float]], shown) -> None:
    say(what, f"ours {shown(statistics.median(found['ours']))}")
    for name in PEERS:
        ratio = median_ratio(found[name], found["ours"])
        say(f"  {name}", f"{shown(statistics.median(found[name]))}, {ratio:,.1f} x ours")


if __name__ == "__main__":
    main()
