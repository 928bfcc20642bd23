"""The ingest handler by hand-made requests: what it takes, what it refuses, and that a refusal leaves nothing. Excludes our client."""

import asyncio
import itertools
import os
import socket
import struct
from hashlib import sha256

import msgspec
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stratal.core.errors import Conflict, Misuse, StoreDown, StratalError
from stratal.core.ids import to_bytes
from stratal.core.people import Identity
from stratal.server.guards import OpenGuard
from stratal.server.ingest import Ingest, Limits
from stratal.server.serving import check_loopback, serving
from stratal.store.arriving import Arrivals, everybody
from stratal.store.frames import FACT, NAMED, POINTS, SIZE, encode_fact, pack, points_packer, salt_of
from stratal.store.journal import segments
from stratal.store.shipments import PREFIX, Seal, digest_of_shipment
from stratal.store.store import Store
from stratal.tracking.deleting import delete, purge
from stratal.tracking.finding import find_runs
from stratal.tracking.reading import get_run

NAME = "00000000000000aa-000000.log"
RUN = to_bytes("0" * 31 + "1")


def steps(store: Store, id: str) -> list[int]:
    with store.snapshot() as snapshot:
        return snapshot.series(to_bytes(id), "a").steps.tolist()


def rows(store: Store) -> list[tuple]:
    """All that a request could have left behind."""
    connection = store.database.connect()
    tables = ("segment", "shipment", "remote_writer", "damage", "run", "chunk", "block", "kept_fact", "key", "shape", "participant")
    found = [row for table in tables for row in connection.execute(f"select * from {table}")]
    connection.close()
    return found


def test_a_segment_that_is_sent_in_any_cuts_gives_the_rows_of_its_frames(store, team, segment):
    for start, stop in itertools.pairwise([0, segment.cuts[3], segment.cuts[4], segment.cuts[-1]]):
        answer = team.put(segment.name, start, segment.data[start:stop])
        assert (answer.status_code, answer.json()) == (200, {"offset": stop})
    assert steps(store, segment.id) == list(range(20))
    assert get_run(segment.id, store=store).experiment == "shipped"
    assert segments(store.journals) == [], "no journal file is written by a server"


def test_a_repeat_is_acknowledged_and_counts_once(store, team, segment):
    for _ in range(3):
        assert team.put(segment.name, 0, segment.data).json() == {"offset": len(segment.data)}
    assert steps(store, segment.id) == list(range(20))


def test_a_repeat_of_several_parts_at_once_is_acknowledged(store, team, segment):
    middle = segment.cuts[5]
    team.put(segment.name, 0, segment.data[:middle])
    team.put(segment.name, middle, segment.data[middle:])
    assert team.put(segment.name, 0, segment.data).json() == {"offset": len(segment.data)}


def test_a_repeat_that_was_cut_otherwise_is_not_acknowledged_but_told_the_offset(store, team, segment):
    team.put(segment.name, 0, segment.data)
    answer = team.put(segment.name, 0, segment.data[: segment.cuts[5]])
    assert (answer.status_code, answer.json()["error"], answer.json()["offset"]) == (409, "offset", len(segment.data))


def test_a_gap_is_answered_with_the_offset_that_the_server_has(store, team, segment):
    middle = segment.cuts[5]
    answer = team.put(segment.name, middle, segment.data[middle:])
    assert (answer.status_code, answer.json()["error"], answer.json()["offset"]) == (409, "offset", 0)
    assert rows(store) == []


def test_a_repeat_with_other_bytes_is_a_conflict_and_changes_nothing(store, team, segment):
    team.put(segment.name, 0, segment.data)
    before = rows(store)
    salt, other = salt_of(segment.name), encode_fact("note", 1, {"text": "x", "author": "y"})
    wrong = pack(FACT, 0, 0, RUN, other, salt)
    wrong += pack(9, 0, 1, RUN, bytes(len(segment.data) - len(wrong) - 48), salt)
    assert len(wrong) == len(segment.data)
    answer = team.put(segment.name, 0, wrong)
    assert (answer.status_code, answer.json()["error"]) == (409, "other-bytes")
    assert rows(store) == before


