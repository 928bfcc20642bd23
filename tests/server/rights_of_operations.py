"""Rights on operations: a row for each, and a request to each that is right but for who sends it, made out of its signature."""

from functools import cache
from typing import Any

import httpx
import msgspec
from msgspec import inspect

V, C, A, M, LISTS, ALL = "viewer", "contributor", "approver", "admin", "anybody", "chief"

# By room: who may, and which operations. "anybody": each sees what they may view. "chief": it speaks of nothing with rights of its own, and
# so asks for the role on everything.
_ROWS: dict[str, dict[str, str]] = {
    "registry": {
        V: "aliases approve approve_policy assess find history policy requests standings version versions",
        C: "archive drop_alias open_request promote register_version revive send_back set_alias set_policy",
        A: "rollback",
        LISTS: "models",
        ALL: "verify_audit",
    },
    "data": {ALL: "add_version delete find find_digest judge names purge restore versions"},
    "features": {ALL: "find materialisation register replace_rows served_row versions views"},
    "tuning": {
        V: "holders snapshot trials version version_of",
        C: "free give_back open_version propose report take_over tell",
        LISTS: "newest_versions",
    },
    "pipelines": {
        V: "holder look_up pipeline_run steps",
        C: "begin end record renew take_over",
        LISTS: "recent",
        ALL: "parts",
    },
    "tracking": {
        LISTS: "alerts artifacts children count edges envelope explain find get media media_summaries name_metric named notes origin page "
        "quotas series spread stated statements summaries table top views whole",
        C: "claim_leased end_leased fork renew_lease note resume start_leased tag",
        M: "retain",
        # Without a run that they speak of, as they are asked here, they speak of everything.
        ALL: "collect delete examine purge purge_deleted recount remove_quota remove_view restore save_view set_quota",
    },
    "training": {V: "checkpoints holder", C: "add take_over"},
    "access": {
        LISTS: "create_own_token own_tokens revoke_own_token",
        ALL: "add_person bind changes create_token disable enable grant grants people refusals remove_grant revoke_token set_password "
        "tokens",
    },
    "interop": {LISTS: "check_room look points said", C: "apply describe keep_experiment register_imported"},
    "webhooks": {ALL: "add ask_trial deliveries listed one pause remove resend resume"},
}
ROWS = {f"{room}/{name}": who for room, rows in _ROWS.items() for who, names in rows.items() for name in names.split()}


@cache
def routes() -> dict[str, type[msgspec.Struct]]:
    """The surface's own table: what each operation takes, by path."""
    from stratal.server.calls import arguments_of
    from stratal.server.rooms import ROOMS

    return {f"{room.name}/{name}": arguments_of(room, operation) for room in ROOMS for name, operation in room.operations.items()}


def ask(path: str, takes: type[msgspec.Struct], run: str, http: httpx.Client, name: str = "team") -> httpx.Response:
    """Call an operation about the model, experiment or study `team`, or about a run of it; what it asks for need not be there."""
    said = {"name": name, "experiment": name, "run": run, "step_run": run, "origin": run}
    return http.post(f"/api/v1/{path}", json=_made(inspect.type_info(takes), said))


def _made(wanted: inspect.Type, said: dict[str, str]) -> Any:
    match wanted:
        case inspect.StructType():
            return {
                field.encode_name: said[field.name] if field.name in said else _made(field.type, said)
                for field in wanted.fields
                if field.required or field.name in said
            }
        case inspect.UnionType():
            return None if wanted.includes_none else _made(wanted.types[0], said)
        case inspect.LiteralType():
            return wanted.values[0]
        case inspect.EnumType():
            return next(iter(wanted.cls)).value
        case inspect.StrType():
            return "x"
        case inspect.BoolType():
            return False
        case inspect.IntType() | inspect.FloatType():
            return 1
        case inspect.BytesType():
            return ""
        case inspect.TupleType():
            return [_made(item, said) for item in wanted.item_types]
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType() | inspect.CollectionType():
            return []
        case inspect.DictType():
            return {}
    return None
