"""Registered models and versions on MLflow's wire. Excludes logged models, and what the real client does."""

import pytest

from stratal.core.people import Identity, acting_as
from stratal.registry import ModelStore, alias, history, list_versions, policy, promote, register, set_policy, verify_audit
from stratal.registry.policies import approvals, gate
from stratal.tracking.runs import run
from stratal.tracking.values import Model

GATED = policy(staging=[gate("auc >= 0.8")], production=[approvals(1, role="approver")])


@pytest.fixture
def made(wire, store):
    """A run with the files of a model, and the registered model "churn" without versions."""
    with run("e", store=store) as logged:
        logged.save_bytes("model/MLmodel", b"flavors: {}\n")
        logged.save_bytes("model/data/model.pkl", b"pickled")
    wire.ok("registered-models/create", name="churn", description="who leaves", tags=[{"key": "team", "value": "a"}])
    return logged


def version(wire, run_id: str, name: str = "churn", **fields) -> dict:
    return wire.ok("model-versions/create", name=name, source=f"runs:/{run_id}/model", run_id=run_id, **fields)["model_version"]


def model(wire, name: str = "churn") -> dict:
    return wire.read("registered-models/get", name=name)["registered_model"]


def ask(wire, verb: str, path: str, **fields):
    return wire.http.request(verb, f"/api/2.0/mlflow/{path}", json=fields)


def move(wire, number: int, stage: str, name: str = "churn", **fields) -> dict:
    return wire.ok("model-versions/transition-stage", name=name, version=str(number), stage=stage, **fields)["model_version"]


def stages(wire, name: str = "churn") -> dict[str, str]:
    found = wire.read("model-versions/search", filter=f"name = '{name}'")["model_versions"]
    return {each["version"]: each["current_stage"] for each in found}


def test_a_model_is_made_described_tagged_and_read(wire, made):
    found = model(wire)
    assert (found["name"], found["description"], found["tags"]) == ("churn", "who leaves", [{"key": "team", "value": "a"}])
    assert "latest_versions" not in found
    assert wire.refused("registered-models/create", name="churn") == (400, "RESOURCE_ALREADY_EXISTS")
    assert (
        ask(wire, "PATCH", "registered-models/update", name="churn", description="other").json()["registered_model"]["description"]
        == "other"
    )
    wire.ok("registered-models/set-tag", name="churn", key="team", value="b")
    assert model(wire)["tags"] == [{"key": "team", "value": "b"}]
    for _ in range(2):
        assert ask(wire, "DELETE", "registered-models/delete-tag", name="churn", key="team").json() == {}
    assert "tags" not in model(wire)


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b", "x" * 257, "a\nb"])
def test_names_that_no_client_may_choose_are_refused(wire, name):
    assert wire.refused("registered-models/create", name=name) == (400, "INVALID_PARAMETER_VALUE")


def test_a_name_that_people_would_mistake_is_refused(wire, made):
    assert wire.refused("registered-models/create", name="Churn") == (400, "INVALID_PARAMETER_VALUE")


def test_names_that_the_registry_does_not_take_are_kept_under_a_cleaned_one(wire, made, store):
    wire.ok("registered-models/create", name="Kündigung 予測!")
    version(wire, made.id, "Kündigung 予測!")
    assert model(wire, "Kündigung 予測!")["latest_versions"][0]["name"] == "Kündigung 予測!"
    (ours,) = [each.name for each in ModelStore(store).models() if each.name != "churn"]
    assert ours.isascii()
    assert [each.number for each in list_versions(ours, store=store)] == [1]


def test_a_version_is_a_manifest_of_the_files_that_a_run_logged(wire, made, store):
    first = version(wire, made.id, description="d", tags=[{"key": "k", "value": "v"}], run_link="http://x/y")
    assert (first["version"], first["current_stage"], first["status"], first["run_id"]) == ("1", "None", "READY", made.id)
    assert (first["source"], first["description"], first["run_link"]) == (f"runs:/{made.id}/model", "d", "http://x/y")
    assert first["tags"] == [{"key": "k", "value": "v"}]
    assert version(wire, made.id)["version"] == "2", "the same files again are another version, as in MLflow"
    kept = ModelStore(store).version(name="churn", number=1)
    assert (kept.run, kept.path, kept.flavor) == (made.id, "model", "mlflow")
    assert (kept.author, history("churn", store=store)[-1].action) == ("unknown", "register")
    assert verify_audit(store=store).is_sound
    assert wire.read("model-versions/get-download-uri", name="churn", version="1") == {
        "artifact_uri": "mlflow-artifacts:/model-versions/churn/1"
    }


