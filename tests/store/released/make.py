"""Make a small store with rows of every room, and pack it: run by each release, whose store later releases must migrate.

PYTHONPATH=<a release's src> python tests/store/released/make.py schema7
"""

import os
import shutil
import socket
import sys
import tarfile
import tempfile
from pathlib import Path


def main(name: str) -> None:
    os.environ.update(STRATAL_CAPTURE="off", STRATAL_USER="released")
    socket.gethostname = lambda: "released"  # no name of a machine gets into the repository
    here, folder = Path(__file__).parent, Path(tempfile.mkdtemp())
    os.chdir(folder)
    fill()
    shutil.rmtree(folder / ".stratal/reports", ignore_errors=True)
    for left in ("stratal.db-wal", "stratal.db-shm"):
        (folder / ".stratal" / left).unlink(missing_ok=True)
    with tarfile.open(here / f"{name}.tar.xz", "w:xz") as packed:
        packed.add(folder / ".stratal", ".stratal")
    shutil.rmtree(folder)


def fill() -> None:
    """Write what a team would, through names that stay."""
    import polars as pl

    import stratal as st
    from stratal.tracking.leased import start_leased
    from stratal.tracking.opening import current_store

    Path("rows.csv").write_text("a,b\n1,2\n3,4\n")
    with st.run("churn", name="first", params={"lr": 0.1, "deep": True}, tags={"team": "growth"}) as first:
        for step in range(700):
            first.log({"loss": 1.0 / (step + 1)}, step=step)
        first.log({"auc": 0.9})
        first.note("a note")
        first.save_bytes("model.bin", b"weights")
        first.use("rows.csv")
        first.state("evaluation", {"auc": 0.9}, subject="sha256:" + "0" * 64)
    held = start_leased("churn", store=current_store(), kind="job")
    held.log({"loss": 3.0}, step=0)
    held.finish("failed", error="ValueError: no data")
    st.dataset("rows", pl.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]}))
    st.study("parabola", {"x": st.uniform(-1, 1)}, minimize="loss", seed=1).optimize(
        lambda trial: trial.params["x"] ** 2, trials=3, workers=1
    )
    st.runs()
    current_store().database.checkpoint()
    with st.run("churn", name="unsettled") as late:  # stands in the journal only
        late.log({"loss": 7.0}, step=1)
    current_store().close()


if __name__ == "__main__":
    main(sys.argv[1])
