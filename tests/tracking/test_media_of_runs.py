"""What `run.log` takes beside numbers, and how it is read: all or nothing, steps, names, takeovers, threads, forks.

Excluded: how each kind is encoded (test_media_kinds.py)."""

import math
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import stratal as st
from stratal.core.errors import Conflict, Misuse, NotFound
from stratal.core.ids import new_id, to_bytes
from stratal.store.journal import Writer
from stratal.store.store import Store
from stratal.tracking.facts import MEDIA, MediaEntry, MediaFact
from stratal.tracking.leased import claim_leased, start_leased
from stratal.tracking.reading import get_run
from stratal.tracking.runs import Run, run


def blobs_of(store: Store) -> int:
    return sum(1 for path in store.blobs.folder.rglob("*") if path.is_file()) if store.blobs.folder.exists() else 0


def test_numbers_and_media_of_one_call_have_the_same_step_and_time(store: Store):
    with run("churn", store=store) as made:
        made.log({"loss": 0.3, "val": {"auc": 0.9, "digits": np.zeros((4, 4, 3))}, "says": "hello"}, step=5)
    read = get_run(made.id, store=store)
    assert read.metrics == {"loss": 0.3, "val/auc": 0.9}
    digits, says = read.media("val/digits")[0], read.media("says")[0]
    assert (digits.step, says.step, read.series("loss").steps.tolist()) == (5, 5, [5])
    assert digits.record.at_ns == says.record.at_ns == int(read.series("loss").times[0].astype(np.int64))
    assert (digits.kind, digits.mime, digits.details) == ("image", "image/png", {"width": 4, "height": 4, "channels": 3})
    assert digits.path == f"media/val/digits/{digits.digest[:16]}.png"
    assert read.read_artifact(digits.path) == digits.read_bytes()
    assert (says.path, says.load(), says.size_bytes) == (None, "hello", 5)


@pytest.mark.parametrize("wrong", [None, np.full((2, 2), 7.5), b"bytes", Path("missing.png"), "\ud800", {1: 2}, [1, 2]], ids=str)
def test_nothing_of_a_call_is_written_if_one_value_is_wrong(store: Store, wrong: object):
    with run("churn", store=store) as made:
        with pytest.raises((Misuse, NotFound)) as raised:
            made.log({"loss": 0.3, "image": np.zeros((4, 4)), "is/wrong": wrong}, step=5)
        made.log({"after": 1.0})
    read = get_run(made.id, store=store)
    assert "is/wrong" in str(raised.value) or "1 is not a text" in str(raised.value)
    assert (read.metrics, read.media(), read.artifacts, blobs_of(store)) == ({"after": 1.0}, [], [], 0)


@pytest.mark.parametrize("name", ["", "x" * 501, "a\nb", "\ud800", "\x1b[31m"])
def test_a_name_that_nobody_could_print_is_refused(store: Store, name: str):
    with run("churn", store=store) as made, pytest.raises(Misuse):
        made.log({name: "text", "loss": 1.0})
    read = get_run(made.id, store=store)
    assert (read.metrics, read.media()) == ({}, [])


@pytest.mark.parametrize("step", ["5", 1.5, 2**63, -(2**63), math.nan])
def test_a_step_that_is_none_is_refused_before_anything_is_written(store: Store, step: object):
    with run("churn", store=store) as made, pytest.raises(Misuse, match="step"):
        made.log({"loss": 1.0, "image": np.zeros((4, 4))}, step=step)
    assert (get_run(made.id, store=store).metrics, blobs_of(store)) == ({}, 0)


def test_a_step_of_numpy_is_a_step(store: Store):
    with run("churn", store=store) as made:
        made.log({"says": "a", "loss": 1.0}, step=np.int64(3))
    assert get_run(made.id, store=store).media("says")[0].step == 3


@pytest.mark.parametrize("name", ["../../etc/passwd", "/abs/path", "a\\b", "..", "a//b", "CON", "é" * 400, "%2E", "a b/c'\"$(rm)", "🐍"])
def test_a_hostile_name_stays_inside_its_run_and_its_folder(store: Store, tmp_path: Path, name: str):
    with run("churn", store=store) as made:
        made.log({name: np.zeros((2, 2))})
    read = get_run(made.id, store=store)
    saved = read.media(name)[0].save(tmp_path / "out")
    assert all(path.resolve().is_relative_to(tmp_path.resolve()) and path.is_file() for path in saved)
    assert {path.parent for path in saved[:1]} == {tmp_path / "out"}


