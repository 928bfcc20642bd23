"""Check fitted trees before C code walks them: a file of the right types may still hold indices that point anywhere.

scikit-learn indexes by these numbers without looking; a child that is no node, or a feature that is no column, would read
memory that is not ours. Children must also come after their parent, so that no walk is endless.
"""

from collections.abc import Iterator

import numpy as np

from stratal.core.errors import Damaged

LEAF = -1
# Sets of categories are 8 words of 32 bits.
CATEGORIES = 256


def check_trees(model: object) -> None:
    """Raise Damaged if any tree inside the model points outside of itself or of its inputs."""
    for part in _parts(model):
        name = type(part).__name__
        if hasattr(part, "_predictors"):
            _check_boosted(part)
        elif name == "Tree":
            _check_tree(part)
        elif hasattr(part, "tree_"):
            _check_width(part, [part])
        elif hasattr(part, "estimators_"):
            _check_width(part, np.asarray(part.estimators_, dtype=object).ravel().tolist())


def _parts(root: object) -> Iterator[object]:
    """Give every object of scikit-learn that can be reached, once, without calling any."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if id(part) in seen or isinstance(part, str | bytes | int | float | bool | type | None):
            continue
        seen.add(id(part))
        if isinstance(part, dict):
            waiting += part.values()
        elif isinstance(part, list | tuple | set):
            waiting += part
        elif isinstance(part, np.ndarray):
            waiting += part.ravel().tolist() if part.dtype == object else []
        elif type(part).__module__.startswith("sklearn."):
            yield part
            waiting += vars(part).values() if hasattr(part, "__dict__") else []


def _check_width(owner: object, members: list[object]) -> None:
    """A forest checks the width of its inputs once, and its trees then read without looking."""
    for member in members:
        if hasattr(member, "tree_"):
            _need(
                int(member.tree_.n_features) == int(getattr(owner, "n_features_in_", -1)), "a tree reads other columns than its model has"
            )


def _check_boosted(model: object) -> None:
    columns = int(model.n_features_in_)  # type: ignore[attr-defined]  # a fitted estimator has it
    _check_encoding(model._preprocessor, columns)  # type: ignore[attr-defined]
    bins = model._bin_mapper  # type: ignore[attr-defined]
    is_category: np.ndarray = np.array(bins.is_categorical_, dtype=np.bool_)
    _need(is_category.shape == (columns,), "the list of categorical columns has another length than the columns")
    for index in np.flatnonzero(is_category):
        known = np.asarray(bins.bin_thresholds_[index], dtype=np.float64)
        _need(bool(np.all((known >= 0) & (known < CATEGORIES))), "a category has a number that its set cannot hold")
    for predictor in (predictor for layer in model._predictors for predictor in layer):  # type: ignore[attr-defined]
        nodes = predictor.nodes
        inner = nodes[nodes["is_leaf"] == 0]
        _check_children(len(nodes), np.flatnonzero(nodes["is_leaf"] == 0), inner["left"].astype(np.int64), inner["right"].astype(np.int64))
        _need(bool(np.all((inner["feature_idx"] >= 0) & (inner["feature_idx"] < columns))), "a node reads a column that is not there")
        by_category = inner[inner["is_categorical"] == 1]
        _need(bool(np.all(is_category[by_category["feature_idx"]])), "a node takes a number for a category")
        for sets_of in (predictor.raw_left_cat_bitsets, predictor.binned_left_cat_bitsets):
            _need(sets_of.ndim == 2 and sets_of.shape[1] == CATEGORIES // 32, "a set of categories has another size")
        sets = min(len(predictor.raw_left_cat_bitsets), len(predictor.binned_left_cat_bitsets))
        _need(bool(np.all(by_category["bitset_idx"].astype(np.int64) < sets)), "a node names a set of categories that is not there")


def _check_encoding(encoding: object, columns: int) -> None:
    """What turns categories into numbers must give as many columns as it takes, for the trees count on that."""
    if encoding is None:
        return
    (first, encoder, chosen), (second, _, rest), *more = encoding.transformers_  # type: ignore[attr-defined]  # a fitted one has it
    chosen, rest = np.asarray(chosen), np.asarray(rest)
    _need(
        (first, second) == ("encoder", "numerical") and all(kind == "drop" for _, kind, _ in more), "categories are encoded in another way"
    )
    _need(chosen.shape == rest.shape == (columns,) and bool(np.all(chosen ^ rest)), "categories are encoded of other columns")
    _need(len(encoder.categories_) == int(chosen.sum()), "categories are encoded of another number of columns")


def _check_tree(tree: object) -> None:
    _need(0 < int(tree.node_count) <= int(tree.capacity), "a tree has more nodes than it holds")  # type: ignore[attr-defined]
    left, right, feature = (np.asarray(getattr(tree, name)) for name in ("children_left", "children_right", "feature"))
    inner = np.flatnonzero(left != LEAF)
    _check_children(len(left), inner, left[inner], right[inner])
    columns = int(tree.n_features)  # type: ignore[attr-defined]
    _need(bool(np.all((feature[inner] >= 0) & (feature[inner] < columns))), "a node reads a column that is not there")
    _need(len(np.asarray(tree.value)) == len(left), "a tree has values for another number of nodes")  # type: ignore[attr-defined]


def _check_children(count: int, parents: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    _need(count > 0, "a tree has no nodes")
    for children in (left, right):
        _need(bool(np.all((children > parents) & (children < count))), "a node has a child that is not one")


def _need(holds: bool, what: str) -> None:
    if not holds:
        raise Damaged(f"the model's trees are not trees: {what}")
