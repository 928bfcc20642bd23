"""`stratal quota`: sizes as people write them, bars, JSON, and errors. Excludes what is counted and refused."""

import json

import pytest

from stratal.cli.app import main
from stratal.cli.quotas import read_size
from stratal.core.errors import Misuse
from stratal.store.store import Store
from stratal.tracking.runs import run as start_run


@pytest.fixture
def run(store: Store, capsys: pytest.CaptureFixture[str]):
    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main((*words, "--store", str(store.folder)))
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return run


def test_quotas_are_set_listed_as_bars_and_removed(run, store):
    assert "No experiment holds anything" in run("quota", "list")[1]
    assert run("quota", "set", "*", "--bytes", "50GB", "--runs", "10000")[1] == "default of all: bytes 50.0 GB, runs 10,000\n"
    assert run("quota", "set", "experiment:churn", "--bytes", "2kB")[1] == "experiment:churn: bytes 2.0 kB\n"
    with start_run("churn", store=store) as one:
        one.save_bytes("a.bin", b"a" * 1000)
    out = run("quota", "list")[1]
    assert "default of all: bytes 50.0 GB, runs 10,000" in out
    assert "█" * 10 + "░" * 10 in out and "1.0 kB / 2.0 kB" in out and "1 / 10,000" in out
    assert json.loads(run("quota", "list", "--json")[1])["used"] == [
        {
            "experiment": "churn", "size_bytes": 1000, "runs": 1, "most_bytes": 2000, "most_runs": 10000, "waiting_files": 0,
            "waiting_bytes": 0, "has_own": True,
        }
    ]  # fmt: skip
    assert json.loads(run("quota", "set", "experiment:churn", "--runs", "unlimited", "--json")[1])["most_runs"] == -1
    assert "has no quota of its own any more" in run("quota", "remove", "experiment:churn")[1]
    assert "no default any more" in run("quota", "remove", "*")[1]
    assert "counters of 0 were wrong" in run("quota", "recount")[1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("set", "churn", "--runs", "1"), "write experiment:NAME"),
        (("set", "model:churn", "--runs", "1"), "write experiment:NAME"),
        (("set", "experiment:churn"), "limits bytes, or runs, or both"),
        (("set", "experiment:churn", "--runs", "-5"), "no number of runs"),
        (("set", "experiment:churn", "--bytes", "much"), "no number of bytes"),
        (("set", "experiment:churn", "--bytes", "9999999PB"), "is no limit of bytes"),
    ],
)
def test_what_is_no_quota_is_refused_with_what_to_write(run, words, says):
    code, _, err = run("quota", *words)
    assert code == 2 and says in " ".join(err.split())


def test_sizes_are_read_as_people_write_them():
    said = {"50GB": 50 * 10**9, "1.5TiB": 3 << 39, "1048576": 1 << 20, "10 kb": 10_000, "7 bytes": 7, "3M": 3 * 10**6, "unlimited": -1}
    assert {text: read_size(text) for text in said} == said
    for text in ("", "-1", "1ib", "GB", "1e9", "1 XB"):
        with pytest.raises(Misuse):
            read_size(text)