@pytest.mark.parametrize("caption", ["<script>alert(1)</script>", "\x1b[31mred\x1b[0m", "[bold]not markup[/]", "a\n" * 100, "נִקּוּד", ""])
def test_a_caption_is_kept_as_it_was_said(store: Store, caption: str):
    with run("churn", store=store) as made:
        made.log({"a": st.image(np.zeros((2, 2)), caption=caption), "b": st.histogram([1, 2], caption=caption)})
    assert [item.caption for item in get_run(made.id, store=store).media()] == [caption, caption]


@pytest.mark.parametrize("caption", [3, None, "\ud800", "x" * 10_001])
def test_a_caption_that_is_none_is_refused(store: Store, caption: object):
    with run("churn", store=store) as made, pytest.raises(Misuse, match="'a'"):
        made.log({"a": st.image(np.zeros((2, 2)), caption=caption)})
    assert get_run(made.id, store=store).media() == []


def test_a_list_of_images_is_as_many_items_of_one_step(store: Store):
    with run("churn", store=store) as made:
        made.log({"samples": [np.full((2, 2), shade / 4) for shade in range(5)]}, step=1)
        made.log({"samples": st.image(np.zeros((2, 2)), caption="last")}, step=2)
    items = get_run(made.id, store=store).media("samples")
    assert [item.step for item in items] == [1, 1, 1, 1, 1, 2]
    assert [item.load()[0, 0] for item in items[:5]] == [0, 64, 128, 191, 255]


@pytest.mark.here
def test_without_a_step_each_name_takes_its_own_next_one(store: Store):
    with run("churn", store=store) as made:
        made.log({"a": "first"})
        made.log({"a": "second", "b": "first"})
        made.log({"a": "ninth"}, step=9)
        store.settle()
        made.log({"a": "tenth", "loss": 1.0})
    read = get_run(made.id, store=store)
    assert [(item.step, item.load()) for item in read.media("a")] == [(0, "first"), (1, "second"), (9, "ninth"), (10, "tenth")]
    assert [item.step for item in read.media("b")] == [0]
    assert read.series("loss").steps.tolist() == [0]


@pytest.mark.here
def test_epochs_that_this_store_did_not_give_are_listed_and_numbered_after_earlier_ones(store: Store):
    id = run("churn", store=store).id
    for epoch in (0, 2, 2**31 - 1):  # a run that was resumed in another store, and shipped to this one
        Run(store, id, "churn", epoch=epoch).log({"t": st.text("a")})
    store.settle()
    read = get_run(id, store=store)
    assert [item.step for item in read.media("t")] == [0, 1, 2]
    assert [(found.items, found.last_step) for found in read.media_summaries] == [(3, 2)]


def test_steps_may_repeat_descend_and_be_negative(store: Store):
    with run("churn", store=store) as made:
        for step in (3, -2, 3, 2**63 - 1, 0):
            made.log({"a": f"at {step}"}, step=step)
        made.log({"a": "after the last"})
    read = get_run(made.id, store=store)
    assert [item.step for item in read.media("a")] == [-2, 0, 3, 3, 2**63 - 1, 2**63 - 1]
    (summary,) = read.media_summaries
    assert (summary.items, summary.first_step, summary.last_step, summary.kinds) == (6, -2, 2**63 - 1, ("text",))


def test_the_same_content_is_one_file_and_small_things_are_none(store: Store):
    with run("churn", store=store) as made:
        for _ in range(3):
            made.log({"image": np.zeros((9, 9)), "weights": np.arange(50.0), "says": "x" * 4096, "long": "y" * 4097})
    read = get_run(made.id, store=store)
    assert blobs_of(store) == len(read.artifacts) == 2
    assert [item.load() for item in read.media("long")] == ["y" * 4097] * 3
    assert {item.digest for item in read.media("weights")} == {read.media("weights")[0].digest}