def test_a_flipped_bit_anywhere_in_transit_is_found_and_refused(store, team, segment):
    body = zstandard.compress(segment.data)
    headers = {
        "stratal-offset": "0", "stratal-size": str(len(segment.data)), "content-encoding": "zstd",
        "stratal-digest": digest_of_shipment(segment.name, 0, "", "", segment.data),
    }  # fmt: skip
    for place in range(0, len(body), max(1, len(body) // 60)):
        spoilt = bytearray(body)
        spoilt[place] ^= 1 << (place % 8)
        answer = team.http.put(f"/ingest/v1/segments/{segment.name}", content=bytes(spoilt), headers=headers)
        assert answer.status_code in (200, 400), answer.text
        assert (answer.status_code == 200) == (steps(store, segment.id) != [])
        if answer.status_code == 200:  # a bit of zstd's header that means nothing
            return
    assert rows(store) == []


def test_bytes_under_another_name_are_no_frames(store, team, segment):
    answer = team.put(NAME, 0, segment.data)
    assert (answer.status_code, answer.json()["error"]) == (422, "refused")
    assert rows(store) == []


def test_every_cut_inside_of_a_frame_is_refused(store, team, segment):
    for cut in (1, 47, 48, segment.cuts[0] - 1, segment.cuts[0] + 1, len(segment.data) - 1):
        assert team.put(segment.name, 0, segment.data[:cut]).status_code == 422
    assert rows(store) == []


def test_declared_damage_is_noted_and_costs_only_its_frames_and_undeclared_damage_is_refused(store, team, segment):
    spoilt = bytearray(segment.data)
    start, stop = segment.cuts[7], segment.cuts[8]
    spoilt[start + 60] ^= 1
    assert team.put(segment.name, 0, bytes(spoilt)).status_code == 422
    assert rows(store) == []
    answer = team.put(segment.name, 0, bytes(spoilt), **{"stratal-damage": f"{start}-{stop}"})
    assert answer.json() == {"offset": len(segment.data)}
    assert steps(store, segment.id) == [step for step in range(20) if step != 7]
    assert store.database.connect().execute("select start, stop from damage").fetchall() == [(start, stop)]


@pytest.mark.parametrize("ranges", ["5", "-", "a-b", "5-4", "0-999999", "10-20,5-8", "1-2," * 2000, "99999999999999999999-1"])
def test_ranges_of_damage_that_cannot_be_are_refused(store, team, segment, ranges: str):
    assert team.put(segment.name, 0, segment.data, **{"stratal-damage": ranges}).status_code == 422
    assert rows(store) == []


@pytest.mark.parametrize("name", [
    "x", "..", "%2e%2e%2f%2e%2e%2fetc", "00000000000000aa-000000.log.new", "00000000000000aa-000000.log%00", "00000000000000AA-000000.log",
    "00000000000000aa-00.log", "a" * 5000, "00000000000000aa-000000.log%0a",
])  # fmt: skip
def test_names_that_are_no_segments_are_refused_before_anything_is_made_of_them(store, team, segment, name: str):
    assert team.put(name, 0, segment.data).status_code in (404, 422)
    assert team.blob(b"x", digest=name).status_code in (404, 422)
    assert team.http.get(f"/ingest/v1/writers/{name}").status_code in (404, 422)
    assert rows(store) == []
    assert not (store.blobs.folder / "incoming").exists()


@pytest.mark.parametrize("changed", [
    {"stratal-size": "99999999999"}, {"stratal-size": "-1"}, {"stratal-size": ""}, {"stratal-size": "1e3"}, {"stratal-offset": "x"},
    {"stratal-offset": str(2**63)}, {"stratal-digest": "0" * 64}, {"stratal-digest": ""}, {"content-encoding": "gzip"},
    {"stratal-size": "7"}, {"stratal-size": "²"},
])  # fmt: skip
def test_headers_that_cannot_be_are_refused(store, team, segment, changed: dict):
    headers = {name: value.encode("latin-1") for name, value in changed.items()}
    assert team.put(segment.name, 0, segment.data, **headers).status_code in (400, 413, 415, 422)
    assert rows(store) == []


def test_a_body_that_unpacks_to_more_than_it_says_is_not_unpacked(store, team):
    bomb = zstandard.compress(bytes(200 << 20))
    assert len(bomb) < 1 << 15
    for size in (5 << 20, 64 << 20):
        headers = {"stratal-offset": "0", "stratal-size": str(size), "stratal-digest": "0" * 64, "content-encoding": "zstd"}
        answer = team.http.put(f"/ingest/v1/segments/{NAME}", content=bomb, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (400, "body")
    longer = {"stratal-offset": "0", "stratal-size": "10", "stratal-digest": "0" * 64, "content-encoding": "zstd"}
    assert team.http.put(f"/ingest/v1/segments/{NAME}", content=os.urandom(5000), headers=longer).status_code == 413
    assert rows(store) == []


def _frame(kind: int, body: bytes, *, epoch: int = 0, sequence: int = 0) -> bytes:
    return pack(kind, epoch, sequence, RUN, body, salt_of(NAME))


_points = points_packer(1).pack(7, 0, 0, 1.0)
HOSTILE = {
    "no points": _frame(POINTS, b""),
    "points of 3 bytes": _frame(POINTS, b"abc"),
    "points without a value": _frame(POINTS, struct.pack("<Qqq", 1, 2, 3)),
    "names of no size": _frame(NAMED, b"\x01"),
    "names longer than the frame": _frame(NAMED, SIZE.pack(2**32 - 1) + b"\x91\xa1a" + _points),
    "names that are numbers": _frame(NAMED, SIZE.pack(2) + b"\x91\x01" + _points),
    "one name for two values": _frame(NAMED, SIZE.pack(3) + b"\x91\xa1a" + points_packer(2).pack(7, 0, 0, 1.0, 2.0)),
    "an empty name": _frame(NAMED, SIZE.pack(2) + b"\x91\xa0" + _points),
    "a name twice": _frame(NAMED, SIZE.pack(5) + b"\x92\xa1a\xa1a" + points_packer(2).pack(7, 0, 0, 1.0, 2.0)),
    "a name over a line": _frame(NAMED, SIZE.pack(3) + b"\x91\xa1\n" + _points),
    "a fact of nothing": _frame(FACT, b""),
    "a fact in bad utf-8": _frame(FACT, b"\x93\xa1\xff\x00\xc0"),
    "a fact at an absurd time": _frame(FACT, msgspec.msgpack.encode(("note", 2**64 - 1, {}))),
    "a fact without a name": _frame(FACT, encode_fact("", 0, {})),
    "a fact with a name of 1,000 letters": _frame(FACT, encode_fact("n" * 1000, 0, {})),
    "a fact that nests 100,000 deep": _frame(FACT, b"\x93\xa1x\x00" + b"\x91" * 100_000 + b"\xc0"),
    "an absurd epoch": _frame(FACT, encode_fact("tags", 0, {}), epoch=2**32 - 1),
    "an absurd sequence": _frame(FACT, encode_fact("tags", 0, {}), sequence=2**64 - 1),
    "frames out of order": _frame(FACT, encode_fact("tags", 0, {}), sequence=2) + _frame(FACT, encode_fact("tags", 0, {}), sequence=1),
    "a claim of 4 GiB": _frame(FACT, b"")[:8] + struct.pack("<I", 2**32 - 1) + _frame(FACT, b"")[12:],
    "a million magic words": _frame(FACT, encode_fact("tags", 0, {})) + b"\x89ST1" * 1_000_000,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_frames_that_no_writer_writes_are_refused(store, team, what: str):
    answer = team.put(NAME, 0, HOSTILE[what])
    assert (answer.status_code, answer.json()["error"]) == (422, "refused"), answer.text
    assert rows(store) == []


def test_a_fact_that_means_nothing_is_kept_raw_and_stops_nobody(store, team, segment):
    odd = b"".join(
        _frame(FACT, encode_fact(what, 1, {"odd": [1, {}]}), sequence=n) for n, what in enumerate(("start", "from the future", "end"))
    )
    assert team.put(NAME, 0, odd).status_code == 200
    assert team.put(segment.name, 0, segment.data).status_code == 200
    assert steps(store, segment.id) == list(range(20))
    assert store.database.connect().execute("select what, reason from kept_fact order by sequence").fetchall() == [
        ("start", "unreadable"), ("from the future", "unknown"), ("end", "unreadable"),
    ]  # fmt: skip


def test_a_writer_belongs_to_who_opened_it(store, team, segment):
    middle = segment.cuts[5]
    team.put(segment.name, 0, segment.data[:middle], **{"stratal-user": "ada"})
    before = rows(store)
    for answer in (
        team.put(segment.name, middle, segment.data[middle:], **{"stratal-user": "eve"}),
        team.put(segment.name, 0, segment.data[:middle], **{"stratal-user": "eve"}),
        team.http.get(f"/ingest/v1/segments/{segment.name}", headers={"stratal-user": "eve"}),
        team.http.post(f"/ingest/v1/segments/{segment.name}/seal", json={"offset": middle}, headers={"stratal-user": "eve"}),
    ):
        assert (answer.status_code, answer.json()["error"]) == (403, "other-owner")
    assert rows(store) == before
    assert team.put(segment.name, middle, segment.data[middle:], **{"stratal-user": "ada"}).status_code == 200


def test_to_others_a_writer_is_as_one_that_was_never_heard_of(store, team, segment):
    team.put(segment.name, 0, segment.data, **{"stratal-user": "ada"})
    writer, nobodys = segment.name[:16], "00000000000000aa"
    asked = {(who, which): team.http.get(f"/ingest/v1/writers/{which}", headers={"stratal-user": who}).json()
             for who in ("ada", "eve") for which in (writer, nobodys)}  # fmt: skip
    assert asked["ada", writer]["segments"] == [{"name": segment.name, "offset": len(segment.data), "state": "live"}]
    assert asked["eve", writer] == {**asked["eve", nobodys], "writer": writer} == {"writer": writer, "segments": []}


def test_a_gate_decides_which_runs_may_be_written(store, segment):
    def nobody(_tx, _sender, runs: set[bytes]) -> None:
        assert runs == {to_bytes(segment.id)}
        raise Misuse("not this run")

    arrivals = Arrivals(store.settler, nobody)
    with pytest.raises(Misuse, match="not this run"):
        arrivals.accept(segment.name, 0, segment.data, [], store.actor())
    assert rows(store) == []


def test_a_sealed_segment_takes_repeats_and_nothing_new(store, team, segment):
    middle = segment.cuts[5]
    team.put(segment.name, 0, segment.data[:middle])
    for _ in range(2):
        sealed = team.http.post(f"/ingest/v1/segments/{segment.name}/seal", json={"offset": middle, "torn": 3})
        assert sealed.json() == {"offset": middle}
    assert team.put(segment.name, 0, segment.data[:middle]).status_code == 200
    assert team.put(segment.name, middle, segment.data[middle:]).json()["error"] == "other-bytes"
    assert team.parts(segment.name)["state"] == "done"


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"offset": -1}', b'{"offset": 1e99}', b'{"offset": 5}', b"[" * 100_000, b'{"offset": "\xff"}']
)
def test_seals_that_cannot_be_are_refused(store, team, segment, body: bytes):
    team.put(segment.name, 0, segment.data)
    assert team.http.post(f"/ingest/v1/segments/{segment.name}/seal", content=body).status_code in (400, 409, 422)
    assert team.parts(segment.name)["state"] == "live"


def test_a_run_is_running_while_its_writer_is_heard_of_and_lost_after(store, team, segment):
    team.put(segment.name, 0, segment.data)
    assert get_run(segment.id, store=store).status == "lost"
    assert team.http.post("/ingest/v1/beat", json={"writers": [segment.writer.id, "0" * 16]}).status_code == 204
    assert get_run(segment.id, store=store).status == "running"
    assert [run.id for run in find_runs("status = 'running'", store=store)] == [segment.id]
    store.database.connect().execute("update remote_writer set seen_ns = seen_ns - 61000000000")
    assert get_run(segment.id, store=store).status == "lost"


def test_a_run_whose_writer_was_heard_of_is_not_purged(store, team, segment):
    team.put(segment.name, 0, segment.data)
    team.http.post("/ingest/v1/beat", json={"writers": [segment.writer.id]})
    delete(segment.id, store=store)
    with pytest.raises(Conflict, match="still running"):
        purge(segment.id, store=store)
    assert steps(store, segment.id) == list(range(20))


def test_blobs_arrive_whole_and_go_on_where_they_broke_off(store, team):
    data = os.urandom(300_000)
    digest = sha256(data).hexdigest()
    assert team.blob(data, stop=100_000).json() == {"offset": 100_000}
    head = team.http.head(f"/ingest/v1/blobs/{digest}")
    assert (head.status_code, head.headers["stratal-offset"]) == (404, "100000")
    assert team.blob(data, offset=90_000).json()["offset"] == 100_000
    assert not store.blobs.has(digest)
    assert team.blob(data, offset=100_000).json() == {"offset": 300_000}
    assert store.blobs.read(digest) == data
    assert team.blob(data).json() == {"offset": 300_000}
    assert list((store.blobs.folder / "incoming").iterdir()) == []


def test_a_blob_of_other_bytes_is_thrown_away(store, team):
    digest = sha256(b"right").hexdigest()
    answer = team.blob(b"wrong", digest=digest)
    assert (answer.status_code, answer.json()["error"]) == (422, "damaged")
    assert not store.blobs.has(digest)
    assert team.blob(b"right").status_code == 200
    assert store.blobs.read(digest) == b"right"


def test_a_blob_that_says_too_little_or_too_much_is_refused(store, team):
    assert team.blob(b"x" * 100, size=50).status_code == 413
    assert team.blob(b"x" * 100, size=2**50).status_code == 413
    assert not store.blobs.has(sha256(b"x" * 100).hexdigest())


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/", 404), ("GET", "/ingest/v1/segments", 404), ("GET", "/ingest/v2/writers/00", 404),
    ("DELETE", f"/ingest/v1/segments/{NAME}", 405),
    ("GET", "/segments/x", 404), ("GET", f"/ingest/v1/segments/{NAME}", 404), ("GET", f"/ingest/v1/segments/{NAME}?since=x", 400),
    ("OPTIONS", f"/ingest/v1/segments/{NAME}", 405), ("GET", "/ingest/v1/writers/00000000000000aa", 200),
])  # fmt: skip
def test_places_and_methods(team, method: str, path: str, status: int):
    assert team.http.request(method, path).status_code == status


