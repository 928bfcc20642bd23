"""Runs of MLflow's clients whose server was started again, or that come through several servers. Excludes how repeats are found."""

from pathlib import Path

import httpx
import pytest
from mlflow_peer import errors_of, start_with_mlflow
from mlflow_place import IMPORTS, RETRIES, SCRIPT, Place, check_load, wait_for_a_round
from mlflow_wire import Wire

from stratal.core.clock import SECOND_NS, SystemClock
from stratal.core.people import Role
from stratal.interop.mlflow.service.calls import Everything, Service, perform
from stratal.interop.mlflow.service.records import CreateRun
from stratal.interop.mlflow.service.runs import at_experiment, create
from stratal.server.serving import listening
from stratal.store.relays import SILENT_NS
from stratal.testing.victims import Victims
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run as start_run


class Later(SystemClock):
    """A clock that is ahead."""

    def __init__(self, ahead_ns: int) -> None:
        self._ahead_ns = ahead_ns

    def now_ns(self) -> int:
        return super().now_ns() + self._ahead_ns


def _status(folder: Path, id: str, *, ahead_ns: int = 0) -> str:
    """As Python and a search see it, which must agree."""
    store = open_store(folder, clock=Later(ahead_ns))
    status = get_run(id, store=store).status
    assert [found.id for found in find_runs(f"status = '{status}' and id = '{id}'", store=store)] == [id]
    store.close()
    return status


@pytest.mark.slow
def test_a_run_goes_on_when_its_server_was_killed_and_is_lost_only_after_a_day_of_silence(migrated, tmp_path):
    folder = tmp_path / "store"
    with Victims(IMPORTS) as victims:
        place = Place(victims, str(folder))
        try:
            place.start()
            wire = Wire(place.url)
            id = wire.run()
            wire.ok("runs/log-metric", run_id=id, key="m", value=1.0, timestamp=1, step=1)
            place.kill()
            assert _status(folder, id) == "running", "the server of before is gone, and says nothing of its clients"
            assert _status(folder, id, ahead_ns=SILENT_NS - 60 * SECOND_NS) == "running"
            assert _status(folder, id, ahead_ns=SILENT_NS + SECOND_NS) == "lost"
            place.start()
            assert _status(folder, id) == "running"
            wire.ok("runs/log-metric", run_id=id, key="m", value=2.0, timestamp=2, step=2)
            assert wire.read("runs/get", run_id=id)["run"]["info"]["status"] == "RUNNING"
            with start_run(resume=id, store=open_store(folder)) as joined:
                assert joined.epoch == 0, "a run that goes on is joined, not taken over"
                joined.leave()
            wire.ok("runs/update", run_id=id, status="FINISHED")
            assert _status(folder, id, ahead_ns=2 * SILENT_NS) == "finished"
            wire.http.close()
        finally:
            place.end()


def test_a_run_without_a_server_lives_and_dies_with_its_process(store):
    service = Service(store)
    made = perform(service, create, CreateRun(experiment_id="0"), rights=Everything(), needs=Role.CONTRIBUTOR, on=at_experiment)
    other = open_store(store.url)
    assert get_run(made.run.info.run_id, store=other).status == "running"
    store.writer.close()
    assert get_run(made.run.info.run_id, store=other).status == "lost"
    other.close()


class Twice:
    """A balancer in front of servers that loses each first answer: every call reaches two of them."""

    def __init__(self, urls: list[str]) -> None:
        self.urls, self.count = urls, 0

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                await send({"type": f"{(await receive())['type']}.complete"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.count += 1
        url = f"{self.urls[self.count // 2 % 2 ^ self.count % 2]}{scope['path']}?{scope['query_string'].decode()}"
        kept = [(name, value) for name, value in scope["headers"] if name in (b"content-type", b"accept")]
        async with httpx.AsyncClient(timeout=60, verify=False) as http:
            answer = await http.request(scope["method"], url, content=body, headers=kept)
        status, said = (502, b"lost") if self.count % 2 else (answer.status_code, answer.content)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(said))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": said})


@pytest.mark.slow
def test_a_client_whose_repeats_reach_another_server_over_one_database_has_each_point_once(lent, tmp_path, monkeypatch):
    url = f"{lent()}&blobs={tmp_path / 'blobs'}"
    open_store(url).settle()
    told, stop = tmp_path / "told", tmp_path / "stop"
    places: list[Place] = []
    with Victims(IMPORTS) as here:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))  # another machine's journals
        with Victims(IMPORTS) as there:
            try:
                places += [Place(victims, url) for victims in (here, there)]
                for place in places:
                    place.start()
                with listening(Twice([place.url for place in places])) as balancer:
                    settings = {**RETRIES, "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0"}
                    client = start_with_mlflow(SCRIPT, balancer, str(told), str(stop), folder=tmp_path, **settings)
                    for _ in range(3):
                        wait_for_a_round([told], [client])
                    stop.touch()
                    assert errors_of(client, timeout_s=120) == {"done": ""}
                id = told.read_text().splitlines()[0]
                for place in places:  # a read settles what its server has taken
                    Wire(place.url).read("metrics/get-history", run_id=id, metric_key="batched")
            finally:
                for place in places:
                    place.end()
    store = open_store(url)
    assert check_load(store, told) > 75
    assert {summary.name: summary.points for summary in get_run(id, store=store).summaries}["same"] == 1
    store.close()
