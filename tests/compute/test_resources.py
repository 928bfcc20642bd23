"""Slots of a machine, read from fake control groups."""

import os

from stratal.compute.resources import machine_slots, share

AFFINITY = len(os.sched_getaffinity(0))


def test_without_a_limit_the_affinity_mask_counts(tmp_path):
    assert machine_slots(tmp_path) == AFFINITY
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine_slots(tmp_path) == AFFINITY


def test_a_quota_of_a_control_group_bounds_the_slots(tmp_path):
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert machine_slots(tmp_path) == 1


def test_the_older_control_groups_are_read_too(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("100000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert machine_slots(tmp_path) == 1


def test_each_worker_gets_its_share_and_at_least_one():
    assert [share(8, 3), share(2, 4), share(4, 0)] == [2, 1, 4]
