"""Saved torch modules: a graph of reviewed operations and plain arrays. Nothing of the author's code is needed or run."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays
from torch import nn

from stratal.core.errors import Damaged, Misuse, Refused
from stratal.tracking import flavors
from stratal.tracking.flavors.tensors import decode_tensors, encode_tensors
from stratal.tracking.flavors.torch_graph import Graph, run_graph

TABLE = pl.DataFrame({"spend": [1.0, 2.0, 3.0, -1.0], "visits": [1, 2, None, 4], "member": [True, False, True, None]})


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.drop, self.last = nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1)
        self.register_buffer("mean", torch.tensor([0.5, 2.0, 0.0]))

    def forward(self, x):
        x = (x - self.mean).nan_to_num(0.0)
        return torch.sigmoid(self.last(self.drop(torch.relu(self.norm(self.first(x))))))


class Pixels(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(64, 10)

    def forward(self, x):
        return self.last(nn.functional.max_pool2d(torch.relu(self.conv(x)), 2).flatten(1)).softmax(1)


def made(kind):
    torch.manual_seed(3)
    return kind()


@pytest.mark.slow
def test_a_module_comes_back_for_frames_rows_and_arrays(tmp_path):
    module = made(Net)
    module.train()
    manifest = flavors.save(module, tmp_path / "model", TABLE)
    assert module.training  # the user's own module is left as it was
    back = flavors.load(tmp_path / "model")
    assert manifest.flavor == "torch" and back.signature.names == ("spend", "visits", "member")
    matrix = np.array([[1, 1, 1], [2, 2, 0], [3, np.nan, 1], [-1, 4, np.nan]], dtype=np.float32)
    module.eval()
    expected = module(torch.from_numpy(matrix)).detach().numpy()[:, 0]
    for rows in (TABLE, TABLE.to_pandas(), matrix, TABLE.select("member", "visits", "spend")):
        np.testing.assert_allclose(back.scores(rows), expected, rtol=1e-5)
    np.testing.assert_allclose([back.scores(row)[0] for row in TABLE.iter_rows(named=True)], expected, rtol=1e-5)
    np.testing.assert_allclose(back.predict(TABLE), expected, rtol=1e-5)


def test_the_number_of_rows_stays_free(tmp_path):
    flavors.save(made(Net), tmp_path / "model", TABLE)
    back = flavors.load(tmp_path / "model")
    for count in (1, 2, 7, 1000):
        assert back.scores(np.zeros((count, 3), dtype=np.float32)).shape == (count,)


def test_a_sample_of_one_row_is_enough(tmp_path):
    flavors.save(made(Net), tmp_path / "model", TABLE[:1])
    assert flavors.load(tmp_path / "model").scores(TABLE).shape == (4,)


@pytest.mark.slow
def test_pictures_go_in_as_arrays(tmp_path):
    module, pictures = made(Pixels), torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    flavors.save(module, tmp_path / "model", pictures)
    back = flavors.load(tmp_path / "model")
    np.testing.assert_allclose(back.predict(pictures.numpy()), module(pictures).detach().numpy(), rtol=1e-4, atol=1e-6)
    with pytest.raises(Misuse, match="not one probability per row"):
        back.scores(pictures.numpy())


@pytest.mark.slow
def test_whole_numbers_for_embeddings_stay_whole(tmp_path):
    torch.manual_seed(1)
    module = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(12, 2), nn.Softmax(dim=1))
    tokens = torch.tensor([[0, 1, 2], [4, 4, 4]])
    flavors.save(module, tmp_path / "model", tokens)
    scores = flavors.load(tmp_path / "model").scores(tokens.numpy())
    np.testing.assert_allclose(scores, module(tokens).detach().numpy()[:, 1], rtol=1e-5)


def test_outputs_that_are_no_probabilities_are_not_taken_for_such(tmp_path):
    flavors.save(made(lambda: nn.Linear(3, 1)), tmp_path / "model", TABLE.fill_null(0))
    with pytest.raises(Misuse, match=r"no probabilities[\s\S]*Sigmoid"):
        flavors.load(tmp_path / "model").scores(np.full((2, 3), 50.0, dtype=np.float32))


@pytest.mark.slow
def test_equal_modules_have_equal_digests_and_others_not(tmp_path):
    digests = [flavors.save(made(Net), tmp_path / str(i), TABLE).digest for i in range(2)]
    torch.manual_seed(4)
    assert digests[0] == digests[1] != flavors.save(Net(), tmp_path / "other", TABLE).digest


def test_a_sample_is_needed(tmp_path):
    with pytest.raises(Misuse, match="sample"):
        flavors.save(made(Net), tmp_path / "model")


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum().item() > 0 else -x


class Unlisted(nn.Module):
    def forward(self, x):
        return torch.lgamma(x)


@pytest.mark.parametrize(("module", "named"), [(Branching(), "cannot be traced"), (Unlisted(), "lgamma")], ids=["branches", "unlisted"])
def test_what_cannot_be_kept_is_refused_with_its_name(module, named, tmp_path):
    with pytest.raises(Refused, match=named):
        flavors.save(module, tmp_path / "model", np.ones((4, 3), dtype=np.float32))
    assert list((tmp_path / "model").iterdir()) == []


def graph_of(*nodes, output="y"):
    return {"input": "x", "input_dtype": "float32", "nodes": list(nodes), "output": output}


def node(call, *args, name="y", **kwargs):
    return {"name": name, "call": call, "args": list(args), "kwargs": kwargs}


@pytest.mark.parametrize(
    "call",
    [
        "aten.from_file.default",
        "aten.relu_.default",
        "aten.add_.Tensor",
        "aten.relu.out",
        "aten.nothing.default",
        "python.eval",
        "python.__import__",
        "prims.add.default",
        "os.system",
        "aten.__class__.default",
        "aten.add.__class__",
    ],
)
def test_a_graph_cannot_name_more_than_the_list(call):
    with pytest.raises(Refused, match="not on the reviewed list"):
        Graph.parse(graph_of(node(call, {"node": "x"})))


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        graph_of(output="nothing"),
        graph_of(node("aten.relu.default", {"node": "later"})),
        graph_of(node("aten.full_like.default", {"node": "x"}, 1, dtype={"dtype": "load"})),
        graph_of(node("aten.full_like.default", {"node": "x"}, 1, dtype={"hub": "load"})),
        graph_of(node("aten.sym_size.int", {"node": "x"}, 0)),
        {**graph_of(), "input_dtype": "save"},
    ],
)
def test_a_graph_of_nonsense_is_damaged(body):
    with pytest.raises(Damaged):
        run_graph(Graph.parse(body), torch.ones(2, 3), {})


@pytest.mark.slow
def test_a_changed_graph_is_damaged(tmp_path):
    flavors.save(made(Net), tmp_path / "model", TABLE)
    path = tmp_path / "model" / "graph.json"
    body = json.loads(path.read_text())
    body["nodes"].pop()
    path.write_text(json.dumps(body))
    with pytest.raises(Damaged, match="digest differs"):
        flavors.load(tmp_path / "model")


@settings(max_examples=100)
@given(
    some.dictionaries(
        some.text(max_size=5),
        some.sampled_from(["float32", "float64", "int64", "uint8", "bool"]).flatmap(
            lambda word: arrays.arrays(word, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
        ),
        max_size=4,
    )
)
def test_tensors_come_back_bit_for_bit(given_arrays):
    given_arrays.pop("__metadata__", None)
    back = decode_tensors(encode_tensors(given_arrays))
    assert set(back) == set(given_arrays)
    for name, array in given_arrays.items():
        assert back[name].dtype == array.dtype and back[name].shape == array.shape and back[name].tobytes() == array.tobytes()


@settings(max_examples=50)
@given(some.integers(0, 200))
def test_tensors_cut_anywhere_are_damaged(cut):
    data = encode_tensors({"a": np.arange(6.0).reshape(2, 3), "b": np.array([True])})
    with pytest.raises(Damaged, match="no tensors"):
        decode_tensors(data[: min(cut, len(data) - 1)])