def test_versions_of_our_own_users_are_seen_and_moved(wire, made, store):
    first = version(wire, made.id)
    digest = ModelStore(store).version(name="churn", number=1).digest
    ours = register("ours", Model(run=made.id, path="model", digest=digest, flavor="mlflow"), store=store)
    found = wire.read("model-versions/get", name="ours", version="1")["model_version"]
    assert (found["source"], found["run_id"]) == (first["source"], made.id)
    alias("ours", "canary", ours, store=store)
    assert wire.read("registered-models/alias", name="ours", alias="canary")["model_version"]["aliases"] == ["canary"]
    move(wire, 1, "Production", "ours")
    assert ModelStore(store).standings(name="ours")[1].stage == "Production"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("/etc/passwd", "does not keep"),
        ("file:///etc/passwd", "does not keep"),
        ("s3://bucket/model", "does not keep"),
        ("runs:/RUN/../other", "no '.' or '..'"),
        ("mlflow-artifacts:/0/RUN/artifacts/%2e%2e/x", "no '.' or '..'"),
        ("runs:/RUN/nothing", "no files"),
        ("mlflow-artifacts:/0/OTHER/artifacts/model", "not inside"),
        ("runs:/OTHER/model", "not inside"),
        ("", "Missing value"),
        ("runs:/x", "does not keep"),
    ],
)
def test_sources_that_are_not_files_of_this_store_or_of_the_run_are_refused(wire, made, store, source, says):
    with run("e", store=store) as other:
        other.save_bytes("model/MLmodel", b"other")
    source = source.replace("RUN", made.id).replace("OTHER", other.id)
    answer = wire.post("model-versions/create", name="churn", source=source, run_id=made.id)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert says in answer.json()["message"]


def test_proxied_places_and_copies_are_sources(wire, made, store):
    for source in (
        f"mlflow-artifacts:/0/{made.id}/artifacts/model",
        f"http://h/api/2.0/mlflow-artifacts/artifacts/0/{made.id}/artifacts/model",
    ):
        wire.ok("model-versions/create", name="churn", source=source, run_id=made.id)
    wire.ok("registered-models/create", name="copied")
    copy = wire.ok("model-versions/create", name="copied", source="models:/churn/1", run_id=made.id)["model_version"]
    assert (copy["version"], copy["source"], copy["run_id"]) == ("1", "models:/churn/1", made.id)
    files = {store.blobs.read(ModelStore(store).version(name=name, number=1).digest)[:200] for name in ("churn", "copied")}
    assert len({each.partition(b'"flavor"')[0] for each in files}) == 1
    assert wire.refused("model-versions/create", name="copied", source="models:/churn/9") == (404, "RESOURCE_DOES_NOT_EXIST")
    assert wire.refused("model-versions/create", name="nobody", source="models:/churn/1") == (404, "RESOURCE_DOES_NOT_EXIST")


def test_an_ungoverned_model_goes_from_any_stage_to_any_stage(wire, made):
    for _ in range(2):
        version(wire, made.id)
    for stage in ("Production", "staging", "None", "ARCHIVED", "Production", "None", "Archived", "Staging", "Staging"):
        assert move(wire, 1, stage)["current_stage"].lower() == stage.lower()
    move(wire, 2, "Staging")
    assert stages(wire) == {"1": "Staging", "2": "Staging"}
    move(wire, 1, "Production")
    move(wire, 2, "Production")
    assert stages(wire) == {"1": "Production", "2": "Production"}, "nobody asked to archive the others"
    latest = wire.ok("registered-models/get-latest-versions", name="churn", stages=["production"])["model_versions"]
    assert [each["version"] for each in latest] == ["2"]


