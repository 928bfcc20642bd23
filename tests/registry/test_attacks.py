"""People who try to get a version where it should not be. Each test is one way, and it must not work."""

import sqlite3

import pytest

from stratal.core.errors import Conflict, Damaged, Forbidden, Misuse, NotFound
from stratal.registry import registering
from stratal.registry.assessing import TransitionRefused
from stratal.registry.gates import Verdict
from stratal.registry.policies import approvals, better_than_champion, gate, policy
from stratal.registry.stages import Stage
from stratal.registry.store import ModelStore, rows
from stratal.registry.versions import Move
from stratal.store.access.accounts import AccessStore

STRICT = policy(staging=[gate("auc >= 0.80")], production=[gate("auc >= 0.81"), approvals(1)])


@pytest.fixture
def waiting(house):
    """model:churn@1 by ann in Staging, waiting for one approval; ann asked for it."""
    model = house.model()
    house.evaluate(model)
    version = registering.register("churn", model, policy=STRICT, store=house.store)
    registering.promote(version, "Staging", store=house.store)
    refused(house)
    house.subject = model
    return house


def refused(house, ref="model:churn@1", match=None):
    with pytest.raises(TransitionRefused, match=match) as caught:
        registering.promote(ref, "Production", store=house.store)
    return caught.value.assessment


def approve(house, name, ref="model:churn@1"):
    with house.acting(name):
        return registering.approve(ref, "Production", store=house.store)


def grant(house, person, role, on="model:churn"):
    with sqlite3.connect(house.store.folder / "stratal.db") as connection:
        connection.execute("insert into access_grant values (?, ?, ?, 'root', 0)", (person, role, on))


def take_grant(house, person, on):
    with sqlite3.connect(house.store.folder / "stratal.db") as connection:
        connection.execute("delete from access_grant where person = ? and object = ?", (person, on))


@pytest.mark.parametrize("name", ["ann", "Ann", "ANN ", "ａｎｎ"])
def test_nobody_approves_their_own_request_under_any_spelling(waiting, name):
    with pytest.raises(Forbidden):
        approve(waiting, name)
    refused(waiting, match="1 approval")


def test_a_role_given_to_oneself_does_not_help(waiting):
    grant(waiting, "ann", "approver")
    grant(waiting, "ann", "admin", on="*")
    with pytest.raises(Forbidden, match="asked for this"):
        approve(waiting, "ann")
    refused(waiting, match="1 approval")


def test_the_author_cannot_approve_what_somebody_else_asked_for(house):
    model = house.model()
    house.evaluate(model)
    version = registering.register("churn", model, policy=STRICT, store=house.store)
    registering.promote(version, "Staging", store=house.store)
    with house.acting("bob"):
        refused(house)
    with pytest.raises(Forbidden, match="made this"):
        approve(house, "ann")
    with pytest.raises(Forbidden, match="asked for this"):
        approve(house, "bob")


def test_with_grants_only_who_holds_the_role_may_approve(waiting):
    grant(waiting, "maria", "approver")
    with pytest.raises(Forbidden, match="does not hold a role"):
        approve(waiting, "eve")
    approve(waiting, "maria")
    assert registering.promote("model:churn@1", "Production", store=waiting.store).approved_by == ("maria",)


def test_a_role_that_was_lost_takes_its_approval_with_it(waiting):
    approve(waiting, "eve")
    grant(waiting, "maria", "approver")
    assert "no longer hold" in refused(waiting).ruling.void[0]


def test_a_second_approval_by_the_same_person_counts_once(house):
    rules = policy(production=[approvals(2)])
    version = registering.register("churn", house.model(), policy=rules, store=house.store)
    registering.promote(version, "Staging", store=house.store)
    refused(house, match="2 approvals")
    for name in ("maria", "maria", "Maria "):
        approve(house, name)
    refused(house, match="1 approval by")
    assert [entry.action for entry in registering.history("churn", store=house.store)].count("approve") == 1


def test_a_better_fact_after_the_approval_voids_it(waiting):
    approve(waiting, "maria")
    waiting.evaluate(waiting.subject, auc=0.99)
    assert refused(waiting).request.by == "ann"
    approve(waiting, "maria")
    assert registering.promote("model:churn@1", "Production", store=waiting.store).changed


def test_a_fact_appended_to_the_approved_run_itself_voids_it(waiting):
    from stratal.tracking.runs import run

    evaluation = waiting.evaluate(waiting.subject)
    refused(waiting)
    approve(waiting, "maria")
    body = {
        "data": {"rows_shared_with_training": 0},
        "metrics": {"auc": {"value": 0.99, "low": 0.98, "high": 0.995, "confidence": 0.95}},
    }
    with run(resume=evaluation.run, store=waiting.store) as again:
        again.state("evaluation", body, subject=evaluation.subject)
    refused(waiting, match="1 approval")


