"""The verbs over a real store. Not here: verdicts (test_gates), races and crashes (test_races, test_crashes)."""

import pickle

import pytest

from stratal.core.errors import Conflict, Misuse, NotFound, Refused
from stratal.core.people import Role
from stratal.registry import registering
from stratal.registry.assessing import TransitionRefused
from stratal.registry.gates import Verdict
from stratal.registry.policies import approvals, better_than_champion, data_valid, gate, policy
from stratal.registry.stages import Stage
from stratal.registry.store import ModelStore
from stratal.store.operations import operations_of
from stratal.tracking.runs import run


@pytest.fixture
def house(house_seen):
    """All of this page runs over both ways."""
    return house_seen


STRICT = policy(staging=[gate("auc >= 0.80")], production=[better_than_champion("auc"), approvals(1)])
OPEN = policy(staging=[gate("auc >= 0.80")])


def in_production(house, seed, rules=OPEN, **facts):
    model = house.model(seed)
    house.evaluate(model, **facts)
    version = registering.register("churn", model, policy=rules, store=house.store)
    registering.promote(version, "Staging", store=house.store)
    registering.promote(version, "Production", store=house.store)
    return version


def stages(house, name="churn"):
    return {number: standing.stage for number, standing in ModelStore(house.store).standings(name=name).items()}


def test_registering_gives_version_one_in_development(house):
    version = registering.register("churn", house.model(), store=house.store)
    assert (version.ref, version.author) == ("model:churn@1", "ann")
    assert stages(house) == {1: Stage.DEVELOPMENT}


def test_registering_the_same_model_again_gives_the_same_version(house):
    first = registering.register("churn", house.model("a"), store=house.store)
    other = registering.register("churn", house.model("b"), store=house.store)
    with house.acting("bob"):
        again = registering.register("churn", house.model("a"), store=house.store)
    assert again == first != other
    assert other.number == 2
    assert [entry.action for entry in registering.history("churn", store=house.store)] == ["register", "register"]


@pytest.mark.parametrize("seen", ["here"], indirect=True)  # evidence is looked up where the store lies
def test_the_whole_way_to_production_with_an_approval_by_somebody_else(house):
    model = house.model()
    version = registering.register("churn", model, evidence=house.evaluate(model), policy=STRICT, store=house.store)
    assert registering.promote(version, "Staging", store=house.store).said == "model:churn@1: Development → Staging"
    with pytest.raises(TransitionRefused, match="1 approval by role approver") as caught:
        registering.promote(version, "production", store=house.store)
    assert "stratal approve model:churn@1 Production" in caught.value.hint
    with house.acting("maria"):
        registering.approve("model:churn@1", "Production", note="slices looked at", store=house.store)
    done = registering.promote("model:churn@staging", "Production", store=house.store)
    assert (done.approved_by, stages(house)) == (("maria",), {1: Stage.PRODUCTION})
    assert registering.verify_audit(store=house.store).is_sound


def test_an_approval_before_any_request_takes_the_author_for_the_requester(house):
    model = house.model()
    house.evaluate(model)
    version = registering.register("churn", model, policy=STRICT, store=house.store)
    registering.promote(version, "Staging", store=house.store)
    with house.acting("maria"):
        registering.approve(version, "Production", store=house.store)
        assert registering.promote(version, "Production", store=house.store).changed


def test_a_refusal_lists_each_gate_with_its_numbers_and_what_to_do(house):
    model = house.model()
    house.evaluate(model, auc=0.75)
    version = registering.register(
        "churn", model, policy=policy(staging=[gate("auc >= 0.80"), gate("f1 >= 0.5"), data_valid()]), store=house.store
    )
    with pytest.raises(TransitionRefused) as caught:
        registering.promote(version, "Staging", store=house.store)
    text = str(caught.value)
    for part in ("Development → Staging is refused", "fail", "0.73 is below 0.8", "missing", "f1", "data valid", "narrower interval"):
        assert part in text
    verdicts = [result.verdict for result in caught.value.assessment.results]
    assert verdicts == [Verdict.FAIL, Verdict.MISSING, Verdict.MISSING]
    assert stages(house) == {1: Stage.DEVELOPMENT}


