"""Names and sizes: what MLflow's protocol takes, refuses, and cuts; and names for runs that were given none."""

import posixpath
import random
import re
from functools import lru_cache

from stratal.interop.foreign import LAST_NS
from stratal.interop.mlflow.service.errors import MlflowError, invalid, required

LONGEST_KEY, LONGEST_PARAM, LONGEST_TAG, LONGEST_EXPERIMENT, LONGEST_EXPERIMENT_TAG = 250, 6000, 8000, 500, 20_000
_ALLOWED = re.compile(r"[/\w.\- :]+")
_MS = 1_000_000
# The last time that can be said.
LAST_MS = LAST_NS // _MS
_QUALITIES = (
    "able", "bold", "brave", "bright", "calm", "clean", "clever", "crisp", "deep", "eager", "fair", "fast", "fine", "fresh", "gentle",
    "glad", "grand", "keen", "kind", "light", "lively", "lucky", "mild", "neat", "noble", "proud", "quick", "quiet", "rare", "sharp",
    "silent", "smart", "smooth", "solid", "steady", "still", "sunny", "swift", "warm", "wise",
)  # fmt: skip
_THINGS = (
    "ant", "bear", "bee", "crane", "crow", "deer", "dove", "duck", "eagle", "elk", "finch", "fox", "frog", "goat", "gull", "hare",
    "hawk", "heron", "horse", "ibis", "jay", "kite", "lark", "lion", "lynx", "mole", "moth", "newt", "otter", "owl", "perch", "quail",
    "robin", "seal", "shrew", "snail", "stork", "swan", "toad", "wren",
)  # fmt: skip


@lru_cache(maxsize=65536)
def check_key(key: str | None, field: str = "key") -> str:
    """Give the name of a metric, param or tag. Raises MlflowError if MLflow does not take it."""
    if key is None or key == "":
        raise required(field)
    if len(key) > LONGEST_KEY:
        raise invalid(f"{field} has {len(key)} characters and exceeds the maximum length of {LONGEST_KEY}: '{key[:60]}...'")
    if not _ALLOWED.fullmatch(key) or not key.isprintable():
        raise invalid(
            f"Invalid value {key!r:.80} for parameter '{field}' supplied: Names may only contain alphanumerics, underscores (_),"
            " dashes (-), periods (.), spaces ( ), colons (:) and slashes (/)."
        )
    if posixpath.normpath(key) != key or key in (".", "..") or key[0] == "/" or key.startswith("../"):
        raise invalid(
            f"Invalid value {key!r:.80} for parameter '{field}' supplied: Names may be treated as files, and this one resolves to another."
        )
    return key


@lru_cache(maxsize=65536)
def is_key(key: str | None) -> bool:
    """Tell whether MLflow takes a name."""
    try:
        return bool(check_key(key))
    except MlflowError:
        return False


def check_length(field: str, value: str, most: int) -> str:
    """Give a text of at most so many characters. Raises MlflowError for a longer one."""
    if len(value) > most:
        raise invalid(f"{field} exceeds the maximum length of {most} characters")
    return value


def check_experiment(name: str | None, field: str = "name") -> str:
    """Give the name of an experiment. Raises MlflowError for what cannot be one."""
    if name is None or name == "":
        raise required(field)
    check_length(field, name, LONGEST_EXPERIMENT)
    if not name.isprintable() or not name.strip():
        raise invalid(f"Invalid experiment name: {name!r:.80}: it holds characters that cannot be printed, or nothing else")
    return name


def ns_of(ms: int, field: str) -> int:
    """Give a time of MLflow in nanoseconds. Raises MlflowError for what is none."""
    if not 0 <= ms <= LAST_MS:
        raise invalid(f"Invalid value {ms} for parameter '{field}' supplied: it is no time in milliseconds since 1970")
    return ms * _MS


def ms_of(ns: int) -> int:
    """Give a time of ours as MLflow has it."""
    return ns // _MS


def random_name() -> str:
    """Make up a name for a run."""
    return f"{random.choice(_QUALITIES)}-{random.choice(_THINGS)}-{random.randrange(1000)}"
