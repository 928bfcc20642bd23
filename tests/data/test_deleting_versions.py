"""Dataset versions that are hidden, brought back, and purged; and what still needs them."""

import json

import polars as pl
import pytest

import stratal.data as data
from stratal.cli.app import main
from stratal.core.errors import Misuse, NotFound, Refused
from stratal.store.store import Store
from stratal.tracking.collecting import gc
from stratal.tracking.deleting import delete
from stratal.tracking.opening import use_store
from stratal.tracking.runs import run

ROWS = pl.DataFrame({"id": [f"C{i}" for i in range(40)], "tenure": list(range(40))})


def grown(by: int) -> pl.DataFrame:
    return ROWS.with_columns(pl.col("tenure") + by)


def test_a_deleted_version_is_passed_over_and_comes_back(store: Store):
    first, second = (data.dataset("churn", grown(n), store=store) for n in range(2))
    second.delete()
    second.delete()
    assert data.open_dataset("churn", store=store) == first
    assert data.open_dataset("dataset:churn@2", store=store).frame().equals(grown(1))
    assert second.record.deletion.by == store.actor().name
    with pytest.raises(NotFound, match="previous") as found:
        data.open_dataset("dataset:churn@previous", store=store)
    assert "2 (deleted)" in found.value.hint
    second.restore()
    assert data.open_dataset("churn", store=store) == second
    assert second.record.deletion is None


def test_a_purged_version_gives_its_rows_up_and_keeps_what_is_known_of_it(store: Store):
    made = data.dataset("churn", ROWS, store=store)
    before = made.record
    with pytest.raises(Misuse, match="is not deleted"):
        made.purge()
    made.delete()
    made.purge()
    made.purge()
    assert set(gc(grace_hours=0, store=store).blobs) == {before.content, before.profile}
    with pytest.raises(NotFound, match="purged on"):
        made.frame()
    with pytest.raises(NotFound, match="purged on"):
        made.restore()
    assert (made.record.digest, made.record.columns, made.record.rows) == (before.digest, before.columns, 40)


def test_the_same_content_brings_a_purged_version_back_under_its_number(store: Store):
    made = data.dataset("churn", ROWS, store=store)
    data.dataset("churn", grown(1), store=store)
    made.delete()
    made.purge()
    gc(grace_hours=0, store=store)
    assert data.dataset("churn", ROWS, store=store) == made
    assert made.record.deletion is None
    gc(grace_hours=0, store=store)
    assert data.open_dataset("dataset:churn@1", store=store).frame().equals(ROWS)


def test_what_parts_and_runs_stand_on_is_purged_only_by_who_says_so(store: Store):
    whole = data.dataset("churn", ROWS, store=store)
    with run("churn", store=store) as user:
        train, _ = whole.split(by="id", seed=7)
    whole.delete()
    with pytest.raises(Refused, match=f"dataset:churn/te.t@1 is a part of it.*run:{user.short} used it"):
        whole.purge()
    assert whole.record.deletion.purged_ns is None
    whole.purge(needed=True)
    assert whole.record.deletion.purged_ns is not None
    assert train.frame().height > 0


def test_content_that_another_name_holds_stays(store: Store):
    made, other = (data.dataset(name, ROWS, store=store) for name in ("churn", "other"))
    made.delete()
    made.purge()
    assert gc(grace_hours=0, store=store).blobs == ()
    assert other.frame().equals(ROWS)


def test_the_command_line_deletes_versions_by_number_only(store: Store, capsys: pytest.CaptureFixture[str]):
    use_store(store)
    data.dataset("churn", ROWS)

    def says(*words: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["data", *words])
        assert ended.value.code == code
        out, err = capsys.readouterr()
        return out + err

    assert "dataset:churn@1" in says("delete", "dataset:churn", code=2)
    assert "dataset:churn@1 deleted" in says("delete", "dataset:churn@1")
    assert "deleted" in says("versions", "churn")
    assert json.loads(says("purge", "dataset:churn@1", "--json"))["deletion"]["purged_ns"] > 0
    assert "purged on" in says("restore", "dataset:churn@1", code=1)
    with pytest.raises(Misuse, match="a dataset cannot be deleted") as elsewhere:
        delete("dataset:churn@1", store=store)
    assert "stratal data delete" in elsewhere.value.hint
