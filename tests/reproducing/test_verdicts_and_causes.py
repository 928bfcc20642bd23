"""Verdicts on series, matching of runs, and the ranking of causes: values in, values out. Excluded: programs that run."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from stratal.tracking.capture import Capture, Entry, Gpu, Hardware, Seeds, StoredFile
from stratal.tracking.reproducing.causes import Side, likely_causes
from stratal.tracking.reproducing.matching import Standing, labels, tree_of
from stratal.tracking.reproducing.verdicts import Points, Tolerance, first_divergence, is_of_the_clock, judge, overall

EXACT = Tolerance(relative=0.0, absolute=0.0)
values = st.lists(st.floats(width=64), min_size=1, max_size=30)


def points(of: list[float], start: int = 0) -> Points:
    return Points(steps=np.arange(start, start + len(of), dtype=np.int64), values=np.array(of, dtype=np.float64))


@given(values)
def test_a_series_is_bit_identical_to_itself_odd_numbers_included(of: list[float]) -> None:
    assert judge("", "loss", points(of), points(of), EXACT).verdict == "bit-identical"


@given(values, st.data())
def test_the_first_step_that_differs_is_named(of: list[float], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(of) - 1))
    changed = list(of)
    changed[at] = 1.0 if math.isnan(of[at]) else math.nan

    said = judge("", "loss", points(of, 5), points(changed, 5), Tolerance())

    assert (said.verdict, said.step) == ("diverges", 5 + at)


@given(values, st.integers(0, 29))
def test_a_series_that_is_cut_short_diverges_at_the_first_step_that_is_missing(of: list[float], kept: int) -> None:
    kept = kept % len(of)

    said = judge("", "loss", points(of), points(of[:kept]), Tolerance())

    assert (said.verdict, said.step) == ("diverges" if kept else "missing", kept)


def test_the_tolerance_is_relative_to_the_original_and_the_worst_difference_is_told() -> None:
    said = judge("", "loss", points([1.0, 2.0, 0.0]), points([1.0, 2.00001, 1e-9]), Tolerance())
    strict = judge("", "loss", points([1.0, 2.0, 0.0]), points([1.0, 2.00001, 1e-9]), Tolerance(relative=1e-9))

    assert (said.verdict, said.step, said.worst) == ("within tolerance", 1, 1.0)
    assert (strict.verdict, strict.step, strict.original, strict.replayed) == ("diverges", 1, 2.0, 2.00001)


def test_minus_zero_is_another_bit_pattern_and_the_same_number() -> None:
    assert judge("", "loss", points([0.0]), points([-0.0]), EXACT).verdict == "within tolerance"


def test_what_the_clock_or_the_machine_measures_is_not_compared() -> None:
    assert judge("", "train/seconds", points([1.0]), points([2.0]), EXACT).verdict == "by the clock"
    assert is_of_the_clock("system/gpu0") and is_of_the_clock("tokens_throughput") and not is_of_the_clock("times_table_accuracy")
    assert overall([judge("", "seconds", points([1.0]), None, EXACT)]) == "nothing to compare"


def test_the_whole_is_as_good_as_its_worst_part() -> None:
    same, missing = judge("", "a", points([1.0]), points([1.0]), EXACT), judge("late", "b", points([1.0]), None, EXACT)
    wrong = judge("early", "c", points([1.0, 2.0]), points([1.0, 3.0]), EXACT)

    assert overall([same, missing]) == "diverges"
    assert first_divergence([same, missing, wrong], {"early": 0, "late": 1}) == wrong


def standing(id: str, parent: str | None, kind: str, name: str, at: int) -> Standing:
    return Standing(id=id, parent=parent, kind=kind, experiment="e", name=name, started_ns=at)


def test_labels_say_where_a_run_stands_and_not_when_it_was_born() -> None:
    runs = [
        standing("p", None, "pipeline", "line", 1),
        standing("s", "p", "step", "fit", 2),
        standing("t2", "s", "train", "", 4),
        standing("t1", "s", "train", "", 3),
        standing("v", "s", "evaluation", "evaluation of run:00112233, model", 5),
        standing("y", "s", "study", "study e version 1", 6),
        standing("x", "y", "trial", "trial 0", 7),
    ]

    assert labels(runs) == {
        "p": "pipeline e line",
        "s": "pipeline e line / step fit",
        "t1": "pipeline e line / step fit / train e",
        "t2": "pipeline e line / step fit / train e (2)",
        "v": "pipeline e line / step fit / evaluation of run, model",
        "y": "study e version 1",
        "x": "study e version 1 / trial 0",
    }
    assert tree_of("s", runs) == ["s", "t1", "t2", "v", "y", "x"]


def capture(**changes: object) -> Capture:
    fields: dict[str, object] = {
        "entry": Entry(kind="script", target="train.py"), "argv": (), "python": "3.11.7", "implementation": "cpython", "system": "Linux",
        "host": "h", "pid": 1, "user": "u", "at_ns": 1, "threads": {}, "seeds": Seeds(seed=1, seeded=("random",), hash_seed="0"),
        "hardware": hardware(),
    }  # fmt: skip
    return Capture(**{**fields, **changes})  # type: ignore[arg-type]


def hardware(**changes: object) -> Hardware:
    fields: dict[str, object] = {"processor": "A", "architecture": "x", "cores": 2, "usable_cores": 2.0, "memory_bytes": 1, "blas": "b 1"}
    return Hardware(**{**fields, **changes})  # type: ignore[arg-type]


def seeds(**switches: bool | str) -> Seeds:
    return Seeds(seed=1, seeded=("random",), hash_seed="0", torch=switches)


H100 = Gpu(name="NVIDIA H100", memory_bytes=1, driver="570.1")
FILE = StoredFile(digest="a" * 64, size_bytes=1)
OTHER = StoredFile(digest="b" * 64, size_bytes=1)


@pytest.mark.parametrize(
    ("before", "after", "subject", "words"),
    [
        ({}, {"seeds": Seeds(seed=2, seeded=(), hash_seed="0")}, "seed", "1 → 2"),
        ({"files": {"sources/a.py": FILE}}, {"files": {"sources/a.py": OTHER}}, "code", "a.py"),
        ({"threads": {"OMP_NUM_THREADS": "1"}}, {"threads": {"OMP_NUM_THREADS": "2"}}, "threads", "OMP_NUM_THREADS: 1 → 2"),
        ({}, {"python": "3.12.1"}, "python", "3.11.7 → cpython 3.12.1"),
        ({}, {"hardware": hardware(processor="B")}, "arithmetic", "processor: A → B"),
        ({}, {"hardware": hardware(gpus=(H100,))}, "gpu", "none → NVIDIA H100"),
        (
            {"hardware": hardware(gpus=(H100,))},
            {"hardware": hardware(gpus=(structs.replace(H100, driver="580.1"),))},
            "gpu",
            "driver: 570.1 → 580.1",
        ),
        ({"seeds": seeds(cudnn_benchmark=False)}, {"seeds": seeds(cudnn_benchmark=True)}, "arithmetic", "cudnn_benchmark: False → True"),
        ({}, {"entry": Entry(kind="script", target="train.py", argv=("--lr", "1"))}, "arguments", "none → --lr 1"),
    ],
)
def test_what_differs_is_the_likeliest_cause(before: dict, after: dict, subject: str, words: str) -> None:
    known = {"is_seeded": True}

    causes = likely_causes(Side(capture=capture(**before), **known), Side(capture=capture(**after), **known), size=0.5)

    assert (causes[0].subject, causes[0].is_known) == (subject, True)
    assert words in causes[0].what


def test_a_switch_that_one_capture_does_not_tell_is_no_cause() -> None:
    a, b = (Side(capture=capture(seeds=made), is_seeded=True) for made in (seeds(), seeds(cudnn_conv_precision="tf32")))
    assert [cause.subject for cause in likely_causes(a, b, size=0.5) if cause.is_known] == []


def test_last_digits_speak_for_arithmetic_and_large_differences_for_packages() -> None:
    sides = (
        Side(capture=capture(), packages={"numpy": "1", "rich": "1"}, is_seeded=True),
        Side(capture=capture(slots=4, hardware=hardware(threads={"torch": 4})), packages={"numpy": "2", "rich": "2"}, is_seeded=True),
    )

    assert [cause.subject for cause in likely_causes(*sides, size=1e-14)][:2] == ["threads", "packages"]
    large = likely_causes(*sides, size=0.1)
    assert [cause.subject for cause in large][:2] == ["packages", "threads"]
    assert large[0].what == "numpy 1 → 2, rich 1 → 2"


def test_without_a_difference_what_might_be_is_said_as_such() -> None:
    unseeded = capture(seeds=Seeds(seed=None, seeded=(), hash_seed=None))

    causes = likely_causes(Side(capture=unseeded), Side(capture=unseeded), size=0.5)

    assert [(cause.subject, cause.is_known) for cause in causes] == [("unseeded", False), ("order", False), ("unknown", False)]
