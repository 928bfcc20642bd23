"""Describing: OpenAPI 3.1 of all operations, out of the same types that read and answer the calls."""

from collections.abc import Sequence
from typing import Any

import msgspec

from stratal.server.calls import Call
from stratal.store.operations import Operation, schema_of_anything
from stratal.store.telling import Failure
from stratal.store.wire import JSON, MSGPACK, PREFIX
from stratal.version import __version__

_REF = "#/components/schemas/{name}"
_REFUSALS = {
    "400": "The body cannot be read; the complaint names what is wrong.",
    "401": "Nobody knows who this is.",
    "403": "This person may not do this.",
    "404": "What is named does not exist.",
    "409": "Somebody else was faster, or the state has moved on: read again.",
    "413": "The body is too large.",
    "415": "The body is of another kind.",
    "422": "A rule said no, or an argument cannot be.",
    "429": "The server has too much to do: come again after Retry-After seconds.",
    "503": "The store cannot be reached now.",
}


def describe(calls: Sequence[Call]) -> dict[str, object]:
    """Give the document."""
    types: list[Any] = [kind for call in calls for kind in (call.arguments, call.operation.returns)]
    schemas, components = msgspec.json.schema_components([*types, Failure], schema_hook=schema_of_anything, ref_template=_REF)
    failure = schemas[-1]
    paths = {
        f"{PREFIX}/{call.room.name}/{call.operation.name}": {"post": _operation(call, taken, given, failure)}
        for call, taken, given in zip(calls, schemas[:-1:2], schemas[1:-1:2], strict=True)
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Stratal", "version": __version__, "description": "Queries and commands of a Stratal store."},
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(call: Call, taken: object, given: object, failure: object) -> dict[str, object]:
    operation = call.operation
    summary, _, rest = operation.doc.partition("\n")
    kind = "Command" if operation.is_command else "Query"
    needs = _needs(operation)
    return {
        "operationId": f"{call.room.name}_{operation.name}",
        "tags": [call.room.name],
        "summary": summary,
        "description": f"{rest.strip()}\n\n{kind}; {needs}.".strip(),
        "requestBody": {"required": True, "content": _content(taken)},
        "responses": {
            "200": {"description": "What it gives.", "content": _content(given)},
            **{status: {"description": text, "content": {JSON: {"schema": failure}}} for status, text in _REFUSALS.items()},
        },
    }


def _needs(operation: Operation) -> str:
    if operation.is_own:
        return "for oneself, whoever one is"
    if operation.asks_itself:
        return "needs the role viewer, and one that it asks for itself"
    return f"needs the role {operation.needs.name.lower()}"


def _content(schema: object) -> dict[str, object]:
    return {JSON: {"schema": schema}, MSGPACK: {"schema": schema}}
