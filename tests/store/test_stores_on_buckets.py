"""A store in a folder whose blobs lie in S3: all that people do with it. Excludes the laws of places, and faults."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import stratal as st
from stratal import data
from stratal.cli.app import main
from stratal.core.clock import SystemClock
from stratal.core.errors import Refused
from stratal.core.settings import load_settings
from stratal.data.store import DatasetStore
from stratal.server.serving import look_for_files
from stratal.store.collecting import collect
from stratal.store.files import bucket as bucket_of
from stratal.store.store import Store
from stratal.testing.buckets import VARIABLES
from stratal.tracking.doctor import doctor
from stratal.tracking.opening import open_store, use_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run


@pytest.fixture
def team(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The process's default store; its cache is a folder of its own."""
    monkeypatch.setenv("STRATAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STRATAL_BLOBS", bucket)
    monkeypatch.setenv("STRATAL_STORE", str(tmp_path / "team"))
    opened = use_store(open_store(tmp_path / "team"))
    yield opened
    opened.close()


def _elsewhere(store: Store, tmp_path: Path) -> Store:
    """The same store, as on a machine whose cache is empty."""
    return open_store(store.folder, settings=load_settings(environ={"STRATAL_CACHE": str(tmp_path / "another cache")}))


def test_artifacts_and_media_come_back(team: Store, tmp_path: Path):
    Path("folder").mkdir()
    Path("folder/a.txt").write_text("a")
    with run("e") as made:
        made.save_bytes("notes.txt", b"notes")
        made.save("folder")
        made.log({"picture": st.image(np.zeros((4, 4, 3), np.uint8))}, step=0)
    assert not (team.folder / "blobs").exists(), "nothing lies on the disk"
    read = get_run(made.id, store=_elsewhere(team, tmp_path))
    assert read.read_artifact("notes.txt") == b"notes"
    found = st.get(f"artifact:{made.id}/folder")
    assert (found.path() / "a.txt").read_text() == "a"
    assert [path.read_text() for path in found.download("there")] == ["a"]
    with st.get(f"artifact:{made.id}/notes.txt").open() as opened:
        assert opened.read() == b"notes"
    assert read.media("picture")[0].read_bytes().startswith(b"\x89PNG")


def test_datasets_and_models_come_back(team: Store, tmp_path: Path):
    from sklearn.linear_model import LogisticRegression

    frame = pl.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "y": [0, 0, 1, 1]})
    data.dataset("rows", frame)
    with run("e") as made:
        saved = made.log_model("model", LogisticRegression().fit(frame.select("x").to_numpy(), frame["y"].to_numpy()))
        st.register("classifier", saved)
    here = _elsewhere(team, tmp_path)
    use_store(here)
    assert data.open_dataset("dataset:rows@1").frame().equals(frame)
    assert list(st.get("model:classifier@1").load().predict(np.array([[0.0], [3.0]]))) == [0, 1]
    here.close()


def test_registering_a_version_brings_no_file_of_the_bucket_here(team: Store, tmp_path: Path):
    content, profile = (team.blobs.put(each) for each in (b"rows", b"profile"))
    DatasetStore(team).add_version(name="churn", digest=content, rows=1, columns=[], content=content, profile=profile)
    assert list((tmp_path / "cache").rglob("blob")) == []


def test_garbage_goes_after_a_dry_run_and_deleted_runs_come_back(team: Store, capsys: pytest.CaptureFixture[str]):
    with run("e") as kept:
        kept.save_bytes("kept", b"kept")
    with run("e") as gone:
        digest = gone.save_bytes("gone", b"gone").digest
    st.delete(gone.id)
    assert collect(team, grace_s=3600, events_s=1e6, dry_run=True).blobs == ()
    st.restore(gone.id)
    assert get_run(gone.id).read_artifact("gone") == b"gone"
    st.delete(gone.id)
    st.purge(gone.id)
    assert collect(team, grace_s=3600, events_s=1e6, dry_run=False).blobs == (), "it is young"
    team.clock = _Later()
    assert collect(team, grace_s=3600, events_s=1e6, dry_run=True).blobs == (digest,)
    assert team.blobs.has(digest)
    assert collect(team, grace_s=3600, events_s=1e6, dry_run=False).blobs == (digest,)
    assert not team.blobs.has(digest)
    assert get_run(kept.id).read_artifact("kept") == b"kept"
    with pytest.raises(SystemExit) as left:
        main(["gc", "--dry-run", "--json"])
    assert left.value.code == 0 and json.loads(capsys.readouterr().out)["blobs"] == []


