"""Odd steps, bodies and names: refused when they are said, or settled; never a store that cannot be read any more."""

import random

import pytest

from stratal.core.errors import Misuse
from stratal.store.store import Store
from stratal.tracking.facts import ARTIFACT, EDGE, MEDIA, STATE, ArtifactFact, EdgeFact, MediaEntry, MediaFact, MediaFile, StateFact
from stratal.tracking.finding import find_runs
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

LAST = 2**63 - 1


@pytest.mark.parametrize("settle_between", [False, True])
def test_after_the_last_possible_step_values_without_a_step_stay_there(store: Store, settle_between: bool):
    with run("e", store=store) as opened:
        opened.log({"m": 0.0}, step=LAST - 1)
        opened.log({"m": 1.0})
        if settle_between:
            store.settle()
        opened.log({"m": 2.0})
        opened.log({"m": 3.0})
    found = get_run(opened.id, store=store).series("m")
    assert found.steps.tolist() == [LAST - 1, LAST, LAST, LAST]
    assert found.values.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert get_run(opened.id, store=store).metrics == {"m": 3.0}


def test_the_step_that_stands_for_none_in_a_journal_is_refused(store: Store):
    with run("e", store=store) as opened:
        with pytest.raises(Misuse, match="step"):
            opened.log({"m": 1.0}, step=-(2**63))
        opened.log({"m": 1.0}, step=-(2**63) + 1)
    assert get_run(opened.id, store=store).series("m").steps.tolist() == [-(2**63) + 1]


@pytest.mark.parametrize("key", [None, True, (1, 2)])
def test_a_statement_that_no_document_can_hold_is_refused_and_the_store_stays_readable(store: Store, key: object):
    with run("e", store=store) as opened:
        with pytest.raises(Misuse, match="state"):
            opened.state("counts", {"by": {key: 3}})
        opened.state("counts", {"by": {"none": 3, 7: 1}})
    assert [s.body for s in get_run(opened.id, store=store).statements()] == [{"by": {"none": 3, "7": 1}}]


def test_a_body_that_cannot_be_settled_is_kept_raw_and_the_rest_is_settled(store: Store):
    opened = run("e", store=store)
    opened._writer.fact(bytes.fromhex(opened.id), 0, "state", {"kind": "k", "subject": "", "body": {"x": {None: 1}}, "author": "a"})
    opened._writer.fact(bytes.fromhex(opened.id), 0, "start", {"experiment": "e", "parent": "not an id"})
    opened.finish()
    assert get_run(opened.id, store=store).status == "finished"
    kept = store.database.connect().execute("select what, reason from kept_fact order by sequence").fetchall()
    assert kept == [("state", "unreadable")], "a start whose parent is none only has no parent"


@pytest.mark.parametrize("wrong", [{"name": 3}, {"group": 7}, {"tags": {1: "x"}}, {"note": 5}])
def test_a_start_that_could_not_be_read_back_is_refused(store: Store, wrong: dict):
    with pytest.raises(Misuse):
        run("e", store=store, params={"a": 1}, **wrong)


def test_facts_that_could_not_be_read_back_are_refused(store: Store):
    with run("e", store=store) as opened:
        for say in (
            lambda: opened.note(5),
            lambda: opened.edge("used", 5),
            lambda: opened.state("k", {1: 2}),
            lambda: opened.state("k", {}, subject=5),
            lambda: opened.set_tags({5: "x"}),
            lambda: opened.log_params({5: "x"}),
        ):
            with pytest.raises(Misuse):
                say()
        opened.note("fine")
    assert [note.text for note in get_run(opened.id, store=store).notes] == ["fine"]


def test_params_and_tags_that_no_index_could_hold_whole_are_kept_and_found(store: Store):
    texts = [random.Random(seed).randbytes(6000).hex() for seed in range(2)]
    begin_alike = [f"{'é' * 300}{text}" for text in texts]
    for number, text in enumerate((*texts, *begin_alike)):
        with run("e" * 400, params={"p": text}, tags={"t": text}, store=store) as opened:
            opened.log({"number": number})
    for number, text in enumerate((*texts, *begin_alike)):
        found = find_runs(f"params.p = '{text}' and tags.t = '{text}'", store=store)
        assert [one.metrics for one in found] == [{"number": number}]
        assert found[0].params == {"p": text} and found[0].tags == {"t": text}
    low, high = sorted(begin_alike)
    ask = f"params.p >= '{low}' and params.p < '{high}'"
    assert [one.params["p"] for one in find_runs(ask, store=store)] == [low]
    assert not list(find_runs(f"params.p = '{begin_alike[0][:-1]}'", store=store))


def test_a_text_that_is_too_long_to_look_something_up_by_is_refused_and_stops_no_journal(store: Store):
    long, digest = random.Random(1).randbytes(3000).hex(), "0" * 64
    with run("e", store=store) as opened:
        for say in (
            lambda: opened.edge("used", long, is_file=False),
            lambda: opened.edge("used", "data:d", long),
            lambda: opened.state("checked", {}, subject=long),
            lambda: opened.save_bytes("𠀀" * 700, b""),
        ):
            with pytest.raises(Misuse, match="too long"):
                say()
        for what, body in (  # as an older version, or another program, has written it
            (EDGE, EdgeFact(verb="used", target=long, role="data", is_file=False)),
            (STATE, StateFact(kind="checked", subject=long, body={}, author="a")),
            (ARTIFACT, ArtifactFact(path=long, digest=digest, size_bytes=1)),
            (MEDIA, MediaFact(step=0, entries=[_entry(long, digest)])),
        ):
            opened.write(what, body)
        opened.note("fine")
    found = get_run(opened.id, store=store)
    assert [note.text for note in found.notes] == ["fine"] and (found.edges, found.artifacts) == ([], [])


def _entry(path: str, digest: str) -> MediaEntry:
    return MediaEntry(name="m", kind="image", mime="image/png", files=[MediaFile(path=path, digest=digest, size_bytes=1, mime="image/png")])