def test_a_new_champion_voids_the_approval_even_if_the_old_one_comes_back(house):
    rules = policy(production=[approvals(1)])
    for seed in "abc":
        version = registering.register("churn", house.model(seed), policy=rules, store=house.store)
        registering.promote(version, "Staging", store=house.store)

    def serve(number):
        approve(house, "maria", f"model:churn@{number}")
        registering.promote(f"model:churn@{number}", "Production", store=house.store)

    serve(1)
    approve(house, "maria", "model:churn@3")
    serve(2)
    registering.rollback("churn", reason="2 is bad", store=house.store)
    assert ModelStore(house.store).find(name="churn", selector="champion").number == 1
    refused(house, "model:churn@3", match="1 approval")


def test_an_old_approval_cannot_be_replayed_for_another_version(waiting):
    approve(waiting, "maria")
    other = waiting.model("other")
    waiting.evaluate(other)
    version = registering.register("churn", other, store=waiting.store)
    registering.promote(version, "Staging", store=waiting.store)
    refused(waiting, "model:churn@2", match="1 approval")


def test_an_approval_is_spent_once_the_version_has_moved(waiting):
    approve(waiting, "maria")
    registering.send_back("model:churn@1", reason="wait", store=waiting.store)
    registering.promote("model:churn@1", "Staging", store=waiting.store)
    refused(waiting, match="1 approval")


def test_an_expired_approval_does_not_count_and_a_clock_set_back_does_not_revive_it(waiting):
    approve(waiting, "maria")
    waiting.clock.move(8 * 86_400)
    assert "expired" in refused(waiting).ruling.void[0]
    registering.alias("churn", "canary", 1, store=waiting.store)  # any change: the log knows the time now
    waiting.clock.move(-8 * 86_400)
    assert "expired" in refused(waiting).ruling.void[0]


def test_an_approval_given_before_the_clock_was_set_back_is_dated_by_the_log(waiting):
    waiting.clock.move(86_400)
    approve(waiting, "maria")
    waiting.clock.move(-10 * 86_400)
    # The log's own time goes on, so that the approval is of now and not of tomorrow: it counts, and ends when it should.
    assert registering.promote("model:churn@1", "Production", store=waiting.store).changed


def test_an_approved_version_does_not_pass_once_the_policy_was_changed(waiting):
    approve(waiting, "maria")
    with waiting.acting("bob"):
        registering.set_policy("churn", policy(), store=waiting.store)
    with waiting.acting("maria"):
        registering.approve("model:churn", "policy", store=waiting.store)
    stricter = policy(production=[approvals(1)])
    with waiting.acting("bob"):
        assert registering.set_policy("churn", policy(), store=waiting.store).is_in_force
        assert registering.set_policy("churn", stricter, store=waiting.store).is_in_force
    refused(waiting, match="1 approval")


def test_one_person_cannot_soften_the_policy_and_use_it(waiting):
    change = registering.set_policy("churn", policy(), store=waiting.store)
    assert not change.is_in_force
    with pytest.raises(Forbidden):
        registering.approve("model:churn", "policy", store=waiting.store)
    refused(waiting, match="1 approval")


def test_a_policy_that_was_asked_for_and_swapped_is_not_the_one_that_was_approved(waiting):
    with waiting.acting("bob"):
        registering.set_policy("churn", policy(staging=[gate("auc >= 0.79")]), store=waiting.store)
    with waiting.acting("maria"):
        registering.approve("model:churn", "policy", store=waiting.store)
    with waiting.acting("bob"):
        assert not registering.set_policy("churn", policy(), store=waiting.store).is_in_force


@pytest.mark.parametrize(
    ("data", "verdict"),
    [({"rows_shared_with_training": 1}, Verdict.FAIL), ({"rows_shared_with_training": None, "reason": "no split"}, Verdict.MISSING)],
)
def test_an_evaluation_on_training_rows_passes_no_gate(house, data, verdict):
    model = house.model()
    house.evaluate(model, auc=0.99, data=data)
    version = registering.register("churn", model, policy=STRICT, store=house.store)
    with pytest.raises(TransitionRefused) as caught:
        registering.promote(version, "Staging", store=house.store)
    assert caught.value.assessment.results[0].verdict is verdict


