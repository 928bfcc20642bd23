"""Exports give the same wherever the store is: here, in PostgreSQL, behind a server; show what their reader may view; and go on after cuts.
Excludes what stands in the files of each format."""

import math
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from stratal.core.errors import Misuse, NotFound, StoreDown
from stratal.core.ids import RunId, to_bytes
from stratal.core.settings import Settings
from stratal.interop.exporting import choosing, operations
from stratal.interop.exporting.exports import FORMATS, export_runs
from stratal.interop.exporting.operations import ExportStore
from stratal.server.authenticating import AccessGuard
from stratal.server.serving import Served
from stratal.store.access.accounts import AccessStore
from stratal.store.pieces import pieces_of
from stratal.store.store import Store
from stratal.tracking import leased
from stratal.tracking.deleting import delete, purge
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run
from stratal.tracking.store import runs as run_rows


@pytest.fixture
def filled(store: Store) -> Store:
    """Runs with something in every table, a fork of a run that was taken over, and one that goes on."""
    with run("churn", name="=one", params={"lr": 0.5, "mixed": 1, "none": None}, tags={"t": "@v"}, store=store) as made:
        for step in range(600):
            made.log({"loss": 1 / (step + 1), 'wéird/ñame, "x"': -0.0}, step=step)
        made.log({"odd": math.nan}, step=-5)
        made.log({"odd": math.inf, "picture": np.zeros((4, 4, 3), np.uint8)}, step=2**62)
        made.note("fine")
        made.edge("used", "dataset:churn@1")
        made.state("checked", {"x": [1, {"y": None}]}, subject="model:m@1")
        made.define_metric("loss", goal="minimize")
        made.save_bytes("a", b"one")
        made.save_bytes("x" * 300 + "/y", b"two")
    first = leased.start_leased("other", store=store, kind="job", ttl_s=0.0)
    for step in range(300):
        first.log({"loss": float(step), "few": 1.0} if step < 3 else {"loss": float(step)}, step=step)
    with first.fork(step=200) as second:
        second.log({"loss": -1.0}, step=200)
    with store.command(runs=[first.id]) as tx:
        token = run_rows.take_over(tx, store, first.id, ttl_s=600.0, from_step=100)
    store.writer.log(to_bytes(first.id), token, {"loss": 2.0}, 100)
    run("churn", params={"mixed": "1"}, store=store).finish()
    return store


