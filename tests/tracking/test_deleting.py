"""Deleting, restoring and purging runs: what is hidden, what comes back, what is refused, what never rises. Excludes collecting files."""

import json
import shutil
from pathlib import Path

import pytest
from sqlalchemy import func, select

from stratal.cli.app import main
from stratal.core.errors import Conflict, Misuse, NotFound, Refused
from stratal.core.ids import new_id, to_bytes
from stratal.server.calls import arguments_of
from stratal.server.rooms import ROOMS
from stratal.store import leases, tables
from stratal.store.events import events_since
from stratal.store.journal import Writer, segments
from stratal.store.store import Store
from stratal.store.uses import blob_use
from stratal.tracking.alerts import alerts
from stratal.tracking.deleting import delete, purge, restore
from stratal.tracking.facts import START, TAGS, Start
from stratal.tracking.finding import count, find_runs
from stratal.tracking.forking import fork
from stratal.tracking.leased import start_leased
from stratal.tracking.opening import use_store
from stratal.tracking.operations.deciding import RunDecisions
from stratal.tracking.reading import get_run
from stratal.tracking.resolving import get
from stratal.tracking.runs import Run, run
from stratal.tracking.store import runs as rows

# Every table that holds rows of a run; what is new must be thought of here and in the purge.
TABLES_OF_RUNS = [
    "metric", "block", "chunk", "epoch", "deletion", "param", "tag", "note", "word", "artifact", "media", "edge", "statement",
    "participant", "kept_fact",
]  # fmt: skip


def _made(store: Store, experiment: str = "e") -> Run:
    with run(experiment, params={"x": 1}, tags={"a": "b"}, store=store) as made:
        for step in range(600):
            made.log({"m": float(step)}, step=step)
        made.log({"few": 1.0, "sample": "a text"})
        made.note("a note")
        made.save_bytes("file", made.id.encode())
        made.edge("used", "dataset:d@1")
        made.state("said", {"a": 1})
    return made


def _ids(store: Store, where: str = "") -> set[str]:
    return {found.id for found in find_runs(where, store=store)}


def _no(store: Store, id: str) -> int:
    return get_run(id, store=store).record.no


def _rows(store: Store, id: str, no: int) -> dict[str, int]:
    """Count what the database holds of a run, by table. no: the number of its row, which is gone once it was purged."""
    with store.database.read(store.actor()) as tx:

        def found(table: str, column: str, value: object) -> int:
            rows = tables.metadata.tables[table]
            return int(tx.value(select(func.count()).select_from(rows).where(rows.c[column] == value)))

        counts = {"run": found("run", "no", no)}
        counts |= {table: found(table, "run", to_bytes(id) if table in ("participant", "kept_fact") else no) for table in TABLES_OF_RUNS}
        return counts | {"blob_use": found("blob_use", "holder", f"run:{id}")}


@pytest.mark.here
def test_the_list_of_tables_is_whole(store: Store):
    connection = store.database.connect()
    referring = [
        table
        for (table,) in connection.execute("select name from sqlite_master where type = 'table'").fetchall()
        for key in connection.execute(f"pragma foreign_key_list({table})").fetchall()
        if key[2] == "run"
    ]
    assert set(referring) <= set(TABLES_OF_RUNS)


def test_a_deleted_run_is_hidden_and_comes_back_as_it_was(store: Store):
    made, other = _made(store), _made(store)
    before = get_run(made.id, store=store).record
    assert delete(made.short, store=store) == [made.id]
    assert _ids(store) == {other.id} == _ids(store, "params.x = 1") == _ids(store, "not (params.x = 2)")
    assert count(store=store) == 1
    assert _ids(store, "deleted is not null") == {made.id} == _ids(store, "deleted > '-1h' and metrics.m > 3")
    assert len(get("experiment:e", store=store)) == 1  # type: ignore[arg-type]
    assert get_run(made.id, store=store).deleted is not None, "a ref still reaches it"
    assert delete(made.id, store=store) == [], "deleted already"
    assert restore(made.id, store=store) == [made.id]
    assert get_run(made.id, store=store).record == before
    assert _ids(store) == {made.id, other.id}


def test_a_run_that_is_named_often_is_looked_at_once(store: Store):
    made = _made(store)
    [room] = [room for room in ROOMS if room.store is RunDecisions]
    [delete_runs] = [operation for name, operation in room.operations.items() if name == "delete"]
    call = arguments_of(room, delete_runs)(runs=[made.id] * 1000)
    assert room.runs_of(delete_runs, call) == [made.id]
    asked: list[str] = []
    whole = rows.get_record
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rows, "get_record", lambda tx, id: asked.append(id) or whole(tx, id))
        assert RunDecisions(store).delete(runs=call.runs) == RunDecisions(store).restore(runs=call.runs) == [made.id]
    assert asked == [made.id] * 2


