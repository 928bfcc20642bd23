"""Approving at a server that asks who comes: with which roles, and by which tokens. Excludes what an approval is worth (test_approving)."""

import hashlib

import httpx
import pytest

from stratal.core.people import Identity, acting_as
from stratal.registry import registering
from stratal.registry.policies import approvals, policy
from stratal.tracking.flavors.manifest import Manifest, ModelFile
from stratal.tracking.runs import run
from stratal.tracking.values import Model


@pytest.fixture
def waiting(guarded):
    """model:churn@1 of ada in Staging, which waits for legal and an approver; lea is legal and may view it, lou is only legal."""
    store = guarded.store
    with acting_as(Identity(name="ada")), run("churn", store=store) as made:
        file = ModelFile(path="a", digest=hashlib.sha256(b"a").hexdigest(), size_bytes=1)
        manifest = Manifest(flavor="sklearn", files=(file,))
        made.save_bytes("m/a", b"a")
        made.save_bytes("m/manifest.json", manifest.encode())
    with acting_as(Identity(name="ada")):
        registering.register("churn", Model(run=made.id, path="m", digest=manifest.digest, flavor="sklearn"), store=store)
        registering.promote("model:churn@1", "Staging", store=store)
        registering.set_policy("churn", policy(production=[approvals(1, role="legal"), approvals(1, role="approver")]), store=store)
    for name, roles in (("lea", ("viewer", "legal")), ("cho", ("approver",)), ("lou", ("legal",)), ("vera", ("viewer",))):
        if name != "vera":
            guarded.accounts.add_person(name=name)
        for role in roles:
            guarded.accounts.grant(person=name, role=role, on="model:churn")
    return guarded


def approve(team, name: str, **bounds: object) -> httpx.Response:
    http = team.having_token(name, **bounds).http
    return http.post("/api/v1/registry/approve", json={"name": "churn", "number": 1, "stage": "Production"})


def test_who_holds_an_approval_role_of_its_own_name_approves_what_they_may_view(waiting):
    assert approve(waiting, "lea").json()["person"] == "lea"
    assert approve(waiting, "cho").json()["person"] == "cho"
    assert registering.assess("model:churn@1", "Production", store=waiting.store).ruling.missing == ()


def test_neither_viewing_nor_an_approval_role_alone_approves(waiting):
    for name, why in (("vera", "does not hold a role that may approve"), ("lou", "lou is not viewer"), ("eve", "not viewer")):
        answer = approve(waiting, name)
        assert answer.status_code == 403 and why in answer.json()["message"]


@pytest.mark.parametrize(("name", "role"), [("cho", "contributor"), ("lea", "viewer"), ("lea", "contributor")])
def test_a_token_that_is_bounded_to_less_than_approver_approves_nothing(waiting, name, role):
    answer = approve(waiting, name, role=role)
    assert answer.status_code == 403 and f"this token of {name} is bounded to {role}" in answer.json()["message"]
    assert approve(waiting, name, role="approver").status_code == 200
