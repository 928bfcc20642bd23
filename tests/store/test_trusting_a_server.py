"""Whose certificates a client takes. Excludes the server's side of TLS."""

from pathlib import Path

import pytest

from certificates import make_certificate
from stratal.core.errors import OutcomeUnknown, StoreDown
from stratal.core.settings import Settings
from stratal.server.app import Application
from stratal.server.serving import Tls, listening
from stratal.store.following import follow
from stratal.store.store import Store
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.views import save_view


@pytest.fixture
def served(store: Store, tmp_path: Path):
    cert, key = make_certificate(tmp_path)
    application = Application(store)
    with listening(application, tls=Tls(cert=cert, key=key)) as url:
        yield url, cert
    application.close()


def far(url: str, folder: Path) -> Store:
    return open_store(url, settings=Settings(user="ann", state_home=folder / "state"))


def test_a_certificate_of_nobody_is_refused_with_what_helps(served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    store = far(served[0].replace("127.0.0.1", "localhost"), tmp_path)
    with pytest.raises(StoreDown, match="CERTIFICATE_VERIFY_FAILED") as refused:
        find_runs(store=store)
    assert "SSL_CERT_FILE=" in refused.value.hint
    with pytest.raises(StoreDown, match="CERTIFICATE_VERIFY_FAILED"):  # and does not wait for ever for what waiting does not mend
        next(follow(store, since=0))


def test_an_authority_of_ones_own_is_named_in_the_environment(served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, cert = served
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    assert len(find_runs(store=far(url.replace("127.0.0.1", "localhost"), tmp_path))) == 0
    with pytest.raises(StoreDown) as refused:
        find_runs(store=far(url, tmp_path / "other"))
    assert "as its certificate has it" in refused.value.hint


def test_a_request_without_tls_to_a_port_with_it_is_told_to_write_https(served, tmp_path: Path) -> None:
    store = far(served[0].replace("https:", "http:"), tmp_path)
    with pytest.raises(StoreDown, match="disconnected") as refused:
        find_runs(store=store)
    assert "write https://" in refused.value.hint
    with pytest.raises(OutcomeUnknown) as lost:
        save_view("good", "status = 'finished'", store=store)
    assert "write https://" in lost.value.hint and "look before you do it again" in lost.value.hint


def test_a_request_with_tls_to_a_port_without_it_is_told_to_write_http(served_url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreDown) as refused:
        find_runs(store=far(served_url.replace("http:", "https:"), tmp_path))
    assert "write http://" in refused.value.hint