def test_others_are_archived_where_a_client_asks_for_it(wire, made):
    for _ in range(3):
        version(wire, made.id)
    for stage in ("Staging", "Production"):
        for number in (1, 2, 3):
            move(wire, number, stage, archive_existing_versions=True)
        assert stages(wire) == {"1": "Archived", "2": "Archived", "3": stage}
    for stage in ("None", "Archived", "nonsense"):
        fields = {"name": "churn", "version": "1", "stage": stage, "archive_existing_versions": True}
        assert wire.refused("model-versions/transition-stage", **fields) == (400, "INVALID_PARAMETER_VALUE")


def test_a_gate_that_refuses_is_read_by_the_client_and_changes_nothing(wire, made, store):
    version(wire, made.id)
    set_policy("churn", GATED, store=store)
    answer = wire.post("model-versions/transition-stage", name="churn", version="1", stage="Staging")
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_STATE"
    for words in ("model:churn@1: Development → Staging is refused", "missing", "auc >= 0.8"):
        assert words in answer.json()["message"]
    assert stages(wire) == {"1": "None"}
    skipping = wire.post("model-versions/transition-stage", name="churn", version="1", stage="Production")
    assert skipping.status_code == 400
    assert "from Development" in skipping.json()["message"]


def test_missing_approvals_are_asked_for_and_counted(wire, made, store):
    version(wire, made.id)
    set_policy("churn", policy(staging=[], production=[approvals(1, role="approver")]), store=store)
    move(wire, 1, "Staging")
    answer = wire.post("model-versions/transition-stage", name="churn", version="1", stage="Production")
    assert "missing  1 more approval" in answer.json()["message"] or "approv" in answer.json()["message"]
    assert [each.target for each in ModelStore(store).requests(name="churn")] == ["Production"], "what was refused is kept as a request"
    with store.command() as tx:
        from stratal.store.database import insert
        from stratal.store.tables import grant

        tx.run(insert(grant), person="ann", role="approver", object="model:churn", given_by="t", at_ns=1)
    with acting_as(Identity(name="ann")):
        ModelStore(store).approve(name="churn", number=1, stage="Production")
    assert move(wire, 1, "Production")["current_stage"] == "Production"
    down = wire.post("model-versions/transition-stage", name="churn", version="1", stage="Staging")
    assert (down.status_code, "past Staging" in down.json()["message"]) == (400, True)
    assert move(wire, 1, "Archived")["current_stage"] == "Archived"
    assert verify_audit(store=store).is_sound


def test_a_governed_model_has_one_version_in_production_whatever_the_client_asks(wire, made, store):
    for _ in range(2):
        version(wire, made.id)
    set_policy("churn", policy(staging=[], production=[]), store=store)
    for number in (1, 2):
        move(wire, number, "Staging")
        move(wire, number, "Production", archive_existing_versions=False)
    assert stages(wire) == {"1": "Archived", "2": "Production"}


