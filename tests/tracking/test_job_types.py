"""The job type of a run: said at its start, kept, found and shown. Excluded: the filter language."""

import json

import pytest

from stratal.cli.app import main
from stratal.core.ids import new_id, to_bytes
from stratal.store.store import Store
from stratal.tracking.facts import START
from stratal.tracking.finding import find_runs, searchable
from stratal.tracking.opening import use_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run


def test_runs_of_a_group_are_found_by_their_part_in_it(store: Store):
    made = {}
    for job_type in ("train", "eval", ""):
        with run("churn", group="week 12", job_type=job_type, store=store) as made[job_type]:
            pass
    assert [read.id for read in find_runs("group = 'week 12' and job_type = 'eval'", store=store)] == [made["eval"].id]
    assert [read.id for read in find_runs("job_type is null", store=store)] == [made[""].id]
    assert [read.job_type for read in find_runs(order_by="job_type", store=store)] == ["eval", "train", ""]
    assert searchable(get_run(made["eval"].id, store=store)).job_type == "eval"


def test_a_start_of_before_there_were_job_types_is_read(store: Store):
    id = new_id()
    store.writer.fact(to_bytes(id), 0, START, {"experiment": "churn", "group": "week 12"})
    assert get_run(id, store=store).job_type == ""


def test_the_job_type_is_shown(store: Store, capsys: pytest.CaptureFixture[str]):
    use_store(store)
    with run("churn", job_type="eval") as made:
        pass
    for words in (["show", made.short], ["show", made.short, "--json"]):
        with pytest.raises(SystemExit):
            main(words)
        page = capsys.readouterr().out
        assert "eval" in page
    assert json.loads(page)["job_type"] == "eval"