def test_an_evaluation_by_somebody_who_may_contribute_elsewhere_only_passes_no_gate(house):
    model = house.model()
    version = registering.register("churn", model, policy=STRICT, store=house.store)
    AccessStore(house.store).add_person(name="mallory")
    grant(house, "mallory", "contributor", on="experiment:other")
    with house.acting("mallory"):
        house.evaluate(model)
    seen = registering.assess(version, "Staging", store=house.store)
    assert [result.verdict for result in seen.results] == [Verdict.MISSING]
    assert "counts: 1 by people who may contribute neither" in seen.results[0].why and "stratal grant add PERSON" in seen.results[0].todo
    assert "mallory" not in str(seen)
    for on in ("model:churn", "experiment:churn", "*"):
        grant(house, "mallory", "contributor", on=on)
        assert registering.assess(version, "Staging", store=house.store).gates_pass
        take_grant(house, "mallory", on=on)
    assert not registering.assess(version, "Staging", store=house.store).gates_pass, "what counts is what they may do now"
    house.evaluate(model)
    assert registering.assess(version, "Staging", store=house.store).gates_pass, "ann has no account: she has the store itself"


def test_an_evaluation_by_somebody_whose_account_is_disabled_passes_no_gate(house):
    model, accounts = house.model(), AccessStore(house.store)
    version = registering.register("churn", model, policy=STRICT, store=house.store)
    accounts.add_person(name="mallory")
    accounts.grant(person="mallory", role="contributor", on="model:churn")
    with house.acting("mallory"):
        house.evaluate(model)
    assert registering.assess(version, "Staging", store=house.store).gates_pass
    accounts.disable(name="mallory")
    assert not registering.assess(version, "Staging", store=house.store).gates_pass
    accounts.enable(name="mallory")
    assert registering.assess(version, "Staging", store=house.store).gates_pass


def test_an_approval_by_somebody_whose_account_is_disabled_moves_nothing(waiting):
    accounts = AccessStore(waiting.store)
    accounts.add_person(name="mallory")
    approve(waiting, "mallory")
    accounts.disable(name="mallory")
    assert refused(waiting, match="1 approval").ruling.void == ("mallory: they are locked out",)
    accounts.enable(name="mallory")
    assert registering.promote("model:churn@1", "Production", store=waiting.store).approved_by == ("mallory",)


def test_an_evaluation_of_another_digest_passes_no_gate(house):
    good, ours = house.model("good"), house.model("ours")
    house.evaluate(good, auc=0.99)
    version = registering.register("churn", ours, policy=STRICT, store=house.store)
    with pytest.raises(TransitionRefused, match="no evaluation of this version"):
        registering.promote(version, "Staging", store=house.store)


def test_bytes_swapped_under_a_digest_are_found_at_registering(house):
    model = house.model()
    for path in (house.store.blobs.folder).rglob("*"):
        if path.is_file() and path.read_bytes().startswith(b"weights"):
            path.chmod(0o644)
            path.write_bytes(b"weights of somebody else")
    with pytest.raises(Damaged):
        registering.register("churn", model, store=house.store)


def test_a_rollback_to_a_version_whose_bytes_are_gone_is_refused_and_changes_nothing(house):
    for seed in "ab":
        version = registering.register("churn", house.model(seed), store=house.store)
        registering.promote(version, "Production", store=house.store)
    digest = ModelStore(house.store).version(name="churn", number=1).digest
    house.store.blobs.path(digest).unlink()
    with pytest.raises(NotFound, match="cannot serve"):
        registering.rollback("churn", reason="x", store=house.store)
    assert ModelStore(house.store).find(name="churn", selector="production").number == 2
    assert ModelStore(house.store).verify_audit().is_sound


def test_a_rollback_looks_for_files_before_it_keeps_other_writers_waiting(house, monkeypatch: pytest.MonkeyPatch):
    """An object store that is away may answer nothing for a minute."""
    for seed in "ab":
        registering.promote(registering.register("churn", house.model(seed), store=house.store), "Production", store=house.store)
    looked, has = [], house.store.blobs.has

    def look(digest: str) -> bool:
        with house.store.database.write(house.store.actor()):  # raises inside of a transaction
            looked.append(digest)
        return has(digest)

    monkeypatch.setattr(house.store.blobs, "has", look)
    assert registering.rollback("churn", reason="x", store=house.store).number == 1
    assert looked


def test_gates_that_hold_back_leave_nothing_to_approve(house):
    model = house.model()
    house.evaluate(model, auc=0.825)  # enough for Staging, not for Production
    version = registering.register("churn", model, policy=STRICT, store=house.store)
    registering.promote(version, "Staging", store=house.store)
    with pytest.raises(TransitionRefused, match=r"0\.805 is below 0\.81"):
        approve(house, "maria")


