"""The graph of a traced module as JSON, and its execution, operation by operation from a reviewed list."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from stratal.core.errors import Damaged, Refused

# Functional operations on tensors: they change nothing in place, open nothing, and call nothing.
_ATEN = """
_adaptive_avg_pool2d _native_batch_norm_legit_no_training _softmax _log_softmax _to_copy _unsafe_view abs add addmm alias amax amin
any arange argmax argmin avg_pool1d avg_pool2d baddbmm bitwise_and bitwise_not bitwise_or bmm cat ceil clamp clone concat
constant_pad_nd convolution copy cos cumsum detach div dropout elu embedding eq erf exp expand expm1 eye fill flatten floor fmod full
full_like gather ge gelu glu grid_sampler_2d gt hardsigmoid hardswish hardtanh index index_select isinf isnan layer_norm le leaky_relu
linear log log10 log1p log2 logical_and logical_not logical_or logsumexp lt max max_pool2d_with_indices maximum mean min minimum mm mul
native_dropout native_group_norm native_layer_norm ne neg ones ones_like permute pow prod reciprocal relu remainder repeat reshape
round rsqrt rsub scalar_tensor select select_scatter sigmoid sign silu sin sinh slice slice_scatter softplus split split_with_sizes sqrt
squeeze stack std sub sum t tan tanh topk transpose tril triu unbind unsqueeze upsample_nearest2d var view where zeros zeros_like
sym_size
"""
ALLOWED = frozenset(_ATEN.split())
# On numbers of rows.
_ARITHMETIC = {"add": operator.add, "sub": operator.sub, "mul": operator.mul, "floordiv": operator.floordiv, "getitem": operator.getitem}
# Whole classes of values that arguments may name.
_WORDS: dict[str, tuple[type, ...]] = {"dtype": (torch.dtype,), "layout": (torch.layout,), "memory_format": (torch.memory_format,)}


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operation: 'aten.NAME.OVERLOAD' or 'python.NAME', and its arguments as JSON."""

    name: str
    call: str
    args: list[object]
    kwargs: dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A module: the name of its input, nodes in order, and the name of its output."""

    input: str
    input_dtype: torch.dtype
    nodes: tuple[Node, ...]
    output: str

    @classmethod
    def parse(cls, body: object) -> "Graph":
        """Read from JSON. Raises Refused for an operation outside the list, Damaged for other nonsense."""
        try:
            nodes = tuple(Node(name=n["name"], call=n["call"], args=n["args"], kwargs=n["kwargs"]) for n in body["nodes"])  # type: ignore[index]
            graph = cls(input=body["input"], input_dtype=_word("dtype", body["input_dtype"]), nodes=nodes, output=body["output"])  # type: ignore[index, arg-type]
        except (KeyError, TypeError) as error:
            raise Damaged(f"this is no graph of a module: {error}") from error
        for node in nodes:
            _operation(node.call)
        return graph


def encode_graph(program: torch.export.ExportedProgram, input_dtype: torch.dtype) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    """Give graph and weights of a traced module. Raises Refused naming what is not on the list."""
    names = program.graph_signature.inputs_to_parameters | program.graph_signature.inputs_to_buffers
    names |= program.graph_signature.inputs_to_lifted_tensor_constants
    tensors = {**program.state_dict, **program.constants}
    weights = {f"weight:{node}": tensors[name].detach().cpu().numpy() for node, name in names.items()}
    nodes, inputs, outputs = [], [], []
    for node in program.graph.nodes:
        if node.op == "placeholder":
            inputs += [] if node.name in names else [node.name]
        elif node.op == "output":
            outputs = list(node.args[0])
        elif node.op == "call_function" and not _is_check(node):
            call = _call_name(node.target)
            _operation(call)
            kwargs = {key: _to_json(value, names) for key, value in node.kwargs.items()}
            nodes.append({"name": node.name, "call": call, "args": [_to_json(value, names) for value in node.args], "kwargs": kwargs})
    if len(inputs) != 1 or len(outputs) != 1 or not isinstance(outputs[0], torch.fx.Node):
        raise Refused(f"the module has {len(inputs)} inputs and {len(outputs)} outputs; one tensor of each is kept")
    output = f"weight:{outputs[0].name}" if outputs[0].name in names else outputs[0].name
    body = {"input": inputs[0], "input_dtype": str(input_dtype).removeprefix("torch."), "nodes": nodes, "output": output}
    return body, weights


def run_graph(graph: Graph, rows: torch.Tensor, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Run the operations in order. Raises Damaged if the graph names what it has not made."""
    made: dict[str, object] = {**weights, graph.input: rows}
    try:
        for node in graph.nodes:
            args = [_from_json(value, made) for value in node.args]
            kwargs = {key: _from_json(value, made) for key, value in node.kwargs.items()}
            made[node.name] = _operation(node.call)(*args, **kwargs)  # type: ignore[operator]  # an operation is callable
        result = made[graph.output]
    except KeyError as error:
        raise Damaged(f"the module's graph uses {error} before it is made") from error
    if not isinstance(result, torch.Tensor):
        raise Damaged("the module's graph ends in something that is no tensor")
    return result


def _operation(call: str) -> object:
    space, _, rest = str(call).partition(".")
    name, _, overload = rest.partition(".")
    if space == "python" and rest in _ARITHMETIC:
        return _ARITHMETIC[rest]
    if space == "aten" and name in ALLOWED:
        found = getattr(getattr(torch.ops.aten, name), overload, None)
        if isinstance(found, torch._ops.OpOverload) and not found._schema.is_mutable:
            return found
    raise Refused(f"the module uses {call}, which is not on the reviewed list", hint="the list is in stratal.tracking.flavors.torch_graph")


def _call_name(target: object) -> str:
    if isinstance(target, torch._ops.OpOverload):
        return f"{target.namespace}.{target._schema.name.partition('::')[2]}.{target._overloadname}"
    return f"python.{getattr(target, '__name__', target)}"


def _is_check(node: torch.fx.Node) -> bool:
    # Assertions of the tracer about sizes and dtypes: no values come from them.
    return not node.users and "assert" in str(node.target)


def _to_json(value: object, weights: Mapping[str, str]) -> object:
    if isinstance(value, torch.fx.Node):
        return {"node": f"weight:{value.name}" if value.name in weights else value.name}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return {"float": repr(value)}  # JSON has no infinities, and softmax masks use them
    if isinstance(value, list | tuple):
        return [_to_json(part, weights) for part in value]
    if isinstance(value, torch.device):
        return {"device": "cpu"}
    for word, kinds in _WORDS.items():
        if isinstance(value, kinds):
            return {word: str(value).removeprefix("torch.")}
    raise Refused(f"the module's graph holds a {type(value).__name__}, which is not kept")


def _from_json(value: object, made: Mapping[str, object]) -> object:
    if isinstance(value, list):
        return [_from_json(part, made) for part in value]
    if not isinstance(value, dict):
        return value
    (kind, body), *_ = value.items()
    if kind == "node":
        return made[body]
    if kind == "float":
        return float(body)
    return torch.device("cpu") if kind == "device" else _word(kind, body)


def _word(kind: str, name: str) -> object:
    found = getattr(torch, str(name), None)
    if kind not in _WORDS or not isinstance(found, _WORDS[kind]):
        raise Damaged(f"the module's graph names {name!r} as a {kind}, and torch has none")
    return found
