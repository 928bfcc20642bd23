"""Verdicts: a pure function of (policy, facts). Not here: where facts come from."""

import copy
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratal.core.clock import SECOND_NS
from stratal.registry.gates import Champion, DataFact, Fact, Facts, Verdict, evidence_digest, judge
from stratal.registry.policies import better_than_champion, data_valid, gate, policy
from stratal.registry.stages import Stage

OURS, THEIRS, CHAMPION = "a" * 64, "b" * 64, "c" * 64
NOW_NS = 1_790_000_000 * SECOND_NS


def entry(value=0.85, low=0.82, high=0.88, confidence=0.95, **more):
    return {"value": value, "low": low, "high": high, "confidence": confidence, "n": 1000, "reason": None, **more}


def body(**changes):
    return {
        "data": {"digest": "sha256:" + "d" * 64, "ref": "dataset:churn/test@1", "rows": 1000, "rows_shared_with_training": 0},
        "metrics": {"auc": entry()},
        "slices": {"contract=One year": {"auc": entry(0.75, 0.71, 0.79)}},
        "fairness": {"equalized_odds_difference[gender]": entry(0.05, 0.01, 0.13)},
        "kpis": {"campaign profit": entry(900.0, 100.0, 1700.0, threshold=0.3, unit="EUR")},
        "champion": None,
        **changes,
    }


def evaluation(body_, *, subject=OURS, at_ns=NOW_NS - 60 * SECOND_NS, run="e" * 32):
    return Fact(run=run, subject=f"sha256:{subject}", at_ns=at_ns, body=body_)


def facts(*evaluations, champion=None, data=(), now_ns=NOW_NS):
    return Facts(digest=OURS, now_ns=now_ns, champion=champion, evaluations=evaluations, data=data)


def verdict(need, known, **rules):
    (result,) = judge(policy(staging=[need], **rules), Stage.STAGING, known)
    return result


@pytest.mark.parametrize(
    ("text", "changes", "expected", "why"),
    [
        ("auc >= 0.80", {}, Verdict.PASS, "the low end 0.82 is at least 0.8"),
        ("auc >= 0.82", {}, Verdict.PASS, "at least"),
        ("auc >= 0.83", {}, Verdict.FAIL, "the low end 0.82 is below 0.83"),
        ("auc <= 0.88", {}, Verdict.PASS, "the high end 0.88 is at most 0.88"),
        ("auc <= 0.86", {}, Verdict.FAIL, "the high end 0.88 is above 0.86"),
        ("auc[contract=One year] >= 0.7", {}, Verdict.PASS, "0.71"),
        ("auc[contract=Two year] >= 0.7", {}, Verdict.MISSING, "did you mean auc[contract=One year]?"),
        ("f1[contract=One year] >= 0.7", {}, Verdict.MISSING, "speaks of f1"),
        ("equalized_odds_difference[gender] <= 0.15", {}, Verdict.PASS, "the high end 0.13"),
        ("equalized_odds_difference[gender] <= 0.10", {}, Verdict.FAIL, "the high end 0.13 is above 0.1"),
        ("equalized_odds_difference[sex] <= 0.10", {}, Verdict.MISSING, "did you mean equalized_odds_difference[gender]?"),
        ("campaign profit >= 0", {}, Verdict.PASS, "the low end 100"),
        ("campaign profit >= 200", {}, Verdict.FAIL, "below 200"),
        ("f1 >= 0.1", {}, Verdict.MISSING, "speaks of f1"),
        ("auc >= 0.8", {"metrics": {"auc": entry(None, None, None, reason="one class only")}}, Verdict.MISSING, "one class only"),
        ("auc >= 0.8", {"metrics": {"auc": entry(low=None)}}, Verdict.MISSING, "has no interval"),
        ("auc <= 0.9", {"metrics": {"auc": entry(low=None)}}, Verdict.PASS, "high end"),
        ("auc >= 0.8", {"metrics": {"auc": entry("NaN")}}, Verdict.MISSING, "says nothing"),
        ("auc >= 0.8", {"metrics": {"auc": entry(low="NaN")}}, Verdict.MISSING, "says nothing"),
        ("auc >= 0.8", {"metrics": {"auc": entry(math.nan, math.nan, math.nan)}}, Verdict.MISSING, "says nothing"),
        ("auc >= 0.8", {"metrics": {"auc": entry(low="Infinity", high="Infinity")}}, Verdict.MISSING, "says nothing"),
        ("auc >= 0.8", {"metrics": {"auc": entry(low=10**400)}}, Verdict.MISSING, "says nothing"),
        ("auc >= 0.8", {"metrics": {"auc": entry("0.9")}}, Verdict.ERROR, "no number"),
        ("auc >= 0.8", {"metrics": {"auc": entry(True)}}, Verdict.ERROR, "no number"),
        ("auc >= 0.8", {"metrics": {"auc": entry(low=0.95, high=0.99)}}, Verdict.ERROR, "does not hold its own value"),
        ("auc >= 0.8", {"metrics": {"auc": entry(confidence=0.5)}}, Verdict.MISSING, "confidence 0.5"),
        ("auc >= 0.8", {"metrics": {"auc": entry(confidence=None)}}, Verdict.MISSING, "does not say its confidence"),
        ("auc >= 0.8", {"metrics": {"auc": 0.9}}, Verdict.ERROR, "not a table"),
        ("auc >= 0.8", {"metrics": [1]}, Verdict.ERROR, "metrics is not a table"),
        ("auc >= 0.8", {"kpis": {"auc": entry()}}, Verdict.ERROR, "both a metric and a KPI"),
        ("auc >= 0.8", {"data": {"rows_shared_with_training": 3}}, Verdict.FAIL, "3 rows that it was trained on"),
        ("auc >= 0.8", {"data": {"rows_shared_with_training": None}}, Verdict.MISSING, "not known whether"),
        ("auc >= 0.8", {"data": {}}, Verdict.MISSING, "not known whether"),
        ("auc >= 0.8", {"data": None}, Verdict.MISSING, "not known whether"),
        ("auc >= 0.8", {"data": {"rows_shared_with_training": False}}, Verdict.ERROR, "no count"),
        ("auc >= 0.8", {"data": {"rows_shared_with_training": -1}}, Verdict.ERROR, "no count"),
        ("auc >= 0.8", {"data": {"rows_shared_with_training": 0.0}}, Verdict.ERROR, "no count"),
    ],
)
def test_the_verdict_of_a_bound(text, changes, expected, why):
    result = verdict(gate(text), facts(evaluation(body(**changes))))
    assert (result.verdict, why in result.why) == (expected, True), result


