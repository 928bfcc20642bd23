"""`stratal server`: give a store to other processes, on this machine or through a tunnel."""

import ssl
import sys
from pathlib import Path
from typing import Annotated

import typer

from stratal.cli.options import Json, StoreUrl
from stratal.cli.printing import print_json, print_out
from stratal.core.errors import Misuse
from stratal.core.people import EVERYTHING
from stratal.server.authenticating import AccessGuard
from stratal.server.logs import log_lines
from stratal.server.serving import HOST, PORT, Tls, serve
from stratal.store.access.accounts import AccessStore
from stratal.store.marks import is_loopback
from stratal.store.store import Store
from stratal.tracking.opening import current_store, open_store

Host = Annotated[str, typer.Option(help="Where to listen; other than loopback with --auth only.")]
Port = Annotated[int, typer.Option(help="The port; 0 takes any that is free, and says which.")]
Auth = Annotated[
    bool | None,
    typer.Option("--auth/--no-auth", help="Ask everybody who they are (stratal user, token, grant). Default: STRATAL_SERVER_AUTH."),
]
TlsCert = Annotated[Path | None, typer.Option("--tls-cert", help="A certificate with its chain, PEM; where no proxy does TLS.")]
TlsKey = Annotated[Path | None, typer.Option("--tls-key", help="Its key, PEM.")]
Log = Annotated[bool, typer.Option("--log/--no-log", help="Write a line for each request to stderr.")]
Name = Annotated[
    list[str] | None,
    typer.Option(
        "--name", help="A host that the server with --auth answers to, beside addresses and this machine's own; may be given again."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("server")(server)


def server(
    host: Host = HOST,
    port: Port = PORT,
    auth: Auth = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    name: Name = None,
    store: StoreUrl = None,
    json: Json = False,
    log: Log = True,
) -> None:
    """Serve a store: other processes log into it, ask it and decide in it. Loopback only, or with --auth.

    They do so with STRATAL_STORE=http://127.0.0.1:4117. What is served: /ingest/v1 takes what is logged, /api/v1/ROOM/OPERATION are queries
    and commands, described at /api/v1/openapi.json, and /health, /ready and /metrics. Each request is a line of JSON on stderr.
    A program that uses MLflow works with it by mlflow.set_tracking_uri(URL).

    Without --auth it asks nobody who they are. Ctrl-C ends it; nothing that it acknowledged is lost, whatever ends it.
    """
    opened = open_store(store) if store is not None else current_store()
    guard = AccessGuard(opened) if (opened.settings.server_auth if auth is None else auth) else None
    tls = _tls(tls_cert, tls_key)
    if guard is not None:
        _say_what_is_missing(opened, is_open=not is_loopback(host) and tls is None)
    if log:
        log_lines()

    def listens(url: str) -> None:
        if json:
            print_json({"url": url, "store": opened.url})
        else:
            print_out(f"listening on {url}, into {opened.url}")
        sys.stdout.flush()  # who waits for the line may read a pipe

    serve(opened, host=host, port=port, guard=guard, tls=tls, names=name or (), listens=listens)


def _tls(cert: Path | None, key: Path | None) -> Tls | None:
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise Misuse("TLS needs both a certificate and its key", hint="give --tls-cert and --tls-key")
    try:
        # An encrypted key would be asked for at the terminal, here and again when it listens: a service has none.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key, password="")
    except (OSError, ssl.SSLError, ValueError) as error:
        raise Misuse(f"the certificate {cert} and the key {key} cannot be used: {error}", hint=_tls_hint(cert, key)) from error
    return Tls(cert=cert, key=key)


def _tls_hint(cert: Path, key: Path) -> str:
    if missing := [str(path) for path in (cert, key) if not path.is_file()]:
        return f"there is no file {' and no '.join(missing)}"
    try:
        held = [path.read_bytes() for path in (cert, key)]
    except OSError:
        return "let the user that runs the server read both"
    if b"PRIVATE KEY" not in held[1] or b"BEGIN CERTIFICATE" not in held[0]:
        return "both are files in PEM form: the certificate with its chain, and the private key"
    if b"ENCRYPTED" in held[1]:
        return f"the key is encrypted, and nobody is there to type its passphrase: openssl pkey -in {key} -out plain.pem, with mode 600"
    return "the key is another certificate's"


def _say_what_is_missing(store: Store, *, is_open: bool) -> None:
    said = []
    if not any(each.role == "admin" and each.on == EVERYTHING for each in AccessStore(store).grants()):
        said.append("there is no admin yet; make one on this machine: stratal user add NAME --admin")
    if is_open:
        said.append("no TLS: who listens on the network reads tokens and passwords; put a proxy with TLS before it, or give --tls-cert")
    for line in said:
        print(f"warning: {line}", file=sys.stderr)
