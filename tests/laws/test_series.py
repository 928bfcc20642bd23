"""Laws of the series codec. Excludes the database."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stratal.core.errors import Damaged
from stratal.store.series import (
    MARK,
    Points,
    coarsen,
    decode,
    decode_block,
    encode,
    encode_block,
    envelope_of,
    join,
    statistics,
    unpack_marks,
)

int64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def points(draw: st.DrawFn, min_size: int = 1) -> Points:
    n = draw(st.integers(min_size, 300))
    column = hnp.arrays(np.int64, n, elements=int64)
    bits = draw(hnp.arrays(np.uint64, n, elements=st.integers(0, 2**64 - 1)))
    return Points(draw(column), draw(column), bits.view(np.float64))


def same(a: Points, b: Points) -> bool:
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


@given(points(min_size=0))
def test_a_chunk_decodes_to_the_same_bits(p: Points):
    assert same(decode(encode(p)), p)


@given(points(), st.integers(1, 9))
def test_a_block_decodes_to_the_same_bits(p: Points, series: int):
    keys = np.sort(np.arange(p.n, dtype=np.int32) % series * 7)
    found, back = decode_block(encode_block(keys, p))
    assert same(back, p)
    assert found.tolist() == keys.tolist()


@given(points(), points())
def test_statistics_of_a_join_follow_from_the_parts(a: Points, b: Points):
    x, y, both = statistics(a), statistics(b), statistics(join([a, b]))
    assert both.n == x.n + y.n
    assert both.nans == x.nans + y.nans
    assert both.infs == x.infs + y.infs
    assert both.first_step == min(x.first_step, y.first_step)
    assert both.last_step == max(x.last_step, y.last_step)
    lows = [v for v in (x.low, y.low) if v is not None]
    assert both.low == (min(lows) if lows else None)
    assert both.last == y.last or np.isnan(both.last)


@given(st.lists(st.floats(allow_nan=True), min_size=1, max_size=3000), st.integers(1, 50))
def test_an_envelope_keeps_every_buckets_extremes(values: list[float], buckets: int):
    v = np.array(values)
    p = Points(np.arange(len(v)), np.arange(len(v)), v)
    found = envelope_of(p, buckets)
    edges = [*np.searchsorted(p.steps, found.steps).tolist(), len(v)]
    assert len(found.steps) == min(buckets, len(v))
    for i, (start, stop) in enumerate(pairwise(edges)):
        part = v[start:stop]
        assert found.low[i] == np.fmin.reduce(part) or np.isnan(part).all()
        assert found.high[i] == np.fmax.reduce(part) or np.isnan(part).all()
        assert found.last[i] == part[-1] or np.isnan(part[-1])


def test_marks_are_the_envelope_of_512_points_each():
    v = np.random.default_rng(0).standard_normal(3000)
    p = Points(np.arange(3000), np.arange(3000), v)
    marks = unpack_marks(statistics(p).marks)
    assert marks.steps.tolist() == list(range(0, 3000, MARK))
    assert marks.low.tolist() == [v[i : i + MARK].min() for i in range(0, 3000, MARK)]
    coarse = coarsen(marks, 2)
    assert coarse.low.tolist() == [v[: 3 * MARK].min(), v[3 * MARK :].min()]


def test_other_bytes_are_refused_and_not_guessed():
    good = encode(Points(np.arange(9), np.arange(9), np.ones(9)))
    for bad in (b"", good[:-1], b"\x09" + good[1:], good[:5] + b"not zstd"):
        with pytest.raises(Damaged):
            decode(bad)
