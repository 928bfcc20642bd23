"""The state of a job as bytes, and back. Only tensors and plain values are read: a checkpoint cannot run code."""

import io
from hashlib import sha256
from typing import Protocol

import torch

from stratal.core.errors import Damaged, Misuse

_FORMAT = 1


class Stateful(Protocol):
    """What has a state: a module, an optimizer, a scheduler."""

    def state_dict(self) -> dict[str, object]: ...

    def load_state_dict(self, state_dict: dict[str, object], /) -> object: ...


def pack(parts: dict[str, Stateful]) -> bytes:
    """Give the state of all parts."""
    buffer = io.BytesIO()
    torch.save({"format": _FORMAT, "parts": {name: part.state_dict() for name, part in parts.items()}}, buffer)
    return buffer.getvalue()


def unpack(data: bytes, parts: dict[str, Stateful]) -> None:
    """Put a state into the parts that it came from. Raises Misuse if they are other parts."""
    found = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise Damaged("the checkpoint has an unknown format", hint="it was written by a newer version of Stratal")
    states = found["parts"]
    if set(states) != set(parts):
        raise Misuse(
            f"the checkpoint holds {', '.join(sorted(states))}, the job was given {', '.join(sorted(parts))}",
            hint="prepare the same things",
        )
    for name, part in parts.items():
        try:
            part.load_state_dict(states[name])
        except (RuntimeError, ValueError, KeyError) as error:
            raise Misuse(
                f"the checkpoint does not fit this {name}: {error}", hint="resume with what was trained, or start a new job"
            ) from error


def digest_of(data: bytes) -> str:
    """Give the digest that a checkpoint's row holds."""
    return sha256(data).hexdigest()
