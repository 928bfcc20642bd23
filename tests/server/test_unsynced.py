"""What waits here for a server, and runs that are set aside, or thrown away, because it refuses them. Excludes how the rest goes on."""

import io
import json
import os
from dataclasses import replace

import pytest

from stratal.cli.app import main
from stratal.core.errors import Misuse, NotFound, Refused
from stratal.core.ids import new_id, to_bytes
from stratal.core.settings import load_settings
from stratal.store.files import disk
from stratal.store.journal import Writer, segments
from stratal.store.parting import Marks
from stratal.tracking.facts import START, Start
from stratal.tracking.leased import start_leased
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run
from stratal.tracking.syncing import sync
from stratal.tracking.unsynced import bring_back, discard, set_aside, unsynced


@pytest.fixture
def far(guarded, tmp_path):
    """The store behind the URL of a server where bob may contribute to churn."""
    guarded.accounts.grant(person="bob", role="contributor", on="experiment:other")
    store = open_store(guarded.url, settings=replace(load_settings(), state_home=tmp_path / "state", token=guarded.token_of("bob")))
    yield store
    store.close()


def log_one(store, experiment: str) -> str:
    with run(experiment, store=store) as one:
        for step in range(5):
            one.log({"a": float(step)}, step=step)
    return one.id


def test_what_waits_is_listed_by_run_and_what_is_there_is_not(guarded, far):
    log_one(far, "churn")
    refused = log_one(far, "secret")
    sync(store=far)
    found = unsynced(store=far)
    [each] = found.runs
    assert (found.is_reached, each.run, each.experiment, each.is_aside) == (True, refused, "secret", False)
    assert each.frames == 7 and each.size_bytes > 7 * 48, "its start, five points and its end"
    assert "bob is not contributor" in each.refused and "stratal grant add bob" in each.refused


def test_a_run_that_is_set_aside_is_kept_and_holds_up_no_command(guarded, far):
    refused = log_one(far, "secret")
    with pytest.raises(Refused, match="of secret") as told:
        start_leased("other", kind="train", store=far)
    assert "--set-aside" in told.value.hint
    assert set_aside(f"run:{refused[-8:]}", store=far) == [refused]
    with start_leased("other", kind="train", store=far):
        pass
    assert sync(store=far).refused == []
    [each] = unsynced(store=far).runs
    assert (each.run, each.is_aside, each.frames) == (refused, True, 7)
    guarded.accounts.grant(person="bob", role="contributor", on="experiment:secret")
    assert sync(store=far).refused == []
    with pytest.raises(NotFound):
        get_run(refused, store=guarded.store)
    assert bring_back("experiment:secret", store=far) == [refused]
    assert sync(store=far).refused == []
    assert get_run(refused, store=guarded.store).metrics == {"a": 4.0}
    assert unsynced(store=far).runs == []


def test_only_what_is_refused_is_set_aside(guarded, far):
    ids = [log_one(far, "secret") for _ in range(2)]
    sync(store=far)
    for what, error, why in (
        ("run:00000000", NotFound, "no run:00000000 here that the server has refused"),
        ("experiment:churn", NotFound, "has refused"),
        (f"run:{ids[0][:4]}", Misuse, "any of 2 runs"),
        ("model:churn@1", Misuse, "is no run"),
    ):
        with pytest.raises(error, match=why):
            set_aside(what, store=far)
    with pytest.raises(NotFound, match="was set aside"):
        bring_back(f"run:{ids[0]}", store=far)
    assert set_aside("experiment:secret", store=far) == ids


def log_and_set_aside(store) -> str:
    """Have the server refuse a run with a file, and set it aside."""
    with run("secret", store=store) as refused:
        for step in range(5):
            refused.log({"a": float(step)}, step=step)
        refused.save_bytes("plots/a.bin", b"of the refused" * 2000)
    sync(store=store)
    assert set_aside(refused.id, store=store) == [refused.id]
    return refused.id


def test_a_run_that_was_thrown_away_is_never_sent_and_nothing_of_it_stays_here(guarded, far):
    other = log_one(far, "churn")
    refused = log_and_set_aside(far)
    [lost] = discard(refused, store=far)
    assert (lost.run, lost.rows, lost.files) == (refused, 5, {"plots/a.bin": 28_000})
    guarded.accounts.grant(person="bob", role="contributor", on="experiment:secret")
    assert unsynced(store=far).runs == []
    done = sync(store=far)
    assert (done.refused, done.waiting_bytes) == ([], 0)
    far.writer.close()
    for path in (far.folder / "blobs").glob("*/*"):
        os.utime(path, (1, 1))
    sync(store=far)
    marks = Marks(far.folder)
    left = (segments(far.journals), list((far.folder / "blobs").glob("*/*")), marks.aside(), marks.discarded(), marks.discarded_blobs())
    assert left == ([], [], {}, {}, {})
    assert get_run(other, store=guarded.store).metrics == {"a": 4.0}
    with pytest.raises(NotFound):
        get_run(refused, store=guarded.store)


