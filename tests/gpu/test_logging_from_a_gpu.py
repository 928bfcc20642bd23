"""Values that lie on a GPU: logged, watched, logged by libraries, saved as models."""

import warnings

import numpy as np
import pytest
import torch

import stratal as st
from stratal.store.store import Store
from stratal.tracking import flavors
from stratal.tracking.autolog import fits
from stratal.tracking.autologging import callback
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def nothing_left_out(monkeypatch: pytest.MonkeyPatch):
    """A library's hook that fails only complains, once."""
    said = []
    monkeypatch.setattr(fits, "complain", lambda library, what: said.append(what))
    yield
    assert said == []


def test_tensors_are_logged_as_numbers_params_and_pictures(store: Store, gpu):
    with run("e", store=store, params={"scale": torch.tensor(3, device=gpu)}) as logged:
        logged.log({"loss": torch.tensor(0.5, device=gpu, requires_grad=True), "half": torch.tensor(2.0, device=gpu).bfloat16()})
        logged.log({"picture": st.image(torch.rand(3, 8, 9, device=gpu)), "spread": st.histogram(torch.randn(1000, device=gpu))})
    read = get_run(logged.id, store=store)
    assert (read.metrics["loss"], read.metrics["half"], read.params["scale"]) == (0.5, 2.0, 3)
    assert read.media("picture")[0].load().shape[:2] == (8, 9)
    assert read.media("spread")[0].load().counts.sum() == 1000


def test_norms_and_histograms_are_those_of_a_cpu_also_where_only_repeatable_operations_are_allowed(store: Store, gpu):
    torch.use_deterministic_algorithms(True)
    module = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 5)).to(gpu)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.0)
    for weight in module.parameters():
        weight.grad = torch.randn_like(weight)
    with run("e", store=store) as logged:
        logged.watch(module, optimizer=optimizer, every=1, histograms=True)
        optimizer.step()
    read = get_run(logged.id, store=store)
    for name, weight in module.named_parameters():
        here = weight.detach().cpu()
        assert read.metrics[f"parameters/{name}"] == pytest.approx(float(here.norm()), rel=1e-5)
        assert read.metrics[f"gradients/{name}"] == pytest.approx(float(weight.grad.cpu().norm()), rel=1e-5)
        shown = read.media(f"histograms/parameters/{name}")[0].load()
        assert shown.counts.sum() == here.numel() and (shown.edges[0], shown.edges[-1]) == (float(here.min()), float(here.max()))


def test_all_norms_of_a_step_wait_for_the_gpu_once(store: Store, gpu):
    module = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(20))).to(gpu)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module(torch.ones(2, 8, device=gpu)).sum().backward()
    optimizer.step()  # what torch makes ready once
    with run("e", store=store) as logged:
        logged.watch(module, optimizer=optimizer, every=1)
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            optimizer.step()
        torch.cuda.set_sync_debug_mode("default")
    assert len([each for each in caught if "synchroniz" in str(each.message)]) == 1
    assert len(get_run(logged.id, store=store).metrics) == 82


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = torch.nn.Linear(4, 64), torch.nn.BatchNorm1d(64), torch.nn.Linear(64, 1)
        self.register_buffer("mean", torch.full((4,), 0.5))

    def forward(self, x):
        shift = torch.arange(4, device=x.device) * 0.1
        return torch.sigmoid(self.last(torch.relu(self.norm(self.first(x - self.mean + shift)))))


def test_a_model_of_a_gpu_is_saved_loaded_without_one_and_answers_tensors_of_both(program, tmp_path, gpu):
    torch.manual_seed(0)
    rows = torch.randn(50, 4, device=gpu)
    module = Net().to(gpu).eval()
    flavors.save(module, tmp_path / "model", rows)
    assert module.first.weight.is_cuda
    with torch.no_grad():
        expected = module(rows)[:, 0].cpu().numpy()
    back = flavors.load(tmp_path / "model")
    for asked in (rows, rows.cpu(), rows.cpu().numpy()):
        np.testing.assert_allclose(back.predict(asked), expected, rtol=1e-4)
    np.save(tmp_path / "rows.npy", rows.cpu().numpy())
    text = """
        import numpy, torch
        from stratal.tracking import flavors
        assert not torch.cuda.is_available()
        numpy.save("answers.npy", flavors.load(__import__("pathlib").Path("model")).predict(numpy.load("rows.npy")))
    """
    program(text, CUDA_VISIBLE_DEVICES="")
    np.testing.assert_array_equal(np.load(tmp_path / "answers.npy"), back.predict(rows))


def test_saving_a_model_takes_no_room_on_its_gpu(tmp_path, gpu):
    module = torch.nn.Sequential(torch.nn.Linear(4, 4096), torch.nn.Linear(4096, 4096), torch.nn.Linear(4096, 1)).to(gpu)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    flavors.save(module, tmp_path / "model", torch.randn(10, 4, device=gpu))
    assert torch.cuda.max_memory_allocated() - before < 1 << 20


def test_lightning_on_a_gpu_is_logged(store: Store, tmp_path):
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch, number):
            loss = self.layer(batch).square().mean()
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch, number):
            self.log("val_loss", self.layer(batch).square().mean())

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    batches = torch.utils.data.DataLoader(torch.randn(16, 2), batch_size=8)
    with run("e", store=store) as logged:
        best = lightning.pytorch.callbacks.ModelCheckpoint(dirpath=tmp_path, monitor="val_loss")
        trainer = lightning.Trainer(
            accelerator="gpu", devices=1, max_epochs=2, log_every_n_steps=1, logger=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=tmp_path, callbacks=[best, callback("lightning")],
        )  # fmt: skip
        trainer.fit(Module(), batches, batches)
    read = get_run(logged.id, store=store)
    assert read.params["trainer/accelerator"] == "CUDAAccelerator"
    assert len(read.series("train_loss").values) == 4 and read.metrics["best_score"] == pytest.approx(float(best.best_model_score))


def test_transformers_on_a_gpu_is_logged(store: Store, tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def forward(self, x, labels=None):
            found = self.layer(x)
            return {"loss": (found - labels).square().mean(), "logits": found}

    rows = [{"x": torch.ones(2) * i, "labels": torch.ones(1)} for i in range(8)]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=4, logging_steps=1, report_to="none", disable_tqdm=True, save_strategy="no", bf16=True
    )
    with run("e", store=store) as logged:
        trainer = transformers.Trainer(Model(), arguments, train_dataset=rows, callbacks=[callback("transformers")])
        trainer.train()
    assert next(trainer.model.parameters()).is_cuda
    read = get_run(logged.id, store=store)
    assert list(read.series("train/loss").steps)[:4] == [1, 2, 3, 4] and read.params["bf16"]
