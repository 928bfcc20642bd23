"""kill -9 of writers, uploaders and servers while the server's files lie in S3, which refuses a part of the requests."""

import random
from pathlib import Path

import pytest
from test_remote_kills import Scene

from stratal.core.settings import load_settings
from stratal.testing.proxies import bad_network
from stratal.testing.victims import Victims
from stratal.tracking.opening import open_store

KILLS = 12


@pytest.mark.slow
def test_kills_beside_an_object_store_that_refuses_lose_no_file(
    bucket: str, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    with bad_network(s3_endpoint, lambda: "refuse" if dice.random() < 0.2 else "pass") as (url, network):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("STRATAL_CACHE", str(tmp_path / "cache"))
        store = open_store(tmp_path / "team", settings=load_settings(environ={"STRATAL_BLOBS": bucket}))  # which it remembers
        store.settle()
        store.close()
        with Victims(["stratal.testing.remote_workloads", "stratal.store.files.bucket", "stratal.tracking.store.settling"]) as victims:
            scene, roles = Scene(victims, tmp_path, random.Random(seed)), ("writer", "uploader", "server")
            try:
                for _ in range(KILLS):
                    for role in set(roles) - set(scene.running):
                        scene.start(role)
                    scene.wait_for_a_shipment()
                    scene.kill(scene.dice.choice(roles))
                total = scene.check()
            finally:
                scene.end()
    print(f"{len(scene.runs)} runs, {total} acknowledged rows, {scene.shipments} shipments, {network.seen} requests to S3")
    assert total and network.seen["refuse"] > 5, "too little came to S3: the test proves nothing"
