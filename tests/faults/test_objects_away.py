"""The object store of a server is away while clients log, command and send files: what needs no file goes on, and files come later.
Excludes kills beside it (test_bucket_kills), and what one request meets (test_ingest_over_buckets)."""

import os
import signal
import time
from pathlib import Path

import pytest
from crowds import Crowd, is_ready, wait_until
from sqlalchemy import func, select

from stratal.core.people import Identity
from stratal.core.settings import load_settings
from stratal.store.tables import shipment
from stratal.testing.ports import held_port
from stratal.testing.proxies import AWAY, bad_network
from stratal.testing.victims import Victims
from stratal.tracking.opening import open_store

# Seconds for which it is away; `make test-long` makes them 60, and tries every way of being away.
AWAY_FOR_S = float(os.environ.get("STRATAL_TEST_AWAY_S", "2"))
WAYS = AWAY if AWAY_FOR_S > 10 else ("stall", "slow down")
# Clients that carry files: more than the server has threads for them.
CARRIERS = 12


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_an_object_store_that_is_away_keeps_nobody_waiting_but_files(
    bucket: str, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
):
    port = held_port()
    with bad_network(s3_endpoint) as (endpoint, network):
        url = f"http://127.0.0.1:{port}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("STRATAL_CACHE", str(tmp_path / "cache"))
        store = open_store(tmp_path / "team", settings=load_settings(environ={"STRATAL_BLOBS": bucket}))  # which it remembers
        store.settle()

        def shipments() -> int:
            with store.database.read(Identity(name="tester")) as tx:
                return int(tx.value(select(func.count()).select_from(shipment)))

        with Victims(["stratal.testing.remote_workloads", "stratal.store.files.bucket", "stratal.tracking.store.settling"]) as machines:
            server = machines.start("stratal.testing.remote_workloads:serve_until_killed", str(tmp_path / "team"), port, "", 0.5)
            try:
                wait_until(lambda: is_ready(url), "the server is ready")  # who comes before is not answered
                with Crowd(machines, tmp_path, url, machines=1, carriers=CARRIERS) as crowd:
                    crowd.wait_until(lambda: len(crowd.files) > CARRIERS, "files come")
                    network.script = lambda: way
                    gone_s, carried = time.monotonic(), len(crowd.files)
                    if way != "stall":  # which is noticed when its 15 seconds are over
                        crowd.wait_until(lambda: crowd.answers["carrier", 503], "who carries files is told to come again")
                    while time.monotonic() < gone_s + AWAY_FOR_S:
                        looks = crowd.looks
                        crowd.wait_for_progress(shipments)
                        crowd.wait_until(lambda looks=looks: crowd.looks > looks, "the server is ready")
                    assert len(crowd.files) - carried <= CARRIERS, "what was under way: the others wait"
                    network.script = lambda: "pass"
                    crowd.wait_until(lambda: len(crowd.files) > carried + 2 * CARRIERS, "files come again")
                    crowd.wait_for_progress(shipments)
                    crowd.end()
                    assert not server.has_ended()
                    print(crowd.check(store), network.seen)
                    assert network.seen[way] > 1 and not [asked for asked in crowd.answers if asked[1] == 0], "each request is answered"
            finally:
                assert server.kill() == -signal.SIGKILL
        store.close()
