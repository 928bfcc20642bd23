"""Imports give the same wherever the store is: here, in PostgreSQL, behind a server; and go on after cuts and kills.
Excludes who may import (tests/server/test_importing_there.py), and the formats."""

import shutil
import signal
import tarfile
from pathlib import Path

import pytest
from foreign_files import event, event_file, field, held, scalar

from stratal.core.errors import Misuse, StoreDown
from stratal.interop import applying, framing
from stratal.interop.importing import import_runs
from stratal.registry import ModelStore, list_versions
from stratal.tracking.finding import find_runs
from stratal.tracking.reading import get_run

FILES = Path(__file__).parent / "mlflow_files"
FORMATS = {
    "tensorboard": "tensorboardx-2.6.5/tiny",
    "wandb": "wandb-0.31.0-resumed",
    "neptune": "neptune-exporter/data",
    "mlflow folder": "mlruns-2.9.2",
    "mlflow database": "sql-2.9.2",
}


def place_of(format: str, fixtures: Path, tmp_path: Path) -> tuple[str, Path]:
    """The tool, and where its files lie."""
    tool, _, kind = format.partition(" ")
    if not kind:
        return tool, fixtures / FORMATS[format]
    with tarfile.open(FILES / f"{FORMATS[format]}.tar.gz") as archive:
        archive.extractall(tmp_path / "there", filter="data")
    return tool, tmp_path / "there"


def losses(n: int) -> list[bytes]:
    return [event(1_700_000_000 + step, step, scalar("loss", 1 / (step + 1)), scalar("acc", step)) for step in range(n)]


def with_a_picture(path: Path, *, rows: int) -> Path:
    """A history with a picture in it, which becomes a file."""
    png = bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
    )
    picture = field(1, "seen") + field(4, field(1, 1) + field(2, 1) + field(3, 3) + field(4, png))
    event_file(path / "events.out.tfevents.1.host", *losses(rows), event(1_700_000_100, 1, picture))
    return path


@pytest.mark.parametrize("format", FORMATS)
def test_an_import_gives_the_same_through_a_server_and_adds_nothing_the_second_time(
    format: str, store, fresh_store, seen, fixtures: Path, tmp_path: Path
):
    tool, path = place_of(format, fixtures, tmp_path)
    plain = fresh_store()
    wanted = import_runs(tool, path, store=plain)
    far = seen(store)
    first, again = import_runs(tool, path, store=far), import_runs(tool, path, store=far)
    assert held(store) == held(plain)
    assert first == wanted
    assert again.unchanged == again.sources and not any(counts.imported for counts in again.counts.values())
    for name in [model.name for model in ModelStore(plain).models()]:
        versions = [(one.number, one.digest, one.run, one.path) for one in list_versions(name, store=plain)]
        assert [(one.number, one.digest, one.run, one.path) for one in list_versions(name, store=store)] == versions
        assert ModelStore(store).aliases(name=name) == ModelStore(plain).aliases(name=name)
        assert ModelStore(store).standings(name=name).keys() == ModelStore(plain).standings(name=name).keys()


def test_bytes_of_files_arrive_through_a_server(store, far, tmp_path: Path):
    import_runs("tensorboard", with_a_picture(tmp_path / "logs", rows=2), store=far)
    [run] = find_runs(store=store)
    [picture] = run.media("seen")
    assert store.blobs.read(picture.digest).startswith(b"\x89PNG")
    assert get_run(run.ref, store=far).media("seen")[0].digest == picture.digest


def test_what_has_grown_here_goes_on_there_and_what_was_rewritten_is_refused(store, far, fresh_store, tmp_path: Path):
    path = event_file(tmp_path / "logs/events.out.tfevents.1.host", *losses(5))
    import_runs("tensorboard", tmp_path / "logs", store=far)
    event_file(path, *losses(9))
    grown = import_runs("tensorboard", tmp_path / "logs", store=far)
    assert (grown.counts["points"].already, grown.counts["points"].imported) == (10, 8)
    whole = fresh_store()
    import_runs("tensorboard", tmp_path / "logs", store=whole)
    before = held(store)
    assert before == held(whole)
    event_file(path, *losses(3))
    assert "rewritten" in import_runs("tensorboard", tmp_path / "logs", store=far).losses[0]
    assert held(store) == before


