"""Settings: the only file that reads the environment and `stratal.toml`.

Order: an argument, then the environment, then the nearest `stratal.toml` upwards, then the default.
"""

import getpass
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from stratal.core.errors import Misuse

FILE = "stratal.toml"
FOLDER = ".stratal"
KEYS = (
    "store",
    "blobs",
    "user",
    "token",
    "durability",
    "slots",
    "capture",
    "system_metrics_s",
    "cache",
    "cache_gib",
    "on_error",
    "server_auth",
    "webhook_hosts",
    "patience_s",
    "answer_s",
)
TABLES = ("oidc",)
# No setting: how a replay tells the program that it starts.
PART = "STRATAL_REPLAYED_PART"
DURABILITIES = ("process", "power")
ON_ERROR = ("warn", "raise")
# As others do it: a curve of some hours has a thousand points, and sampling costs nothing to speak of.
SAMPLING_S = 15.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What may be set, and where: `stratal.toml` key, or environment variable STRATAL_<KEY>."""

    # URL or folder of the store. None: the nearest `.stratal/` upwards, else `./.stratal`.
    store: str | None = None
    # Where the blobs of a new store lie: a folder, or s3://bucket/prefix, gs://..., az://... None: in the store's own folder.
    blobs: str | None = None
    # Who acts, asserted. Default: the login name.
    user: str = "unknown"
    # What this process shows a server that asks who it is: STRATAL_TOKEN. None: nothing. Never printed.
    token: str | None = field(default=None, repr=False)
    # Whether `stratal server` asks who somebody is. Off: it listens on loopback only.
    server_auth: bool = False
    # "process" survives kill -9 of any process; "power" also a power cut, at a sync per call.
    durability: str = "process"
    # What telemetry does that cannot be written: "warn" loses and counts it, and the training goes on; "raise" raises StoreDown.
    on_error: str = "warn"
    # Whether runs capture code, environment and hardware. "off" for loops of very many, very short runs.
    capture: bool = True
    # Seconds between two samples of machine, processes and GPUs; 0: none. None: 15, or none where capture is off.
    system_metrics_s: float | None = None
    # Folder of journals of stores that are not folders, per XDG.
    state_home: Path = Path("~/.local/state")
    # Folder of what can be made again: artifacts under their own names, rebuilt environments.
    # Default: $XDG_CACHE_HOME/stratal, else ~/.cache/stratal.
    cache: Path = Path("~/.cache/stratal")
    # What the cache may keep that nobody uses now, in GiB. The default is a guess: a few models.
    cache_gib: int = 10
    # CPU slots that this process may use for workers. None: all that the system grants.
    slots: int | None = None

    # Seconds for which pipelines and studies wait for a server that is away; 0: not at all. The default is a guess: a restart, an upgrade.
    patience_s: float = 300.0

    # Seconds of silence after which a server that has a query is taken for away; 0: it is waited for without end. Commands wait for two
    # minutes at least: who gives one up does not know what became of it. The default is a guess: no page of answers takes so long.
    answer_s: float = 30.0

    # Hosts in private networks that webhooks may reach, by name, with commas: "ci.internal, 10.0.0.7". Default: none.
    webhook_hosts: str = ""

    @property
    def private_hosts(self) -> frozenset[str]:
        """The names of `webhook_hosts`."""
        return frozenset(name.strip().lower().rstrip(".") for name in self.webhook_hosts.split(",") if name.strip())

    @property
    def sampling_s(self) -> float:
        """Seconds between two samples, 0 for none."""
        if self.system_metrics_s is not None:
            return self.system_metrics_s
        return SAMPLING_S if self.capture else 0.0


@dataclass(frozen=True, kw_only=True)
class Oidc:
    """The identity provider by which people sign in: the table `[oidc]` of `stratal.toml`, or STRATAL_OIDC_<KEY>."""

    # The provider's own name for itself, an https URL; below it lies .well-known/openid-configuration.
    issuer: str
    # What the provider knows this server by.
    client_id: str
    # "" for a public client, which PKCE alone protects. Never printed.
    client_secret: str = field(default="", repr=False)
    # Asked for; `openid` is needed, `profile` brings names.
    scope: str = "openid profile email"
    # The claims that become the name of a new person, and their groups.
    name_claim: str = "preferred_username"
    groups_claim: str = "groups"


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """What a launcher said about this process, in torchrun's variable names."""

    rank: int
    world_size: int
    local_rank: int
    master_addr: str
    master_port: int


