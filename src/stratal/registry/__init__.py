"""Registry: models, their versions and stages, and the rules by which a version may move.

May live here: the transition table, policies, gates, approvals, aliases, the audit log, and all SQL of models.
May not: how a model is trained, measured or loaded. Gates read facts and compute nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stratal.registry.approving import Approval, Request
    from stratal.registry.assessing import Assessment, PolicyChange, Promotion, TransitionRefused
    from stratal.registry.audit import AuditReport, Entry
    from stratal.registry.gates import GateResult, Verdict
    from stratal.registry.policies import (
        Policy,
        approvals,
        better_than_champion,
        data_valid,
        gate,
        policy,
        policy_from_json,
        policy_from_toml,
        policy_to_json,
        policy_to_toml,
    )
    from stratal.registry.registering import (
        alias,
        approve,
        archive,
        assess,
        history,
        list_models,
        list_versions,
        promote,
        register,
        revive,
        rollback,
        send_back,
        set_policy,
        verify_audit,
    )
    from stratal.registry.resolving import resolve_model
    from stratal.registry.stages import Stage
    from stratal.registry.store import ModelStore
    from stratal.registry.versions import ModelSummary, Standing, Version

# Where each public name lives; a file is imported when one of its names is first asked for.
_HOMES = {
    "approving": ("Approval", "Request"),
    "assessing": ("Assessment", "PolicyChange", "Promotion", "TransitionRefused"),
    "audit": ("AuditReport", "Entry"),
    "gates": ("GateResult", "Verdict"),
    "policies": (
        "Policy",
        "approvals",
        "better_than_champion",
        "data_valid",
        "gate",
        "policy",
        "policy_from_json",
        "policy_from_toml",
        "policy_to_json",
        "policy_to_toml",
    ),
    "registering": (
        "alias",
        "approve",
        "archive",
        "assess",
        "history",
        "list_models",
        "list_versions",
        "promote",
        "register",
        "revive",
        "rollback",
        "send_back",
        "set_policy",
        "verify_audit",
    ),
    "resolving": ("resolve_model",),
    "stages": ("Stage",),
    "store": ("ModelStore",),
    "versions": ("ModelSummary", "Standing", "Version"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Approval",
    "Assessment",
    "AuditReport",
    "Entry",
    "GateResult",
    "ModelStore",
    "ModelSummary",
    "Policy",
    "PolicyChange",
    "Promotion",
    "Request",
    "Stage",
    "Standing",
    "TransitionRefused",
    "Verdict",
    "Version",
    "alias",
    "approvals",
    "approve",
    "archive",
    "assess",
    "better_than_champion",
    "data_valid",
    "gate",
    "history",
    "list_models",
    "list_versions",
    "policy",
    "policy_from_json",
    "policy_from_toml",
    "policy_to_json",
    "policy_to_toml",
    "promote",
    "register",
    "resolve_model",
    "revive",
    "rollback",
    "send_back",
    "set_policy",
    "verify_audit",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