def test_aliases_are_set_moved_read_and_dropped(wire, made, store):
    for _ in range(2):
        version(wire, made.id)
    for number in ("1", "2"):
        wire.ok("registered-models/alias", name="churn", alias="Champion_1", version=number)
    assert model(wire)["aliases"] == [{"alias": "Champion_1", "version": "2"}]
    assert wire.read("registered-models/alias", name="churn", alias="Champion_1")["model_version"]["version"] == "2"
    assert wire.read("registered-models/alias", name="churn", alias="latest")["model_version"]["version"] == "2"
    for word in ("latest", "v7", "a b", "", "x" * 256):
        assert wire.refused("registered-models/alias", name="churn", alias=word, version="1")[1] == "INVALID_PARAMETER_VALUE"
    assert wire.refused("registered-models/alias", name="churn", alias="a", version="9") == (404, "RESOURCE_DOES_NOT_EXIST")
    wire.ok("registered-models/alias", name="churn", alias="production", version="1")
    assert ModelStore(store).find(name="churn", selector="alias:production").number == 1
    for _ in range(2):
        assert ask(wire, "DELETE", "registered-models/alias", name="churn", alias="Champion_1").json() == {}
    gone = wire.get("registered-models/alias", name="churn", alias="Champion_1")
    assert (gone.status_code, gone.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_a_rename_carries_all_along(wire, made, store):
    version(wire, made.id)
    wire.ok("registered-models/alias", name="churn", alias="best", version="1")
    move(wire, 1, "Staging")
    assert wire.ok("registered-models/rename", name="churn", new_name="leavers")["registered_model"]["name"] == "leavers"
    found = model(wire, "leavers")
    assert (found["description"], found["aliases"]) == ("who leaves", [{"alias": "best", "version": "1"}])
    assert found["latest_versions"][0]["name"] == "leavers"
    assert wire.get("registered-models/get", name="churn").status_code == 404
    assert history("churn", store=store)[-1].reason == "clients of MLflow call it 'leavers' now"
    wire.ok("registered-models/create", name="churn")
    assert version(wire, made.id)["version"] == "1"
    assert wire.refused("registered-models/rename", name="churn", new_name="leavers") == (400, "RESOURCE_ALREADY_EXISTS")
    assert stages(wire, "leavers") == {"1": "Staging"}
    assert verify_audit(store=store).is_sound


def test_a_deleted_model_frees_its_name_and_a_new_one_starts_at_1(wire, made, store):
    for _ in range(2):
        version(wire, made.id)
    move(wire, 2, "Production")
    wire.ok("registered-models/alias", name="churn", alias="best", version="2")
    assert ask(wire, "DELETE", "registered-models/delete", name="churn").json() == {}
    for path in ("registered-models/get", "registered-models/alias"):
        assert wire.get(path, name="churn", alias="best").status_code == 404
    assert wire.read("registered-models/search") == {}
    assert wire.read("model-versions/search") == {}
    for _ in range(2):
        wire.ok("registered-models/create", name="churn")
        assert version(wire, made.id)["version"] == "1"
        found = model(wire)
        assert ("tags" in found, "aliases" in found, len(found["latest_versions"])) == (False, False, 1)
        ask(wire, "DELETE", "registered-models/delete", name="churn")
    said = history("churn", store=store)
    assert [(each.action, each.reason) for each in said if each.moves][-1] == ("archive", "deleted by a client of MLflow")
    assert ModelStore(store).version(name="churn", number=2).digest, "digests and log stay"
    assert verify_audit(store=store).is_sound


def test_a_deleted_version_drops_its_aliases_and_its_number_is_not_used_again(wire, made):
    for _ in range(2):
        version(wire, made.id)
    wire.ok("registered-models/alias", name="churn", alias="best", version="2")
    assert ask(wire, "DELETE", "model-versions/delete", name="churn", version="2").json() == {}
    assert ask(wire, "DELETE", "model-versions/delete", name="churn", version="2").status_code == 404
    assert wire.get("model-versions/get", name="churn", version="2").status_code == 404
    assert "aliases" not in model(wire)
    assert wire.read("registered-models/alias", name="churn", alias="latest")["model_version"]["version"] == "1"
    assert version(wire, made.id)["version"] == "3"


def test_versions_are_described_and_tagged(wire, made):
    version(wire, made.id)
    for text in ("one", "two"):
        answer = ask(wire, "PATCH", "model-versions/update", name="churn", version="1", description=text)
        assert answer.json()["model_version"]["description"] == text
    wire.ok("model-versions/set-tag", name="churn", version="1", key="k", value="x" * 100_000)
    assert wire.refused("model-versions/set-tag", name="churn", version="1", key="k", value="x" * 100_001)[0] == 400
    found = wire.read("model-versions/get", name="churn", version="1")["model_version"]
    assert (len(found["tags"][0]["value"]), found["source"]) == (100_000, f"runs:/{made.id}/model"), "its source stays"
    assert ask(wire, "DELETE", "model-versions/delete-tag", name="churn", version="1", key="k").json() == {}
    for number in ("x", "-1", "1.5", "", "9" * 30):
        assert wire.get("model-versions/get", name="churn", version=number).status_code in (400, 404)


def test_prompts_are_said_to_be_left_out(wire, made):
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    assert wire.refused("registered-models/create", name="p", tags=tags) == (501, "NOT_IMPLEMENTED")
    assert wire.get("registered-models/get", name="p").status_code == 404


def search(wire, **fields) -> list[str]:
    return [each["name"] for each in wire.read("registered-models/search", **fields).get("registered_models", ())]


def test_the_clause_that_every_client_appends_matches_models_without_the_tag(wire, made):
    assert search(wire, filter="tag.`mlflow.prompt.is_prompt` != 'true'") == ["churn"]
    assert search(wire, filter="name ILIKE 'CH%' AND tag.`mlflow.prompt.is_prompt` != 'true'") == ["churn"]
    assert search(wire, filter="tags.`mlflow.prompt.is_prompt` = 'true'") == []


def test_models_are_found_by_name_and_tags_in_order_and_in_pages(wire, made):
    for name in ("alpha", "Beta", "gamma_x"):
        wire.ok("registered-models/create", name=name, tags=[{"key": "team", "value": name[0]}])
    assert search(wire) == ["Beta", "alpha", "churn", "gamma_x"]
    assert search(wire, filter="name LIKE '%a'") == ["Beta", "alpha"]
    assert search(wire, filter="name LIKE 'b%'") == []
    assert search(wire, filter="name ilike 'b%' and tags.team = 'B'") == ["Beta"]
    assert search(wire, filter="name IN ('alpha', \"churn\")") == ["alpha", "churn"]
    assert search(wire, filter="tags.\"team\" != 'a'") == ["Beta", "gamma_x"]
    assert search(wire, filter="tags.nothing != 'a'") == []
    assert search(wire, order_by=["name DESC"]) == ["gamma_x", "churn", "alpha", "Beta"]
    assert search(wire, order_by=["last_updated_timestamp DESC", "name"])[-1] in ("churn", "alpha", "Beta", "gamma_x")
    pages, token = [], None
    while True:
        answer = wire.read("registered-models/search", max_results=2, **({"page_token": token} if token else {}))
        pages.append([each["name"] for each in answer["registered_models"]])
        if (token := answer.get("next_page_token")) is None:
            break
    assert pages == [["Beta", "alpha"], ["churn", "gamma_x"]]


@pytest.mark.parametrize(
    "fields",
    [
        {"filter": "name = churn"}, {"filter": "name"}, {"filter": "name = 'a' OR name = 'b'"}, {"filter": "name = 'a';"},
        {"filter": "(name = 'a')"}, {"filter": "name > 'a'"}, {"filter": "color = 'a'"}, {"filter": "metrics.x = 1"},
        {"filter": "name = 'a' AND"}, {"filter": "tags.x IN ('a')"}, {"filter": "name = 3"}, {"filter": "name = 'a' name = 'b'"},
        {"order_by": ["color"]}, {"order_by": ["name UP"]}, {"order_by": [""]}, {"max_results": 0}, {"max_results": 1001},
        {"max_results": -1}, {"page_token": "x"}, {"page_token": "YWZ0ZXIgLTE="}, {"page_token": "ü"},
    ],
)  # fmt: skip
def test_searches_that_cannot_be_read_are_refused(wire, made, fields):
    answer = wire.get("registered-models/search", **fields)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), answer.text


