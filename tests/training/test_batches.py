"""Batches over every kind of data set, and what is refused."""

from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
import torch

from stratal.core.errors import Misuse
from stratal.training.batches import batches_of, count_samples, take

CHOSEN = np.array([3, 0, 2])


def epoch_of(dataset, size, position=0):
    return list(batches_of(dataset, size=size, seed=0, epoch=0, position=position, consumed=position))


def test_arrays_become_tensors_and_keep_their_dtype():
    taken = take(np.arange(5, dtype=np.float32), CHOSEN)
    assert taken.dtype == torch.float32
    assert taken.tolist() == [3.0, 0.0, 2.0]


def test_dicts_and_tuples_keep_their_shape():
    taken = take({"x": np.arange(10).reshape(5, 2), "more": (torch.arange(5), np.array(list("abcde")))}, CHOSEN)
    assert taken["x"].tolist() == [[6, 7], [0, 1], [4, 5]]
    assert taken["more"][0].tolist() == [3, 0, 2]
    assert taken["more"][1].tolist() == ["d", "a", "c"]


def test_named_tuples_stay_named():
    class Pair(NamedTuple):
        x: object
        y: object

    assert take(Pair(np.arange(5), torch.arange(5)), CHOSEN).y.tolist() == [3, 0, 2]


def test_an_object_that_is_indexed_by_an_array_gives_what_it_gives():
    assert take(pl.DataFrame({"x": [10, 11, 12, 13]}), CHOSEN)["x"].to_list() == [13, 10, 12]


def test_torch_data_sets_over_tensors_work():
    x, y = take(torch.utils.data.TensorDataset(torch.arange(5), torch.arange(5) * 2), CHOSEN)
    assert (x.tolist(), y.tolist()) == ([3, 0, 2], [6, 0, 4])


def test_nothing_is_dropped_and_the_last_batch_is_short():
    batches = epoch_of(np.arange(10), 4)
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert [batch.consumed for batch in batches] == [4, 8, 10]
    assert [batch.ends_epoch for batch in batches] == [False, False, True]
    assert sorted(sample for batch in batches for sample in batch.indices.tolist()) == list(range(10))


def test_a_rank_takes_only_its_share():
    (batch,) = epoch_of(np.arange(100, 105), 8)
    shares = [batch.part(rank, 3) for rank in range(3)]
    assert [count for _, count in shares] == [2, 2, 1]
    assert [value - 100 for data, _ in shares for value in data.tolist()] == batch.indices.tolist()


def test_more_ranks_than_samples_leave_some_without():
    (batch,) = epoch_of(np.arange(2), 8)
    assert [batch.part(rank, 3)[1] for rank in range(3)] == [1, 1, 0]


def test_going_on_in_the_middle_gives_the_rest_of_the_same_order():
    whole = np.concatenate([batch.indices for batch in epoch_of(np.arange(50), 8)])
    rest = np.concatenate([batch.indices for batch in epoch_of(np.arange(50), 5, position=16)])
    assert rest.tolist() == whole[16:].tolist()


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [
        ({"x": np.arange(3), "y": np.arange(4)}, "x: 3, y: 4"),
        (np.arange(0), "is empty"),
        ({}, "is empty"),
        (7, "not a data set"),
        ({"x": None}, "x is a NoneType"),
    ],
)
def test_what_is_no_data_set_says_why(dataset, reason):
    with pytest.raises(Misuse, match=reason):
        count_samples(dataset)


def test_a_list_is_refused_with_a_way_out():
    with pytest.raises(Misuse, match="does not give many samples at once"):
        take([1, 2, 3, 4], CHOSEN)
