"""Policies: reading gates, one digest for one meaning, JSON and TOML. Not here: verdicts."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratal.core.errors import Misuse
from stratal.registry.policies import (
    MetricGate,
    Policy,
    approvals,
    better_than_champion,
    data_valid,
    gate,
    policy,
    policy_from_json,
    policy_from_toml,
    policy_to_json,
    policy_to_toml,
)
from stratal.registry.stages import Stage

words = st.text(st.characters(codec="utf-8", exclude_characters="[]<>=", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda word: word.strip() == word and word.split() != []
)
wheres = st.none() | words | st.builds(lambda key, value: f"{key}={value}", words, words)
numbers = st.floats(allow_nan=False, allow_infinity=False)
gates = st.builds(
    lambda metric, where, op, bound: gate(f"{metric}{'' if where is None else f'[{where}]'} {op} {bound!r}"),
    words,
    wheres,
    st.sampled_from([">=", "<="]),
    numbers,
)
shares = st.floats(0.01, 0.99)
betters = st.builds(better_than_champion, words, confidence=shares, less_is_better=st.none() | st.booleans())
roles = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
needs = st.lists(gates | betters | st.just(data_valid()), max_size=4)
asked = st.lists(
    st.builds(approvals, st.integers(1, 9), role=roles, expires=st.integers(1, 10**9), authenticated=st.booleans()),
    max_size=2,
    unique_by=lambda need: need.role,
)
policies = st.builds(
    lambda staging, production, people, age, confidence: policy(
        staging=staging, production=production + people, evidence_max_age=age, confidence=confidence
    ),
    needs,
    needs,
    asked,
    st.none() | st.integers(1, 10**9),
    shares,
)

EXAMPLE = policy(
    staging=[gate("auc >= 0.80"), gate("equalized_odds_difference[gender] <= 0.15"), data_valid()],
    production=[better_than_champion("auc", confidence=0.95), approvals(1, role="approver")],
)


@pytest.mark.parametrize(
    ("text", "metric", "where", "op", "bound"),
    [
        ("auc >= 0.80", "auc", None, ">=", 0.8),
        ("auc>=.8", "auc", None, ">=", 0.8),
        ("  auc  >=  8e-1  ", "auc", None, ">=", 0.8),
        ("equalized_odds_difference[gender] <= 0.15", "equalized_odds_difference", "gender", "<=", 0.15),
        ("auc[contract=One year] >= 0.7", "auc", "contract=One year", ">=", 0.7),
        ("auc[ contract = One year ] >= 0.7", "auc", "contract=One year", ">=", 0.7),
        ("auc[tenure=>= 5] >= 0.7", "auc", "tenure=>= 5", ">=", 0.7),
        ("campaign profit >= 0", "campaign profit", None, ">=", 0.0),
        ("campaign profit >= -0.0", "campaign profit", None, ">=", 0.0),
    ],
)
def test_a_gate_is_read(text, metric, where, op, bound):
    assert gate(text) == MetricGate(metric=metric, where=where, op=op, bound=bound)


@pytest.mark.parametrize(
    ("text", "position", "what"),
    [
        ("auc", 4, "expected >= or <="),
        ("", 1, "expected >= or <="),
        ("auc == 0.8", 5, "expected >= or <="),
        ("auc > 0.8", 5, "expected >= or <="),
        ("auc >= ", 8, "expected a number"),
        ("auc >= high", 8, "expected a number"),
        ("auc >= 0.8 and f1 >= 0.2", 8, "expected a number"),
        ("auc >= nan", 8, "finite"),
        ("auc >= inf", 8, "finite"),
        (">= 0.8", 1, "expected the name"),
        ("[gender] >= 0.8", 1, "expected the name"),
        ("auc[gender >= 0.8", 11, "expected ]"),
        ("auc] >= 0.8", 4, "closes nothing"),
        ("auc[] >= 0.8", 5, "expected one slice"),
        ("auc[a][b] >= 0.8", 5, "expected one slice"),
    ],
)
def test_an_unreadable_gate_shows_the_position(text, position, what):
    with pytest.raises(Misuse) as caught:
        gate(text)
    assert what in caught.value.message
    shown, mark = caught.value.message.splitlines()[1:]
    assert shown == f"    {text}"
    assert mark.endswith(f"^ position {position}")
    assert mark.index("^") - 4 == position - 1


@given(policies)
def test_json_and_toml_give_the_policy_back_with_the_same_digest(value):
    assert policy_from_json(policy_to_json(value)) == value
    assert policy_from_toml(policy_to_toml(value)) == value
    assert policy_from_toml(policy_to_toml(value)).digest == value.digest == policy_from_json(policy_to_json(value)).digest


@given(policies, st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_change_the_digest(value: Policy, rng: random.Random):
    def shuffled(needs):
        gates_twice = [*needs, *(need for need in needs if not hasattr(need, "role"))]
        rng.shuffle(gates_twice)
        return gates_twice

    again = policy(
        staging=shuffled(value.staging),
        production=shuffled(value.production),
        evidence_max_age=value.evidence_max_age_s,
        confidence=value.confidence,
    )
    assert again.digest == value.digest


@given(policies, policies)
def test_different_policies_have_different_digests(one, other):
    def meaning(value):
        return set(value.staging), set(value.production), value.evidence_max_age_s, value.confidence

    assert (one.digest == other.digest) == (meaning(one) == meaning(other))


def test_the_digest_of_a_known_policy_stays_what_it_is():
    # Digests are kept in stores and named in approvals: a change of this number breaks them.
    assert EXAMPLE.digest == policy_from_toml(TOML).digest
    assert EXAMPLE.digest == "390ed622ec753050cb518b680a2e80972e1b632e960f9eb14774c42dbb85bf81"


TOML = """
format = 1
staging = [
  { data_valid = true },
  { gate = "auc >= 0.8" },
  { gate = "equalized_odds_difference[gender]<=0.15" },
]
production = [
  { better_than_champion = "auc" },
  { approvals = 1, role = "approver", expires_s = "7d" },
]
"""


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("staging = ]", "line 1, column 11"),
        ("format = 2", "format 2"),
        ("gates = []", "unknown keys: gates"),
        ('staging = ["auc >= 0.8"]', "staging[0] is not a table"),
        ('staging = [{ gate = "auc" }]', "position 4"),
        ('staging = [{ data_valid = true }, { gate = "auc >= x" }]', "staging[1]: cannot read the gate"),
        ("staging = [{ gate = 3 }]", "staging[0]: gate = 3 is not a text"),
        ('staging = [{ gate = "auc >= 1", low = 3 }]', "unknown keys: low"),
        ("staging = [{ data_valid = false }]", "asks for nothing"),
        ("staging = [{ sha = true }]", "names no requirement"),
        ("production = [{ approvals = 0 }]", "asks for nobody"),
        ("production = [{ approvals = true }]", "asks for nobody"),
        ('production = [{ approvals = 1, role = "Boss Man" }]', "not a role name"),
        ("production = [{ approvals = 1 }, { approvals = 2 }]", "a second time"),
        ('production = [{ better_than_champion = "auc", confidence = 95 }]', "between 0 and 1"),
        ("confidence = true", "not a number"),
        ('evidence_max_age_s = "soon"', "not a span of time"),
    ],
)
def test_a_wrong_document_says_where_and_what(text, what):
    with pytest.raises(Misuse) as caught:
        policy_from_toml(text)
    assert what in caught.value.message


def test_wrong_json_shows_the_position():
    with pytest.raises(Misuse, match="byte 11"):
        policy_from_json('{"format": x}')


def test_a_text_in_place_of_a_gate_is_answered_with_what_to_write():
    with pytest.raises(Misuse) as caught:
        policy(staging=["auc >= 0.8"])
    assert caught.value.hint == "write gate('auc >= 0.8')"


def test_production_asks_again_for_the_gates_of_staging():
    assert [need.label for need in EXAMPLE.gates(Stage.PRODUCTION)] == [
        "auc >= 0.8",
        "equalized_odds_difference[gender] <= 0.15",
        "data valid",
        "auc better than champion (0.95)",
    ]
    assert EXAMPLE.gates(Stage.DEVELOPMENT) == EXAMPLE.gates(Stage.ARCHIVED) == ()
    assert [need.label for need in EXAMPLE.approvals(Stage.PRODUCTION)] == ["1 approval by role approver"]
    assert EXAMPLE.approvals(Stage.STAGING) == ()


def test_the_side_of_a_known_loss_is_known():
    assert better_than_champion("brier").less_is_better
    assert not better_than_champion("auc").less_is_better
    assert not better_than_champion("brier", less_is_better=False).less_is_better