def test_versions_are_found_by_model_run_source_number_and_tags(wire, made, store):
    with run("e", store=store) as other:
        other.save_bytes("model/MLmodel", b"other")
    wire.ok("registered-models/create", name="other")
    for _ in range(3):
        version(wire, made.id)
    version(wire, other.id, "other", tags=[{"key": "k", "value": "v"}])

    def found(text: str = "", **fields) -> list[str]:
        answer = wire.read("model-versions/search", filter=text, **fields)
        return [f"{each['name']}/{each['version']}" for each in answer.get("model_versions", ())]

    assert found("name = 'churn'", order_by=["version_number ASC"]) == ["churn/1", "churn/2", "churn/3"]
    assert found(f"run_id = '{other.id}'") == ["other/1"]
    assert found(f"run_id IN ('{other.id}', '{made.id}') AND version_number >= 2") == ["churn/3", "churn/2"]
    assert found(f"source_path = 'runs:/{other.id}/model'") == ["other/1"]
    assert found("tags.k = 'v' AND tag.`mlflow.prompt.is_prompt` != 'true'") == ["other/1"]
    assert found("name = 'nobody'") == []
    move(wire, 1, "Staging")
    assert found("name = 'churn'")[0] == "churn/1", "what changed last comes first"
    assert len(found(max_results=2)) == 2


def test_promotions_by_our_own_verbs_are_seen(wire, made, store):
    version(wire, made.id)
    before = model(wire)["last_updated_timestamp"]
    promote("model:churn@1", "Staging", store=store)
    assert model(wire)["latest_versions"][0]["current_stage"] == "Staging"
    assert model(wire)["last_updated_timestamp"] >= before
