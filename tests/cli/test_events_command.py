"""`stratal events`, as a user types it."""

import json

import pytest

from stratal.cli.app import main
from stratal.tracking.opening import use_store
from stratal.tracking.runs import run


def output(capsys, *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["events", *words])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_events_are_printed_a_line_each(store, capsys):
    use_store(store)
    with run("churn", store=store) as made:
        made.alert("diverged", "at\n\x1b[31m7", level="error")
    line = output(capsys, "--since", "0", "-n", "1", "--kind", "alert", "--on", "experiment:churn")
    assert f"run:{made.id[-8:]}" in line and line.count("\n") == 1 and "\x1b" not in line
    told = [json.loads(line) for line in output(capsys, "--since", "0", "-n", "2", "--json").splitlines()]
    assert {event["on"] for event in told} == {"experiment:churn"}
