"""Settings of a session, read from arguments, then from WANDB_* variables; and words that scripts import."""

import enum
from collections.abc import Mapping, Sequence

from stratal.core.errors import Misuse
from stratal.core.settings import environment

MODES = ("online", "offline", "shared", "disabled")
REINITS = ("return_previous", "finish_previous", "create_new")


class Error(Misuse):
    """What W&B's scripts catch as wandb.Error: a wrong call, or one that cannot be done here."""


class AlertLevel(enum.Enum):
    """How loud an alert is."""

    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


class Settings:
    """Takes any setting, as W&B's does; those that are arguments of `init` count there too, the rest says how its service works."""

    def __init__(self, **settings: object) -> None:
        self.__dict__.update(settings)

    def get(self, name: str) -> object:
        """Give a setting, None if it was not said."""
        return self.__dict__.get(name, self.__dict__.get(f"run_{name}"))


class Said:
    """One setting after another: what was passed, else what Settings say, else the variable."""

    def __init__(self, settings: "Settings | Mapping[str, object] | None") -> None:
        self._settings = settings if isinstance(settings, Settings) else Settings(**dict(settings or {}))
        self._variables = environment()

    def text(self, passed: str | None, name: str, variable: str) -> str:
        """Give a text, '' if nobody said it."""
        if passed is not None:
            return str(passed)
        said = self._settings.get(name)
        return str(said) if said is not None else self._variables.get(f"WANDB_{variable}", "")

    def tags(self, passed: Sequence[str] | None) -> list[str]:
        """Give the tags; in the variable they are parted by commas."""
        passed = self._settings.get("tags") if passed is None else passed  # type: ignore[assignment]  # anything may be said there
        if passed is not None:
            return [passed] if isinstance(passed, str) else [str(tag) for tag in passed]
        return [tag.strip() for tag in self._variables.get("WANDB_TAGS", "").split(",") if tag.strip()]

    def mode(self, passed: str | None) -> str:
        """Give the mode. Raises Error for an unknown one."""
        if self._variables.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes"):
            return "disabled"
        mode = self.text(passed, "mode", "MODE") or "online"
        mode = {"dryrun": "offline", "run": "online"}.get(mode, mode)
        if mode not in MODES:
            raise Error(f"mode={mode!r} is unknown", hint=f"choose one of: {', '.join(MODES)}")
        return mode

    def reinit(self, passed: bool | str | None) -> str:
        """Give what becomes of open runs: one of REINITS. Raises Error for other words."""
        passed = self._settings.get("reinit") if passed is None else passed  # type: ignore[assignment]  # anything may be said there
        word = {None: REINITS[0], False: REINITS[0], "default": REINITS[0], True: REINITS[1]}.get(passed, passed)
        if word not in REINITS:
            raise Error(f"reinit={passed!r} is unknown", hint=f"choose one of: {', '.join(REINITS)}")
        return str(word)

    def resume(self, passed: bool | str | None) -> str:
        """Give how to resume: '', allow, must, never. Raises Error for other words."""
        if passed is None:
            passed = self.text(None, "resume", "RESUME") or False
        word = "allow" if passed in (True, "auto", "allow") else "" if passed in (False, "") else str(passed)
        if word not in ("", "allow", "must", "never"):
            raise Error(f"resume={passed!r} is unknown", hint="choose one of: allow, must, never, auto")
        return word
