"""Writers that somebody else's frames claim: those of the server's own machine, and those of imports. Excludes shipping (test_ingest)."""

import pytest
from test_importing_there import FOREIGN, batch, send

from stratal.core.ids import new_id, to_bytes
from stratal.interop.batches import SourceId
from stratal.interop.framing import writer_of
from stratal.store.frames import FACT, encode_fact, pack, salt_of
from stratal.store.journal import Writer, segments
from stratal.store.wire import HOLDER
from stratal.tracking.facts import NOTE, START, Note, Start
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run


def forged(name: str, run_id: str) -> bytes:
    """Frames of a segment, whoever writes it."""
    body = encode_fact(START, 1, Start(experiment="churn"))
    return pack(FACT, 0, 0, to_bytes(run_id), body, salt_of(name))


@pytest.fixture
def begun(store):
    """A run whose process writes on the server's machine, and its segment."""
    with run("salaries", store=store) as begun:
        begun.log({"a": 1.0})
        yield begun.id, segments(store.settler.folder)[0]


@pytest.mark.parametrize("is_settled", [False, True])
def test_nobody_elsewhere_goes_on_with_a_segment_of_this_machine(guarded, store, begun, is_settled):
    id, name = begun
    at = 0
    if is_settled:
        store.settle()
        at = (store.settler.folder / name).stat().st_size
    answer = guarded.having_token("bob").put(name, at, forged(name, new_id()))
    assert answer.status_code == 403, answer.text
    assert get_run(id, store=store).series("a").values.tolist() == [1.0]


def test_nobody_claims_a_writer_of_this_machine_as_the_one_that_they_call_from(guarded, store, begun, segment_of):
    bob, own = guarded.having_token("bob"), segment_of("churn")
    assert bob.put(own.name, 0, own.data).status_code == 200
    answer = bob.http.post("/api/v1/tracking/resume", json={"run": own.id}, headers={HOLDER: f"box:1:{begun[1][:16]}"})
    assert answer.status_code == 403, answer.text


def test_whose_a_writer_is_is_told_to_nobody_else(guarded, segment_of):
    own = segment_of("churn")
    assert guarded.having_token("bob").put(own.name, 0, own.data).status_code == 200
    guarded.accounts.grant(person="vera", role="contributor", on="experiment:churn")
    vera, unknown = guarded.having_token("vera"), f"{new_id()[:16]}-000000.log"
    answers = [vera.http.get(f"/ingest/v1/segments/{name}") for name in (own.name, unknown)]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].text.replace(own.name[:16], "?") == answers[1].text.replace(unknown[:16], "?")
    assert "bob" not in vera.put(own.name, 0, own.data).text


def test_an_import_is_not_kept_from_its_place_by_who_can_work_out_its_writer(guarded, store):
    guarded.accounts.add_person(name="mallory")
    guarded.accounts.grant(person="mallory", role="contributor", on="experiment:own")
    writer = writer_of(SourceId(foreign=FOREIGN, part=b"all"))
    mallory, name = guarded.having_token("mallory"), f"{writer}-000000.log"
    body = encode_fact(START, 1, Start(experiment="own"))
    first = pack(FACT, 0, 0, to_bytes(new_id()), body, salt_of(name))
    assert mallory.put(name, 0, first).status_code == 200, "nobody knows yet that it will be one"
    bob = guarded.having_token("bob")
    assert send(bob, batch((NOTE, Note(text="one", author="x")))).status_code == 200
    assert send(bob, batch((NOTE, Note(text="two", author="x")), after=1, place=2, began=False)).status_code == 200
    assert [note.text for note in get_run(FOREIGN.new_id(), store=store).notes] == ["one", "two"]


def test_an_import_that_has_begun_is_gone_on_with_by_nobody_who_ships(guarded, store):
    bob = guarded.having_token("bob")
    assert send(bob, batch((NOTE, Note(text="one", author="x")))).status_code == 200
    name = f"{writer_of(SourceId(foreign=FOREIGN, part=b'all'))}-000000.log"
    assert bob.put(name, 0, forged(name, new_id())).status_code == 403


def test_a_writer_of_another_folder_is_one_of_elsewhere(guarded, store, tmp_path):
    folder, id = tmp_path / "laptop", new_id()
    folder.mkdir()
    writer = Writer(folder)
    writer.fact(to_bytes(id), 0, START, Start(experiment="churn"))
    writer.close()
    [name] = segments(folder)
    assert guarded.having_token("bob").put(name, 0, (folder / name).read_bytes()).status_code == 200
