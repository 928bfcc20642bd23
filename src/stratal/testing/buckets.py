"""Real object stores in processes of their own on loopback, for tests only: S3 (moto's server), Azure Blob Storage (Azurite)."""

import base64
import contextlib
import hmac
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from email.utils import formatdate

_SERVE = """
import logging, sys
logging.getLogger("werkzeug").setLevel(logging.ERROR)
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
WSGIRequestHandler.protocol_version = "HTTP/1.1"
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""
# What obstore and boto3 read; the server takes any key.
VARIABLES = {"AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST", "AWS_SECRET_ACCESS_KEY": "a-secret-that-no-log-may-show", "AWS_REGION": "us-east-1"}
# The account that Azurite serves, and its key: both stand in its manual.
AZURE_VARIABLES = {
    "AZURE_STORAGE_ACCOUNT_NAME": "devstoreaccount1",
    "AZURE_STORAGE_ACCOUNT_KEY": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
}


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Give the endpoint of an S3 server whose objects lie in the memory of its process."""
    server = subprocess.Popen([sys.executable, "-c", _SERVE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        assert server.poll() is None, f"the S3 server ended by itself, with {server.returncode}: tests that failed say nothing"
    finally:
        server.kill()
        server.wait()


def make_bucket(endpoint: str, name: str) -> None:
    """Make a bucket, as its owner would before anybody uses it."""
    import urllib.request  # only here

    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT"), timeout=30):
        pass


@contextlib.contextmanager
def azure_server(program: str) -> Iterator[str]:
    """Give the endpoint of an Azure Blob Storage (Azurite) whose blobs lie in the memory of its process. program: azurite-blob."""
    command = [program, "--inMemoryPersistence", "--blobPort", "0", "--skipApiVersionCheck", "--disableTelemetry"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        said = (re.search(r"listens on (http://127.0.0.1:\d+)", line) for line in server.stdout)
        url = next((found[1] for found in said if found), None)
        assert url is not None, f"Azurite ended by itself, with {server.wait()}"
        threading.Thread(target=server.stdout.read, daemon=True).start()  # it tells each request, and would wait for a reader
        yield f"{url}/{AZURE_VARIABLES['AZURE_STORAGE_ACCOUNT_NAME']}"
    finally:
        server.kill()
        server.wait()


def make_container(endpoint: str, name: str) -> None:
    """Make a container at an Azurite, as its owner would before anybody uses it."""
    import urllib.request  # only here

    account, key = AZURE_VARIABLES.values()
    heads = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    lines = ["PUT", *[""] * 11, *(f"{head}:{value}" for head, value in heads.items()), f"/{account}/{account}/{name}", "restype:container"]
    signature = base64.b64encode(hmac.digest(base64.b64decode(key), "\n".join(lines).encode(), "sha256")).decode()
    asked = urllib.request.Request(f"{endpoint}/{name}?restype=container", method="PUT")
    for head, value in {**heads, "authorization": f"SharedKey {account}:{signature}"}.items():
        asked.add_header(head, value)
    with urllib.request.urlopen(asked, timeout=30):
        pass
