"""Objects that hold settings as plain dicts and lists: dataclasses, pydantic, attrs, msgspec, OmegaConf, namespaces.

Each is recognised by what its class carries; no library is imported that did not make the object.
"""

import enum
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import msgspec

from stratal.core.errors import Misuse
from stratal.core.records import number_to_json

_SCALARS = frozenset((str, int, float, bool, type(None)))  # most settings, and quickly told


def as_mapping(value: object) -> Mapping[str, object] | None:
    """Give the fields of an object that holds settings, by name; None for what is no such object. One level only."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, type):
        return None
    kind = type(value)
    if (fields := getattr(kind, "__dataclass_fields__", None)) is not None:
        return {name: getattr(value, name) for name in fields if hasattr(value, name)}
    if (attributes := getattr(kind, "__attrs_attrs__", None)) is not None:
        return {attribute.name: getattr(value, attribute.name) for attribute in attributes}
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    if any(base.__module__ in ("argparse", "types") and base.__name__ in ("Namespace", "SimpleNamespace") for base in kind.__mro__):
        return vars(value)
    if hasattr(kind, "model_fields") and callable(getattr(value, "model_dump", None)):  # pydantic
        return {**{name: getattr(value, name) for name in kind.model_fields}, **(getattr(value, "model_extra", None) or {})}
    return None


def unfolded(value: object) -> object:
    """Give an object with all objects in it as dicts and lists; what is no container stays. Raises Misuse for cycles."""
    try:
        return _unfolded(value)
    except RecursionError as error:
        raise Misuse(f"this {type(value).__name__} holds itself", hint="give plain settings") from error


def to_document(value: object, *, others_as_text: bool = False) -> object:
    """Give what JSON holds: dicts by text, lists, scalars; NaN and infinities as texts. Raises Misuse for what has no such form.

    others_as_text: write that as its text instead, as params do (a secret of pydantic stays masked)."""
    try:
        return _document(value, others_as_text)
    except RecursionError as error:
        raise Misuse(f"this {type(value).__name__} holds itself, or is too deep for JSON", hint="give plain dicts and lists") from error


def config_file(value: object) -> tuple[str, bytes]:
    """Give an object that holds settings as a file: its ending and bytes. YAML of OmegaConf, JSON of others. Raises Misuse."""
    if type(value).__module__.partition(".")[0] == "omegaconf":
        from omegaconf import OmegaConf  # it made the value

        return ".yaml", OmegaConf.to_yaml(value).encode()
    if as_mapping(value) is None and not isinstance(value, list | tuple):
        raise Misuse(f"{value!r:.60} holds no settings", hint="give the path of a file, a dict, a dataclass or its like")
    return ".json", msgspec.json.format(msgspec.json.encode(to_document(value, others_as_text=True)), indent=2) + b"\n"


def _unfolded(value: object) -> object:
    if type(value) in _SCALARS:
        return value
    value = _from_omegaconf(value)
    fields = as_mapping(value)
    if fields is not None:
        return {name: _unfolded(item) for name, item in fields.items()}
    if isinstance(value, list | tuple):
        return [_unfolded(item) for item in value]
    return value.value if isinstance(value, enum.Enum) else value


def _from_omegaconf(value: object) -> object:
    if type(value).__module__.partition(".")[0] != "omegaconf":
        return value
    from omegaconf import OmegaConf  # it made the value
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    except OmegaConfBaseException as error:
        raise Misuse(
            f"this configuration cannot be resolved: {str(error).partition(chr(10))[0]}", hint="fill in what is missing"
        ) from error


def _document(value: object, others_as_text: bool) -> Any:
    value = _from_omegaconf(value)
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, enum.Enum):
        return _document(value.value, others_as_text)
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, float):
        return number_to_json(float(value))
    fields = as_mapping(value)
    if fields is not None:
        return {str(name): _document(item, others_as_text) for name, item in fields.items()}
    if isinstance(value, list | tuple):
        return [_document(item, others_as_text) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_document(item, others_as_text) for item in value), key=str)
    if callable(to_list := getattr(value, "tolist", None)):  # NumPy, torch
        return _document(to_list(), others_as_text)
    if isinstance(value, PurePath):
        return str(value)
    try:
        return msgspec.to_builtins(value)  # times, UUIDs, decimals
    except TypeError as error:
        if others_as_text:
            return str(value)
        raise Misuse(
            f"JSON has no form for a {type(value).__module__}.{type(value).__qualname__}", hint="give texts and numbers"
        ) from error
