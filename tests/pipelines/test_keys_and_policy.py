"""Keys and their differences; retries. Pure."""

from hypothesis import given
from hypothesis import strategies as st

from stratal.core.errors import NotFound, Refused, StoreDown
from stratal.pipelines.cache import KeyPart, differences, key_of
from stratal.pipelines.code import CodePart, StepCode
from stratal.pipelines.payloads import Payload
from stratal.pipelines.policy import FREE_RETRIES, LONGEST_BACKOFF_S, Failure, Permanent, StepOptions, Temporary, failure_of, retry_delay_s

CODE = StepCode(parts=(CodePart(kind="function", name="churn.trained", digest="c1"),), libraries={"polars": "1.0"})


def inputs(**digests):
    return {name: Payload(kind="plain", digest=digest, shown=f"<{digest}>") for name, digest in digests.items()}


def test_the_key_depends_on_content_and_not_on_where_it_came_from():
    one = key_of(CODE, inputs(train="a", params="b"), {"train": "parts[0]"})
    other = key_of(CODE, dict(reversed(inputs(train="a", params="b").items())), {"train": "other"})
    assert one.digest == other.digest


def test_two_inputs_exchanged_are_another_key():
    assert key_of(CODE, inputs(a="x", b="y"), {}).digest != key_of(CODE, inputs(a="y", b="x"), {}).digest


def test_a_module_that_moved_keeps_its_keys():
    moved = StepCode(parts=(CodePart(kind="function", name="__main__.trained", digest="c1"),), libraries={"polars": "1.0"})
    assert key_of(CODE, {}, {}).digest == key_of(moved, {}, {}).digest


def test_a_difference_says_what_it_was_and_what_it_is():
    before = key_of(CODE, inputs(train="a", gone="g"), {"train": "parts[0]"})
    newer = StepCode(parts=(CodePart(kind="function", name="churn.trained", digest="c2"),), libraries={"polars": "1.1"})
    now = key_of(newer, inputs(train="b", added="n"), {"train": "parts[0]"})
    assert differences(now.parts, before.parts) == [
        "function churn.trained changed (c1 -> c2)",
        "input train (from parts[0]) was <a>, is <b>",
        "polars 1.0 became 1.1",
        "input added is new",
        "input gone is no longer used",
    ]


@given(st.lists(st.tuples(st.sampled_from(["input", "function"]), st.text(max_size=3), st.text(max_size=3)), max_size=6))
def test_equal_keys_have_no_difference(parts):
    held = [KeyPart(kind=kind, name=name, digest=digest) for kind, name, digest in {part[:2]: part for part in parts}.values()]
    assert differences(held, list(reversed(held))) == []


def delays(error, **options):
    found = []
    while (delay := retry_delay_s(failure_of(error), failed=len(found) + 1, options=StepOptions(**options))) is not None:
        found.append(delay)
    return found


def test_an_ordinary_error_has_the_retries_that_the_step_asked_for_with_doubled_pauses():
    assert delays(ValueError()) == []
    assert delays(ValueError(), retries=3, backoff_s=0.5) == [0.5, 1.0, 2.0]


def test_a_pause_has_an_end():
    assert delays(ValueError(), retries=20)[-1] == LONGEST_BACKOFF_S


def test_permanent_errors_and_refusals_have_none():
    for error in (Permanent("no"), Refused("a gate"), NotFound("x"), KeyboardInterrupt(), SystemExit(1)):
        assert delays(error, retries=5) == []


def test_temporary_errors_have_some_in_any_case_with_the_delay_that_they_name():
    assert delays(Temporary("busy", delay_s=0.25)) == [0.25] * FREE_RETRIES
    assert delays(StoreDown("away"), backoff_s=1) == [1.0, 2.0, 4.0]
    assert len(delays(Temporary("busy", delay_s=0), retries=7)) == 7


def test_a_dead_worker_is_not_the_steps_fault_but_has_an_end():
    lost = Failure(kind="lost")
    assert retry_delay_s(lost, failed=FREE_RETRIES, options=StepOptions()) is not None
    assert retry_delay_s(lost, failed=FREE_RETRIES + 1, options=StepOptions()) is None


def test_a_timeout_counts_as_the_steps_own():
    assert retry_delay_s(Failure(kind="timeout"), failed=1, options=StepOptions()) is None
    assert retry_delay_s(Failure(kind="timeout"), failed=1, options=StepOptions(retries=1)) == 1.0
