"""A real PostgreSQL server for tests: it starts by itself, in a folder of its own, and listens on a socket there only.

Its programs are those that are installed, else those of the PyPI package `pgserver`. It does not sync its disk: it outlives
kills of its processes, but no power cut.
"""

import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from stratal.core.errors import StoreDown

_OPTIONS = "-c listen_addresses='' -c fsync=off -c max_connections=200 -c autovacuum_naptime=1d -c max_wal_size=512MB"
_USERS = ("postgres", "nobody")  # the server refuses to run as root


def find_programs() -> Path:
    """Give the folder of initdb, pg_ctl and postgres. Raises StoreDown if there are none."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: float(path.parts[4]))
    on_path = [Path(found).resolve() for found in [shutil.which("pg_ctl")] if found]
    for found in (*on_path, *reversed(installed)):
        if all((found.parent / name).exists() for name in ("initdb", "postgres")):
            return found.parent
    package = importlib.util.find_spec("pgserver")
    if package is None or package.origin is None:
        raise StoreDown("there is no PostgreSQL on this machine", hint="install postgresql, or: pip install pgserver")
    return Path(package.origin).parent / "pginstall" / "bin"


class PostgresServer:
    """One server with as many databases as a test wants. A context manager: it is stopped and gone at the end."""

    def __init__(self, programs: Path | None = None) -> None:
        self.programs = programs or find_programs()
        self.folder = Path(tempfile.mkdtemp(prefix="stratal-pg-"))
        self.port, self._more = 5432, ""
        self._numbers = itertools.count(1)
        if os.geteuid() == 0:
            shutil.chown(self.folder, self._user())
        self.folder.chmod(0o755)
        self._call("initdb", "-D", self.folder / "data", "-U", "stratal", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
        self.start()

    def __enter__(self) -> "PostgresServer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._control("start", "-w", "-l", str(self.folder / "log"), "-o", f"{_OPTIONS} -k {self.folder} {self._more}")

    def stop(self, mode: str = "fast") -> None:
        """Stop it. mode: fast, or immediate, which is a crash."""
        self._control("stop", "-m", mode)

    def restart(self) -> None:
        """Crash it and start it again: it recovers from its log, and every connection is lost."""
        self.stop("immediate")
        self.start()

    def listen(self, *, cert: Path | None = None, key: Path | None = None) -> None:
        """Listen on a port of loopback, too, from now on: for who knows a password (scram), with a certificate by TLS alone.

        Raises StoreDown if its programs know no TLS."""
        self.stop()
        hba = f"local all all trust\nhost{'ssl' if cert else ''} all all 127.0.0.1/32 scram-sha-256\n"
        (self.folder / "data/pg_hba.conf").write_text(hba)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._more = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c password_encryption=scram-sha-256"
        if cert is not None and key is not None:
            for path in (cert, key):
                shutil.copy(path, self.folder / path.name)
                (self.folder / path.name).chmod(0o600)
                if os.geteuid() == 0:
                    shutil.chown(self.folder / path.name, self._user())
            self._more += f" -c ssl=on -c ssl_cert_file={self.folder / cert.name} -c ssl_key_file={self.folder / key.name}"
        self.start()

    def url(self, database: str) -> str:
        """Give a store's URL of a database."""
        return f"postgresql://stratal@/{database}?host={self.folder}{'' if self.port == 5432 else f'&port={self.port}'}"

    def make_database(self, *, template: str = "template0") -> str:
        """Make a database that is a copy of another one, and give its name."""
        name = f"store{os.getpid()}_{next(self._numbers)}"
        self.run_sql(f"create database {name} template {template} encoding 'UTF8'")
        return name

    @contextlib.contextmanager
    def database_on(self, folder: Path) -> Iterator[str]:
        """Make a database whose tables lie in a folder that this server's user can reach, and give its name. The log of what was
        committed stays where it is: a server that cannot write that ends."""
        if os.geteuid() == 0:
            shutil.chown(folder, self._user())
        name = f"store{os.getpid()}_{next(self._numbers)}"
        self.run_sql(f"create tablespace {name} location '{folder}'")
        try:
            self.run_sql(f"create database {name} template template0 encoding 'UTF8' tablespace {name}")
            yield name
        finally:
            self.run_sql(f"drop database if exists {name} with (force)")
            self.run_sql(f"drop tablespace {name}")

    def run_sql(self, statement: str, *, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement outside of any store, and give its rows."""
        import psycopg  # whoever tests without a server needs no driver

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            found = connection.execute(statement.encode())
            return found.fetchall() if found.description else []

    def _control(self, what: str, *options: str) -> None:
        self._call("pg_ctl", what, "-D", self.folder / "data", "-s", *options)

    def _call(self, program: str, *arguments: str | Path) -> None:
        user = self._user() if os.geteuid() == 0 else None
        done = subprocess.run(
            [self.programs / program, *arguments], user=user, group=pwd.getpwnam(user).pw_gid if user else None,
            extra_groups=[] if user else None, cwd=self.folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=(log := (self.folder / "stderr").open("w+")), check=False,
        )  # fmt: skip
        with log:
            log.seek(0)
            if done.returncode:
                raise StoreDown(f"{program} failed: {log.read()[-500:].strip()}", hint=f"see {self.folder / 'log'}")

    def _user(self) -> str:
        known = {entry.pw_name for entry in pwd.getpwall()}
        return next((name for name in _USERS if name in known), "nobody")
