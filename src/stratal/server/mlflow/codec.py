"""JSON as MLflow's clients speak it: protobuf's, with snake_case names.

Whole numbers come as numbers or texts, NaN and infinities as texts both ways; what is not set is not sent; what is unknown or
null is passed over. A query holds lists as repeated names.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec

from stratal.interop.mlflow.service.calls import Answer, Request
from stratal.interop.mlflow.service.errors import BAD_REQUEST, MlflowError, invalid

R = TypeVar("R", bound=Request)
_PLACE = re.compile(r"^(.*?)(?: - at `(.*)`)?$", re.DOTALL)
_NUL = b"\\u0000"
# Objects of a body, braces within its texts included: one of three bytes takes forty times as much when it is a record.
MOST_OBJECTS = 1_000_000


def read_body(body: bytes, content_type: str, type: type[R]) -> R:
    """Read the body of a POST, PATCH or DELETE. Raises MlflowError for what is no JSON object of this request."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise MlflowError(BAD_REQUEST, "Bad Request. Content-Type must be 'application/json'.")  # a page elsewhere cannot send it unasked
    body = body or b"{}"
    if body.count(b"{") > MOST_OBJECTS:
        raise invalid(f"the body holds more than {MOST_OBJECTS:,} objects")
    if _NUL in body and _holds_nul(body):
        raise invalid("a text holds the character NUL, which cannot be stored")
    try:
        asked: R = _decoder(type).decode(body)
        return asked
    except msgspec.ValidationError as error:
        raise _wrong(error, body) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MlflowError(BAD_REQUEST, f"the body is no JSON: {error}") from None


def read_query(query: str, type: type[R]) -> R:
    """Read the query of a GET. Raises MlflowError for what does not fit."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=2000)
    except (ValueError, UnicodeDecodeError) as error:
        raise MlflowError(BAD_REQUEST, f"the query cannot be read: {error}") from None
    lists = _lists(type)
    said: dict[str, object] = {}
    for name, value in pairs:
        if "\0" in value:
            raise invalid("a text holds the character NUL, which cannot be stored")
        if name in lists:
            held = said.setdefault(name, [])
            assert isinstance(held, list)
            held.append(value)
        else:
            said.setdefault(name, value)
    try:
        return msgspec.convert(said, type, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong(error, msgspec.json.encode(said)) from None


def write(answer: Answer) -> bytes:
    """Encode an answer."""
    return msgspec.json.encode(answer)


@cache
def _decoder(type: type[R]) -> "msgspec.json.Decoder[R]":
    return msgspec.json.Decoder(type, strict=False)


@cache
def _lists(type: type[Request]) -> frozenset[str]:
    info = msgspec.inspect.type_info(type)
    assert isinstance(info, msgspec.inspect.StructType)
    return frozenset(field.encode_name for field in info.fields if _is_list(field.type))


def _is_list(type: msgspec.inspect.Type) -> bool:
    options = type.types if isinstance(type, msgspec.inspect.UnionType) else (type,)
    return any(isinstance(option, msgspec.inspect.ListType) for option in options)


def _holds_nul(body: bytes) -> bool:
    try:
        return b"\0" in msgspec.msgpack.encode(_texts(msgspec.json.decode(body)))
    except (msgspec.MsgspecError, RecursionError):
        return False  # the decoder says what is wrong with it


def _texts(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "".join(map(_texts, (*value.keys(), *value.values())))
    return "".join(map(_texts, value)) if isinstance(value, list) else ""


def _wrong(error: msgspec.ValidationError, body: bytes) -> MlflowError:
    """Say which value is wrong, in MLflow's own words."""
    found = _PLACE.match(str(error))
    reason, place = (found[1], found[2] or "") if found else (str(error), "")
    name = place.removeprefix("$").removeprefix(".")
    try:
        value: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):  # what comes behind the wrong value is no JSON
        value = None
    for part in re.findall(r"\w+", name):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]  # type: ignore[index]  # else the error below
        except (KeyError, IndexError, TypeError, ValueError):
            break
    shown = msgspec.json.encode(value).decode()
    return invalid(f"Invalid value {shown[:200]} for parameter '{name or 'body'}' supplied: {reason}")
