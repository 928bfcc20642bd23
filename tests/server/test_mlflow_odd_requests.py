"""Any JSON on any route of MLflow's protocol: never a 5xx, and what was there stays readable. Excludes well-meant requests."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow_wire import Wire

from stratal.core.errors import StratalError
from stratal.interop.mlflow.service.calls import Everything, Service, perform
from stratal.interop.mlflow.service.errors import MlflowError
from stratal.server.mlflow.surface import Mlflow
from stratal.server.mlflow.table import LOGGED, MODELS, ROUTES, find
from stratal.server.serving import listening
from stratal.tracking.runs import run

NAMES = sorted({field.encode_name for route in ROUTES for field in msgspec.structs.fields(route.request)})
RUN = "run of the test"
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", "0", "1", "99999999999999999999", "-1", RUN, "../..", "m", "NaN", "a\0b", "%", "name = 'x'", "metrics.m > 1"]),
    st.sampled_from(["metrics.m DESC", "ALL", "RUNNING", "mlflow.runName", "mlflow.note.content", "eyJ9", "x" * 600, "models:/m/1"]),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.sampled_from(NAMES), TEXTS), inner, max_size=4)),
    max_leaves=8,
)
# Values that pass the first checks, so that what lies behind them is reached, too.
GOOD = {
    "run_id": RUN, "run_uuid": RUN, "run_ids": [RUN], "experiment_id": "0", "experiment_ids": ["0"], "max_results": 5, "key": "m",
    "metric_key": "m", "value": "1", "timestamp": 1, "name": "m", "path": "a", "source": f"runs:/{RUN}/a", "version": "1", "alias": "a",
    "metrics": [{"key": "m", "value": 1, "timestamp": 1}], "params": [{"key": "p", "value": "v"}], "tags": [{"key": "t", "value": "v"}],
    "datasets": [{"dataset": {"name": "d", "digest": "1"}}], "order_by": ["metrics.m DESC"],
    "filter": "metrics.m > 1", "status": "FINISHED",
}  # fmt: skip


def bodies(route):
    names = [field.encode_name for field in msgspec.structs.fields(route.request)]
    some = {name: st.one_of(VALUES, st.just(GOOD[name])) if name in GOOD else VALUES for name in names}
    return st.one_of(st.fixed_dictionaries({}, optional=some), st.fixed_dictionaries(some), VALUES)


@pytest.fixture
def served(migrated, tmp_path):
    import shutil

    from stratal.tracking.opening import open_store

    shutil.copytree(migrated, tmp_path / "store")
    store = open_store(tmp_path / "store")
    surface = Mlflow(store)
    with listening(surface) as url:
        wire = Wire(url)
        yield wire, wire.run("0")
        wire.http.close()
    store.close()


@pytest.mark.slow
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_json_makes_a_5xx(served, data):
    wire, run = served
    for route in ROUTES:
        body = data.draw(bodies(route), label=route.path)
        path = route.path if route.path[0] == "/" else f"/api/{route.path}"
        for name in ("path*", "model_id", "tag_key"):
            path = path.replace(f"{{{name}}}", "a")
        if route.verb in ("GET", "PUT"):
            fields = body if isinstance(body, dict) else {}
            query = [(name, _known(run, str(value))) for name, value in fields.items()]
            answer = wire.http.request(route.verb, path, params=query)
        else:
            text = _known(run, msgspec.json.encode(_encodable(body)).decode())
            answer = wire.http.request(route.verb, path, content=text, headers={"content-type": "application/json"})
        assert answer.status_code < 500 or answer.status_code == 501, (route.verb, route.path, body, answer.text)
        assert answer.status_code == 200 or "error_code" in answer.json()
    assert wire.read("runs/get", run_id=run)["run"]["info"]["run_id"] == run


def _known(run: str, text: str) -> str:
    return text.replace(RUN, run)


def _encodable(value: object) -> object:
    """JSON texts of whole numbers of any size, and no lone surrogates."""
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return float(value)
    if isinstance(value, dict):
        return {str(_encodable(name)): _encodable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


@pytest.fixture
def models(store):
    """A service with the model "churn" of two versions, and a logged model."""
    service = Service(store)
    with run("e", store=store) as logged:
        logged.save_bytes("model/MLmodel", b"flavors: {}")

    def ask(verb: str, path: str, **fields):
        route = find(verb, f"2.0/mlflow/{path}").route
        return perform(service, route.function, route.request(**fields), rights=Everything(), needs=route.needs, on=route.on)

    ask("POST", "registered-models/create", name="churn")
    for _ in range(2):
        ask("POST", "model-versions/create", name="churn", source=f"runs:/{logged.id}/model")
    experiment = ask("GET", "experiments/get-by-name", experiment_name="e").experiment.experiment_id
    ask("POST", "logged-models", experiment_id=experiment, name="m")
    return service


ODD = (
    "churn", "1", "latest", "Production", "models:/churn/1", "models:/m-" + "0" * 32, "runs:/x/y", "mlflow-artifacts:/0/../x", "-1",
    "9" * 40, "name = 'churn'", "name LIKE '%'", "tags.`a` = 'b' AND", "version_number > 1e400", "(((", "metrics.a >= 1", "name DESC",
)  # fmt: skip
MODEL_TEXTS = st.one_of(st.text(max_size=12), st.sampled_from(ODD))
MODEL_VALUES = st.one_of(st.none(), MODEL_TEXTS, st.integers(-(2**63), 2**63 - 1), st.booleans(), st.lists(MODEL_TEXTS, max_size=3))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nothing_that_is_asked_of_models_is_a_failure_of_ours(models, data):
    route = data.draw(st.sampled_from([*MODELS, *LOGGED]))
    fields = {name: data.draw(MODEL_VALUES, label=name) for name in route.request.__struct_fields__ if data.draw(st.booleans())}
    try:
        request = msgspec.convert(fields, route.request, strict=False)
    except msgspec.ValidationError:
        return
    try:
        perform(models, route.function, request, rights=Everything(), needs=route.needs, on=route.on)
    except MlflowError as error:
        assert error.code != "INTERNAL_ERROR"
    except StratalError as error:
        assert not error.retryable, "a client would repeat it for minutes"
