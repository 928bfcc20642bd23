"""What deploy/compose says, started as processes: the image's command, the environment and the health checks as they are written, with
PostgreSQL and an S3 server of this machine for the images. Excludes images, networks, the proxy, and the user: they need Docker."""

import json
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

import stratal
from stratal.core.settings import Settings
from stratal.testing.buckets import make_bucket
from stratal.testing.postgres import PostgresServer
from stratal.testing.service_workloads import open_elsewhere
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

DEPLOY = Path(__file__).parents[2] / "deploy"
SERVICES = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())["services"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
DOMAIN = "team.example.org"
LONGEST_S = 120


def said_in_image(word: str) -> list[str]:
    return json.loads(re.search(rf"^{word} (\[.*\])$", DOCKERFILE, re.MULTILINE)[1])


class Composed:
    """The services of the compose file, with what Docker's names lead to on this machine."""

    def __init__(self, folder: Path, postgres: PostgresServer, objects: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.postgres, self.folder = postgres, folder
        self.secrets = {name: secrets.token_hex(24) for name in ("POSTGRES_PASSWORD", "OBJECTS_USER", "OBJECTS_PASSWORD")}
        self._here = {
            "postgres:5432": f"127.0.0.1:{postgres.port}", "http://objects:9000": objects, "0.0.0.0": "127.0.0.1",
            ":4117": f":{self.port}", "4117": str(self.port), "/data": str(folder / "data"), "/tmp/": f"{folder}/tmp/",
        }  # fmt: skip
        (folder / "data").mkdir()
        (folder / "tmp").mkdir()

    def translate(self, text: str) -> str:
        """Put in the values of .env, and places of this machine for those of the containers."""
        text = re.sub(r"\$\{([A-Z_]+):\?[^}]*\}", lambda found: {**self.secrets, "STRATAL_DOMAIN": DOMAIN}[found[1]], text)
        for there, here in self._here.items():
            if text == there or (there in text and there != "4117"):
                text = text.replace(there, here)
        return text

    def environment(self) -> dict[str, str]:
        """The image's variables, and the service's over them; nothing of this process but where Python and the sources are."""
        in_image = dict(word.split("=", 1) for word in re.search(r"^ENV (.*)$", DOCKERFILE, re.MULTILINE)[1].split())
        said = {name: self.translate(value) for name, value in {**in_image, **SERVICES["server"]["environment"]}.items()}
        said["PATH"] = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        return {**said, "PYTHONPATH": str(Path(stratal.__file__).parents[1]), "HOME": "/nonexistent"}

    def start(self, *arguments: str, **options: object) -> subprocess.Popen[str]:
        """Start the entry point with the arguments of `docker compose run server ...`, or those of the file."""
        words = [self.translate(word) for word in arguments or SERVICES["server"]["command"]]
        program = [str(Path(sys.executable).parent / said_in_image("ENTRYPOINT")[0]), *words]
        return subprocess.Popen(program, env=self.environment(), cwd=self.folder / "tmp", text=True, stdout=subprocess.PIPE, **options)

    def run(self, *arguments: str, said: str = "") -> str:
        started = self.start(*arguments, stdin=subprocess.PIPE)
        out, _ = started.communicate(said)
        assert started.returncode == 0, out
        return out

    def is_healthy(self, service: str) -> bool:
        """Run a health check as it is written."""
        words = [self.translate(word) for word in SERVICES[service]["healthcheck"]["test"][1:]]
        if service == "postgres":
            words = [str(self.postgres.programs / words[0]), *words[1:], "--host=127.0.0.1", f"--port={self.postgres.port}"]
        return subprocess.run(words, env=self.environment(), check=False, capture_output=True).returncode == 0


@pytest.fixture
def composed(tmp_path: Path, s3_endpoint: str) -> Iterator[Composed]:
    with PostgresServer() as postgres:
        postgres.listen()
        made = Composed(tmp_path, postgres, s3_endpoint)
        said = {name: made.translate(value) for name, value in SERVICES["postgres"]["environment"].items()}
        postgres.run_sql(f"alter role {said['POSTGRES_USER']} password '{said['POSTGRES_PASSWORD']}'")
        postgres.run_sql(f"create database {said['POSTGRES_DB']}")
        [bucket] = re.findall(r"mc mb --ignore-existing store/(\w+)", SERVICES["bucket"]["entrypoint"][2])
        make_bucket(s3_endpoint, bucket)
        yield made


@pytest.mark.slow
def test_what_the_compose_file_says_starts_serves_and_ends(composed: Composed, tmp_path: Path):
    assert composed.is_healthy("postgres") and not composed.is_healthy("server")
    server = composed.start(stderr=subprocess.PIPE)
    try:
        ends_s = time.monotonic() + LONGEST_S
        while not composed.is_healthy("server"):
            assert time.monotonic() < ends_s and server.poll() is None, "it does not become healthy"
        url = f"http://127.0.0.1:{composed.port}"
        for probe in ("/health", "/ready"):  # as Kubernetes asks
            assert httpx.get(f"{url}{probe}", headers={"host": "localhost"}, timeout=30).status_code == 200
        assert httpx.post(f"{url}/api/v1/registry/models", json={}, timeout=30).status_code == 401
        for host, status in ((DOMAIN, 401), ("elsewhere.example.org", 403)):  # as the proxy passes it on
            assert httpx.get(f"{url}/auth/me", headers={"host": host}, timeout=30).status_code == status

        composed.run("user", "add", "maria", "--admin")
        composed.run("user", "password", "maria", said="correct horse battery staple\n")
        token = json.loads(composed.run("token", "create", "maria", "--json"))["secret"]
        away = open_store(url, settings=Settings(store=url, user="maria", token=token, state_home=tmp_path / "away", capture=False))
        with run("composed", store=away) as made:
            made.log({"m": 1.0}, step=0)
            made.save_bytes("file", b"in the bucket")
        assert [one.id for one in find_runs("metrics.m = 1", store=away)] == [made.id]
        assert get_run(made.id, store=away).read_artifact("file") == b"in the bucket"
        away.close()
        assert not list((composed.folder / "data").rglob("blobs/??/*")), "files are in the bucket, and nowhere else"
        with httpx.Client(base_url=f"{url}/api/2.0/mlflow", headers={"authorization": f"Bearer {token}"}, timeout=30) as mlflow:
            last = mlflow.post("/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]["run_id"]
            said = {"run_id": last, "metrics": [{"key": "m", "value": 2, "timestamp": 1, "step": 0}]}
            assert mlflow.post("/runs/log-batch", json=said).status_code == 200
    finally:
        server.terminate()
        grace_s = int(SERVICES["server"]["stop_grace_period"].removesuffix("s"))
        _, log = server.communicate(timeout=max(grace_s, LONGEST_S))
    assert server.returncode == 0, log
    elsewhere = open_elsewhere(composed.postgres.url("stratal"), str(tmp_path / "elsewhere"))
    assert get_run(last, store=elsewhere).metrics == {"m": 2.0}, "a server that was ended leaves nothing on its machine"
    elsewhere.close()
    assert [secret for secret in composed.secrets.values() if secret in log] == []
    left = {path.relative_to(composed.folder).parts[0] for path in composed.folder.rglob("*")}
    assert left <= {"data", "tmp", "away", "elsewhere"} and not Path("/nonexistent").exists(), (
        "a container that is read-only could not have"
    )