def test_requests_under_another_host_name_are_refused(team, segment):
    """A web page that points its own name at this machine must not write here."""
    assert team.put(segment.name, 0, segment.data, host="evil.example").status_code == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "", "127.0.0.1.evil.org"])
def test_other_hosts_than_loopback_are_refused(host: str):
    with pytest.raises(Misuse, match="can be reached from other machines"):
        check_loopback(host)


def test_a_body_that_comes_too_slowly_is_given_up(store, segment):
    with serving(store, limits=Limits(piece_s=0.05)) as url, socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1]))) as slow:
        head = f"PUT /ingest/v1/segments/{segment.name} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\ncontent-encoding: zstd\r\n"
        slow.sendall(f"{head}stratal-offset: 0\r\nstratal-size: 100\r\n\r\nabc".encode())
        assert slow.recv(1000).startswith(b"HTTP/1.1 408")
    assert rows(store) == []


def test_a_sender_is_told_to_come_again_when_too_much_waits(store):
    """Asked without a network: one body is under way, and the next one would be over the bound."""

    def scope(size: int) -> dict:
        headers = {"host": "localhost", "content-encoding": "zstd", "stratal-offset": "0", "stratal-size": str(size)}
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        return {"type": "http", "method": "PUT", "path": f"/ingest/v1/segments/{NAME}", "query_string": b"", "headers": pairs}

    async def ask() -> list[dict]:
        handler, started, leave = Ingest(store, limits=Limits(waiting_bytes=1000)), asyncio.Event(), asyncio.Event()
        answers: list[dict] = []

        async def hold() -> dict:
            started.set()
            await leave.wait()
            return {"type": "http.disconnect"}

        async def never() -> dict:
            raise AssertionError("the body of a request that is turned away must not be read")

        async def send(message: dict) -> None:
            answers.append(message)

        first = asyncio.create_task(handler(scope(900), hold, send))
        await started.wait()
        await handler(scope(200), never, send)
        leave.set()
        await first
        handler.close()
        return answers

    start, _ = asyncio.run(ask())
    assert start["status"] == 429
    assert (b"retry-after", b"1") in start["headers"]