def test_a_copy_of_a_source_in_the_same_folder_is_met_once(store, far, tmp_path: Path):
    event_file(tmp_path / "logs/a/x/events.out.tfevents.1.host", *losses(4))
    shutil.copytree(tmp_path / "logs/a", tmp_path / "logs/b")
    first = import_runs("tensorboard", tmp_path / "logs", store=far)
    before = held(store)
    assert import_runs("tensorboard", tmp_path / "logs", store=far).unchanged == first.sources
    assert held(store) == before


class Losing:
    """A server that is lost at some calls that bring a batch: before it has done them, or after."""

    def __init__(self, stage, *, calls: set[int], is_done: bool) -> None:
        self._stage, self._inner, self._calls, self._is_done = stage, stage.handler, calls, is_done
        self.count = 0

    async def __call__(self, scope, receive, send):
        if not scope["path"].endswith("/interop/apply"):
            return await self._inner(scope, receive, send)
        self.count += 1
        if self.count not in self._calls:
            return await self._inner(scope, receive, send)
        if self._is_done:
            await self._inner(scope, receive, _nowhere)
        raise ConnectionError("lost")


async def _nowhere(_message) -> None:
    pass


@pytest.mark.parametrize("is_done", [True, False], ids=["after", "before"])
def test_a_server_that_is_lost_in_the_middle_of_a_batch_is_asked_what_became_of_it(
    store, far, stage, fresh_store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_done: bool
):
    monkeypatch.setattr(framing, "MOST_VALUES", 4)
    path = with_a_picture(tmp_path / "logs", rows=12)
    whole = fresh_store()
    import_runs("tensorboard", path, store=whole)
    stage[0].handler = losing = Losing(stage[0], calls={1, 3, 4}, is_done=is_done)
    report = import_runs("tensorboard", path, store=far)
    assert losing.count > 5 and report.is_complete
    assert held(store) == held(whole)


def test_an_import_that_a_lost_server_ended_goes_on_the_next_time(
    store, far, stage, fresh_store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(framing, "MOST_VALUES", 4)
    path = with_a_picture(tmp_path / "logs", rows=12)
    whole = fresh_store()
    import_runs("tensorboard", path, store=whole)
    inner = stage[0].handler
    stage[0].handler = Losing(stage[0], calls=set(range(3, 99)), is_done=False)
    with pytest.raises(StoreDown):
        import_runs("tensorboard", path, store=far)
    assert 0 < sum(find_runs(store=store)[0].series("loss").values) < 3
    stage[0].handler = inner
    report = import_runs("tensorboard", path, store=far)
    assert report.is_complete and report.counts["points"].already == 8
    assert held(store) == held(whole)


def test_an_importer_that_is_killed_between_batches_is_gone_on_from(
    importers, store, served_url, fresh_store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = with_a_picture(tmp_path / "logs", rows=12)
    whole = fresh_store()
    import_runs("tensorboard", path, store=whole)
    for batch in (1, 3):
        victim = importers.start("import_victims:import_there_until_killed", served_url, str(path), batch, str(tmp_path / f"state{batch}"))
        assert victim.wait() == -signal.SIGKILL
    assert importers.start("import_victims:import_there_until_killed", served_url, str(path), 0, str(tmp_path / "state")).wait() == 0
    assert held(store) == held(whole)


def test_what_is_too_large_for_a_server_at_one_place_is_lost_in_plain_words(store, far, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(applying, "MOST_BATCH_BYTES", 100)
    event_file(tmp_path / "logs/events.out.tfevents.1.host", *losses(9))
    report = import_runs("tensorboard", tmp_path / "logs", store=far)
    assert "a server takes 100" in report.losses[0] and not report.is_complete
    assert not find_runs(store=store)


def test_an_unknown_tool_is_refused_before_anything_is_asked(far, tmp_path: Path):
    with pytest.raises(Misuse, match="cannot be imported"):
        import_runs("sacred", tmp_path, store=far)
