"""Weights & Biases: `import stratal.interop.wandb as wandb` in its scripts, and its run files (`run-<id>.wandb`) read by our own code.

May live here: in this folder the container, the messages in it, what they mean for a run, the files beside it, finding them; in
`script/` the names that its scripts call. May not: what other tools share (`stratal.interop` itself), the wandb library.
"""

import importlib

__version__ = "0.31.0"  # of W&B: the names, arguments and traps are those of this one

# Name to home. What is not here, W&B's scripts cannot call; `script.missing` says what to write instead.
_HOMES = {
    "init": "session", "log": "session", "finish": "session", "define_metric": "session", "alert": "session", "save": "session",
    "log_artifact": "session", "use_artifact": "session", "log_model": "session", "use_model": "session", "link_model": "session",
    "log_code": "session", "watch": "session", "unwatch": "session", "mark_preempting": "session", "login": "session",
    "setup": "session", "teardown": "session", "termlog": "session", "termwarn": "session", "termerror": "session",
    "Run": "running", "Settings": "settings", "AlertLevel": "settings", "Error": "settings",
    "Image": "values", "Histogram": "values", "Audio": "values", "Video": "values", "Html": "values", "Plotly": "values",
    "Table": "values", "Artifact": "artifacts", "Api": "api",
}  # fmt: skip


def __getattr__(name: str) -> object:
    if name in ("run", "config", "summary"):  # they belong to the run of the moment
        session = importlib.import_module(f"{__name__}.script.session")
        return getattr(session, f"current_{name}")()
    if name in _HOMES:
        value: object = getattr(importlib.import_module(f"{__name__}.script.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if name.startswith("__"):
        raise AttributeError(name)
    return importlib.import_module(f"{__name__}.script.missing").absent(name)


def __dir__() -> list[str]:
    return sorted([*_HOMES, "run", "config", "summary"])