def test_promotion_archives_the_predecessor_and_rollback_restores_it(house):
    first = in_production(house, "a")
    before = ModelStore(house.store).version(name="churn", number=1)
    second = in_production(house, "b")
    assert stages(house) == {1: Stage.ARCHIVED, 2: Stage.PRODUCTION}
    done = registering.rollback("churn", reason="wrong currency", store=house.store)
    assert done.said == "model:churn@1 is back in Production, model:churn@2 is archived"
    assert stages(house) == {1: Stage.PRODUCTION, 2: Stage.ARCHIVED}
    assert ModelStore(house.store).find(name="churn", selector="production") == before == first
    with pytest.raises(NotFound, match="no earlier version"):
        registering.rollback("churn", reason="again", store=house.store)
    assert second.number == 2
    assert registering.verify_audit(store=house.store).is_sound


def test_rollback_goes_down_the_versions_that_were_good(house):
    for seed in "abc":
        in_production(house, seed)
    registering.rollback("churn", reason="3 is bad", store=house.store)
    registering.rollback("churn", reason="2 is bad too", store=house.store)
    assert stages(house) == {1: Stage.PRODUCTION, 2: Stage.ARCHIVED, 3: Stage.ARCHIVED}


def test_rollback_after_a_revived_version_goes_back_to_the_one_it_replaced(house):
    first = in_production(house, "a")
    in_production(house, "b")
    registering.revive(first, reason="needed again", store=house.store)
    registering.promote(first, "Staging", store=house.store)
    registering.promote(first, "Production", store=house.store)
    registering.rollback("churn", reason="no", store=house.store)
    assert stages(house) == {1: Stage.ARCHIVED, 2: Stage.PRODUCTION}


def test_a_stage_already_held_or_passed_is_a_no_op_that_says_so(house):
    version = in_production(house, "a")
    entries = len(registering.history("churn", store=house.store))
    held = registering.promote(version, "Production", store=house.store)
    passed = registering.promote(version, "Staging", store=house.store)
    assert (held.changed, held.said) == (False, "model:churn@1 is in Production already")
    assert (passed.changed, passed.said) == (False, "model:churn@1 is in Production, which is past Staging")
    assert len(registering.history("churn", store=house.store)) == entries


@pytest.mark.parametrize("seen", ["here"], indirect=True)  # no operation asks for one
def test_an_unknown_transition_names_the_allowed_ones(house):
    version = registering.register("churn", house.model(), policy=OPEN, store=house.store)
    with pytest.raises(Misuse) as caught:
        registering.promote(version, "Production", store=house.store)
    assert caught.value.hint == "from Development the allowed ones are: promote to Staging, archive to Archived"
    with pytest.raises(Misuse, match="no return from Development"):
        ModelStore(house.store)._move("churn", 1, "return", Stage.STAGING, "x")


def test_archiving_and_reviving_take_a_reason(house):
    version = registering.register("churn", house.model(), store=house.store)
    with pytest.raises(Misuse, match="takes a reason"):
        registering.archive(version, reason=" ", store=house.store)
    registering.archive(version, reason="old", store=house.store)
    assert not registering.archive(version, reason="old", store=house.store).changed
    registering.revive(version, reason="needed", store=house.store)
    assert stages(house) == {1: Stage.DEVELOPMENT}
    assert [entry.reason for entry in registering.history("churn", store=house.store)] == ["", "old", "needed"]


