"""Tags and notes that people put on runs that are there, in a folder and through a server. Excludes rights, and what a run says itself."""

import json

import pytest

from stratal.cli.app import main
from stratal.core.errors import Misuse, NotFound
from stratal.tracking.annotating import note, tag
from stratal.tracking.deleting import delete
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import use_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run


def test_an_ended_run_is_tagged_and_noted_and_stays_ended(store, seen):
    with run("churn", tags={"stage": "raw", "old": "x"}, store=store) as made:
        made.note("first")
    far = seen(store)
    assert tag(made.short, {"stage": "done", "old": None, "none": None}, store=far) == made.id
    assert note(f"run:{made.id}", "looks fine", store=far) == made.id
    read = get_run(made.id, store=far)
    assert (read.status, read.tags) == ("finished", {"stage": "done"})
    assert [(each.author, each.text) for each in read.notes] == [("tester", "first"), ("tester", "looks fine")]
    assert [each.id for each in find_runs("tags.stage = 'done'", store=far)] == [made.id]


def test_of_a_run_that_goes_on_the_later_word_counts(store):
    with run("churn", tags={"stage": "raw"}, store=store) as made:
        tag(made.id, {"stage": "checked"}, store=store)
        assert get_run(made.id, store=store).tags == {"stage": "checked"}
        made.set_tags({"stage": "done"})
    assert get_run(made.id, store=store).tags == {"stage": "done"}


def test_what_cannot_be_said_changes_nothing(store, seen):
    with run("churn", store=store) as made:
        pass
    far = seen(store)
    for call in (lambda: note(made.id, " ", store=far), lambda: tag(made.id, {"a\nb": "x"}, store=far)):
        with pytest.raises(Misuse):
            call()
    with pytest.raises(NotFound):
        tag("ffffffff", {"a": "b"}, store=far)
    delete(made.id, store=far)
    with pytest.raises(Misuse, match="was deleted"):
        note(made.id, "too late", store=far)
    assert (get_run(made.id, store=far).tags, get_run(made.id, store=far).notes) == ({}, [])


def test_the_commands_say_and_show(store, capsys: pytest.CaptureFixture[str]):
    with run("churn", store=store) as made:
        pass
    use_store(store)

    def ask(*words: str) -> str:
        with pytest.raises(SystemExit) as left:
            main((*words, "--store", str(store.folder)))
        assert not left.value.code
        return capsys.readouterr().out

    assert "has no tags" in ask("tag", made.id) and "has no notes" in ask("note", made.id)
    assert ask("tag", made.id, "team=growth", "eq=a=b").split() == ["eq", "a=b", "team", "growth"]
    assert json.loads(ask("tag", made.id, "--remove", "eq", "--json")) == {"run": made.id, "tags": {"team": "growth"}}
    assert "tester" in ask("note", made.id, "looks [bold]fine[/]") and "[bold]" in ask("note", made.id)
    assert [each["text"] for each in json.loads(ask("note", made.id, "--json"))["notes"]] == ["looks [bold]fine[/]"]
    with pytest.raises(SystemExit) as left:
        main(("tag", made.id, "team", "--store", str(store.folder)))
    assert left.value.code == 2 and "NAME=VALUE" in capsys.readouterr().err