def test_production_cannot_be_reached_past_staging_nor_by_an_alias(house):
    model = house.model()
    house.evaluate(model)
    version = registering.register("churn", model, policy=STRICT, store=house.store)
    with pytest.raises(Misuse, match="no promote from Development to Production"):
        registering.promote(version, "Production", store=house.store)
    with pytest.raises(Misuse):
        registering.alias("churn", "production", 1, store=house.store)
    with pytest.raises(NotFound):
        ModelStore(house.store).find(name="churn", selector="production")


def test_a_decision_made_on_an_older_state_is_refused(house):
    models = ModelStore(house.store)
    rules = policy(production=[better_than_champion("auc")])
    first, second = (house.model(seed) for seed in "ab")
    for model in (first, second):
        version = registering.register("churn", model, policy=rules, store=house.store)
        registering.promote(version, "Staging", store=house.store)
    seen = {number: models.assess(name="churn", number=number, stage="Production") for number in (1, 2)}
    assert all(each.is_ready for each in seen.values())

    def apply(number):
        decided = seen[number]
        return models.promote(name="churn", number=number, stage="Production", epoch=decided.epoch, evidence=decided.evidence)

    apply(1)
    with pytest.raises(Conflict, match="the champion is model:churn@1"):
        apply(2)


def test_the_epoch_is_compared_as_it_is_raised(house):
    """One writer at a time makes it look idle; on a database with many writers it is what decides."""
    registering.register("churn", house.model(), store=house.store)
    with house.store.command() as tx:
        rows.raise_epoch(tx, "churn", 0)
        with pytest.raises(Conflict, match="has changed in between"):
            rows.raise_epoch(tx, "churn", 0)
        rows.raise_epoch(tx, "churn", 1)


def test_evidence_that_arrives_between_deciding_and_doing_is_not_overlooked(house):
    models = ModelStore(house.store)
    model = house.model()
    house.evaluate(model)
    registering.register("churn", model, policy=STRICT, store=house.store)
    seen = models.assess(name="churn", number=1, stage="Staging")
    house.evaluate(model, auc=0.5)
    with pytest.raises(Conflict):
        models.promote(name="churn", number=1, stage="Staging", epoch=seen.epoch, evidence=seen.evidence)


def test_a_policy_changed_in_the_database_is_found_when_it_is_read(waiting):
    with sqlite3.connect(waiting.store.folder / "stratal.db") as connection:
        with pytest.raises(sqlite3.IntegrityError, match="never change"):
            connection.execute("update registry_policy set body = '{}'")
        connection.execute("drop trigger registry_policy_stays_on_update")
        connection.execute("update registry_policy set body = '{\"format\": 1}'")
    with pytest.raises(Damaged, match="does not hold what was stored"):
        registering.promote("model:churn@1", "Production", store=waiting.store)


@pytest.mark.parametrize("table", ["registry_version", "registry_policy", "registry_approval", "registry_audit"])
def test_the_database_refuses_to_change_or_delete_what_was_written_once(waiting, table):
    approve(waiting, "maria")
    with sqlite3.connect(waiting.store.folder / "stratal.db") as connection:
        assert connection.execute(f"select count(*) from {table}").fetchone()[0] > 0
        column = connection.execute(f"select name from pragma_table_info('{table}')").fetchone()[0]
        for statement in (f"update {table} set {column} = {column}", f"delete from {table}"):
            with pytest.raises(sqlite3.IntegrityError, match="never change"):
                connection.execute(statement)


def test_the_database_refuses_a_second_version_in_production(house):
    for seed in "abc":
        version = registering.register("churn", house.model(seed), policy=policy(), store=house.store)
        registering.promote(version, "Staging", store=house.store)
    registering.promote("model:churn@2", "Production", store=house.store)
    for number in (1, 3):
        with house.store.command() as tx, pytest.raises(Conflict):
            rows.move_standing(tx, "churn", Move(number=number, source=Stage.STAGING, target=Stage.PRODUCTION, slot=1))


@pytest.mark.parametrize("name", ["x'; drop table registry_version; --", "churn@1'", "%", "_", "a" * 10_000])
def test_a_hostile_name_reaches_no_statement(waiting, name):
    with pytest.raises((Misuse, NotFound)):
        registering.promote(f"model:{name}", "Staging", store=waiting.store)
    with pytest.raises(Misuse):
        registering.register(name, waiting.model("c"), store=waiting.store)
    assert ModelStore(waiting.store).verify_audit().is_sound
