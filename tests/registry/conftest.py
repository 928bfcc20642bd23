"""A store in a temporary folder, people who act in it, and models whose facts a test chooses."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from stratal.core.clock import SECOND_NS
from stratal.core.people import Identity, acting_as
from stratal.core.settings import Settings
from stratal.store.store import Store
from stratal.tracking.flavors.manifest import Manifest, ModelFile
from stratal.tracking.opening import open_store
from stratal.tracking.runs import run
from stratal.tracking.values import Evaluation, Model


class MovedClock:
    """A clock that a test moves; each reading is a nanosecond later, so that no two facts share a time."""

    def __init__(self) -> None:
        self.at_ns = 1_790_000_000 * SECOND_NS

    def now_ns(self) -> int:
        self.at_ns += 1
        return self.at_ns

    def monotonic_s(self) -> float:
        return self.at_ns / SECOND_NS

    def move(self, seconds: float) -> None:
        self.at_ns += int(seconds * SECOND_NS)


class House:
    """What a test of the registry needs: a store, and facts said in few words."""

    def __init__(self, folder, clock=None, template=None) -> None:
        self.clock = clock or MovedClock()
        if template is not None:
            shutil.copytree(template, folder)
        self.store: Store = open_store(folder, settings=Settings(user="ann", capture=False), clock=self.clock)

    def model(self, seed: str = "m", dataset: str | None = None) -> Model:
        content = f"weights of {seed}".encode()
        file = ModelFile(path="weights.bin", digest=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
        manifest = Manifest(flavor="sklearn", files=(file,))
        with run("churn", kind="train", store=self.store) as training:
            training.save_bytes("model/weights.bin", content)
            training.save_bytes("model/manifest.json", manifest.encode())
            if dataset is not None:
                training.edge("used", dataset, role="data")
        return Model(run=training.id, path="model", digest=manifest.digest, flavor="sklearn")

    def evaluate(self, model: Model, auc: float = 0.85, *, champion: Model | None = None, gain: float = 0.05, **changes) -> Evaluation:
        entry = {"value": auc, "low": auc - 0.02, "high": auc + 0.02, "confidence": 0.95, "n": 1000, "reason": None}
        difference = {"value": gain, "low": gain - 0.01, "high": gain + 0.01, "confidence": 0.95, "p": 0.001}
        against = None if champion is None else {"ref": "model:churn@?", "digest": champion.digest, "difference": {"auc": difference}}
        body = {
            "data": {"digest": "sha256:" + "d" * 64, "ref": None, "rows": 1000, "rows_shared_with_training": 0},
            "metrics": {"auc": entry},
            "slices": {},
            "fairness": {},
            "kpis": {},
            "champion": against,
            **changes,
        }
        with run("churn", kind="evaluation", store=self.store) as evaluation:
            evaluation.state("evaluation", body, subject=f"sha256:{model.digest}")
        return Evaluation(run=evaluation.id, subject=f"sha256:{model.digest}")

    def validate(self, dataset: str, ok: bool = True) -> None:
        with run("churn", kind="step", store=self.store) as checking:
            checking.state("validation", {"ok": ok, "dataset": dataset, "findings": []}, subject="sha256:" + "d" * 64)

    @contextmanager
    def acting(self, name: str, is_authenticated: bool = False) -> Iterator[None]:
        with acting_as(Identity(name=name, is_authenticated=is_authenticated)):
            yield


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """An empty store whose tables are made: copying it is twenty times quicker than making them."""
    folder = tmp_path_factory.mktemp("template") / "store"
    store = open_store(folder, settings=Settings(capture=False))
    store.settle()
    store.close()
    return folder


@pytest.fixture
def make_house(template):
    return lambda folder, clock=None: House(folder, clock, template)


@pytest.fixture
def house_seen(tmp_path, make_house, seen):
    """A house whose store is used here, and again through a server."""
    made = make_house(tmp_path / "store")
    here, made.store = made.store, seen(made.store)
    yield made
    here.close()


@pytest.fixture
def house(tmp_path, make_house):
    made = make_house(tmp_path / "store")
    yield made
    made.store.close()
