"""What somebody with rights on their own experiment or model does to those of others. Excludes rights of routes (test_rights)."""

from hashlib import sha256
from urllib.parse import unquote

import pytest

from stratal.core.ids import new_id, to_bytes
from stratal.interop.mlflow.service.store.logged import MODEL
from stratal.interop.mlflow.service.store.runs import MODEL_METRICS
from stratal.tracking.deleting import delete
from stratal.tracking.facts import ALERT, END, START, STATE, TAGS, Alert, End, Start, StateFact

API = "/api/2.0/mlflow"


class Owner:
    """bob, with a run of churn and a logged model in it."""

    def __init__(self, guarded) -> None:
        guarded.store.settle()
        self.http = guarded.having_token("bob").http
        made = guarded.having_token("ada").http.post(f"{API}/experiments/create", json={"name": "churn"}).json()
        self.experiment = made["experiment_id"]
        answer = self.http.post(f"{API}/runs/create", json={"experiment_id": self.experiment}).json()
        self.run = answer["run"]["info"]["run_id"]
        asked = {"experiment_id": self.experiment, "name": "m", "source_run_id": self.run}
        self.model = self.http.post(f"{API}/logged-models", json=asked).json()["model"]["info"]["model_id"]

    def read(self) -> dict:
        answer = self.http.get(f"{API}/logged-models/{self.model}")
        assert answer.status_code == 200, answer.text
        return answer.json()["model"]


@pytest.fixture
def owner(guarded) -> Owner:
    return Owner(guarded)


def of_model(id: str, at_ns: int, **body: object) -> tuple[str, StateFact, int]:
    return STATE, StateFact(kind=MODEL, subject=id, body=body, author="bob"), at_ns


def test_what_another_run_states_first_takes_no_logged_model_over(owner, outsider):
    before = owner.read()
    outsider.say(of_model(owner.model, 1, name="m", source_run=owner.run, status="READY", tags={"stage": "good"}))
    assert owner.read() == before
    found = outsider.http.post(f"{API}/logged-models/search", json={"experiment_ids": [owner.experiment]}).json()
    assert [each["info"]["experiment_id"] for each in found["models"]] == [owner.experiment]


def test_what_another_run_states_later_changes_no_logged_model(owner, outsider):
    before = owner.read()
    outsider.say(of_model(owner.model, 2**62, is_deleted=True, tags={"a": "b"}, params={"p": "q"}))
    assert owner.read() == before


def test_metrics_of_a_logged_model_are_those_of_runs_that_may_be_viewed(guarded, owner, outsider):
    points = [["auc", 0.9, 1, 1, "secret data", "d"]]
    outsider.say((STATE, StateFact(kind=MODEL_METRICS, subject=owner.model, body={"points": points}, author="x"), 1))
    assert "metrics" not in owner.read()["data"]
    guarded.accounts.grant(person="bob", role="viewer", on="experiment:own")
    assert [each["run_id"] for each in owner.read()["data"]["metrics"]] == [outsider.run]


ODD = ({}, {"points": 1}, {"points": [["auc", "much", 1, 1, "", ""]]}, {"points": [["auc", 1, 2**64 - 1, 1, "", ""]]})


@pytest.mark.parametrize("body", ODD)
def test_odd_metrics_of_a_logged_model_spoil_it_for_nobody(guarded, owner, outsider, body):
    guarded.accounts.grant(person="bob", role="viewer", on="experiment:own")
    outsider.say((STATE, StateFact(kind=MODEL_METRICS, subject=owner.model, body=body, author="x"), 1))
    assert "metrics" not in owner.read()["data"]


def test_a_logged_model_says_of_no_run_of_others_that_it_came_from_there(owner, outsider):
    id = f"m-{new_id()}"
    outsider.say(of_model(id, 1, name="mine", source_run=owner.run))
    said = outsider.http.get(f"{API}/logged-models/{id}").json()["model"]["info"]
    assert "source_run_id" not in said


