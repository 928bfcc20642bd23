"""A real S3 API server (moto's) in a process of its own on loopback, which can be away and come back; for tests only."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

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
