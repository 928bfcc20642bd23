"""Certificates for tests of TLS, each its own authority."""

import shutil
import subprocess
from pathlib import Path

import pytest

_COMMAND = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"


def make_certificate(folder: Path, name: str = "cert") -> tuple[Path, Path]:
    """Make a certificate of localhost and its key, as PEM; skip the test where there is no openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here")
    cert, key = folder / f"{name}.pem", folder / f"{name}.key.pem"
    made = [*_COMMAND.split(), "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert]
    subprocess.run(made, check=True, capture_output=True)
    return cert, key
