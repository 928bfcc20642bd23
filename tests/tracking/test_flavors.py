"""Saved scikit-learn models: what comes back answers the same, and what is not on the list stays out.

Left out: torch modules, which have a file of their own."""

import io
import json
import pickle
import zipfile

import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from stratal.core.errors import Damaged, Misuse, Refused
from stratal.tracking import flavors
from stratal.tracking.flavors.sklearn import FILE
from stratal.tracking.flavors.trees import check_trees

RNG = np.random.default_rng(7)
ROWS = 80
TABLE = pl.DataFrame({"spend": RNG.normal(size=ROWS), "visits": [1, 2, None, 4] * (ROWS // 4), "plan": ["x", "y", "x", None] * (ROWS // 4)})
LABEL = np.array([0, 1, 0, 1] * (ROWS // 4))
CLASSIFIERS = [
    LogisticRegression(),
    HistGradientBoostingClassifier(max_iter=4),
    HistGradientBoostingClassifier(max_iter=20, early_stopping=True),
    RandomForestClassifier(4, random_state=1),
    GradientBoostingClassifier(n_estimators=4),
    CalibratedClassifierCV(LogisticRegression(), cv=2),
    DecisionTreeClassifier(),
    GaussianNB(),
    pytest.param(MLPClassifier((3,), max_iter=5), marks=pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")),
]


def prepared(model, encoder=None):
    numbers = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    encode = encoder or OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_pipeline(
        ColumnTransformer([("numbers", numbers, ["spend", "visits"]), ("texts", encode, ["plan"])], sparse_threshold=0), model
    )


def as_given(kind):
    return TABLE if kind == "polars" else TABLE.to_pandas()


@pytest.mark.parametrize("kind", ["polars", "pandas"])
@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=lambda estimator: type(estimator).__name__)
def test_a_classifier_comes_back_and_answers_the_same_to_every_kind_of_rows(estimator, kind, tmp_path):
    rows = as_given(kind)
    model = prepared(estimator).fit(rows, LABEL)
    manifest = flavors.save(model, tmp_path / "model", rows)
    back = flavors.load(tmp_path / "model")
    expected = model.predict_proba(rows)[:, 1]
    assert manifest.flavor == "sklearn" and manifest.signature.classes == (0, 1)
    for given in (TABLE, TABLE.to_pandas(), TABLE.select("plan", "visits", pl.lit(1).alias("more"), "spend")):
        np.testing.assert_array_equal(back.scores(given), expected)
    np.testing.assert_array_equal(back.predict(rows), model.predict(rows))
    single = [back.scores(row)[0] for row in TABLE[:8].iter_rows(named=True)]
    np.testing.assert_allclose(single, expected[:8], rtol=1e-12)  # one row and many take different paths through BLAS


def test_texts_encoded_by_order_come_back(tmp_path):
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    model = prepared(HistGradientBoostingClassifier(max_iter=3), encoder).fit(TABLE, LABEL)
    flavors.save(model, tmp_path / "model", TABLE)
    unseen = {"spend": 0.5, "visits": 3, "plan": "never seen"}
    np.testing.assert_array_equal(flavors.load(tmp_path / "model").scores(unseen), model.predict_proba(pl.DataFrame([unseen]))[:, 1])


@pytest.mark.parametrize("kind", ["polars", "pandas"])
def test_categories_by_dtype_come_back_also_from_texts_and_single_rows(kind, tmp_path):
    rows = TABLE.with_columns(pl.col("plan").cast(pl.Categorical))
    if kind == "pandas":
        rows = TABLE.to_pandas().assign(plan=lambda table: table["plan"].astype("category"))
    model = HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=5, categorical_features="from_dtype").fit(rows, LABEL)
    flavors.save(model, tmp_path / "model", rows)
    back = flavors.load(tmp_path / "model")
    expected = model.predict_proba(rows)[:, 1]
    for given in (rows, TABLE, TABLE.to_pandas()):
        np.testing.assert_array_equal(back.scores(given), expected)
    assert [back.scores(row)[0] for row in TABLE[:8].iter_rows(named=True)] == expected[:8].tolist()


def test_arrays_go_in_by_position_and_their_width_is_checked(tmp_path):
    rows = RNG.normal(size=(30, 3))
    model = LogisticRegression().fit(rows, rows[:, 0] > 0)
    flavors.save(model, tmp_path / "model", rows)
    back = flavors.load(tmp_path / "model")
    np.testing.assert_array_equal(back.scores(rows), model.predict_proba(rows)[:, 1])
    np.testing.assert_array_equal(back.scores({"x0": rows[0, 0], "x1": rows[0, 1], "x2": rows[0, 2]}), model.predict_proba(rows[:1])[:, 1])
    assert back.signature.classes == (False, True)
    with pytest.raises(Misuse, match="3 columns"):
        back.scores(rows[:, :2])


def test_text_labels_and_regressors_keep_their_answers(tmp_path):
    words = np.where(LABEL == 1, "Yes", "No")
    model = prepared(LogisticRegression()).fit(TABLE, words)
    flavors.save(model, tmp_path / "classifier", TABLE)
    back = flavors.load(tmp_path / "classifier")
    assert back.signature.classes == ("No", "Yes")
    assert back.predict(TABLE).tolist() == model.predict(TABLE).tolist()
    for i, regressor in enumerate((Ridge(), HistGradientBoostingRegressor(max_iter=3))):
        model = prepared(regressor).fit(TABLE, TABLE["spend"])
        flavors.save(model, tmp_path / str(i), TABLE)
        np.testing.assert_array_equal(flavors.load(tmp_path / str(i)).predict(TABLE), model.predict(TABLE))
        with pytest.raises(Misuse, match="no probabilities"):
            flavors.load(tmp_path / str(i)).scores(TABLE)


def test_three_classes_have_no_positive_one(tmp_path):
    model = LogisticRegression().fit(RNG.normal(size=(30, 2)), [0, 1, 2] * 10)
    flavors.save(model, tmp_path / "model")
    with pytest.raises(Misuse, match="has 3 classes"):
        flavors.load(tmp_path / "model").scores(np.zeros((1, 2)))


def test_missing_columns_are_named_with_the_nearest(tmp_path):
    flavors.save(prepared(LogisticRegression()).fit(TABLE, LABEL), tmp_path / "model", TABLE)
    back = flavors.load(tmp_path / "model")
    with pytest.raises(Misuse, match=r"'visits' \(is it 'visit'\?\)"):
        back.scores({"spend": 1.0, "visit": 2, "plan": "x"})
    with pytest.raises(Misuse, match=r"'plan'.*"):
        back.scores(TABLE.drop("plan").to_pandas())
    with pytest.raises(Misuse, match="'visits' should be int64"):
        back.scores({"spend": 1.0, "visits": "many", "plan": "x"})
    with pytest.raises(Misuse, match=r"not builtins\.list"):
        back.scores([1, 2, 3])


def test_without_a_sample_names_come_from_the_model(tmp_path):
    model = prepared(LogisticRegression()).fit(TABLE.to_pandas(), LABEL)
    flavors.save(model, tmp_path / "model")
    back = flavors.load(tmp_path / "model")
    assert back.signature.names == ("spend", "visits", "plan")
    np.testing.assert_array_equal(back.scores(TABLE), model.predict_proba(TABLE)[:, 1])


@pytest.mark.parametrize(
    "estimator",
    [LogisticRegression(), HistGradientBoostingClassifier(max_iter=4, random_state=1), RandomForestClassifier(3, random_state=2)],
)
def test_equal_models_have_equal_digests_and_others_not(estimator, tmp_path):
    digests = []
    for i, label in enumerate((LABEL, LABEL, np.roll(LABEL, 1))):
        model = prepared(estimator).fit(TABLE, label)
        digests.append(flavors.save(model, tmp_path / str(i), TABLE).digest)
    assert digests[0] == digests[1] != digests[2]


def test_the_digest_of_a_model_is_the_digest_of_its_manifest_file(tmp_path):
    import hashlib

    manifest = flavors.save(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), tmp_path / "model")
    assert manifest.digest == hashlib.sha256((tmp_path / "model" / flavors.FILE).read_bytes()).hexdigest()
    assert flavors.decode_manifest((tmp_path / "model" / flavors.FILE).read_bytes()) == manifest


class Homemade(ClassifierMixin, BaseEstimator):
    def fit(self, x, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, x):
        return np.zeros(len(x))


def shout(x):
    return x


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (Homemade().fit([[1]], [0, 1]), "Homemade"),
        (make_pipeline(FunctionTransformer(shout), LogisticRegression()), "shout"),
        (make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()), "log1p"),
        (KNeighborsClassifier(1).fit([[0.0], [1.0]], [0, 1]), "KNeighborsClassifier"),
        (make_pipeline(FunctionTransformer("".join), LogisticRegression()), "join"),
    ],
    ids=["own class", "own function", "ufunc", "neighbours", "method"],
)
def test_types_outside_the_list_are_refused_by_name_when_saved(model, named, tmp_path):
    with pytest.raises(Refused, match=named):
        flavors.save(model, tmp_path / "model")
    assert not (tmp_path / "model" / FILE).exists()