def files_of(folder: Path) -> dict[str, object]:
    """What an export is: the bytes of each file but of its manifest; of a database all its statements, without where it lies."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        if path.name == "mlflow.db":
            found[path.name] = [line.replace(str(folder), "") for line in sqlite3.connect(path).iterdump()]
        elif path.is_file() and path.name != "export.json":
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_through_a_server_is_that_of_the_store_byte_for_byte(
    filled: Store, far: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    here = export_runs(tmp_path / "here", format=format, artifacts=True, store=filled)
    monkeypatch.setattr(choosing, "PAGE_THERE", 2)
    there = export_runs(tmp_path / "there", format=format, artifacts=True, store=far)

    assert (there.runs, there.tables, there.artifact_files, there.losses) == (here.runs, here.tables, here.artifact_files, here.losses)
    assert here.runs == 4 and here.artifact_files == 3
    wanted, found = files_of(tmp_path / "here"), files_of(tmp_path / "there")
    assert found.keys() == wanted.keys() and len(found) > 3
    assert [name for name in found if found[name] != wanted[name]] == []


def test_a_filter_and_experiments_count_there_too(filled: Store, far: Store, tmp_path: Path) -> None:
    for number, store in enumerate((filled, far)):
        done = export_runs(tmp_path / f"out{number}", "metrics.loss < 0.5", experiment=["churn"], format="json", store=store)
        assert done.runs == 1 and done.tables["series"] == 1202
        with pytest.raises(NotFound, match="no run passes"):
            export_runs(tmp_path / "none", "metrics.loss > 1e9", store=store)
        with pytest.raises(Misuse):
            export_runs(tmp_path / "none", "metrics.loss >", store=store)
    assert files_of(tmp_path / "out0") == files_of(tmp_path / "out1")
    assert not (tmp_path / "none").exists()


def unpacked(page: operations.PointPage) -> list[tuple[str, int, int, float, bool]]:
    """Name, epoch, step, value, and whether it is hidden, of all points of a page."""
    columns = ((page.which, "<i4"), (page.epochs, "<i4"), (page.steps, "<i8"), (page.values, "<f8"), (page.hidden, "?"))
    which, *rest = (np.frombuffer(column, dtype).tolist() for column, dtype in columns)
    return list(zip([page.names[n] for n in which], *rest, strict=True))


def all_points(store: Store, id: str) -> list[tuple[str, int, int, float, bool]]:
    with choosing.choosing(store, f"id = '{id}'", None) as chosen:
        [[one]] = chosen.pages()
        return [point for page in chosen.points(one) for point in unpacked(page)]


def test_points_come_in_pages_that_are_those_of_one_transaction(filled: Store, far: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [one.id for one in run_ids(filled)]
    whole = {id: all_points(filled, id) for id in ids}
    monkeypatch.setattr(operations, "MOST_POINTS", 50)
    for id in ids:
        assert repr(all_points(far, id)) == repr(whole[id]), "NaN too"
    with filled.query() as tx:
        assert max(len(list(operations.point_pages(tx, run_rows.get_record(tx, id), 9))) for id in ids) > 2


def run_ids(store: Store) -> list[run_rows.RunRecord]:
    with choosing.choosing(store, "", None) as chosen:
        return [one.record for page in chosen.pages() for one in page]


@pytest.mark.parametrize("ticks", [[40] * 12, [3000, 30, 4500, 300, 20, 20, 5000, 10], [5000, 4096, 1, 1, 300]])
def test_what_is_folded_between_two_pages_is_neither_missed_nor_given_twice(store: Store, monkeypatch: pytest.MonkeyPatch, ticks) -> None:
    """A page ends wherever it may, and after each the run goes on, is settled, and its chunks and blocks are rewritten."""
    monkeypatch.setattr(operations, "MOST_POINTS", 1)
    made = run("e", store=store)
    steps = iter(range(10**6))

    def tick(rows: int) -> None:
        for step in (next(steps) for _ in range(rows)):
            made.log({"loss": float(step), **({"few": float(step)} if step % 7 == 0 else {})}, step=step)
        store.settle()

    for rows in ticks:
        tick(rows)
    before = [name for name, *_ in all_points(store, made.id)]
    read, after, pages = [], None, 0
    while True:
        page = ExportStore(store).points(run=made.id, epoch=0, after=after)
        read += [(name, step) for name, _, step, *_ in unpacked(page)]
        after, pages = page.next, pages + 1
        if after is None:
            break
        if pages < 12:
            tick(ticks[pages % len(ticks)])
    assert pages > 1 and len(read) == len(set(read))
    for name in ("loss", "few"):
        mine = sorted(step for metric, step in read if metric == name)
        assert mine[: before.count(name)] == [step for step in range(sum(ticks)) if name == "loss" or step % 7 == 0]
    made.finish()


def test_a_takeover_between_two_pages_does_not_count(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "MOST_POINTS", 1)
    made = leased.start_leased("e", store=store, kind="job", ttl_s=0.0)
    for step in range(10):
        made.log({"a": 1.0, "b": 1.0}, step=step)
    epoch = get_run(made.id, store=store).record.epoch
    first = ExportStore(store).points(run=made.id, epoch=epoch)
    with store.command(runs=[made.id]) as tx:
        token = run_rows.take_over(tx, store, made.id, ttl_s=600.0, from_step=4)
    store.writer.log(to_bytes(made.id), token, {"a": 2.0, "b": 2.0}, 4)

    last = ExportStore(store).points(run=made.id, epoch=epoch, after=first.next)

    assert (unpacked(first), unpacked(last)) == tuple([(name, epoch, step, 1.0, False) for step in range(10)] for name in "ab")
    assert not unpacked(ExportStore(store).points(run=made.id, epoch=epoch, after=last.next))
    with store.query() as tx:
        assert sum(int(piece.hidden.sum()) for piece in pieces_of(tx, to_bytes(made.id))) == 12


async def half_an_answer(send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
    await send({"type": "http.response.body", "body": b"x" * 10, "more_body": True})
    raise ConnectionError("lost")


class Losing:
    """A server whose answers about points break off, from the n-th on."""

    def __init__(self, stage, after: int) -> None:
        self.inner, self._left = stage.handler, after

    async def __call__(self, scope, receive, send):
        if scope["path"].endswith("/interop/points"):
            self._left -= 1
            if self._left < 0:
                await half_an_answer(send)
        await self.inner(scope, receive, send)


@pytest.mark.parametrize("format", ["csv", "mlflow"])
def test_a_lost_server_leaves_no_half_export_and_the_next_one_is_whole(
    filled: Store, far: Store, stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    monkeypatch.setattr("stratal.store.remote.PAUSE_S", 0.0)
    export_runs(tmp_path / "wanted", format=format, store=filled)
    stage[0].handler = losing = Losing(stage[0], after=2)
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(StoreDown) as lost:
        export_runs(tmp_path / "out", format=format, store=far)
    assert lost.value.hint and {path.name for path in tmp_path.iterdir()} == before
    stage[0].handler = losing.inner

    export_runs(tmp_path / "out", format=format, store=far)

    assert files_of(tmp_path / "out") == files_of(tmp_path / "wanted")


def test_a_cut_in_the_middle_is_gone_on_from(filled: Store, far: Store, stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stratal.store.remote.PAUSE_S", 0.0)
    monkeypatch.setattr(operations, "MOST_POINTS", 50)
    wanted = export_runs(tmp_path / "wanted", format="json", store=filled)
    inner, cut = stage[0].handler, []

    async def cutting(scope, receive, send):
        if scope["path"].endswith(("/interop/points", "/interop/said")) and (not cut or cut[-1] != scope["path"]):
            cut.append(scope["path"])
            await half_an_answer(send)
        await inner(scope, receive, send)

    stage[0].handler = cutting
    assert export_runs(tmp_path / "out", format="json", store=far).tables == wanted.tables
    assert len(cut) > 1 and files_of(tmp_path / "out") == files_of(tmp_path / "wanted")


@pytest.fixture
def come(filled: Store, stage, tmp_path: Path):
    """Let somebody come to a server over the store that asks who they are. vera may view `churn`."""
    accounts = AccessStore(filled)
    for name in ("ada", "vera", "eve"):
        accounts.add_person(name=name, is_admin=name == "ada")
    accounts.grant(person="vera", role="viewer", on="experiment:churn")
    stage[0].handler = served = Served(filled, guard=AccessGuard(filled))
    opened = []

    def come(name: str) -> Store:
        token = accounts.create_token(person=name).secret
        settings = Settings(user=name, token=token, capture=False, state_home=tmp_path / f"of-{name}", on_error="raise")
        opened.append(open_store(stage[1], settings=settings))
        return opened[-1]

    yield come
    for store in opened:
        store.uploader.finish()
        store.close()
    served.end()
    served.close()


def test_what_one_may_not_view_is_not_exported_and_is_as_absent(filled: Store, come, tmp_path: Path) -> None:
    vera = come("vera")
    export_runs(tmp_path / "churn", experiment="churn", artifacts=True, format="csv", store=filled)

    seen = export_runs(tmp_path / "seen", artifacts=True, format="csv", store=vera)

    hidden = next(one.id for one in run_ids(filled) if one.experiment == "other")
    whole = files_of(tmp_path / "churn")
    assert hidden.encode() in whole["runs.csv"], "one of them goes on from a run that vera does not see"
    assert seen.runs == 2 and files_of(tmp_path / "seen") == {**whole, "runs.csv": whole["runs.csv"].replace(f'"{hidden}"'.encode(), b"")}
    assert export_runs(tmp_path / "all", store=come("ada")).runs == 4
    for absent in (hidden, "0" * 32):
        said = []
        for ask in (ExportStore(vera).points, ExportStore(vera).said):
            with pytest.raises(NotFound) as refused:
                ask(run=RunId(absent), epoch=0) if ask.__name__ == "points" else ask(runs=[RunId(absent)])
            said.append(refused.value.message.replace(absent[-8:], ""))
        assert len(set(said)) == 1
        with pytest.raises(NotFound, match="no run passes"):
            export_runs(tmp_path / "none", f"id = '{absent}'", store=vera)
    with pytest.raises(NotFound, match="no run"):
        export_runs(tmp_path / "none", store=come("eve"))
    assert not (tmp_path / "none").exists()


def test_what_is_said_of_many_runs_comes_in_answers_of_a_bounded_size(filled: Store, far: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [one.id for one in run_ids(filled)]
    whole = ExportStore(filled).said(runs=ids)
    monkeypatch.setattr(operations, "ENOUGH_BYTES", 1)
    assert [len(ExportStore(far).said(runs=ids[n:])) for n in range(4)] == [1, 1, 1, 1]
    with choosing.choosing(far, "", None) as chosen:
        assert chosen.said(next(chosen.pages())) == whole
    with pytest.raises(Misuse, match="at most 200"):
        ExportStore(far).said(runs=ids * 51)


def test_a_run_that_is_deleted_while_it_is_exported_is_still_read_and_one_that_is_purged_stops_it(filled: Store, far: Store) -> None:
    with choosing.choosing(far, "", None) as chosen:
        [runs] = chosen.pages()
        delete(runs[0].id, store=filled)
        assert sum(len(page.hidden) for page in chosen.points(runs[0])) == 1202
        purge(runs[0].id, store=filled)
        with pytest.raises(NotFound, match="there is no run"):
            next(chosen.points(runs[0]))


def test_lineage_that_names_what_one_may_not_view_is_left_out(filled: Store, come, tmp_path: Path) -> None:
    hidden = next(one.id for one in run_ids(filled) if one.experiment == "other")
    with run("churn", store=filled) as made:
        made.edge("used", f"run:{hidden}")
        made.edge("used", "dataset:rows@1")

    export_runs(tmp_path / "seen", f"id = '{made.id}'", format="csv", store=come("vera"))
    export_runs(tmp_path / "all", f"id = '{made.id}'", format="csv", store=come("ada"))

    seen, whole = ((tmp_path / name / "lineage.csv").read_text() for name in ("seen", "all"))
    assert hidden in whole and hidden not in seen and "dataset:rows@1" in seen
