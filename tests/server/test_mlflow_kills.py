"""kill -9 of the server under real MLflow clients, which only repeat as they always do: nothing that was acknowledged is lost, nothing
is there twice. Excludes clients that are killed.

`make test-long` makes it 1,000 kills. The seed is printed; the moments depend on the machine, too.
"""

import os
import random
import time
from pathlib import Path

import pytest
from mlflow_peer import errors_of, start_with_mlflow
from mlflow_place import IMPORTS, RETRIES, SCRIPT, Place, check_load, rounds_of, wait_for_a_round

from stratal.testing.victims import Victims
from stratal.tracking.opening import open_store

KILLS = int(os.environ.get("STRATAL_TEST_KILLS", "4"))
CLIENTS = 2


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_kills_of_the_server_under_mlflow_clients_lose_and_double_nothing(
    database: str, migrated: Path, tmp_path: Path, request: pytest.FixtureRequest
):
    url = request.getfixturevalue("lent")() if database == "postgresql" else str(tmp_path / "store")
    open_store(url).settle()
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    stop, tolds, clients = tmp_path / "stop", [tmp_path / f"told{n}" for n in range(CLIENTS)], []
    with Victims(IMPORTS) as victims:
        place = Place(victims, url)
        try:
            place.start()
            clients += [start_with_mlflow(SCRIPT, place.url, str(told), str(stop), folder=tmp_path, **RETRIES) for told in tolds]
            for _ in range(KILLS):
                wait_for_a_round(tolds, clients)
                time.sleep(dice.uniform(0, 0.1))
                place.kill()
                place.start()
            stop.touch()
            assert [errors_of(client, timeout_s=120) for client in clients] == [{"done": ""}] * CLIENTS
        finally:
            for client in clients:
                client.kill()
            place.end()
    store = open_store(url)
    points = sum(check_load(store, told) for told in tolds)
    store.close()
    print(f"{KILLS} kills, {sum(map(rounds_of, tolds))} rounds, {points} points")
    assert points > 20 * KILLS, "the clients hardly came to log: the test proves nothing"
