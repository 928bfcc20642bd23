"""Who may approve, and what an approval is worth. Not here: how a store keeps them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratal.core.clock import SECOND_NS
from stratal.core.errors import Forbidden
from stratal.core.people import Grant, Identity
from stratal.registry.approving import Approval, People, check_may_approve, is_same_person, rule
from stratal.registry.policies import approvals

EVIDENCE = "e" * 64
T0 = 1_790_000_000 * SECOND_NS
PEOPLE = People(model="churn", requester="ann", author="bob")


def given_by(person, *, evidence=EVIDENCE, at_ns=T0, authenticated=False):
    return Approval(request="r", person=person, is_authenticated=authenticated, at_ns=at_ns, evidence=evidence)


def people(*grants):
    return People(model="churn", requester="ann", author="bob", grants=grants)


def on_churn(person, role):
    return Grant(person=person, role=role, on="model:churn")


@pytest.mark.parametrize("name", ["ann", "bob", "Ann", " ann", "ＡＮＮ", "BOB "])
def test_requester_and_author_may_not_approve_under_any_spelling(name):
    with pytest.raises(Forbidden, match="nobody approves what they"):
        check_may_approve(Identity(name=name), PEOPLE, [approvals(1)])


@pytest.mark.parametrize("grants", [(), (on_churn("ann", "approver"), on_churn("ann", "admin"), on_churn("bob", "approver"))])
def test_no_role_lets_requester_or_author_approve(grants):
    for name in ("ann", "bob"):
        with pytest.raises(Forbidden):
            check_may_approve(Identity(name=name), people(*grants), [approvals(1)])
        assert rule([approvals(1)], [given_by(name)], EVIDENCE, people(*grants), T0).missing == ("1 approval by role approver",)


def test_a_store_without_grants_for_the_model_trusts_anybody_else():
    check_may_approve(Identity(name="cy"), PEOPLE, [approvals(1, role="validator")])
    check_may_approve(Identity(name="cy"), people(Grant(person="dan", role="approver", on="model:other")), [approvals(1)])


def test_one_grant_for_the_model_ends_that_trust():
    with pytest.raises(Forbidden, match="does not hold a role"):
        check_may_approve(Identity(name="cy"), people(on_churn("dan", "approver")), [approvals(1)])
    check_may_approve(Identity(name="dan"), people(on_churn("dan", "approver")), [approvals(1)])
    check_may_approve(Identity(name="dan"), people(Grant(person="dan", role="admin")), [approvals(1)])


def test_a_policy_may_ask_for_checked_identities():
    need = approvals(1, authenticated=True)
    with pytest.raises(Forbidden, match="only asserted"):
        check_may_approve(Identity(name="cy"), PEOPLE, [need])
    check_may_approve(Identity(name="cy", is_authenticated=True), PEOPLE, [need])
    assert rule([need], [given_by("cy")], EVIDENCE, PEOPLE, T0).missing
    assert not rule([need], [given_by("cy", authenticated=True)], EVIDENCE, PEOPLE, T0).missing


@pytest.mark.parametrize(
    ("approval", "now_ns", "void"),
    [
        (given_by("cy"), T0, None),
        (given_by("cy"), T0 + 7 * 86_400 * SECOND_NS, None),
        (given_by("cy"), T0 + 7 * 86_400 * SECOND_NS + 1, "expired"),
        (given_by("cy", evidence="f" * 64), T0, "has changed since"),
        (given_by("cy"), T0 - 1, "set back"),
        (given_by("ann"), T0, "asked for it"),
        (given_by("bob"), T0, "made it"),
    ],
)
def test_what_an_approval_is_worth(approval, now_ns, void):
    ruling = rule([approvals(1)], [approval], EVIDENCE, PEOPLE, now_ns)
    if void is None:
        assert (ruling.counted, ruling.void, ruling.missing) == (("cy",), (), ())
    else:
        assert ruling.counted == () and ruling.missing == ("1 approval by role approver",)
        assert len(ruling.void) == 1 and void in ruling.void[0]


def test_a_lost_role_takes_the_approval_with_it():
    given_ = [given_by("cy")]
    assert not rule([approvals(1)], given_, EVIDENCE, people(on_churn("cy", "approver")), T0).missing
    ruling = rule([approvals(1)], given_, EVIDENCE, people(on_churn("dan", "approver")), T0)
    assert ruling.missing and "no longer" in ruling.void[0]


def test_one_person_counts_once_however_spelled():
    ruling = rule([approvals(2)], [given_by("cy"), given_by("CY"), given_by(" cy")], EVIDENCE, PEOPLE, T0)
    assert ruling.missing == ("1 approval by role approver",)


def test_one_person_takes_one_seat_and_people_are_seated_so_that_most_seats_are_filled():
    needs = [approvals(1, role="owner"), approvals(1, role="validator")]
    cy_both = [on_churn("cy", "owner"), on_churn("cy", "validator")]
    assert rule(needs, [given_by("cy")], EVIDENCE, people(*cy_both), T0).missing == ("1 approval by role validator",)
    grants = [*cy_both, on_churn("dan", "owner")]
    for order in (["cy", "dan"], ["dan", "cy"]):
        assert rule(needs, [given_by(name) for name in order], EVIDENCE, people(*grants), T0).missing == ()


names = st.sampled_from(["ann", "bob", "cy", "Cy", "dan", "eve"])
roles = st.sampled_from(["owner", "validator", "approver"])
given_lists = st.lists(
    st.builds(given_by, names, evidence=st.sampled_from([EVIDENCE, "f" * 64]), at_ns=st.sampled_from([T0, T0 - 10**18])), max_size=6
)


@given(
    given_lists,
    st.lists(st.builds(on_churn, names, roles), max_size=6),
    st.lists(st.builds(lambda role, n: approvals(n, role=role), roles, st.integers(1, 2)), max_size=3, unique_by=lambda need: need.role),
)
def test_what_is_satisfied_was_satisfied_by_that_many_distinct_others(approved, grants, needs):
    ruling = rule(needs, approved, EVIDENCE, people(*grants), T0)
    asked = sum(need.count for need in needs)
    lacking = sum(int(text.split()[0]) for text in ruling.missing)
    folded = {name.lower() for name in ruling.counted}
    assert len(folded) == len(ruling.counted) == asked - lacking
    assert not folded & {"ann", "bob"}
    fresh = {each.person.lower() for each in approved if each.evidence == EVIDENCE and each.at_ns == T0}
    assert folded <= fresh


@given(st.text(), st.text())
def test_sameness_of_people_is_symmetric_and_holds_for_oneself(one, other):
    assert is_same_person(one, one)
    assert is_same_person(one, other) == is_same_person(other, one)


def test_who_is_locked_out_approves_nothing_and_their_approvals_are_void():
    for grants in ((), (on_churn("cy", "approver"),)):
        who = People(model="churn", requester="ann", author="bob", grants=grants, disabled=("cy",))
        with pytest.raises(Forbidden, match="locked out"):
            check_may_approve(Identity(name="Cy"), who, [approvals(1)])
        ruling = rule([approvals(1)], [given_by("cy ")], EVIDENCE, who, T0)
        assert ruling.missing == ("1 approval by role approver",) and ruling.void == ("cy : they are locked out",)