def load_settings(folder: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings for a working folder. Raises Misuse for an unknown key or value."""
    environ = os.environ if environ is None else environ
    found = _file_settings(folder or Path.cwd())
    for key in KEYS:
        value = environ.get(f"STRATAL_{key.upper()}")
        if value:
            found[key] = value
    found.setdefault("user", _login(environ))
    for key in ("slots", "cache_gib"):
        if key in found:
            found[key] = _positive(key, found[key])
    if "cache" in found:
        found["cache"] = Path(str(found["cache"]))
    elif environ.get("XDG_CACHE_HOME"):
        found["cache"] = Path(environ["XDG_CACHE_HOME"]) / "stratal"
    for key in ("capture", "server_auth"):
        if key in found:
            found[key] = _switch(key, found[key])
    if "token" in found:
        found["token"] = _secret("token", found["token"])
    for key, usual in (("system_metrics_s", 15), ("patience_s", 300), ("answer_s", 30)):
        if key in found:
            found[key] = _seconds(key, found[key], usual)
    if "XDG_STATE_HOME" in environ:
        found["state_home"] = Path(environ["XDG_STATE_HOME"])
    settings = Settings(**found)  # type: ignore[arg-type]  # keys and values were checked one by one
    _check_choice("durability", settings.durability, DURABILITIES)
    _check_choice("on_error", settings.on_error, ON_ERROR)
    return settings


def load_oidc(folder: Path | None = None, environ: Mapping[str, str] | None = None) -> Oidc | None:
    """Read the identity provider for a working folder, None if none is set. Raises Misuse for an unknown key, or half of one."""
    environ = os.environ if environ is None else environ
    keys = tuple(each.name for each in fields(Oidc))
    said = _file(folder or Path.cwd()).get("oidc", {})
    if not isinstance(said, dict):
        raise Misuse(f"oidc in {FILE} is a table: [oidc]", hint=f"its settings are: {', '.join(keys)}")
    if unknown := sorted(set(said) - set(keys)):
        raise Misuse(f"the table [oidc] of {FILE} has unknown settings: {', '.join(unknown)}", hint=f"known are: {', '.join(keys)}")
    found = {key: str(value) for key, value in said.items()}
    for key in keys:
        if value := environ.get(f"STRATAL_OIDC_{key.upper()}"):
            found[key] = value
    if not found:
        return None
    if not found.get("issuer") or not found.get("client_id"):
        raise Misuse("an identity provider needs an issuer and a client_id", hint="set STRATAL_OIDC_ISSUER and STRATAL_OIDC_CLIENT_ID")
    return Oidc(**found)


def place() -> tuple[str | None, ...]:
    """Give what decides the settings, cheaply: the working folder and our variables. Equal places have equal settings."""
    return (working_folder(), *(os.environ.get(f"STRATAL_{key.upper()}") for key in KEYS))


def part_asked() -> Path | None:
    """Give the file with the one part of this program that is to be done again, None if it is to do all. A replay sets it."""
    found = os.environ.get(PART)
    return Path(found) if found else None


def working_folder() -> str:
    """Give the working folder, '' if it was deleted."""
    try:
        return os.getcwd()  # noqa: PTH109  # a text is all that is needed, ten times quicker
    except FileNotFoundError:
        return ""


def find_store_folder(folder: Path) -> Path:
    """Give the nearest `.stratal` upwards, else `.stratal` right here."""
    for place in (folder, *folder.parents):
        if (place / FOLDER).is_dir():
            return place / FOLDER
    return folder / FOLDER


def launched_ranks(environ: Mapping[str, str] | None = None) -> Ranks | None:
    """Give rank and world size if a launcher started this process, else None."""
    environ = os.environ if environ is None else environ
    if "RANK" not in environ or "WORLD_SIZE" not in environ:
        return None
    return Ranks(
        rank=int(environ["RANK"]),
        world_size=int(environ["WORLD_SIZE"]),
        local_rank=int(environ.get("LOCAL_RANK", "0")),
        master_addr=environ.get("MASTER_ADDR", "127.0.0.1"),
        master_port=int(environ.get("MASTER_PORT", "29500")),
    )


def environment() -> dict[str, str]:
    """Copy the environment of this process: capture filters it, worker processes inherit it."""
    return dict(os.environ)


def endpoint_of(scheme: str, environ: Mapping[str, str] | None = None) -> str:
    """Give the endpoint that the environment names for a kind of object store, '' for its vendor's own."""
    environ = os.environ if environ is None else environ
    names = {"s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"), "az": ("AZURE_STORAGE_ENDPOINT",)}.get(scheme, ())
    return next((environ[name] for name in names if environ.get(name)), "")