def test_what_has_no_format_is_refused_with_those_that_have(tmp_path):
    with pytest.raises(Misuse, match=r"no format keeps a builtins\.dict"):
        flavors.save({"weights": [1]}, tmp_path / "model")
    with pytest.raises(Misuse, match="is a class, not a fitted model"):
        flavors.save(LogisticRegression, tmp_path / "model")


def saved(tmp_path, model=None):
    model = model or prepared(HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=5)).fit(TABLE, LABEL)
    manifest = flavors.save(model, tmp_path / "model", TABLE if hasattr(model, "steps") else None)
    return manifest, (tmp_path / "model" / FILE).read_bytes()


def open_bytes(manifest, data):
    """Load other bytes as if their manifest spoke of them: an author who forges both."""
    import hashlib

    file = flavors.ModelFile(path=FILE, digest=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    forged = flavors.Manifest(flavor="sklearn", files=(file,), signature=manifest.signature)
    return flavors.load_from(forged, lambda _: data)


def test_a_changed_file_is_damaged(tmp_path):
    _, data = saved(tmp_path)
    (tmp_path / "model" / FILE).write_bytes(data + b" ")
    with pytest.raises(Damaged, match="digest differs"):
        flavors.load(tmp_path / "model")


class Payload:
    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("wrap", ["bare", "zipped"])
def test_a_pickle_in_disguise_is_refused_and_never_run(wrap, tmp_path):
    manifest, data = saved(tmp_path)
    payload, mark = Payload(), tmp_path / "ran"
    payload.path = str(mark)
    evil = pickle.dumps(payload)
    if wrap == "zipped":
        evil = with_schema(data, lambda _: None, extra={"model.pkl": evil, "schema.json": evil})
    with pytest.raises(Refused, match="no skops file"):
        open_bytes(manifest, evil)
    assert not mark.exists()
    pickle.loads(pickle.dumps(payload)).close()
    assert mark.exists()  # so the payload was a live one


def with_schema(data, change, extra=None):
    """Rewrite a skops file, its schema changed in place and files replaced."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        schema = json.loads(old.read("schema.json"))
        change(schema)
        files = {name: old.read(name) for name in old.namelist()} | {"schema.json": json.dumps(schema).encode()} | (extra or {})
        for name, body in files.items():
            new.writestr(name, body)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "node",
    [
        {"__class__": "system", "__module__": "os", "__loader__": "FunctionNode"},
        {"__class__": "Popen", "__module__": "subprocess", "__loader__": "TypeNode"},
        {"__class__": "LogisticRegression", "__module__": "sklearn.linear_model._logistic", "__loader__": "FunctionNode"},
        {"__class__": "str", "__module__": "builtins", "__loader__": "MethodNode", "content": {"func": "upper", "obj": {}}},
        {"__class__": "methodcaller", "__module__": "operator", "__loader__": "OperatorFuncNode", "attrs": {}},
        {"__class__": "str", "__module__": "builtins", "__loader__": "NodeOfTomorrow"},
    ],
    ids=lambda node: node["__loader__"],
)
def test_a_file_that_names_more_than_the_list_is_refused_before_anything_is_built(node, tmp_path):
    manifest, data = saved(tmp_path)
    evil = with_schema(data, lambda schema: schema["content"]["content"].update(verbose=node))
    with pytest.raises(Refused, match=node["__class__"]):
        open_bytes(manifest, evil)


def forged(model):
    """Bytes as somebody who does not use our writer would make them."""
    return skops.io.dumps(model)


@pytest.mark.parametrize(
    ("field", "value"),
    [("left", 10_000), ("right", 10_000), ("left", 0), ("feature_idx", 99)],
)
def test_boosted_trees_that_point_outside_are_refused(field, value, tmp_path):
    rows = RNG.normal(size=(60, 2))
    model = HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=5).fit(rows, rows[:, 0] > 0)
    manifest, _ = saved(tmp_path, model)
    assert open_bytes(manifest, forged(model)).predict(rows).tolist() == model.predict(rows).tolist()
    nodes = model._predictors[0][0].nodes
    nodes[field][nodes["is_leaf"] == 0] = value
    with pytest.raises(Damaged, match="trees are not trees"):
        open_bytes(manifest, forged(model))


def test_sets_of_categories_that_do_not_fit_are_refused(tmp_path):
    rows = TABLE.to_pandas().assign(plan=lambda table: table["plan"].astype("category"))[["plan"]]
    model = HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=5, categorical_features="from_dtype").fit(rows, LABEL)
    manifest, _ = saved(tmp_path, model)
    nodes = model._predictors[0][0].nodes
    assert nodes["is_categorical"].any()
    model._bin_mapper.bin_thresholds_[0] = np.array([0.0, 5000.0])
    with pytest.raises(Damaged, match="cannot hold"):
        open_bytes(manifest, forged(model))
    model._bin_mapper.bin_thresholds_[0] = np.array([0.0, 1.0])
    nodes["bitset_idx"][:] = 7
    with pytest.raises(Damaged, match="set of categories"):
        open_bytes(manifest, forged(model))


@pytest.mark.parametrize("part", ["left_child", "right_child", "feature"])
def test_plain_trees_that_point_outside_are_refused(part, tmp_path):
    rows = RNG.normal(size=(40, 2))
    model = RandomForestClassifier(2, random_state=0).fit(rows, rows[:, 0] > 0)
    manifest, _ = saved(tmp_path, model)
    state = model.estimators_[0].tree_.__getstate__()
    state["nodes"][part][0] = 99
    model.estimators_[0].tree_.__setstate__(state)
    with pytest.raises(Damaged, match="trees are not trees"):
        open_bytes(manifest, forged(model))


def test_trees_that_count_more_nodes_than_they_hold_are_refused():
    rows = RNG.normal(size=(40, 2))
    model = DecisionTreeClassifier(random_state=0).fit(rows, rows[:, 0] > 0)
    check_trees(model)
    state = model.tree_.__getstate__()
    model.tree_.__setstate__({**state, "node_count": 1_000_000})  # scikit-learn takes it as it is
    with pytest.raises(Damaged, match="more nodes than it holds"):
        check_trees(model)


def test_trees_in_a_forest_of_fewer_columns_are_refused(tmp_path):
    """Each tree is sound by itself, but the forest lets narrower rows pass, and its trees do not look."""
    rows = RNG.normal(size=(60, 5))
    for model in (RandomForestClassifier(2, random_state=0), GradientBoostingClassifier(n_estimators=2, random_state=0)):
        model.fit(rows, rows[:, 4] > 0)
        manifest, _ = saved(tmp_path / type(model).__name__, model)
        model.n_features_in_ = 2
        with pytest.raises(Damaged, match="reads other columns"):
            open_bytes(manifest, forged(model))


def test_an_encoding_that_gives_fewer_columns_than_the_trees_read_is_refused(tmp_path):
    rows = TABLE.to_pandas().assign(plan=lambda table: table["plan"].astype("category"))
    model = HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=5, categorical_features="from_dtype").fit(rows, LABEL)
    manifest, _ = saved(tmp_path, model)
    open_bytes(manifest, forged(model))
    name, numbers, chosen = model._preprocessor.transformers_[1]
    model._preprocessor.transformers_[1] = (name, numbers, chosen & [True, False, False])
    with pytest.raises(Damaged, match="encoded of other columns"):
        open_bytes(manifest, forged(model))


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(Misuse, match=r"notes\.txt"):
        flavors.save(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), tmp_path)


def test_a_manifest_of_a_later_format_is_refused():
    manifest = flavors.Manifest(flavor="sklearn", files=(), format=99)
    with pytest.raises(Misuse, match="update stratal"):
        flavors.decode_manifest(manifest.encode())


def test_pandas_missing_values_mean_the_same_as_nulls(tmp_path):
    model = prepared(LogisticRegression()).fit(TABLE, LABEL)
    flavors.save(model, tmp_path / "model", TABLE)
    table = pd.DataFrame({"spend": [0.1], "visits": pd.array([None], dtype="Int64"), "plan": [None]})
    row = {"spend": 0.1, "visits": None, "plan": None}
    back = flavors.load(tmp_path / "model")
    np.testing.assert_array_equal(back.scores(table), back.scores(row))
