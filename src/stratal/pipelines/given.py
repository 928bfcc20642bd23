"""What a node is given: its arguments as payloads, with the outputs of other nodes in their places."""

from stratal.pipelines.graph import Output, outputs_in
from stratal.pipelines.payloads import Blobs, Payload, container_of, decode, encode, item
from stratal.tracking.values import Scalar

# Texts longer than this are no parameters for a table of runs.
_LONGEST = 250


class Given:
    """Encodes values once and keeps the outputs of nodes that are done."""

    def __init__(self, blobs: Blobs) -> None:
        self.outputs: dict[str, Payload] = {}
        self._blobs = blobs
        self._encoded: dict[str, Payload] = {}

    def payload(self, place: str, value: object, what: str) -> Payload:
        """Give an argument's payload. `place` names it in the graph. Raises Misuse if it cannot travel."""
        if place not in self._encoded:
            self._encoded[place] = self._fill(value, what)
        return self._encoded[place]

    def source(self, value: object) -> str:
        """Say which outputs are in an argument, for people."""
        return ", ".join(dict.fromkeys(_name(output) for output in outputs_in(value)))

    def params(self, inputs: dict[str, Payload]) -> dict[str, Scalar]:
        """Give the plain inputs as params of the step's run: scalars, and dicts of scalars joined by '/'."""
        found: dict[str, Scalar] = {}
        for name, payload in inputs.items():
            if payload.kind != "plain" or payload.blob:
                continue
            value = decode(payload, self._blobs)
            items = {f"{name}/{key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
            found.update({key: one for key, one in items.items() if _is_param(key, one) and isinstance(one, Scalar)})
        return found

    def _fill(self, value: object, what: str) -> Payload:
        if isinstance(value, Output):
            return item(self.outputs[value.node], value.item)
        if not any(True for _ in outputs_in(value)):
            return encode(value, self._blobs, what=what)
        if isinstance(value, dict):
            return container_of([self._fill(one, what) for one in value.values()], "dict", value)
        assert isinstance(value, list | tuple)  # outputs_in looks into nothing else
        return container_of([self._fill(one, what) for one in value], type(value).__name__)


def _name(output: Output) -> str:
    return output.node + "".join(f"[{position}]" for position in output.item)


def _is_param(name: str, value: object) -> bool:
    if not name.isprintable() or len(name) > _LONGEST:
        return False
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return False
    return value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= _LONGEST)
