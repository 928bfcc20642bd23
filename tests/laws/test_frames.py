"""Laws of the journal codec. Excludes files, writers and the database."""

import os
import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stratal.store.columns import gather
from stratal.store.frames import (
    FACT,
    NAMED,
    POINTS,
    SIZE,
    encode_fact,
    encode_names,
    pack,
    pack_many,
    points_packer,
    read_fact,
    read_points,
    scan,
    shape_of,
)

RUN = b"r" * 16
SALT = 7


def journal(count: int = 60, seed: int = 1) -> tuple[bytes, list[int]]:
    """Make a journal, and the end of each of its frames. Some bodies hold whole frames of another segment."""
    data, ends, dice = b"", [], random.Random(seed)
    for i in range(count):
        body = dice.randbytes(dice.randrange(90)) + (pack(POINTS, 0, 9, RUN, b"x" * 24, SALT + 1) if i % 9 == 0 else b"")
        data += pack(FACT if i % 3 else POINTS, i % 4, i, RUN, body if i % 3 else b"y" * 24, SALT)
        ends.append(len(data))
    return data, ends


def frames_in(data: bytes) -> int:
    return sum(frame.stretch for frame in scan(data, SALT).frames)


def test_a_journal_cut_at_every_byte_reads_as_a_prefix():
    data, ends = journal()
    for cut in range(len(data) + 1):
        read = scan(data[:cut], SALT)
        whole = sum(end <= cut for end in ends)
        assert sum(frame.stretch for frame in read.frames) == whole
        assert read.end == (ends[whole - 1] if whole else 0)
        assert read.damage == []


def test_any_flipped_byte_costs_one_frame_and_is_reported_or_is_a_torn_tail():
    data, ends = journal()
    for place in range(len(data)):
        broken = bytearray(data)
        broken[place] ^= 1 << (place % 8)
        read = scan(bytes(broken), SALT)
        hit = next(i for i, end in enumerate(ends) if end > place)
        is_last = hit == len(ends) - 1
        assert sum(frame.stretch for frame in read.frames) == len(ends) - 1
        assert read.damage == ([] if is_last else [(ends[hit - 1] if hit else 0, ends[hit])])
        assert read.end == (ends[-2] if is_last else len(data))


def test_two_damaged_frames_in_a_row_are_one_range():
    data, ends = journal()
    broken = bytearray(data)
    broken[ends[9] + 3] ^= 1
    broken[ends[10] + 3] ^= 1
    assert scan(bytes(broken), SALT).damage == [(ends[9], ends[11])]


def test_frames_of_another_segment_do_not_count():
    assert frames_in(pack(POINTS, 0, 0, RUN, b"y" * 24, SALT + 1)) == 0


def test_a_body_that_claims_more_than_there_is_is_a_torn_tail():
    good = pack(FACT, 0, 0, RUN, b"abc", SALT)
    huge = bytearray(pack(FACT, 0, 1, RUN, b"abc", SALT))
    huge[8:12] = (2**32 - 1).to_bytes(4, "little")
    assert scan(good + bytes(huge), SALT).end == len(good)


@given(st.binary(max_size=400))
def test_no_bytes_at_all_break_the_reader(data: bytes):
    read = scan(data, SALT)
    assert read.frames == [] or read.end <= len(data)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**32 - 1), st.binary(max_size=60)), max_size=30), st.binary(max_size=50))
def test_what_was_packed_is_read(frames: list[tuple[int, int, bytes]], rest: bytes):
    data = b"".join(pack(FACT, epoch, i, RUN, body, SALT) for i, (_, epoch, body) in enumerate(frames))
    read = scan(data + rest, SALT)
    assert [(f.sequence, f.epoch, data[f.start : f.stop]) for f in read.frames[: len(frames)]] == [
        (i, epoch, body) for i, (_, epoch, body) in enumerate(frames)
    ]


