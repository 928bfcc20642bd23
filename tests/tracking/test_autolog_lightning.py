"""Autolog of Lightning: its entry point, callback and logger."""

import sys
import tomllib
from pathlib import Path

import pytest

if not pytest.importorskip("importlib.util").find_spec("lightning"):
    pytest.skip("lightning is not installed: it is in the extra `test`", allow_module_level=True)

import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from stratal.store.store import Store
from stratal.tracking.autolog import fits
from stratal.tracking.autolog.lightning import logger
from stratal.tracking.autologging import autolog, callback
from stratal.tracking.reading import ReadRun, get_run
from stratal.tracking.runs import run

ENTRY_POINTS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["entry-points"]
DATA = torch.randn(16, 2, generator=torch.Generator().manual_seed(0))


class Module(lightning.LightningModule):
    def __init__(self, lr: float = 0.1, fails: bool = False):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, number):
        if self.hparams.fails:
            raise ValueError("a broken batch")
        loss = self.layer(batch).square().mean()
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, number):
        self.log("val_loss", self.layer(batch).square().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


def trainer(folder: Path, **options) -> lightning.Trainer:
    options = {"logger": False, "enable_checkpointing": False, "max_epochs": 2, **options}
    return lightning.Trainer(
        accelerator="cpu", log_every_n_steps=1, enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder, **options
    )


def fit(made: lightning.Trainer, module: Module | None = None) -> lightning.Trainer:
    batches = torch.utils.data.DataLoader(DATA, batch_size=8)
    made.fit(module or Module(), batches, batches)
    return made


@pytest.fixture
def entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What an installation of this very tree says to other packages."""
    folder = tmp_path / "installed" / "stratal_of_this_tree-0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: stratal-of-this-tree\nVersion: 0\n")
    groups = (f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in names.items()) for group, names in ENTRY_POINTS.items())
    (folder / "entry_points.txt").write_text("\n".join(groups))
    monkeypatch.syspath_prepend(str(folder.parent))
    yield
    autolog("lightning", off=True)


def check(read: ReadRun) -> None:
    assert (read.params["lr"], read.params["optimizer"], read.params["trainer/max_epochs"]) == (0.1, "SGD", 2)
    assert (read.params["parameters"], read.params["module_class"]) == (3, "Module")
    assert list(read.series("train_loss").steps) == [0, 1, 2, 3] and len(read.series("val_loss").values) == 2
    assert (read.metrics["epochs"], read.metrics["steps"]) == (2, 4)
    assert not any(name.startswith("fit-") for name in (*read.params, *read.metrics))


def test_each_trainer_is_logged_once_autolog_is_on_and_none_before(store: Store, tmp_path: Path, entry_points):
    with run("e", store=store) as silent:
        fit(trainer(tmp_path))
    assert get_run(silent.id, store=store).metrics == {}
    assert autolog("lightning")[0].state == "on"
    fit(trainer(tmp_path))  # outside of any run: as ever
    with run("e", store=store) as logged:
        made = fit(trainer(tmp_path, callbacks=[callback("lightning")]))  # one owner, however often it was asked for
        assert made.loggers == []
    check(get_run(logged.id, store=store))


def test_a_watched_trainer_tells_what_checkpoints_and_early_stopping_found(store: Store, tmp_path: Path):
    with run("e", store=store) as logged:
        callbacks = [ModelCheckpoint(monitor="val_loss"), EarlyStopping("val_loss", min_delta=1e9, patience=1)]
        made = logged.watch(trainer(tmp_path, enable_checkpointing=True, callbacks=callbacks, max_epochs=9))
        fit(made)
    read = get_run(logged.id, store=store)
    assert read.metrics["best_score"] == pytest.approx(min(read.series("val_loss").values))
    assert read.params["best_checkpoint"] == made.checkpoint_callback.best_model_path
    assert str(made.checkpoint_callback.best_model_path).startswith(str(tmp_path / "checkpoints"))  # its folder is what it was
    assert read.metrics["stopped_epoch"] == 1


def test_a_fit_that_fails_raises_as_ever_and_leaves_the_trainer_as_it_was(store: Store, tmp_path: Path):
    with run("e", store=store) as logged:
        made = logged.watch(trainer(tmp_path))
        with pytest.raises(ValueError, match="a broken batch"):
            fit(made, Module(fails=True))
        assert made.loggers == []
    assert get_run(logged.id, store=store).params["fails"] is True


def test_the_logger_alone_logs_metrics_and_hyperparameters(store: Store, tmp_path: Path):
    with run("e", store=store) as logged:
        ours = logger()
        fit(trainer(tmp_path, logger=ours, callbacks=[callback("lightning")]))
        assert (ours.name, ours.version) == ("e", logged.short)
    read = get_run(logged.id, store=store)
    assert read.params["lr"] == 0.1 and len(read.series("train_loss").values) == 4
    assert not any(name.startswith("fit-") for name in (*read.params, *read.metrics))


def test_the_entry_points_are_light_and_silent():
    from stratal.tracking.autolog.entries import lightning_callbacks, pytorch_lightning_callbacks

    assert lightning_callbacks() == [] == pytorch_lightning_callbacks()
    assert fits._exclusive == {} and "lightning" in sys.modules