class _Later(SystemClock):
    """The clock of somebody who collects two hours from now."""

    def now_ns(self) -> int:
        return super().now_ns() + 7200 * 10**9


def test_the_doctor_and_a_server_that_starts_say_that_the_files_are_not_to_be_had(
    team: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    with run("e") as made:
        made.save_bytes("notes.txt", b"notes")
    team.settle()
    look_for_files(team)
    assert caplog.text == ""
    monkeypatch.setattr(bucket_of, "LOOK_S", 0.0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    away = _elsewhere(team, tmp_path)
    checks = {check.name: check for check in doctor(store=away)}
    assert (checks["files"].state, checks["quotas"].state, "garbage" in checks) == ("bad", "good", False)
    assert "no answer" in checks["files"].says and checks["files"].hint
    look_for_files(away)
    assert "files cannot be served" in caplog.text and "no answer" in caplog.text


@pytest.mark.parametrize(("place", "why"), [("s3://no-such-bucket/x", "NoSuchBucket"), (None, "another store")])
def test_a_place_without_a_bucket_or_of_another_store_is_bad(team: Store, tmp_path: Path, bucket: str, place: str | None, why: str):
    team.blobs.put(b"x")
    other = open_store(tmp_path / "other", settings=load_settings(environ={"STRATAL_BLOBS": place or bucket}))
    other.settle()
    [check] = [check for check in doctor(store=other) if check.state == "bad"]
    assert check.name == "files" and why in check.says


def test_runs_are_exported_with_their_files(team: Store, tmp_path: Path):
    with run("e") as made:
        made.save_bytes("notes.txt", b"notes")
    st.export_runs(tmp_path / "out", artifacts=True)
    assert [path.read_bytes() for path in (tmp_path / "out").rglob("notes.txt")] == [b"notes"]


def test_a_captured_program_is_reproduced(team: Store, tmp_path: Path):
    """Its code, inputs and artifacts are in S3; what its replay writes lies in a store of its own, on the disk."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "rows.csv").write_text("1\n2\n")
    (project / "train.py").write_text(
        "import stratal as st\n"
        "with st.run('e') as run:\n"
        "    run.use('rows.csv')\n"
        "    run.log({'loss': sum(map(float, open('rows.csv')))}, step=0)\n"
        "    run.save_bytes('out.txt', b'out')\n"
    )
    environ = {**os.environ, "STRATAL_CAPTURE": "on"}
    subprocess.run([sys.executable, "train.py"], cwd=project, env=environ, check=True)
    (found,) = st.runs("")
    assert not any(value in str(found.capture) for value in list(VARIABLES.values())[:2]), "no key is captured"
    done = st.reproduce(found.ref, here=True)
    assert done.verdict == "bit-identical", done
    assert found.read_artifact("out.txt") == b"out"


def test_machines_that_share_a_database_share_its_files_in_s3(lent: Callable[[], str], bucket: str, tmp_path: Path):
    """Each machine has journals and a cache of its own; another database is refused the place."""
    url = f"{lent()}&blobs={bucket}"
    machines = []
    for name in ("one", "two"):
        environ = {"STRATAL_CAPTURE": "off", "XDG_STATE_HOME": str(tmp_path / name), "STRATAL_CACHE": str(tmp_path / name / "cache")}
        machines.append(open_store(url, settings=load_settings(environ=environ)))
    with run("e", store=machines[0]) as made:
        made.save_bytes("notes.txt", b"notes")
    unused = machines[1].blobs.put(b"unused")
    machines[0].settle()
    assert machines[0].folder != machines[1].folder and machines[1].blobs.name == bucket
    assert get_run(made.id, store=machines[1]).read_artifact("notes.txt") == b"notes"
    machines[1].clock = _Later()
    assert collect(machines[1], grace_s=3600, events_s=1e6, dry_run=False).blobs == (unused,)
    assert open_store(machines[0].url).blobs.name == bucket, "whoever is told the URL finds the files"
    assert get_run(made.id, store=machines[0]).read_artifact("notes.txt") == b"notes"
    other = open_store(tmp_path / "another", settings=load_settings(environ={"STRATAL_BLOBS": bucket}))
    with pytest.raises(Refused):
        other.blobs.put(b"b")
    for machine in machines:
        machine.close()
