"""`stratal server` where it cannot start: what it says. Excludes a server that runs, which many other tests start."""

import subprocess
from pathlib import Path

import pytest

from certificates import make_certificate
from stratal.cli.server import _tls
from stratal.core.errors import Misuse, StoreDown
from stratal.server.asgi import live
from stratal.server.serving import _bound, listening


def test_what_is_wrong_with_a_certificate_or_its_key_is_said(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    _, other = make_certificate(tmp_path, "other")
    locked = tmp_path / "locked.pem"
    locked_by = ["openssl", "pkcs8", "-topk8", "-v2", "aes256", "-passout", "pass:secret", "-in", key, "-out", locked]
    subprocess.run(locked_by, check=True, capture_output=True)
    wrong = {
        (tmp_path / "none.pem", key): "there is no file",
        (key, cert): "both are files in PEM form",
        (cert, other): "another certificate's",
        (cert, locked): "the key is encrypted",  # and nobody is asked at the terminal of a service
    }
    for files, hint in wrong.items():
        with pytest.raises(Misuse, match="cannot be used") as refused:
            _tls(*files)
        assert hint in refused.value.hint
    assert _tls(cert, key) is not None and _tls(None, None) is None


async def app(scope, receive, send) -> None:
    await live(receive, send, lambda: None)


def test_a_place_where_nobody_can_listen_is_told_from_a_port_that_is_taken() -> None:
    with listening(app) as url, pytest.raises(StoreDown) as taken, listening(app, port=int(url.rpartition(":")[2])):
        pass
    assert "another --port" in taken.value.hint
    with pytest.raises(StoreDown) as elsewhere, _bound("192.0.2.1", 0):
        pass
    assert "no address of this machine" in elsewhere.value.hint