def test_without_an_evaluation_it_is_missing_and_says_what_to_do():
    result = verdict(gate("auc >= 0.8"), facts())
    assert result.verdict is Verdict.MISSING
    assert "st.evaluate" in result.todo


def test_an_evaluation_of_another_digest_does_not_count():
    result = verdict(gate("auc >= 0.8"), facts(evaluation(body(), subject=THEIRS)))
    assert result.verdict is Verdict.MISSING
    assert "another model" in result.why


@pytest.mark.parametrize("subject", [OURS, f"sha256:{OURS.upper()}", f"SHA256:{OURS}", f"sha256:{OURS} ", "sha256:"])
def test_a_subject_that_only_resembles_the_digest_does_not_count(subject):
    fact = Fact(run="e" * 32, subject=subject, at_ns=NOW_NS, body=body())
    assert verdict(gate("auc >= 0.8"), facts(fact)).verdict is Verdict.MISSING


def test_the_newest_evaluation_that_speaks_of_it_decides():
    old_good = evaluation(body(), at_ns=NOW_NS - 100)
    new_bad = evaluation(body(metrics={"auc": entry(0.6, 0.55, 0.65)}), at_ns=NOW_NS - 50)
    newer_silent = evaluation(body(metrics={"f1": entry()}), at_ns=NOW_NS - 10)
    assert verdict(gate("auc >= 0.8"), facts(old_good, newer_silent, new_bad)).verdict is Verdict.FAIL
    assert verdict(gate("auc >= 0.8"), facts(new_bad, newer_silent)).verdict is Verdict.FAIL
    assert verdict(gate("auc >= 0.8"), facts(newer_silent, old_good)).verdict is Verdict.PASS


def test_a_newer_evaluation_on_training_rows_is_not_covered_by_an_older_clean_one():
    clean = evaluation(body(), at_ns=NOW_NS - 100)
    leaky = evaluation(body(data={"rows_shared_with_training": 1}), at_ns=NOW_NS - 50)
    assert verdict(gate("auc >= 0.8"), facts(clean, leaky)).verdict is Verdict.FAIL


@pytest.mark.parametrize(("age_s", "expected"), [(0, Verdict.PASS), (86_400, Verdict.PASS), (86_401, Verdict.STALE)])
def test_a_fact_ages_as_the_policy_says(age_s, expected):
    known = facts(evaluation(body(), at_ns=NOW_NS - age_s * SECOND_NS))
    assert verdict(gate("auc >= 0.8"), known, evidence_max_age="1d").verdict is expected
    assert verdict(gate("auc >= 0.8"), known).verdict is Verdict.PASS


