"""Objects that hold settings, as params and as files: what each library's objects become. Excluded: mappings (the laws of facts)."""

import argparse
import dataclasses
import enum
import json
import subprocess
import sys
import types
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stratal.core.errors import Misuse, NotFound
from stratal.store.store import Store
from stratal.tracking.facts import to_params
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run


class Kind(enum.Enum):
    ADAM = "adam"


@dataclasses.dataclass
class Optimizer:
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
    kind: Kind = Kind.ADAM


@dataclasses.dataclass
class Settings:
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    seed: int = 7
    notes: str | None = None


class Layer(msgspec.Struct):
    width: int = 64
    optimizer: Optimizer = msgspec.field(default_factory=Optimizer)


OPTIMIZER = {"lr": 0.1, "betas": "[0.9,0.99]", "kind": "adam"}


def under(prefix: str) -> dict[str, object]:
    return {f"{prefix}/{name}": value for name, value in OPTIMIZER.items()}


def pydantic_settings() -> object:
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")
        lr: float = 0.5
        optimizer: Optimizer = Optimizer()
        key: pydantic.SecretStr = pydantic.SecretStr("hunter2")

    return Model(extra=3)


def attrs_settings() -> object:
    attrs = pytest.importorskip("attrs")
    return attrs.make_class("Model", {"lr": attrs.field(default=0.5), "layer": attrs.field(default=Layer())})()


def omegaconf_settings() -> object:
    OmegaConf = pytest.importorskip("omegaconf").OmegaConf
    return OmegaConf.create({"lr": 0.5, "same": "${lr}", "layers": [64, 32], "data": {"path": "a.csv", "limit": None}})


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (Settings, {**under("optimizer"), "seed": 7, "notes": None}),
        (Layer, {"width": 64, **under("optimizer")}),
        (pydantic_settings, {"lr": 0.5, **under("optimizer"), "key": "**********", "extra": 3}),
        (attrs_settings, {"lr": 0.5, "layer/width": 64, **under("layer/optimizer")}),
        (omegaconf_settings, {"lr": 0.5, "same": 0.5, "layers": "[64,32]", "data/path": "a.csv", "data/limit": None}),
        (lambda: argparse.Namespace(lr=0.5, optimizer=Optimizer()), {"lr": 0.5, **under("optimizer")}),
        (lambda: types.SimpleNamespace(lr=0.5), {"lr": 0.5}),
        (lambda: {"model": Layer(), "np": np.float32(0.5)}, {"model/width": 64, **under("model/optimizer"), "np": 0.5}),
        (lambda: {"all": [Optimizer()]}, {"all": '[{"betas":[0.9,0.99],"kind":"adam","lr":0.1}]'}),
    ],
    ids=["dataclass", "msgspec", "pydantic", "attrs", "omegaconf", "argparse", "namespace", "dict", "list"],
)
def test_settings_become_params_joined_by_slashes(store: Store, make, expected: dict[str, object]):
    with run("churn", params=make(), store=store) as made:
        pass
    assert get_run(made.id, store=store).params == expected
    with run("churn", store=store) as made:
        made.log_params(make())
    assert get_run(made.id, store=store).params == expected


def cyclic() -> Settings:
    made = Settings()
    made.notes = made
    return made


@pytest.mark.parametrize(
    "wrong", [3, "depth", [1], Settings, None, cyclic(), object()], ids=["int", "text", "list", "class", "none", "cycle", "object"]
)
def test_what_holds_no_settings_is_refused(store: Store, wrong: object):
    with run("churn", store=store) as made, pytest.raises(Misuse):
        made.log_params(wrong)
    assert get_run(made.id, store=store).params == {}


def test_a_configuration_that_lacks_something_is_refused_with_its_words():
    OmegaConf = pytest.importorskip("omegaconf").OmegaConf
    with pytest.raises(Misuse, match="'b' not found"):
        to_params(OmegaConf.create({"a": "${b}"}))


def test_a_configuration_file_is_kept_byte_for_byte(store: Store, tmp_path: Path):
    text = b"# tuned by hand\nlr: 1e-3   # was 1e-2\r\n"
    (tmp_path / "train.yaml").write_bytes(text)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "small.toml").write_bytes(text)
    with run("churn", store=store) as made:
        made.save_config("train.yaml")
        made.save_config(tmp_path / "conf")
        made.save_config("train.yaml", "second.yaml")
        with pytest.raises(NotFound):
            made.save_config("missing.yaml")
    read = get_run(made.id, store=store)
    assert [each.path for each in read.artifacts] == ["config/conf/model/small.toml", "config/second.yaml", "config/train.yaml"]
    assert read.read_artifact("config/train.yaml") == text
    assert read.params == {}


def test_settings_of_an_object_are_kept_as_a_file(store: Store):
    with run("churn", store=store) as made:
        made.save_config(Settings())
        made.save_config({"odd": float("nan"), "path": Path("a")}, "data.json")
        made.save_config(pydantic_settings(), "model.json")
        made.save_config(omegaconf_settings())
        for wrong in (3, None, Settings):
            with pytest.raises(Misuse, match="no settings"):
                made.save_config(wrong)
    read = get_run(made.id, store=store)
    assert json.loads(read.read_artifact("config/config.json"))["optimizer"] == {"lr": 0.1, "betas": [0.9, 0.99], "kind": "adam"}
    assert json.loads(read.read_artifact("config/data.json")) == {"odd": "NaN", "path": "a"}
    assert json.loads(read.read_artifact("config/model.json"))["key"] == "**********"
    assert b"same: ${lr}" in read.read_artifact("config/config.yaml")


def test_no_library_is_imported_to_recognise_settings(tmp_path: Path):
    script = (
        "import sys, dataclasses, stratal as st\n"
        "@dataclasses.dataclass\n"
        "class S:\n    a: int = 1\n"
        "with st.run('e', params=S()) as run:\n"
        "    run.log_params({'x': object(), 's': S()})\n"
        "print([n for n in ('pydantic', 'attr', 'attrs', 'omegaconf', 'argparse') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"
