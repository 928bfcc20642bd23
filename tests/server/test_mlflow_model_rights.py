"""Who may do what with models on MLflow's wire, and that nothing a client sends is a failure of the server. Excludes the real guard."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stratal.core.errors import Forbidden, StratalError
from stratal.core.people import Role
from stratal.interop.mlflow.service.calls import Service, perform
from stratal.interop.mlflow.service.errors import MlflowError
from stratal.server.mlflow.table import LOGGED, MODELS, Route, find
from stratal.tracking.runs import run

V, C, A = Role.VIEWER, Role.CONTRIBUTOR, Role.APPROVER
REGISTERED = "2.0/mlflow/registered-models"
VERSIONS = "2.0/mlflow/model-versions"
ROUTES = [*MODELS, *LOGGED]


class Strict:
    """Lets nothing be done but what is listed, and remembers what was asked for."""

    def __init__(self, *may: tuple[Role, str], sees: frozenset[str] | None = None) -> None:
        self.may, self.sees, self.asked = set(may), sees, []

    def check(self, tx, needs, on):
        self.asked.append((needs, on))
        if (needs, on) not in self.may:
            raise Forbidden(f"{needs} on {on}")

    def visible(self, tx, kind):
        return self.sees


class Asking:
    """Asks one store as somebody."""

    def __init__(self, store) -> None:
        self.service = Service(store)

    def __call__(self, verb: str, path: str, rights, **fields):
        found = find(verb, path)
        request = found.route.request(**{**fields, **found.fields})
        return perform(self.service, found.route.function, request, rights=rights, needs=found.route.needs, on=found.route.on)


@pytest.fixture
def ask(store):
    """A store with the model "churn" of two versions, and a logged model."""
    asking = Asking(store)
    everything = Everything()
    with run("e", store=store) as logged:
        logged.save_bytes("model/MLmodel", b"flavors: {}")
    asking("POST", f"{REGISTERED}/create", everything, name="churn")
    for _ in range(2):
        asking("POST", f"{VERSIONS}/create", everything, name="churn", source=f"runs:/{logged.id}/model")
    experiment = asking("GET", "2.0/mlflow/experiments/get-by-name", everything, experiment_name="e").experiment.experiment_id
    asking.model = asking("POST", "2.0/mlflow/logged-models", everything, experiment_id=experiment, name="m").model.info.model_id
    asking.experiment, asking.run = experiment, logged.id
    return asking


class Everything(Strict):
    def check(self, tx, needs, on):
        """Let everything."""


def fields_of(route: Route, ask: Asking) -> dict[str, object]:
    known = {
        "name": "new" if route.path == f"{REGISTERED}/create" else "churn", "version": "1", "new_name": "other", "alias": "best",
        "key": "k", "value": "v", "stage": "Staging", "source": f"runs:/{ask.run}/model", "model_id": ask.model, "tag_key": "k",
        "experiment_id": ask.experiment, "run_id": ask.run, "status": "LOGGED_MODEL_READY",
    }  # fmt: skip
    if route.path == f"{VERSIONS}/create":
        known["model_id"] = ""
    return {name: value for name, value in known.items() if name in route.request.__struct_fields__}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.verb} {route.path}")
def test_who_holds_no_role_can_do_nothing(ask, route):
    path = route.path.replace("{model_id}", ask.model).replace("{tag_key*}", "k")
    if path.endswith("/search"):
        found = ask(route.verb, path, Strict(sees=frozenset()), **({"experiment_ids": [ask.experiment]} if "logged" in path else {}))
        assert not any(getattr(found, name) for name in found.__struct_fields__), "a list shows what may be viewed"
        return
    rights = Strict()
    with pytest.raises(Forbidden):
        ask(route.verb, path, rights, **fields_of(route, ask))
    (asked,) = rights.asked
    assert asked == (
        route.needs,
        {"new": "model:new"}.get(str(fields_of(route, ask).get("name")), "model:churn") if route in MODELS else "experiment:e",
    )


def test_a_version_of_files_that_one_may_not_view_is_refused(ask):
    for source, place in ((f"runs:/{ask.run}/model", "experiment:e"), ("models:/churn/1", "model:churn")):
        ask("POST", f"{REGISTERED}/create", Everything(), name=f"of {place.partition(':')[0]}s")
        name = f"of {place.partition(':')[0]}s"
        with pytest.raises(Forbidden):
            ask("POST", f"{VERSIONS}/create", Strict((C, f"model:{name}")), name=name, source=source)
        ask("POST", f"{VERSIONS}/create", Strict((C, f"model:{name}"), (V, place)), name=name, source=source)


def test_rights_follow_the_registrys_name_through_a_rename(ask):
    ask("POST", f"{REGISTERED}/rename", Strict((A, "model:churn")), name="churn", new_name="other")
    ask("GET", f"{REGISTERED}/get", Strict((V, "model:churn")), name="other")
    with pytest.raises(Forbidden):
        ask("GET", f"{REGISTERED}/get", Strict((V, "model:other")), name="other")


ODD = (
    "churn", "1", "latest", "Production", "models:/churn/1", "models:/m-" + "0" * 32, "runs:/x/y", "mlflow-artifacts:/0/../x", "-1",
    "9" * 40, "name = 'churn'", "name LIKE '%'", "tags.`a` = 'b' AND", "version_number > 1e400", "(((", "metrics.a >= 1", "name DESC",
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=12), st.sampled_from(ODD))
VALUES = st.one_of(st.none(), TEXTS, st.integers(-(2**63), 2**63 - 1), st.booleans(), st.lists(TEXTS, max_size=3))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nothing_that_a_client_sends_is_a_failure_of_ours(ask, data):
    route = data.draw(st.sampled_from(ROUTES))
    fields = {name: data.draw(VALUES, label=name) for name in route.request.__struct_fields__ if data.draw(st.booleans())}
    try:
        request = msgspec.convert(fields, route.request, strict=False)
    except msgspec.ValidationError:
        return
    try:
        perform(ask.service, route.function, request, rights=Everything(), needs=route.needs, on=route.on)
    except MlflowError as error:
        assert error.code != "INTERNAL_ERROR"
    except StratalError as error:
        assert not error.retryable, "a client would repeat it for minutes"