def names_authorities(environ: Mapping[str, str] | None = None) -> bool:
    """Tell whether the environment says whose certificates count, by OpenSSL's own variables."""
    environ = os.environ if environ is None else environ
    return any(environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))


def set_variable(name: str, value: str) -> None:
    """Set a variable of this process, for libraries that are told by nothing else."""
    os.environ[name] = value


def _file_settings(folder: Path) -> dict[str, object]:
    return {key: value for key, value in _file(folder).items() if key not in TABLES}


def _file(folder: Path) -> dict[str, object]:
    for place in (folder, *folder.parents):
        path = place / FILE
        if path.is_file():
            try:
                found = tomllib.loads(path.read_text(encoding="utf-8"))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise Misuse(f"{path} is not valid TOML: {error}") from error
            if unknown := sorted(set(found) - {*KEYS, *TABLES}):
                raise Misuse(f"{path} has unknown settings: {', '.join(unknown)}", hint=f"known are: {', '.join(sorted(KEYS))}")
            return found
    return {}


def _login(environ: Mapping[str, str]) -> str:
    for name in ("LOGNAME", "USER"):
        if environ.get(name):
            return environ[name]
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid-{os.getuid()}"


def _positive(key: str, value: object) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number < 1:
        raise Misuse(f"{key} = {value!r} is not a positive number", hint=f"set STRATAL_{key.upper()} to 1 or more")
    return number


def _seconds(key: str, value: object, usual: int) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not (number == 0 or 1 <= number <= 86400):
        raise Misuse(
            f"{key} = {value!r} is neither 0 nor 1 to 86400 seconds", hint=f"set STRATAL_{key.upper()} to {usual}, or to 0 for none"
        )
    return number


def _switch(key: str, value: object) -> bool:
    words = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}
    word = str(value).lower()
    if word not in words:
        raise Misuse(f"{key} = {value!r} is neither on nor off", hint=f"set STRATAL_{key.upper()} to on or off")
    return words[word]


def _secret(key: str, value: object) -> str:
    """Give what may stand in a header. The message of a wrong one must not hold it."""
    text = str(value).strip()
    if not text.isascii() or not text.isprintable() or " " in text or not 0 < len(text) <= 4096:
        raise Misuse(
            f"the setting {key} is not the text of a token", hint=f"set STRATAL_{key.upper()} to what stratal token create printed"
        )
    return text


def _check_choice(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise Misuse(f"{key} = {value!r} is unknown", hint=f"choose one of: {', '.join(allowed)}")