def against(digest=CHAMPION, **difference):
    return body(champion={"ref": "model:churn@3", "digest": f"sha256:{digest}", "difference": {"auc": difference}})


IN_PRODUCTION = Champion(ref="model:churn@3", digest=CHAMPION)


@pytest.mark.parametrize(
    ("need", "known", "expected", "why"),
    [
        (better_than_champion("auc"), facts(), Verdict.PASS, "no champion"),
        (better_than_champion("auc"), facts(champion=Champion(ref="model:churn@7", digest=OURS)), Verdict.PASS, "champion itself"),
        (better_than_champion("auc"), facts(champion=IN_PRODUCTION), Verdict.MISSING, "no evaluation"),
        (better_than_champion("auc"), facts(evaluation(body()), champion=IN_PRODUCTION), Verdict.MISSING, "difference in auc"),
        (
            better_than_champion("auc"),
            facts(evaluation(against(value=0.03, low=0.01, high=0.05, p=0.01, confidence=0.95)), champion=IN_PRODUCTION),
            Verdict.PASS,
            "even the worse end is better",
        ),
        (
            better_than_champion("auc"),
            facts(evaluation(against(value=0.03, low=-0.01, high=0.07, p=0.2, confidence=0.95)), champion=IN_PRODUCTION),
            Verdict.FAIL,
            "not better",
        ),
        (
            better_than_champion("auc"),
            facts(evaluation(against(value=0.03, low=0.0, high=0.06, confidence=0.95)), champion=IN_PRODUCTION),
            Verdict.FAIL,
            "not better",
        ),
        (
            better_than_champion("auc"),
            facts(evaluation(against(value=0.03, low=0.01, high=0.05, p=0.01)), champion=IN_PRODUCTION),
            Verdict.PASS,
            "p = 0.01 is enough",
        ),
        (
            better_than_champion("auc", confidence=0.999),
            facts(evaluation(against(value=0.03, low=0.01, high=0.05, p=0.01, confidence=0.95)), champion=IN_PRODUCTION),
            Verdict.FAIL,
            "is not enough for confidence 0.999",
        ),
        (
            better_than_champion("auc"),
            facts(evaluation(against(value=-0.03, low=-0.05, high=-0.01, p=0.01)), champion=IN_PRODUCTION),
            Verdict.FAIL,
            "is not enough",
        ),
        (
            better_than_champion("auc"),
            facts(evaluation(against(value=0.03, low=0.01, high=0.05)), champion=IN_PRODUCTION),
            Verdict.MISSING,
            "neither p nor an interval",
        ),
        (
            better_than_champion("auc"),
            facts(evaluation(against(value=0.03, low=None, high=None, p="NaN", confidence=0.95)), champion=IN_PRODUCTION),
            Verdict.MISSING,
            "p is",
        ),
        (
            better_than_champion("auc"),
            facts(evaluation(against(value=None, reason="identical scores")), champion=IN_PRODUCTION),
            Verdict.MISSING,
            "identical scores",
        ),
        (
            better_than_champion("auc"),
            facts(evaluation(against(digest=THEIRS, value=0.03, low=0.01, high=0.05, p=0.01)), champion=IN_PRODUCTION),
            Verdict.STALE,
            "another model",
        ),
        (
            better_than_champion("auc", less_is_better=True),
            facts(evaluation(against(value=-0.03, low=-0.05, high=-0.01, confidence=0.95)), champion=IN_PRODUCTION),
            Verdict.PASS,
            "less is better",
        ),
        (
            better_than_champion("auc", less_is_better=True),
            facts(evaluation(against(value=0.03, low=0.01, high=0.05, confidence=0.95)), champion=IN_PRODUCTION),
            Verdict.FAIL,
            "less is better",
        ),
    ],
)
def test_the_verdict_against_the_champion(need, known, expected, why):
    result = verdict(need, known)
    assert (result.verdict, why in result.why) == (expected, True), result


def test_a_comparison_on_training_rows_does_not_count():
    leaky = against(value=0.03, low=0.01, high=0.05, p=0.01)
    leaky["data"]["rows_shared_with_training"] = 4
    assert verdict(better_than_champion("auc"), facts(evaluation(leaky), champion=IN_PRODUCTION)).verdict is Verdict.FAIL