@given(st.integers(1, 5), st.integers(1, 200), st.integers(0, 3))
def test_points_come_back_bit_for_bit_from_stretches(width: int, count: int, switches: int):
    names = encode_names(tuple(f"m{i}" for i in range(width)))
    shape, packer = shape_of(names), points_packer(width)
    dice, wanted, data = np.random.default_rng(count), [], b""
    for i in range(count):
        values = dice.standard_normal(width)
        values[0] = [np.nan, np.inf, -0.0, values[0]][i % 4]
        body = packer.pack(shape, i - 5, i, *values)
        named = switches and i % (switches * 7) == 0
        data += pack(NAMED if named else POINTS, 0, i, RUN, (SIZE.pack(len(names)) + names if named else b"") + body, SALT)
        wanted.append(values)
    rows, steps = [], []
    for frame in scan(data, SALT).frames:
        shapes, when, values = read_points(data, [frame])
        assert (shapes == shape).all()
        rows.append(values)
        steps.extend(when[:, 0].tolist())
    assert np.concatenate(rows).tobytes() == np.array(wanted).tobytes()
    assert steps == [i - 5 for i in range(count)]


def test_a_fact_comes_back_as_it_was_said():
    data = pack(FACT, 3, 9, RUN, encode_fact("params", 12, {"größe": float("inf"), "n": None}), SALT)
    fact = read_fact(data, scan(data, SALT).frames[0], "w" * 16)
    assert (fact.what, fact.at_ns, fact.value, fact.epoch, fact.sequence) == ("params", 12, {"größe": float("inf"), "n": None}, 3, 9)


def test_random_garbage_between_good_frames_is_damage():
    a, b = pack(FACT, 0, 0, RUN, b"a", SALT), pack(FACT, 0, 1, RUN, b"b", SALT)
    garbage = os.urandom(5000)
    assert scan(a + garbage + b, SALT).damage == [(len(a), len(a) + len(garbage))]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(1, 3), st.integers(1, 40)), min_size=1, max_size=12))
def test_runs_that_take_turns_are_gathered_row_by_row_in_order(turns: list[tuple[int, int, int, int]]):
    """turns: run, epoch, metrics of a row, and how many rows of it follow each other; the shape of three metrics is known to nobody."""
    data, wanted, number, nameless = b"", {}, 0, 0
    for run, epoch, width, count in turns:
        for _ in range(count):
            values = [number * 0.5 + i for i in range(width)]
            data += pack(POINTS, epoch, number, bytes([run]) * 16, points_packer(width).pack(width, number, -number, *values), SALT)
            if width < 3:
                wanted.setdefault((bytes([run]) * 16, epoch), []).append((number, number, -number, values))
            nameless += width == 3
            number += 1
    read = scan(data, SALT)
    assert read.end == len(data) and read.damage == []
    groups, unknown = gather(data, read.frames, lambda shape: np.arange(shape, dtype=np.int32) if shape < 3 else None)
    found = {}
    for place, rows in groups.items():
        for group in rows:
            columns = [column.tolist() for column in (group.sequence, group.steps, group.times, group.values)]
            found.setdefault(place, []).extend(zip(*columns, strict=True))
    assert found == wanted
    assert sum(frame.stretch for frame in unknown) == nameless


def test_names_that_nobody_knows_cost_only_their_own_frames():
    """Two shapes of one width in one run: they are read together."""
    data = b"".join(pack(POINTS, 0, i, RUN, points_packer(1).pack(i % 2, i, i, 1.0), SALT) for i in range(6))
    data += b"".join(pack(POINTS, 0, i, RUN if i % 2 else b"s" * 16, points_packer(1).pack(0, i, i, 1.0), SALT) for i in range(6, 10))
    frames = scan(data, SALT).frames
    groups, unknown = gather(data, frames, lambda shape: np.zeros(1, np.int32) if shape == 0 else None)
    assert sorted(step for rows in groups.values() for group in rows for step in group.steps.tolist()) == [0, 2, 4, 6, 7, 8, 9]
    assert unknown and all(frame.run == RUN for frame in unknown)


def test_many_packed_at_once_are_those_packed_one_by_one():
    bodies = [(POINTS if i % 3 else NAMED, bytes([i]) * i) for i in range(20)]
    one_by_one = b"".join(pack(kind, 4, 9 + i, RUN, body, SALT) for i, (kind, body) in enumerate(bodies))
    assert pack_many(4, 9, RUN, bodies, SALT) == one_by_one