def test_an_explicit_time_is_kept_for_numbers_and_media(store: Store):
    when = datetime(2020, 5, 4, 3, 2, 1, 500_000, tzinfo=UTC)
    with run("churn", store=store) as made:
        made.log({"loss": 0.5, "says": "then"}, step=1, time=when)
        made.log({"loss": 0.4}, step=2, time=when.timestamp() + 1)
        st.log({"loss": 0.3}, step=3, time=0)
    read = get_run(made.id, store=store)
    assert read.media("says")[0].time == when
    assert read.series("loss").times.astype("datetime64[ms]").tolist() == [
        when.replace(tzinfo=None), when.replace(second=2, tzinfo=None), datetime(1970, 1, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrong", [datetime(2020, 1, 1), "2020-01-01", math.nan, math.inf, True, 1e12, np.datetime64("2020-01-01")], ids=str
)
def test_a_time_that_is_no_moment_is_refused_with_a_hint(store: Store, wrong: object):
    with run("churn", store=store) as made, pytest.raises(Misuse, match=r"zone|since 1970"):
        made.log({"loss": 0.5}, time=wrong)
    assert get_run(made.id, store=store).metrics == {}


def test_an_unknown_name_is_told_with_those_that_are_there(store: Store):
    with run("churn", store=store) as made:
        made.log({"roc": "text"})
    with pytest.raises(NotFound, match="it has: roc"):
        get_run(made.id, store=store).media("rocc")


def test_what_a_takeover_rewound_is_hidden(store: Store):
    first = start_leased("churn", store=store, kind="train", ttl_s=-1)
    for step in range(5):
        first.log({"a": f"old {step}"}, step=step)
    first.let_go()
    second = claim_leased(first.id, store=store, from_step=3, ttl_s=60)
    second.log({"a": "new"})
    second.finish()
    read = get_run(first.id, store=store)
    assert [(item.step, item.load()) for item in read.media("a")] == [(0, "old 0"), (1, "old 1"), (2, "old 2"), (3, "new")]
    assert [(s.items, s.first_step, s.last_step) for s in read.media_summaries] == [(4, 0, 3)]


def test_a_saved_item_is_never_written_over_another_file(store: Store, tmp_path: Path):
    with run("churn", store=store) as made:
        made.log({"image": np.zeros((2, 2))})
    (item,) = get_run(made.id, store=store).media("image")
    (saved,) = item.save(tmp_path / "out")
    assert item.save(tmp_path / "out") == [saved]
    saved.write_bytes(b"mine")
    with pytest.raises(Conflict, match="another file"):
        item.save(tmp_path / "out")
    assert saved.read_bytes() == b"mine"


def test_an_item_of_a_kind_of_tomorrow_is_listed_and_read_as_bytes(store: Store):
    with run("churn", store=store) as made:
        entry = MediaEntry(name="mesh", kind="mesh3d", mime="model/gltf", text="{}")
        made.say(MEDIA, MediaFact(step=0, entries=[entry]))
    (item,) = get_run(made.id, store=store).media("mesh")
    assert item.read_bytes() == b"{}"
    with pytest.raises(Misuse, match="not known here"):
        item.load()


def test_threads_log_media_into_one_run(store: Store):
    def log(made: Run, number: int) -> None:
        for step in range(20):
            made.log({f"t{number}": np.full((3, 3), (number + step) % 256, np.uint8), "n": number}, step=step)

    with run("churn", store=store) as made:
        threads = [threading.Thread(target=log, args=(made, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    read = get_run(made.id, store=store)
    for number in range(4):
        assert [item.load()[0, 0] for item in read.media(f"t{number}")] == [number + step for step in range(20)]
    assert len(read.series("n").steps) == 80


def test_a_forked_child_logs_media_of_its_own(store: Store):
    with run("churn", store=store) as made:
        made.log({"parent": np.zeros((3, 3))})
        pid = os.fork()
        if pid == 0:
            try:
                made.log({"child": np.ones((3, 3)), "loss": 1.0})
            finally:
                os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    read = get_run(made.id, store=store)
    assert [item.load()[0, 0] for item in read.media()] == [255, 0]
    assert read.metrics == {"loss": 1.0}


def test_ten_thousand_items_are_listed_without_reading_them(store: Store):
    id, writer = new_id(), Writer(store.journals)
    for step in range(1000):
        entries = [MediaEntry(name=f"layer{i}", kind="histogram", mime="application/json", text="{}") for i in range(10)]
        writer.fact(to_bytes(id), 0, MEDIA, MediaFact(step=step, entries=entries))
    writer.close()
    read = get_run(id, store=store)
    assert sum(summary.items for summary in read.media_summaries) == 10_000
    assert [item.step for item in read.media("layer3")] == list(range(1000))
    assert len(read.media()) == 10_000
    assert blobs_of(store) == 0


def test_a_process_that_logs_numbers_imports_nothing_of_media(tmp_path: Path):
    script = (
        "import sys, stratal as st\n"
        "with st.run('e') as run:\n"
        "    run.log({'m': 1.0, 'n': {'o': 2}})\n"
        "assert not [name for name in sys.modules if name.startswith('stratal.tracking.media')]\n"
        "with st.run('e') as run:\n"
        "    run.log({'m': 1.0, 'text': 'hello', 'h': __import__('numpy').zeros(4), 'i': __import__('numpy').zeros((4, 4))})\n"
        "print([n for n in ('sqlalchemy', 'polars', 'PIL', 'matplotlib', 'plotly', 'torch', 'pandas') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"