def begun(store, experiment: str, parent: str | None = None) -> str:
    """A run that ended, of somebody on the server's machine."""
    id = new_id()
    store.writer.fact(to_bytes(id), 0, START, Start(experiment=experiment, parent=parent))
    store.writer.fact(to_bytes(id), 0, END, End(status="finished"))
    store.settle()
    return id


def call(http, operation: str, **arguments: object):
    return http.post(f"/api/v1/{operation}", json=arguments)


def test_a_tag_says_of_nobody_else_that_they_made_a_run(outsider):
    outsider.say((TAGS, {"mlflow.user": "bob"}, 2))
    said = outsider.http.get(f"{API}/runs/get", params={"run_id": outsider.run}).json()["run"]
    assert {tag["value"] for tag in said["data"]["tags"] if tag["key"] == "mlflow.user"} == {"mallory"}


def test_a_copy_of_a_version_says_of_no_other_run_that_it_came_from_there(guarded, owner, outsider):
    ada = guarded.having_token("ada").http
    ada.put(f"/api/2.0/mlflow-artifacts/artifacts/{owner.experiment}/{owner.run}/artifacts/m/a.txt", content=b"1")
    for name in ("good", "mine"):
        ada.post(f"{API}/registered-models/create", json={"name": name})
    ada.post(f"{API}/model-versions/create", json={"name": "good", "source": f"runs:/{owner.run}/m", "run_id": owner.run})
    for role, name in (("viewer", "good"), ("contributor", "mine")):
        guarded.accounts.grant(person="mallory", role=role, on=f"model:{name}")
    copy = {"name": "mine", "source": "models:/good/1"}
    assert outsider.http.post(f"{API}/model-versions/create", json={**copy, "run_id": outsider.run}).status_code == 400
    assert outsider.http.post(f"{API}/model-versions/create", json={**copy, "run_id": owner.run}).status_code == 200


@pytest.mark.parametrize(
    ("operation", "on"), [("registry/policy", "model:owm"), ("registry/history", "model:owm"), ("tuning/version", "experiment:owm")]
)
def test_what_is_not_there_is_told_without_names_of_what_may_not_be_viewed(guarded, outsider, operation, on):
    ada = guarded.having_token("ada").http
    ada.post(f"{API}/registered-models/create", json={"name": "owns"})
    opened = call(
        ada, "tuning/open_version", name="owns", metric="a", is_maximized=True, space="s", objective="o", data="d", sampler="r",
        seed=1, spare_seed=1, budget=1,
    )  # fmt: skip
    assert opened.status_code == 200, opened.text
    guarded.accounts.grant(person="mallory", role="viewer", on=on)
    answer = call(outsider.http, operation, name="owm")
    assert (answer.status_code, "owns" in answer.text) == (404, False), answer.text
    assert "owns" in call(ada, operation, name="owm").text, "who may view everything is helped"


def test_the_run_that_a_run_belongs_to_is_named_to_who_may_view_it(guarded, outsider):
    hidden = begun(guarded.store, "secret")
    child = begun(guarded.store, "own", parent=hidden)

    def told(http) -> list[object]:
        found = call(http, "tracking/get", text=child).json()["record"]["parent"]
        paged = call(http, "tracking/page", where="parent is not null").json()["runs"][0]["record"]["parent"]
        [column] = call(http, "tracking/table", select="parent", where="parent is not null").json()["columns"]["parent"]
        return [found, paged, column]

    assert told(outsider.http) == [None, None, None]
    guarded.accounts.grant(person="mallory", role="viewer", on="experiment:secret")
    assert told(outsider.http) == [hidden] * 3


