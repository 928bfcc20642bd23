"""The audit log as a chain: what verify finds. Not here: which change writes which entry."""

import sqlite3

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratal.core.errors import Misuse
from stratal.registry import registering
from stratal.registry.audit import NOTHING, Checkpoint, chain, find_breaks, read_checkpoint
from stratal.registry.policies import approvals, policy
from stratal.registry.store import ModelStore


def log_of(bodies, start=NOTHING):
    entries, prev = [], start
    for seq, body in enumerate(bodies, start=1):
        entry = chain(prev, seq=seq, at_ns=seq * 10, actor="ann", is_authenticated=False, action="alias", model="churn", body=body)
        entries.append(entry)
        prev = entry.hash
    return entries


logs = st.lists(st.text(max_size=5), min_size=1, max_size=8).map(log_of)


@given(logs)
def test_a_whole_log_has_no_breaks(entries):
    assert find_breaks(entries) == []
    assert find_breaks(entries, Checkpoint(seq=len(entries), hash=entries[-1].hash)) == []


@given(logs, st.data())
def test_a_changed_field_is_found(entries, data):
    place = data.draw(st.integers(0, len(entries) - 1))
    field = data.draw(st.sampled_from(["seq", "at_ns", "actor", "is_authenticated", "action", "model", "body", "prev", "hash"]))
    old = getattr(entries[place], field)
    new = (not old) if isinstance(old, bool) else old + 1 if isinstance(old, int) else old + "x"
    entries[place] = msgspec.structs.replace(entries[place], **{field: new})
    assert find_breaks(entries)


@given(logs, st.data())
def test_a_removed_entry_is_found_and_at_the_end_by_a_checkpoint(entries, data):
    place = data.draw(st.integers(0, len(entries) - 1))
    kept = Checkpoint(seq=len(entries), hash=entries[-1].hash)
    is_last = place == len(entries) - 1
    del entries[place]
    assert bool(find_breaks(entries)) == (not is_last)
    assert find_breaks(entries, kept)


@given(logs, st.data())
def test_an_inserted_entry_is_found(entries, data):
    place = data.draw(st.integers(0, len(entries) - 1))
    prev = entries[place].prev
    forged = chain(prev, seq=place + 1, at_ns=5, actor="eve", is_authenticated=True, action="alias", model="churn", body="forged")
    entries.insert(place, forged)
    assert find_breaks(entries)


@given(logs.filter(lambda entries: len(entries) > 1), st.data())
def test_reordered_entries_are_found(entries, data):
    one, other = data.draw(st.lists(st.integers(0, len(entries) - 1), min_size=2, max_size=2, unique=True))
    entries[one], entries[other] = entries[other], entries[one]
    assert find_breaks(entries)


@given(logs, st.data())
def test_a_log_written_anew_is_found_by_a_checkpoint(entries, data):
    kept = Checkpoint(seq=len(entries), hash=entries[-1].hash)
    place = data.draw(st.integers(0, len(entries) - 1))
    bodies = [entry.body for entry in entries]
    bodies[place] += "x"
    anew = log_of(bodies)
    assert find_breaks(anew) == []
    assert find_breaks(anew, kept)
    assert find_breaks(anew, read_checkpoint(str(kept)))


@pytest.mark.parametrize("text", ["", "7", "7:abc", "x:" + "0" * 64, ":", "-1:" + "0" * 64])
def test_what_is_no_checkpoint_is_refused(text):
    with pytest.raises(Misuse, match="not a checkpoint"):
        read_checkpoint(text)


@pytest.fixture
def lived(house):
    """A store in which something happened, its triggers taken away: as somebody with the file in their hands has it."""
    rules = policy(production=[approvals(1)])
    for seed in "ab":
        version = registering.register("churn", house.model(seed), policy=rules, store=house.store)
        registering.promote(version, "Staging", store=house.store)
        with house.acting("maria"):
            registering.approve(version, "Production", store=house.store)
        registering.promote(version, "Production", store=house.store)
    registering.alias("churn", "canary", 1, store=house.store)
    house.kept = ModelStore(house.store).verify_audit()
    assert house.kept.is_sound and house.kept.entries == 12
    with sqlite3.connect(house.store.folder / "stratal.db") as connection:
        for (name,) in connection.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            connection.execute(f"drop trigger {name}")
    return house


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("update registry_audit set actor = 'bob' where seq = 2", "entry 2 was changed"),
        ("update registry_audit set at_ns = at_ns + 1 where seq = 12", "entry 12 was changed"),
        ("update registry_audit set body = replace(body, 'maria', 'marta') where seq = 6", "entry 6 was changed"),
        ("delete from registry_audit where seq = 3", "entry 3 is missing"),
        ("delete from registry_audit where seq = 1", "entry 1 is missing"),
        ("delete from registry_audit where seq = 12", "alias canary of model:churn names version 1, and the log says nothing"),
        ("delete from registry_audit where seq >= 11", "stands in Production, and the log says Staging"),
        ("update registry_standing set stage = 'Production', slot = 2 where number = 1", "model:churn@1 stands in Production"),
        ("update registry_version set digest = '0' where number = 1", "model:churn@1 has digest 0"),
        ("update registry_alias set number = 2", "names version 2, and the log says 1"),
        ("update registry_model set policy = 'x'", "is under policy x"),
        ("update registry_approval set person = 'eve'", "by eve is given, and the log says nothing"),
        ("delete from registry_approval", "by maria is nothing, and the log says given"),
        ("insert into registry_approval select request, 'eve', 0, at_ns, evidence, '' from registry_approval", "by eve is given"),
    ],
)
def test_verify_finds_what_was_done_to_the_rows(lived, statement, finding):
    with sqlite3.connect(lived.store.folder / "stratal.db") as connection:
        assert connection.execute(statement).rowcount > 0
    report = ModelStore(lived.store).verify_audit()
    assert any(finding in line for line in report.findings), report.findings


def test_a_cut_tail_with_tables_set_back_is_found_by_a_checkpoint_only(lived):
    with sqlite3.connect(lived.store.folder / "stratal.db") as connection:
        connection.execute("delete from registry_audit where seq = 12")
        connection.execute("delete from registry_alias")
    assert ModelStore(lived.store).verify_audit().is_sound
    report = ModelStore(lived.store).verify_audit(checkpoint=str(lived.kept.head))
    assert report.findings == ("the log ends at entry 11, and the checkpoint is of entry 12: its end was cut",)


def test_swapped_entries_are_found(lived):
    with sqlite3.connect(lived.store.folder / "stratal.db") as connection:
        connection.execute("update registry_audit set seq = -1 where seq = 4")
        connection.execute("update registry_audit set seq = 4 where seq = 5")
        connection.execute("update registry_audit set seq = 5 where seq = -1")
    assert not ModelStore(lived.store).verify_audit().is_sound


def test_each_change_has_exactly_one_entry_with_its_person(lived):
    entries = registering.history("churn", store=lived.store)
    actions = [(entry.action, entry.actor) for entry in entries]
    way = [("register", "ann"), ("policy", "ann"), ("promote", "ann"), ("request", "maria"), ("approve", "maria"), ("promote", "ann")]
    assert actions == [*way, *(each for each in way if each[0] != "policy"), ("alias", "ann")]
