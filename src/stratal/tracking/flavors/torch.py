"""Torch modules as data: the traced graph of reviewed operations as JSON, and the weights as plain arrays.

Why not the library's own formats: a state dict needs the user's class to be importable when it is loaded; torch.export's and
whole-module files open pickles; TorchScript runs what the file says. Here a file can name operations of the list below and
nothing else, and a loaded model needs no code of its author.
A module is traced in evaluation mode, on the CPU, with one tensor of rows as its input; the number of rows stays free.
"""

import copy
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from stratal.core.errors import Bug, Damaged, Misuse, Refused
from stratal.tracking.flavors.inputs import arrange, describe, to_matrix
from stratal.tracking.flavors.tensors import decode_tensors, encode_tensors
from stratal.tracking.flavors.torch_graph import Graph, encode_graph, run_graph
from stratal.tracking.signatures import Column, Signature

GRAPH = "graph.json"
WEIGHTS = "weights.safetensors"
# Rows of the sample that are traced and asked again. Two at least: tracing takes one row for a constant.
ROWS = 100
# Traced and eager kernels may differ in the last bits of float32.
TOLERANCE = 1e-5


def write(model: object, folder: Path, sample: object | None) -> Signature | None:
    """Write the module. Raises Misuse without a sample, Refused naming operations outside the reviewed list."""
    if not isinstance(model, torch.nn.Module):
        raise Misuse(f"a {type(model).__name__} is no torch.nn.Module", hint="log the module itself")
    if sample is None:
        raise Misuse("a torch module is traced, which takes a sample of its inputs", hint="log_model(name, module, sample=rows)")
    columns, rows = _sample(sample)
    plain = _copy_on_cpu(model).eval()
    graph, weights = _trace(plain, rows)
    files = {GRAPH: json.dumps(graph, sort_keys=True, indent=1).encode(), WEIGHTS: encode_tensors(weights)}
    with torch.no_grad():
        before = plain(rows).numpy()
    after = _Torch(json.loads(files[GRAPH]), decode_tensors(files[WEIGHTS]), None).predict(rows.numpy())
    if not np.allclose(before.reshape(after.shape), after, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
        raise Bug(f"the saved {type(model).__name__} answers otherwise than the one in memory; it was not kept")
    for name, data in files.items():
        (folder / name).write_bytes(data)
    width = 1 if after.ndim == 1 else after.shape[1]
    return Signature(inputs=columns, outputs=tuple(Column(name=f"y{i}", dtype=str(after.dtype)) for i in range(width)), container="numpy")


def read(read: Callable[[str], bytes], signature: Signature | None) -> "_Torch":
    """Load the module. Its operations are checked when the graph is read."""
    try:
        graph = json.loads(read(GRAPH))
    except ValueError as error:
        raise Damaged(f"{GRAPH} is no JSON: {error}") from error
    return _Torch(graph, decode_tensors(read(WEIGHTS)), signature)


class _Torch:
    def __init__(self, graph: object, weights: Mapping[str, np.ndarray], signature: Signature | None) -> None:
        self._graph: Graph = Graph.parse(graph)
        self._weights = {name: torch.from_numpy(array) for name, array in weights.items()}
        self._signature = signature

    def predict(self, x: object) -> NDArray[np.generic]:
        """Give the module's outputs: (n,) if it has one per row, else (n, k)."""
        rows = x if isinstance(x, torch.Tensor) else torch.from_numpy(_array(arrange(x, self._signature)))
        with torch.no_grad():
            outputs = run_graph(self._graph, rows.cpu().to(self._graph.input_dtype), self._weights).numpy()
        return outputs[:, 0] if outputs.ndim == 2 and outputs.shape[1] == 1 else outputs

    def scores(self, x: object) -> NDArray[np.float64]:
        outputs = np.asarray(self.predict(x), dtype=np.float64)
        if outputs.ndim == 2 and outputs.shape[1] == 2:
            outputs = outputs[:, 1]
        if outputs.ndim != 1:
            raise Misuse(f"the module gives outputs of shape {outputs.shape}, not one probability per row", hint="use predict()")
        if bool(np.any((outputs < 0) | (outputs > 1))):
            raise Misuse(
                f"the module's outputs go from {outputs.min():.3g} to {outputs.max():.3g}, so they are no probabilities",
                hint="log torch.nn.Sequential(module, torch.nn.Sigmoid()), or with Softmax(dim=1) for two columns",
            )
        return outputs


def _copy_on_cpu(model: torch.nn.Module) -> torch.nn.Module:
    """Copy tensor by tensor: a copy of the whole on its GPU could be more than the GPU has room for."""
    moved: dict[int, object] = {}
    for each in (*model.parameters(), *model.buffers()):
        if not each.is_cpu:
            here = each.detach().cpu()
            moved[id(each)] = torch.nn.Parameter(here, each.requires_grad) if isinstance(each, torch.nn.Parameter) else here
    return copy.deepcopy(model, moved).cpu()


def _trace(model: torch.nn.Module, rows: torch.Tensor) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the tracer's own, of its own parts
            program = torch.export.export(model, (rows,), dynamic_shapes=({0: torch.export.Dim("rows")},), strict=False)
            program = program.run_decompositions()
    except Exception as error:  # whatever the user's forward raises, and the tracer's own many kinds
        raise Refused(
            f"{type(model).__name__} cannot be traced: {str(error).strip().splitlines()[0]}",
            hint="forward takes one tensor of rows, and may not branch on its values",
        ) from error
    return encode_graph(program, rows.dtype)


def _sample(sample: object) -> tuple[tuple[Column, ...], torch.Tensor]:
    if isinstance(sample, torch.Tensor):
        columns = (
            tuple(Column(name=f"x{i}", dtype=str(sample.dtype).removeprefix("torch.")) for i in range(sample.shape[1]))
            if sample.ndim == 2
            else ()
        )
        rows = sample.detach().cpu()[:ROWS]
    elif isinstance(sample, np.ndarray) and sample.ndim > 2:
        columns, rows = (), torch.from_numpy(_array(sample[:ROWS]))
    else:
        columns, _ = describe(sample)
        matrix = arrange(sample[:ROWS], Signature(inputs=columns, container="numpy"))  # type: ignore[index]  # tables slice rows so
        rows = torch.from_numpy(_array(matrix))
    if rows.shape[0] == 0:
        raise Misuse("the sample of inputs has no rows", hint="give some rows of what the module was trained on")
    # float64 comes from tables of plain numbers; modules are float32 unless their author says otherwise with a tensor.
    rows = rows.float() if rows.dtype == torch.float64 and not isinstance(sample, torch.Tensor) else rows
    return columns, rows if rows.shape[0] > 1 else rows.repeat(2, *[1] * (rows.ndim - 1))


def _array(x: object) -> np.ndarray:
    array = x if isinstance(x, np.ndarray) else to_matrix(x)  # type: ignore[arg-type]  # arrange gives arrays or frames
    if array.dtype.kind not in "biuf":
        raise Misuse("a torch module takes numbers only", hint="encode texts and categories before, for example in the feature view")
    return np.ascontiguousarray(array)