def test_the_second_model_must_beat_the_champion_on_the_same_rows(house):
    rules = policy(production=[better_than_champion("auc")])
    first, second = house.model("a"), house.model("b")
    one = registering.register("churn", first, policy=rules, store=house.store)
    two = registering.register("churn", second, policy=rules, store=house.store)
    for version in (one, two):
        registering.promote(version, "Staging", store=house.store)
    done = registering.promote(one, "Production", store=house.store)
    assert done.results[0].why == "there is no champion to be better than"
    for champion, gain, verdict in ((None, 0, Verdict.MISSING), (second, 0.05, Verdict.STALE), (first, 0.005, Verdict.FAIL)):
        house.evaluate(second, champion=champion, gain=gain)
        (result,) = registering.assess(two, "Production", store=house.store).results
        assert result.verdict is verdict
    house.evaluate(second, champion=first, gain=0.05)
    assert registering.promote(two, "Production", store=house.store).archived == (1,)


@pytest.mark.parametrize("seen", ["here"], indirect=True)  # as above
def test_evidence_of_another_model_is_refused_at_registering(house):
    ours, other = house.model("a"), house.model("b")
    with pytest.raises(Misuse, match="speaks of another model"):
        registering.register("churn", ours, evidence=house.evaluate(other), store=house.store)
    evidence = house.evaluate(ours)
    with pytest.raises(NotFound, match="states no evaluation"):
        registering.register("churn", ours, evidence=type(evidence)(run=ours.run, subject=evidence.subject), store=house.store)


def test_a_model_without_its_bytes_is_refused(house):
    model = house.model()
    with pytest.raises(NotFound, match="manifest"):
        registering.register("churn", type(model)(run=model.run, path="model", digest="0" * 64, flavor="sklearn"), store=house.store)
    with pytest.raises(Misuse, match="not the digest"):
        registering.register("churn", type(model)(run=model.run, path="model", digest="../x", flavor="sklearn"), store=house.store)


def test_without_a_policy_any_stage_may_follow_any_and_each_change_is_logged(house):
    one = registering.register("free", house.model("a"), store=house.store)
    two = registering.register("free", house.model("b"), store=house.store)
    registering.promote(one, "Production", store=house.store)
    done = registering.promote(two, "Production", store=house.store)
    assert done.archived == (1,)
    registering.promote(one, "Staging", store=house.store)
    registering.promote(two, "Development", store=house.store)
    assert stages(house, "free") == {1: Stage.STAGING, 2: Stage.DEVELOPMENT}
    assert [entry.action for entry in registering.history("free", store=house.store)] == ["register"] * 2 + ["promote"] * 4
    assert registering.verify_audit(store=house.store).is_sound


def test_a_policy_is_not_adopted_while_its_limits_are_broken(house):
    models = ModelStore(house.store)
    for seed in "ab":
        version = registering.register("free", house.model(seed), store=house.store)
        seen = models.assess(name="free", number=version.number, stage="Production")
        models.promote(name="free", number=version.number, stage="Production", epoch=seen.epoch, evidence=seen.evidence, keep_others=True)
    assert set(stages(house, "free").values()) == {Stage.PRODUCTION}
    with pytest.raises(Conflict, match="model:free@2, model:free@1"):
        registering.set_policy("free", OPEN, store=house.store)
    registering.archive("model:free@2", reason="one is enough", store=house.store)
    assert registering.set_policy("free", OPEN, store=house.store).is_in_force
    assert models.standings(name="free")[1].slot == 1
    assert registering.verify_audit(store=house.store).is_sound


def test_a_policy_change_waits_for_the_approvals_that_the_old_one_asks_for(house):
    registering.register("churn", house.model(), policy=STRICT, store=house.store)
    change = registering.set_policy("churn", OPEN, store=house.store)
    assert (change.is_in_force, change.missing) == (False, ("1 approval by role approver",))
    with pytest.raises(Misuse, match="nobody approves what they asked for"):
        registering.approve("model:churn", "policy", store=house.store)
    with house.acting("maria"):
        registering.approve("model:churn", "policy", store=house.store)
    assert registering.set_policy("churn", OPEN, store=house.store).is_in_force
    assert registering.set_policy("churn", OPEN, store=house.store).said.endswith("already")
    assert registering.verify_audit(store=house.store).is_sound


