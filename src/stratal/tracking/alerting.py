"""Alerting: a run tells people to look, and not again and again."""

import os
import threading

from stratal.core.clock import Clock
from stratal.core.errors import Misuse
from stratal.tracking.active import OpenRun
from stratal.tracking.facts import ALERT, Alert, check_name, check_text

LEVELS = ("info", "warning", "error")
_MANY = 1000  # of titles that wait; then those whose time is over are forgotten


def alert(run: OpenRun, title: str, text: str, *, level: str, wait_s: float) -> bool:
    """Write an alert, unless the same title and level was told of this run by this process less than `wait_s` ago; tell whether it was."""
    check_name("alert", title)
    check_text("text of an alert", text)
    if level not in LEVELS:
        raise Misuse(f"{level!r} is no level of an alert", hint=f"choose one of: {', '.join(LEVELS)}")
    if isinstance(wait_s, bool) or not hasattr(wait_s, "__float__") or not 0 <= float(wait_s) < float("inf"):
        raise Misuse(f"wait_s={wait_s!r:.60} cannot be", hint="seconds in which the same title is not told again; 0: always told")
    key = (run.id, title, level)
    if not _waiting.begin(key, float(wait_s), run.store.clock):
        return False
    is_told = False
    try:
        is_told = run.say(ALERT, Alert(title=title, text=text, level=level, author=run.store.actor().name))
    finally:
        if not is_told:
            _waiting.forget(key)  # it may be told again at once
    return is_told


class _Waiting:
    """Until when a title of a run is not told again, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[tuple[str, str, str], float] = {}

    def begin(self, key: tuple[str, str, str], wait_s: float, clock: Clock) -> bool:
        """Tell whether it may be told now; then it waits again."""
        now = clock.monotonic_s()
        with self._lock:
            if self._until.get(key, 0.0) > now:
                return False
            if len(self._until) > _MANY:
                self._until = {other: until for other, until in self._until.items() if until > now}
            self._until[key] = now + wait_s
            return True

    def forget(self, key: tuple[str, str, str]) -> None:
        with self._lock:
            self._until.pop(key, None)


_waiting = _Waiting()


def _after_fork() -> None:
    global _waiting
    _waiting = _Waiting()  # another thread of the parent may have held its lock


os.register_at_fork(after_in_child=_after_fork)
