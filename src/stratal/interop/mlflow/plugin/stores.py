"""Stores: MLflow's tracking store and model registry for `stratal:///folder`.

They are MLflow's own clients of a server, whose every request is answered in this process instead: so all that its REST API can do is
there, in its own words, and nothing of it is written twice.
"""

from functools import partial
from typing import Any

from mlflow.store.model_registry.rest_store import RestStore as RegistryClient
from mlflow.store.tracking.rest_store import RestStore as TrackingClient
from mlflow.utils.proto_json_utils import parse_dict
from mlflow.utils.rest_utils import MlflowHostCreds

from stratal.interop.mlflow.plugin.calling import answer
from stratal.interop.mlflow.plugin.places import home_of


class StratalTracking(TrackingClient):  # type: ignore[misc]  # MLflow is untyped here
    """Experiments, runs and logged models of a store."""

    def __init__(self, store_uri: str, artifact_uri: str | None = None) -> None:
        """MLflow makes one per URI. artifact_uri: not taken, artifacts lie in the store."""
        super().__init__(partial(MlflowHostCreds, store_uri))  # nobody is asked; it is printed where a run's page would be
        self._home = home_of(store_uri)

    def _call_endpoint(  # the one door of all requests
        self,
        api: Any,
        json_body: str | None = None,
        endpoint: str | None = None,
        retry_timeout_seconds: object = None,
        response_proto: Any = None,
    ) -> Any:
        message = response_proto or api.Response()
        parse_dict(answer(self._home, api.DESCRIPTOR.name, json_body, endpoint), message)
        return message


class StratalRegistry(RegistryClient):  # type: ignore[misc]  # MLflow is untyped here
    """Registered models of a store."""

    def __init__(self, store_uri: str, tracking_uri: str | None = None) -> None:
        """MLflow makes one per URI."""
        super().__init__(partial(MlflowHostCreds, store_uri))  # as above
        self._home = home_of(store_uri)

    def _call_endpoint(  # the one door of all requests
        self, api: Any, json_body: str | None, call_all_endpoints: bool = False, extra_headers: object = None
    ) -> Any:
        message = api.Response()
        parse_dict(answer(self._home, api.DESCRIPTOR.name, json_body, None), message)
        return message