def test_registering_with_another_policy_keeps_the_version_and_says_what_is_missing(house):
    registering.register("churn", house.model("a"), policy=STRICT, store=house.store)
    with pytest.raises(Refused, match="waits for 1 approval") as caught:
        registering.register("churn", house.model("b"), policy=OPEN, store=house.store)
    assert "stratal approve model:churn policy" in caught.value.hint
    assert stages(house) == {1: Stage.DEVELOPMENT, 2: Stage.DEVELOPMENT}
    assert registering.register("churn", house.model("b"), policy=STRICT, store=house.store).number == 2


def test_data_valid_follows_lineage_to_the_dataset_behind_a_split(house):
    with run("churn", kind="step", store=house.store) as splitting:
        splitting.edge("used", "dataset:churn@1")
        splitting.edge("produced", "dataset:churn/train@1")
        splitting.edge("produced", "sha256:" + "f" * 64)
    rules = policy(staging=[data_valid()])
    versions = [
        registering.register("churn", house.model(dataset, dataset=dataset), policy=rules, store=house.store)
        for dataset in ("dataset:churn/train@1", "sha256:" + "f" * 64, "dataset:other@1")
    ]

    def verdicts():
        return [registering.assess(version, "Staging", store=house.store).results[0].verdict for version in versions]

    assert verdicts() == [Verdict.MISSING] * 3
    house.validate("dataset:churn@1", ok=False)
    assert verdicts() == [Verdict.FAIL, Verdict.FAIL, Verdict.MISSING]
    house.validate("dataset:churn@1")
    assert verdicts() == [Verdict.PASS, Verdict.PASS, Verdict.MISSING]


def test_data_valid_reads_what_a_split_says_of_its_data_and_a_refusal_whose_run_failed(house):
    with run("churn", store=house.store) as training:
        training.state("split", {"data": "dataset:churn@1", "parts": {}}, subject="sha256:" + "f" * 64)
    model = house.model()
    handle = type(model)(run=training.id, path=model.path, digest=model.digest, flavor=model.flavor)
    version = registering.register("churn", handle, policy=policy(staging=[data_valid()]), store=house.store)
    house.validate("dataset:churn@1")
    assert registering.assess(version, "Staging", store=house.store).is_ready
    with pytest.raises(RuntimeError), run("churn", kind="step", store=house.store) as checking:
        checking.state("validation", {"ok": False, "dataset": "dataset:churn@1"}, subject="sha256:" + "d" * 64)
        raise RuntimeError("refused")
    (result,) = registering.assess(version, "Staging", store=house.store).results
    assert (result.verdict, result.why) == (Verdict.FAIL, "dataset:churn@1 did not pass its validation")


def test_an_evaluation_counts_when_its_run_has_finished(house):
    model = house.model()
    version = registering.register("churn", model, policy=OPEN, store=house.store)
    done = house.evaluate(model, auc=0.9)
    with pytest.raises(RuntimeError), run("churn", kind="evaluation", store=house.store) as broken:
        broken.state("evaluation", {"metrics": {"auc": {"value": 0.1, "low": 0.1, "high": 0.1}}}, subject=done.subject)
        raise RuntimeError("stopped half way")
    (result,) = registering.assess(version, "Staging", store=house.store).results
    assert (result.verdict, result.value) == (Verdict.PASS, 0.9)


def test_a_refusal_crosses_a_process_border_whole(house):
    version = registering.register("churn", house.model(), policy=OPEN, store=house.store)
    with pytest.raises(TransitionRefused) as caught:
        registering.promote(version, "Staging", store=house.store)
    arrived = pickle.loads(pickle.dumps(caught.value))
    assert (str(arrived), arrived.assessment) == (str(caught.value), caught.value.assessment)


def test_every_operation_can_be_served():
    found = operations_of(ModelStore)
    assert {name for name, each in found.items() if each.needs is Role.VIEWER} == {
        "aliases", "assess", "find", "history", "models", "policy", "requests", "standings", "verify_audit", "version", "versions",
    }  # fmt: skip
    assert found["promote"].on == "name"