def test_only_what_is_set_aside_is_thrown_away(guarded, far):
    waits, refused = log_one(far, "churn"), log_one(far, "secret")
    for each in (waits, refused, "experiment:secret"):
        with pytest.raises(NotFound, match="that was set aside"):
            discard(each, store=far)
    sync(store=far)
    set_aside(refused, store=far)
    assert [each.run for each in discard("experiment:secret", dry_run=True, store=far)] == [refused]
    assert [each.is_aside for each in unsynced(store=far).runs] == [True]
    bring_back(refused, store=far)
    with pytest.raises(NotFound):
        discard(refused, store=far)
    with pytest.raises(FileNotFoundError):  # brought back between a look and the mark
        Marks(far.folder).discard(refused, [], [])
    guarded.accounts.grant(person="bob", role="contributor", on="experiment:secret")
    assert sync(store=far).refused == []
    assert get_run(refused, store=guarded.store).metrics == {"a": 4.0}


def test_a_run_that_is_still_logged_to_is_not_thrown_away(far):
    with run("secret", store=far) as refused:
        refused.log({"a": 1.0})
        sync(store=far)
        set_aside(refused.id, store=far)
        with pytest.raises(Misuse, match="still logged to"):
            discard(refused.id, store=far)
    assert [each.run for each in discard(refused.id, store=far)] == [refused.id]


def test_a_file_that_another_run_waits_with_outlives_the_one_that_was_thrown_away(guarded, far):
    discard(log_and_set_aside(far), store=far)
    with run("secret", store=far) as same:
        same.save_bytes("b.bin", b"of the refused" * 2000)
    for path in (far.folder / "blobs").glob("*/*"):
        os.utime(path, (1, 1))
    sync(store=far)
    guarded.accounts.grant(person="bob", role="contributor", on="experiment:secret")
    sync(store=far)
    assert get_run(same.id, store=guarded.store).read_artifact("b.bin") == b"of the refused" * 2000


def test_what_a_later_process_says_of_a_run_that_was_thrown_away_is_sent(guarded, far):
    discard(refused := log_and_set_aside(far), store=far)
    guarded.accounts.grant(person="bob", role="contributor", on="experiment:secret")
    later = Writer(far.journals)
    later.fact(to_bytes(refused), 1, START, Start(experiment="secret"))
    later.log(to_bytes(refused), 1, {"b": 2.0})
    later.fact(to_bytes(new_id()), 0, START, Start(experiment="hidden"))  # so that this process, too, is sent run by run
    later.close()
    [each] = [each for each in unsynced(store=far).runs if each.run == refused]
    assert each.rows == 1
    assert "hidden" in " ".join(sync(store=far).refused)
    assert get_run(refused, store=guarded.store).metrics == {"b": 2.0}


def test_files_of_a_run_that_was_thrown_away_stay_while_somebody_saves_some(far, monkeypatch):
    monkeypatch.setattr(disk, "_TRIES", 1)
    discard(log_and_set_aside(far), store=far)
    for path in (far.folder / "blobs").glob("*/*"):
        os.utime(path, (1, 1))
    with far.blobs._shared():
        sync(store=far)
        assert len(list((far.folder / "blobs").glob("*/*"))) == 1, "it may be what is saved"
    sync(store=far)
    assert list((far.folder / "blobs").glob("*/*")) == []


@pytest.fixture
def call(guarded, far, monkeypatch, capsys):
    """Call `stratal sync` on the spool as bob; gives the code and what was said."""
    monkeypatch.setenv("STRATAL_TOKEN", guarded.token_of("bob"))
    monkeypatch.setattr("sys.stdin", io.StringIO())

    def call(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["sync", *words, "--store", str(far.folder)])
        return int(ended.value.code or 0), "".join(capsys.readouterr())

    return call


def test_the_command_line_throws_away_what_it_was_told_twice_to(far, call):
    refused = log_and_set_aside(far)
    code, said = call("--discard", refused)
    assert (code, "add --yes" in said) == (2, True)
    assert "27.3 KiB) and all else that it said would be lost" in said
    assert call("--yes")[0] != 0
    assert [each.is_aside for each in unsynced(store=far).runs] == [True]
    code, said = call("--discard", refused, "--yes")
    assert (code, f"run:{refused} of secret: 5 rows of metrics, 1 file (plots/a.bin: 27.3 KiB)" in said) == (0, True), said
    assert unsynced(store=far).runs == []


def test_the_command_line_shows_sets_aside_and_brings_back(far, call):
    refused = log_one(far, "secret")
    code, said = call()
    assert (code, f"refused: run:{refused[-8:]} of secret waits here" in said) == (1, True), said
    assert json.loads(call("--set-aside", "experiment:secret", "--json")[1]) == {"runs": [refused]}
    code, said = call()
    assert (code, "nothing to ship now" in said) == (0, True), said
    code, said = call("--status")
    assert f"run:{refused} of secret: 7 frames" in said and "set aside: bob is not" in said
    assert call("--bring-back", refused)[1].startswith(f"run:{refused} is sent by the next")
    code, said = call("--status", "--watch")
    assert (code != 0, "one thing at a time" in said) == (True, True)