def test_one_person_takes_half_of_the_places_at_most(store):
    """Who sends byte by byte, as often as they can, keeps out nobody else; and a place that is given back is free again."""

    class Names(OpenGuard):
        async def identify(self, headers) -> Identity:
            return Identity(name=headers["x-name"], is_authenticated=True)

    async def ask() -> tuple[list[int], list[int]]:
        handler = Ingest(store, guard=Names(), limits=Limits(requests=4))

        async def request(name: str, body) -> int:
            said: list[dict] = []

            async def send(message: dict) -> None:
                said.append(message)

            headers = [(b"x-name", name.encode())]
            scope = {"type": "http", "method": "POST", "path": f"{PREFIX}/beat", "query_string": b"", "headers": headers}
            await handler(scope, body, send)
            return said[0]["status"] if said else 0

        leave = asyncio.Event()

        async def slow() -> dict:
            await leave.wait()
            return {"type": "http.disconnect"}

        async def quick() -> dict:
            return {"type": "http.request", "body": b'{"writers":[]}'}

        held = [asyncio.create_task(request("eve", slow)) for _ in range(2)]
        await asyncio.sleep(0)
        meanwhile = [await request("eve", quick), await request("ann", quick)]
        leave.set()
        await asyncio.gather(*held)
        after = [await request("eve", quick)]
        handler.close()
        return meanwhile, after

    meanwhile, after = asyncio.run(ask())
    assert meanwhile[0] == 429 and meanwhile[1] != 429 and after[0] != 429