def test_alerts_of_a_deleted_run_are_hidden_with_it(store: Store):
    with run("e", store=store) as made:
        made.alert("look", "here")
    assert [told.run for told in alerts(store=store)] == [made.id]
    delete(made.id, store=store)
    assert list(alerts(store=store)) == []
    assert len(alerts(run=made.id, store=store)) == 1


def test_parts_go_with_a_run_if_that_is_asked(store: Store):
    with run("e", store=store) as outer, run(name="inner", store=store) as inner, run(name="innermost", store=store) as innermost:
        pass
    assert delete(outer.id, store=store) == [outer.id]
    assert set(delete(outer.id, children=True, store=store)) == {inner.id, innermost.id}
    assert _ids(store) == set()
    assert set(restore(outer.id, children=True, store=store)) == {outer.id, inner.id, innermost.id}


def test_an_experiment_is_deleted_and_restored_with_all_its_runs(store: Store):
    first, second, other = _made(store, "one"), _made(store, "one"), _made(store, "two")
    assert set(delete("experiment:one", store=store)) == {first.id, second.id}
    assert _ids(store) == {other.id}
    with pytest.raises(NotFound):
        get("experiment:one", store=store)
    assert set(restore("experiment:one", store=store)) == {first.id, second.id}
    with pytest.raises(NotFound):
        delete("experiment:none", store=store)


def test_only_runs_and_experiments_are_deleted(store: Store):
    with pytest.raises(Misuse, match="a model cannot be deleted"):
        delete("model:churn@1", store=store)
    with pytest.raises(NotFound):
        delete("run:00000000", store=store)


def test_a_deleted_run_is_not_gone_on_with(store: Store):
    made = _made(store)
    delete(made.id, store=store)
    for go_on in (lambda: run(resume=made.id, store=store), lambda: run(fork_from=(made.id, 3), store=store)):
        with pytest.raises(Misuse, match="was deleted"):
            go_on()


@pytest.mark.here
def test_a_purge_leaves_no_row_and_touches_no_other_run(store: Store):
    made, other = _made(store), _made(store)
    no, other_no = _no(store, made.id), _no(store, other.id)
    kept = _rows(store, other.id, other_no)
    assert all(count for table, count in kept.items() if table not in ("epoch", "deletion", "kept_fact")), kept
    delete(made.id, store=store)
    done = purge(made.id, store=store)
    assert (done.runs, done.kept) == ((made.id,), {})
    assert set(_rows(store, made.id, no).values()) == {0}
    assert _rows(store, other.id, other_no) == kept
    with pytest.raises(NotFound):
        get_run(made.id, store=store)
    if not store.address:  # PostgreSQL lets no transaction end otherwise
        assert store.database.connect().execute("pragma foreign_key_check").fetchall() == []
    assert store.database.connect().execute("select count(*) from tombstone").fetchone() == (1,)


@pytest.mark.here
def test_who_deleted_what_is_told(store: Store):
    made = _made(store)
    with store.query() as tx:
        since = events_since(tx, 0)[-1].seq
    delete(made.id, store=store)
    restore(made.id, store=store)
    delete(made.id, store=store)
    purge(made.id, store=store)
    with store.query() as tx:
        told = [(event.kind, event.subject, event.actor) for event in events_since(tx, since)]
    assert told == [(kind, f"run:{made.id}", "tester") for kind in ("deleted", "restored", "deleted", "purged")]


@pytest.mark.here
def test_a_purged_run_never_rises_from_an_old_journal(store: Store, tmp_path: Path):
    id, late = new_id(), Writer(store.journals)
    late.fact(to_bytes(id), 0, START, Start(experiment="e"))
    late.log(to_bytes(id), 0, {"m": 1.0}, 0)
    late.close()
    [name] = segments(store.journals, [late.id])
    shutil.copy(store.journals / name, tmp_path / name)
    held = Writer(tmp_path)
    held.fact(to_bytes(id), 0, TAGS, {"late": "yes"})
    held.log(to_bytes(id), 0, {"m": 2.0}, 1)
    held.fact(to_bytes(other := new_id()), 0, START, Start(experiment="other"))
    held.close()
    no = _no(store, id)
    delete(id, store=store)
    purge(id, store=store)
    [late_name] = segments(tmp_path, [held.id])
    shutil.copy(tmp_path / late_name, store.journals / late_name)
    with store.snapshot() as snapshot:
        assert snapshot.series(to_bytes(id), "m").n == 0
    assert _ids(store, "deleted is null or deleted is not null") == {other}, "what else the journal holds is settled"
    rows = _rows(store, id, no)
    assert rows.pop("run") == (0 if store.address else 1), "the other run took its number, where numbers are given again"
    assert rows["participant"] == rows["metric"] == rows["tag"] == rows["blob_use"] == 0
    with pytest.raises(NotFound, match="was purged"), store.command() as tx:
        leases.claim(tx, id, "test", ttl_s=1)


