"""Two writers of one run in one tick, one of them with more series than a tick brings up to date. Not here: takeovers."""

from stratal.core.ids import new_id, to_bytes
from stratal.store.journal import Writer
from stratal.tracking.finding import find_runs
from stratal.tracking.reading import get_run


def test_a_narrow_writer_beside_a_wide_one_takes_none_of_its_last_values(store):
    id = new_id()
    wide, narrow = Writer(store.journals), Writer(store.journals)
    wide.log(to_bytes(id), 0, {f"m{i}": float(i) for i in range(600)}, 1)
    narrow.log(to_bytes(id), 0, {"m0": 5.0, "other": 1.0}, 2)
    wide.close()
    narrow.close()

    store.settle()

    read = get_run(id, store=store)
    assert read.metrics["m0"] == 5.0 and read.metrics["other"] == 1.0 and read.metrics["m599"] == 599.0
    assert len(read.metrics) == 601
    assert [run.id for run in find_runs("metrics.m599 = 599", store=store)] == [id]
