"""The transition table. Not here: what a store does with it."""

from itertools import product

import pytest

from stratal.core.errors import Misuse
from stratal.registry.stages import LADDER, LIMITS, TRANSITIONS, Stage, Verb, find_transition, has_passed, to_stage, way_to


def test_every_stage_can_be_left_and_reached():
    assert {row.source for row in TRANSITIONS} == {None, *Stage}
    assert {row.target for row in TRANSITIONS} == set(Stage)


@pytest.mark.parametrize(("source", "verb", "target"), list(product([None, *Stage], Verb, Stage)))
def test_a_transition_is_in_the_table_or_an_error_that_names_the_allowed_ones(source, verb, target):
    rows = {(row.source, row.verb, row.target) for row in TRANSITIONS}
    if (source, verb, target) in rows:
        assert find_transition(source, verb, target).target == target
        return
    with pytest.raises(Misuse) as caught:
        find_transition(source, verb, target)
    for row in TRANSITIONS:
        if row.source == source:
            assert f"{row.verb} to {row.target}" in caught.value.hint


def test_development_does_not_lead_straight_to_production():
    with pytest.raises(Misuse, match="no promote from Development to Production"):
        find_transition(Stage.DEVELOPMENT, Verb.PROMOTE, Stage.PRODUCTION)


@pytest.mark.parametrize("text", ["production", "PRODUCTION", "Production", "pRoDuCtIoN"])
def test_a_stage_is_read_in_any_case(text):
    assert to_stage(text) is Stage.PRODUCTION


@pytest.mark.parametrize("text", ["", "Prod uction", "рroduction", "Productіon", "1", "Production\n"])
def test_what_only_looks_like_a_stage_is_none(text):
    with pytest.raises(Misuse, match="is not a stage"):
        to_stage(text)


def test_a_near_miss_is_answered_with_the_nearest_stage():
    with pytest.raises(Misuse) as caught:
        to_stage("stagging")
    assert "did you mean Staging?" in caught.value.hint


def test_only_stages_below_on_the_ladder_are_passed():
    passed = {(stage, target) for stage, target in product(Stage, Stage) if has_passed(stage, target)}
    below = {(LADDER[high], LADDER[low]) for high in range(3) for low in range(high + 1)}
    assert passed == below | {(Stage.ARCHIVED, Stage.ARCHIVED)}


def test_the_way_to_production_leads_through_staging():
    assert way_to(Stage.PRODUCTION) == (Stage.DEVELOPMENT, Stage.STAGING, Stage.PRODUCTION)
    assert way_to(Stage.ARCHIVED) == ()


def test_production_holds_one():
    assert LIMITS == {Stage.PRODUCTION: 1}