def test_why_a_run_cannot_be_purged_is_told_without_names_of_what_may_not_be_viewed(guarded, outsider):
    used = begun(guarded.store, "own")
    hidden = begun(guarded.store, "secret", parent=used)
    delete(f"run:{used}", store=guarded.store)
    guarded.accounts.grant(person="mallory", role="admin", on="experiment:own")
    answer = call(outsider.http, "tracking/purge", runs=[used])
    assert (answer.status_code, "a run that you may not view is part of it" in answer.text) == (422, True), answer.text
    assert hidden[-8:] not in answer.text


@pytest.mark.parametrize("version", ["9" * 30, "9" * 19])
def test_a_number_that_no_store_holds_is_the_clients_mistake(guarded, owner, version):
    http = guarded.having_token("ada").http
    http.post(f"{API}/registered-models/create", json={"name": "good"})
    answer = http.get(f"{API}/model-versions/get", params={"name": "good", "version": version})
    assert answer.status_code in (400, 404), answer.text


def test_a_part_of_a_number_that_is_too_long_is_the_clients_mistake(guarded, owner):
    begun = f"/api/2.0/mlflow-artifacts/mpu/create/{owner.experiment}/{owner.run}/artifacts"
    upload = owner.http.post(begun, json={"path": "a.bin", "num_parts": 1}).json()["upload_id"]
    for number in ("000000001" + "9" * 5000, "0000000015"):
        assert owner.http.put(f"/api/2.0/mlflow-artifacts/mpu/parts/{upload}/{number}", content=b"1").status_code == 400


def test_a_path_with_a_nul_is_the_clients_mistake(owner):
    assert owner.http.delete(f"{API}/logged-models/{owner.model}/tags/a%00b").status_code == 400


def test_a_token_ends_none_that_may_more_than_itself(guarded):
    made = {
        name: guarded.accounts.create_token(person="bob", role=role, objects=objects)
        for name, role, objects in (
            ("all", "admin", ["*"]),
            ("few", "viewer", ["experiment:churn"]),
            ("same", "viewer", ["experiment:churn"]),
        )
    }
    few = guarded.sender(authorization=f"Bearer {made['few'].secret}").http
    assert call(few, "access/revoke_own_token", id=made["all"].token.id).status_code == 403
    assert call(few, "access/revoke_own_token", id=made["same"].token.id).status_code == 200
    assert call(few, "access/revoke_own_token", id=made["few"].token.id).status_code == 200
    assert call(guarded.sender(authorization=f"Bearer {made['all'].secret}").http, "access/own_tokens").status_code == 200


def test_an_alert_is_of_who_sent_it_and_one_that_is_none_spoils_no_list(guarded, outsider):
    for body in ({"title": "fire", "text": "", "level": "error", "author": "bob"}, {"title": 5, "level": "error"}):
        outsider.say((STATE, StateFact(kind=ALERT, subject="", body=body, author="bob"), 2))
    outsider.say((ALERT, Alert(title="smoke", text="", level="error", author="bob"), 3))
    told = call(guarded.having_token("ada").http, "tracking/alerts", levels=["error"])
    assert told.status_code == 200, told.text
    assert [(each["title"], each["author"]) for each in told.json()] == [("smoke", "mallory")]


def test_who_knows_the_id_of_a_hidden_run_does_not_learn_its_experiment(guarded, outsider, segment_of):
    hidden = segment_of("salaries")
    assert guarded.having_token("ada").put(hidden.name, 0, hidden.data).status_code == 200
    other = segment_of("own", id=hidden.id)
    digest = sha256(b"anything").hexdigest()
    for answer in (
        outsider.sender.put(other.name, 0, other.data),
        outsider.http.head(f"/ingest/v1/blobs/{digest}", headers={"stratal-run": hidden.id, "stratal-size": "8"}),
    ):
        said = answer.text + unquote(answer.headers.get("stratal-complaint", ""))
        assert answer.status_code == 403 and "salaries" not in said and "is not there, or mallory may not view it" in said
    named = segment_of("salaries")
    named = outsider.sender.put(named.name, 0, named.data)
    assert "mallory is not contributor on experiment:salaries" in named.json()["message"], "whoever names it is told"