def checked(ok, at_ns=NOW_NS - 100):
    return Fact(run="f" * 32, subject="sha256:" + "d" * 64, at_ns=at_ns, body={"ok": ok, "dataset": "dataset:churn@1"})


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ((), Verdict.MISSING),
        ((DataFact(dataset="dataset:churn@1"),), Verdict.MISSING),
        ((DataFact(dataset="dataset:churn@1", validation=checked(True)),), Verdict.PASS),
        ((DataFact(dataset="dataset:churn@1", validation=checked(False)),), Verdict.FAIL),
        ((DataFact(dataset="dataset:churn@1", validation=checked(1)),), Verdict.ERROR),
        ((DataFact(dataset="dataset:churn@1", validation=checked(None)),), Verdict.ERROR),
        ((DataFact(dataset="dataset:churn@1", validation=checked(True)), DataFact(dataset="dataset:rates@2")), Verdict.MISSING),
        (
            (DataFact(dataset="dataset:churn@1", validation=checked(True)), DataFact(dataset="dataset:rates@2", validation=checked(False))),
            Verdict.FAIL,
        ),
    ],
)
def test_the_verdict_of_the_data(data, expected):
    assert verdict(data_valid(), facts(data=data)).verdict is expected


def test_a_validation_ages_too():
    old = DataFact(dataset="dataset:churn@1", validation=checked(True, at_ns=NOW_NS - 7200 * SECOND_NS))
    assert verdict(data_valid(), facts(data=(old,)), evidence_max_age="1h").verdict is Verdict.STALE


documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.sampled_from(["NaN", "Infinity", "x", "auc"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["data", "metrics", "slices", "kpis", "fairness", "champion", "auc", "value", "low", "high", "difference", "digest", "p"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
NEEDS = [
    gate("auc >= 0.5"),
    gate("auc <= 0.5"),
    gate("auc[auc=auc] >= 0"),
    gate("auc[gender] <= 0"),
    better_than_champion("auc"),
    data_valid(),
]


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(["data", "metrics", "slices", "kpis", "fairness", "champion"]), documents))
def test_no_body_of_an_evaluation_makes_a_gate_raise_or_pass_without_numbers(odd):
    known = facts(evaluation(odd), champion=IN_PRODUCTION)
    for result in judge(policy(staging=NEEDS), Stage.STAGING, known):
        if result.verdict is Verdict.PASS:
            shared = odd["data"]["rows_shared_with_training"]
            assert shared == 0 and isinstance(shared, int)
            assert result.value is not None and math.isfinite(result.value)


finite = st.floats(-1e6, 1e6)


@given(finite, finite, finite, finite, st.sampled_from([">=", "<="]))
def test_a_bound_is_held_by_the_end_of_the_interval_that_is_worse(a, b, c, bound, op):
    low, value, high = sorted([a, b, c])
    known = facts(evaluation(body(metrics={"auc": entry(value, low, high)})))
    result = verdict(gate(f"auc {op} {bound!r}"), known)
    holds = low >= bound if op == ">=" else high <= bound
    assert result.verdict is (Verdict.PASS if holds else Verdict.FAIL)


def test_the_verdict_is_a_pure_function_and_changes_none_of_its_facts():
    known = facts(evaluation(body()), champion=IN_PRODUCTION, data=(DataFact(dataset="dataset:churn@1", validation=checked(True)),))
    before = copy.deepcopy(known)
    rules = policy(staging=NEEDS)
    assert judge(rules, Stage.STAGING, known) == judge(rules, Stage.STAGING, copy.deepcopy(known))
    assert known == before


def test_each_thing_that_an_approval_binds_to_changes_the_evidence_digest():
    rules = policy(staging=[gate("auc >= 0.8")], production=[data_valid()])

    def digest(rules=rules, known=None, target="Staging"):
        known = known or facts(evaluation(body()))
        return evidence_digest(rules, target, known, judge(rules, Stage.STAGING, known))

    newer = evaluation(body(), at_ns=NOW_NS)
    digests = {
        digest(),
        digest(rules=policy(staging=[gate("auc >= 0.8")])),
        digest(known=facts(evaluation(body()), champion=IN_PRODUCTION)),
        digest(known=facts(evaluation(body()), newer)),
        digest(known=facts(evaluation(body(), run="0" * 32))),
        digest(known=facts()),
        digest(target="Production"),
    }
    assert len(digests) == 7
    assert digest() == digest()


def test_a_fact_that_no_gate_looks_at_leaves_the_evidence_as_it_is():
    rules = policy(staging=[gate("auc >= 0.8")])
    one = facts(evaluation(body()))
    silent = evaluation(body(metrics={"f1": entry()}), at_ns=NOW_NS)
    two = facts(evaluation(body()), silent)
    digests = {evidence_digest(rules, "Staging", known, judge(rules, Stage.STAGING, known)) for known in (one, two)}
    assert len(digests) == 1
