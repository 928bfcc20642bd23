"""The order of samples: laws, over any seed, size and change of the number of ranks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.stats import chisquare

from stratal.core.errors import Misuse
from stratal.training.order import indices, share

seeds = some.integers(-(2**70), 2**70)
sizes = some.integers(1, 400)
law = settings(max_examples=60)


@law
@given(seed=seeds, epoch=some.integers(0, 10**6), size=sizes)
def test_an_epoch_holds_each_sample_once(seed, epoch, size):
    order = indices(seed=seed, epoch=epoch, position=0, count=size, size=size)
    assert sorted(order.tolist()) == list(range(size))


@law
@given(seed=seeds, epoch=some.integers(0, 50), size=sizes, data=some.data())
def test_any_stretch_is_a_slice_of_the_epoch(seed, epoch, size, data):
    position = data.draw(some.integers(0, size))
    count = data.draw(some.integers(0, 2 * size))
    whole = indices(seed=seed, epoch=epoch, position=0, count=size, size=size)
    part = indices(seed=seed, epoch=epoch, position=position, count=count, size=size)
    assert np.array_equal(part, whole[position : position + count])


@law
@given(seed=seeds, size=some.integers(1, 300), batch=some.integers(1, 40), ranks=some.lists(some.integers(1, 7), min_size=1, max_size=6))
def test_ranks_that_come_and_go_see_each_sample_once_in_the_same_order(seed, size, batch, ranks):
    seen: list[int] = []
    step = 0
    while len(seen) < size:
        world_size = ranks[step % len(ranks)]
        chosen = indices(seed=seed, epoch=0, position=len(seen), count=batch, size=size)
        for rank in range(world_size):
            seen += chosen[share(len(chosen), rank, world_size)].tolist()
        step += 1
    assert seen == indices(seed=seed, epoch=0, position=0, count=size, size=size).tolist()


@law
@given(count=some.integers(0, 1000), world_size=some.integers(1, 50))
def test_shares_differ_by_at_most_one_and_fill_the_batch(count, world_size):
    parts = [range(count)[share(count, rank, world_size)] for rank in range(world_size)]
    assert [sample for part in parts for sample in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@law
@given(seed=seeds)
def test_epochs_and_seeds_give_other_orders(seed):
    def order(seed, epoch):
        return indices(seed=seed, epoch=epoch, position=0, count=64, size=64).tolist()

    assert order(seed, 0) != order(seed, 1)
    assert order(seed, 0) != order(seed + 1, 0)


@pytest.mark.parametrize("size", [3, 5, 7, 10, 33])
def test_each_place_holds_each_sample_equally_often(size):
    orders = np.stack([indices(seed=seed, epoch=0, position=0, count=size, size=size) for seed in range(500)])
    for place in (0, size // 2, size - 1):
        counts = np.bincount(orders[:, place], minlength=size)
        assert chisquare(counts).pvalue > 1e-4


def test_neighbours_in_the_data_are_not_neighbours_in_the_order():
    order = indices(seed=3, epoch=0, position=0, count=10_000, size=10_000)
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.05
    assert abs(np.corrcoef(order, np.arange(10_000))[0, 1]) < 0.05


def test_a_stretch_of_a_huge_data_set_needs_no_list_of_it():
    order = indices(seed=1, epoch=2, position=10**17, count=1000, size=10**18)
    assert len(set(order.tolist())) == 1000
    assert order.min() >= 0
    assert order.max() < 10**18


def test_the_order_is_pinned_over_versions():
    # A checkpoint's one integer means this order, for ever.
    assert indices(seed=0, epoch=0, position=0, count=10, size=10).tolist() == [6, 4, 9, 7, 5, 1, 3, 8, 2, 0]


def test_positions_beyond_the_end_are_refused():
    with pytest.raises(Misuse, match="position 11 of 10"):
        indices(seed=0, epoch=0, position=11, count=1, size=10)
