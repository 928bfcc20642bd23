"""Handles. What they hold, and that a file is known by its bytes."""

import pickle

import pytest

from stratal.core.errors import Conflict, Misuse
from stratal.core.records import from_json, to_json
from stratal.tracking.values import Column, Dataset, Evaluation, File, Model, Signature

SIGNATURE = Signature(inputs=(Column(name="tenure", dtype="int64"),), outputs=(Column(name="churn", dtype="bool"),), classes=(False, True))


@pytest.mark.parametrize(
    "value",
    [
        Dataset(ref="dataset:churn@1", name="churn", version=1, digest="d" * 64, rows=3, columns=("a", "b")),
        Model(run="0" * 32, path="model", digest="e" * 64, flavor="sklearn", signature=SIGNATURE, features="features:customer@2"),
        Model(run="0" * 32, path="model", digest="e" * 64, flavor="sklearn"),
        Evaluation(run="1" * 32, subject="sha256:" + "e" * 64),
    ],
)
def test_handles_survive_json_and_pickle(value):
    assert from_json(to_json(value), type(value)) == value
    assert pickle.loads(pickle.dumps(value)) == value


@pytest.mark.parametrize("classes", [(False, True), (0, 1), ("No", "Yes"), (0.5, 1.5)])
def test_class_labels_keep_their_type_in_json(classes):
    back = from_json(to_json(Signature(inputs=(), classes=classes)), Signature)
    assert [type(label) for label in back.classes] == [type(label) for label in classes]
    assert back.classes == classes


def test_two_files_of_equal_bytes_are_one_input(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"x\n1\n")
    (tmp_path / "b.csv").write_bytes(b"x\n1\n")
    (tmp_path / "c.csv").write_bytes(b"x\n2\n")
    a, b, c = (File(tmp_path / name) for name in ("a.csv", "b.csv", "c.csv"))
    assert a == b and hash(a) == hash(b)
    assert a != c
    assert (a.name, a.size_bytes) == ("a.csv", 4)
    assert a != "a.csv"


def test_a_relative_file_is_found_from_another_folder(tmp_path, monkeypatch):
    (tmp_path / "rows.csv").write_bytes(b"x\n1\n")
    monkeypatch.chdir(tmp_path)
    rows = File("rows.csv")
    monkeypatch.chdir("/")
    assert rows.read() == b"x\n1\n"


def test_a_file_that_changed_since_is_refused(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b"x\n1\n")
    rows = File(path)
    rows.verify()
    path.write_bytes(b"x\n2\n")
    with pytest.raises(Conflict, match="has changed"):
        rows.read()
    with pytest.raises(Conflict, match="has changed"):
        rows.verify()


def test_a_file_travels_with_its_digest_and_is_not_read_again(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b"x\n1\n")
    rows = File(path)
    path.unlink()
    assert pickle.loads(pickle.dumps(rows)) == rows
    assert from_json(to_json(rows), File) == rows


def test_a_missing_file_names_its_neighbours(tmp_path):
    (tmp_path / "customers.csv").touch()
    with pytest.raises(Misuse, match=r"customers\.csv"):
        File(tmp_path / "customer.csv")
    with pytest.raises(Misuse, match="cannot be read"):
        File(tmp_path)
