"""A network that cuts, doubles, reorders, delays and spoils what is shipped; and a server whose disk is full. Excludes kills."""

import os
import random
from pathlib import Path

import pytest
from disks import SmallDisk

from stratal.core.errors import StoreDown, StratalError
from stratal.core.ids import new_id, to_bytes
from stratal.server.serving import serving
from stratal.store import journal
from stratal.store.calling import Server
from stratal.store.journal import Writer, segments
from stratal.store.shipping import BlobWaits, Shipper
from stratal.store.store import Store
from stratal.testing.proxies import FAULTS, BadNetwork, bad_network, dice_script
from stratal.tracking.facts import START, Start
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run

BLOBS = [os.urandom(size) for size in (1, 5_000, 400_000)]


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    (tmp_path / "spool" / "journal").mkdir(parents=True)
    return tmp_path / "spool"


def log_some(spool: Path, id: str, writer: Writer, rows: range) -> None:
    for step in rows:
        writer.log(to_bytes(id), 0, {"a": float(step)})  # without steps: the order of arrival numbers them


def log_all(spool: Path, id: str) -> list[str]:
    """Log 300 rows and three blobs in small segments; give the blobs' digests."""
    here, writer = Store(spool), Writer(spool / "journal")
    digests = [str(here.blobs.put(data)) for data in BLOBS]
    writer.fact(to_bytes(id), 0, START, Start(experiment="far", tags={str(n): digest for n, digest in enumerate(digests)}))
    log_some(spool, id, writer, range(300))
    writer.close()
    return digests


def values(store: Store, id: str) -> list[float]:
    with store.snapshot() as snapshot:
        points = snapshot.series(to_bytes(id), "a")
    assert points.steps.tolist() == list(range(points.n))
    return points.values.tolist()


def ship_until_done(spool: Path, url: str, tries: int = 400) -> int:
    """Ship until nothing is left, as a program whose passes fail; give how many failed. Where it should wait, another one goes on."""
    failed, shipper = 0, Shipper(spool, Server(url, "tester"), keeps=False)
    for _ in range(tries):
        try:
            shipper.ship()
            failed += bool(shipper.done.refused)
        except BlobWaits:
            failed, shipper = failed + 1, Shipper(spool, Server(url, "tester"), keeps=False)
        except StoreDown:
            failed += 1
        if not segments(spool / "journal"):
            return failed
    raise AssertionError(f"not done after {tries} tries: {shipper.done}")


def check(store: Store, id: str, digests: list[str]) -> None:
    assert values(store, id) == [float(step) for step in range(300)]
    assert [store.blobs.read(digest) for digest in digests] == BLOBS
    assert get_run(id, store=store).tags == {str(n): digest for n, digest in enumerate(digests)}
    assert store.database.connect().execute("select count(*) from damage").fetchone() == (0,)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 4000)
    monkeypatch.setattr(journal, "WINDOW_BYTES", 1200)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "pass"])
def test_half_of_the_requests_go_wrong_in_one_way(store, spool, small_pieces, fault: str):
    id, script = new_id(), dice_script(random.Random(5), (fault,))
    digests = log_all(spool, id)
    with serving(store) as url, bad_network(url, script, seed=5) as (proxy, network):
        ship_until_done(spool, proxy)
        check(store, id, digests)
        assert network.seen[fault] > 5


def _storm(store: Store, spool: Path, seed: int) -> BadNetwork:
    dice, id = random.Random(seed), new_id()
    digests = log_all(spool, id)
    with serving(store) as url, bad_network(url, dice_script(dice), seed=seed) as (proxy, network):
        ship_until_done(spool, proxy)
    check(store, id, digests)
    return network


@pytest.mark.slow
def test_everything_goes_wrong_at_random(fresh_store, tmp_path: Path, small_pieces):
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    seen = 0
    for number in range(5):
        (tmp_path / f"spool{number}" / "journal").mkdir(parents=True)
        network = _storm(fresh_store(), tmp_path / f"spool{number}", seed + number)
        seen += sum(network.seen.values()) - network.seen.get("pass", 0)
    assert seen > 100


def test_a_large_blob_over_connections_that_are_cut_arrives_whole(store, spool):
    here, data, dice = Store(spool), os.urandom(3_000_000), random.Random(3)
    digest = here.blobs.put(data)
    writer = Writer(spool / "journal")
    writer.fact(to_bytes(new_id()), 0, START, Start(experiment="far", tags={"d": digest}))
    writer.close()
    with serving(store) as url, bad_network(url, dice_script(dice, ("cut request",)), seed=1) as (proxy, network):
        ship_until_done(spool, proxy)
    assert network.seen["cut request"] > 0
    assert store.blobs.read(digest) == data


def test_a_server_whose_disk_is_full_acknowledges_nothing_that_it_could_lose(tmp_path: Path, spool):
    id = new_id()
    here, writer = Store(spool), Writer(spool / "journal")
    with SmallDisk(tmp_path / "disk", "2m") as disk:
        team = open_store(tmp_path / "disk" / "team")
        team.settle()
        with serving(team) as url:
            shipper, step, blobs = Shipper(spool, Server(url, "tester"), keeps=False), 0, []
            with pytest.raises(StoreDown):
                for _ in range(100):
                    blobs.append(here.blobs.put(os.urandom(100_000)))
                    writer.fact(to_bytes(id), 0, START, Start(experiment="full", tags={"d": blobs[-1]}))
                    log_some(spool, id, writer, range(step, step + 500))
                    step += 500
                    shipper.ship()
            with pytest.raises(StoreDown, match=f"^{url} says: .*(disk is full|No space left)"):
                shipper.ship()
            acknowledged = sum(shipper._known.values())
            assert acknowledged > 0
            disk.resize("64m")
            writer.close()
            assert shipper.ship()
            assert shipper.done.refused == []
        assert values(team, id) == [float(n) for n in range(step)]
        assert all(team.blobs.has(digest) for digest in blobs)
        team.close()
    assert segments(spool / "journal") == []


def test_an_answer_that_no_server_of_ours_gives_is_no_acknowledgement(spool, tmp_path: Path):
    """Something else listens there: a page for every request."""
    from stratal.server.asgi import Answer, live, send_answer
    from stratal.server.serving import listening

    async def app(scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send, lambda: None)
        else:
            await send_answer(Answer(status=200, body=b"<html>hello</html>", headers=(("content-type", "text/html"),)), send)

    writer = Writer(spool / "journal")
    log_some(spool, new_id(), writer, range(5))
    writer.close()
    with listening(app) as url, pytest.raises(StratalError, match="cannot be read"):
        Shipper(spool, Server(url, "tester"), keeps=False).ship()
    assert len(segments(spool / "journal")) == 1