def test_what_is_not_deleted_is_not_purged(store: Store):
    made = _made(store)
    with pytest.raises(Misuse, match="is not deleted"):
        purge(made.id, store=store)
    with pytest.raises(Misuse, match="needs a run"):
        purge(store=store)
    assert _ids(store) == {made.id}


def test_a_run_that_is_alive_is_not_purged(store: Store):
    made, leased = run("e", store=store), start_leased("e", store=store, kind="train")
    for alive in (made, leased):
        delete(alive.id, store=store)
        with pytest.raises(Conflict, match="still running"):
            purge(alive.id, store=store)
        alive.finish()
        assert purge(alive.id, store=store).runs == (alive.id,)


def test_what_others_need_is_not_purged(store: Store):
    first = _made(store)
    made = fork(first.id, step=10, store=store)
    with run("e", store=store) as reading:
        reading.use(first.ref)
    delete("experiment:e", store=store)
    with pytest.raises(Refused, match="is a fork of it"):
        purge(first.id, store=store)
    purge(made.id, store=store)
    with pytest.raises(Refused, match="uses it"):
        purge(first.id, store=store)
    assert purge("experiment:e", store=store).runs == (first.id, reading.id), "together nobody is left who needs one"


@pytest.mark.here
def test_what_a_version_of_a_model_rests_on_is_not_purged(store: Store):
    made, judging = _made(store), _made(store)
    digest = get_run(made.id, store=store).artifacts[0].digest
    with store.command() as tx:
        blob_use(tx, digest, "model:churn@1")
    judging.is_open = True
    judging.state("evaluation", {"auc": 0.9}, subject=f"sha256:{digest}")
    delete("experiment:e", store=store)
    for id, reason in ((made.id, "model:churn@1 holds its files"), (judging.id, "model:churn@1 is judged by what it states")):
        with pytest.raises(Refused, match=reason):
            purge(id, store=store)
    assert set(purge(older_than_days=0, store=store).kept) == {made.id, judging.id}


def test_runs_of_studies_and_pipelines_are_hidden_but_not_purged(store: Store):
    with run("e", kind="trial", store=store) as trial:
        pass
    delete(trial.id, store=store)
    with pytest.raises(Refused, match="would not add up"):
        purge(trial.id, store=store)


def test_a_purge_by_age_takes_what_nobody_needs_and_says_what_stays(store: Store):
    first, gone = _made(store), _made(store)
    fork(first.id, step=10, store=store)
    delete(first.id, store=store)
    delete(gone.id, store=store)
    assert purge(older_than_days=1, store=store).runs == ()
    dry = purge(older_than_days=0, dry_run=True, store=store)
    assert dry.runs == (gone.id,) and "fork" in dry.kept[first.id]
    assert _ids(store, "deleted is not null") == {first.id, gone.id}
    assert purge(older_than_days=0, store=store) == dry
    assert _ids(store, "deleted is not null") == {first.id}


def test_the_commands_delete_restore_and_purge(store: Store, capsys: pytest.CaptureFixture[str]):
    use_store(store)
    made = _made(store)

    def ask(*words: str) -> str:
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == 0
        return capsys.readouterr().out

    assert json.loads(ask("delete", made.short, "--json")) == {"deleted": [made.id]}
    assert "nothing to do: deleted before" in ask("delete", made.short)
    assert "stratal restore" in ask("show", made.short)
    assert json.loads(ask("runs", "--json")) == []
    assert json.loads(ask("runs", "-q", "deleted is not null", "--json"))[0]["id"] == made.id
    assert ask("restore", made.short) == "1 run restored\n"
    ask("delete", "experiment:e")
    assert json.loads(ask("purge", "--older-than", "0", "--dry-run", "--json")) == {"dry_run": True, "purged": [made.id], "kept": {}}
    assert ask("purge", made.short).startswith("1 run purged")