def test_a_full_disk_of_the_server_acknowledges_nothing_and_goes_on_when_there_is_room(store, team, segment, monkeypatch):
    def full(point: str) -> None:
        if point == "before commit":
            raise StoreDown("the database cannot be used: database or disk is full")

    store.database.fault = full
    answer = team.put(segment.name, 0, segment.data)
    assert (answer.status_code, answer.json()["error"], answer.headers["retry-after"]) == (503, "store-down", "5")
    store.database.fault = lambda _: None
    assert rows(store) == []
    assert team.put(segment.name, 0, segment.data).status_code == 200
    assert steps(store, segment.id) == list(range(20))


_tries = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=25)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tries=_tries)
def test_any_order_of_any_tries_ends_with_the_same_rows(fresh_store, segment, tries: list[tuple[int, int]]):
    """Shipments of any frames, repeated, overlapping, out of order; then one sender goes on from what the server says."""
    store, cuts = fresh_store(), [0, *segment.cuts]
    arrivals, sender, known = Arrivals(store.settler, everybody), store.actor(), 0
    for first, second in tries:
        start, stop = sorted((cuts[first], cuts[second]))
        try:
            answered = arrivals.accept(segment.name, start, segment.data[start:stop], [], sender)
            assert answered >= stop, "an acknowledgement covers what was sent"
        except StratalError as error:
            answered = getattr(error, "offset", known)
            assert answered == known
        known = max(known, answered)
        assert steps(store, segment.id) == [step for step in range(20) if cuts[step + 2] <= known]
    if known < len(segment.data):
        arrivals.accept(segment.name, known, segment.data[known:], [], sender)
    arrivals.seal(segment.name, Seal(offset=len(segment.data)), sender)
    assert steps(store, segment.id) == list(range(20))
    assert get_run(segment.id, store=store).summaries[0].points == 20
