"""Autolog of the Hugging Face Trainer: its callback, and its table of integrations."""

import sys
from importlib.util import find_spec

import pytest

if not (find_spec("transformers") and find_spec("accelerate")):
    pytest.skip("transformers and accelerate are not installed: they are in the extra `test`", allow_module_level=True)

import torch
from transformers import Trainer, TrainingArguments

from stratal.store.store import Store
from stratal.tracking.autologging import autolog, callback
from stratal.tracking.reading import ReadRun, get_run
from stratal.tracking.runs import run


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, x, labels=None):
        found = self.layer(x)
        return {"loss": (found - labels).square().mean(), "logits": found}


ROWS = [{"x": torch.ones(2) * i, "labels": torch.ones(1)} for i in range(8)]


def trainer(folder, report_to="none", callbacks=(), fails=False, **options) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=4, logging_steps=1, eval_strategy="steps", eval_steps=2, learning_rate=0.01, report_to=report_to,
        disable_tqdm=True, use_cpu=True, per_device_train_batch_size=2, **{"save_strategy": "no", **options},
    )  # fmt: skip
    rows = [{"x": torch.ones(2)}] if fails else ROWS
    return Trainer(Model(), arguments, train_dataset=rows, eval_dataset=ROWS, callbacks=list(callbacks))


def check(read: ReadRun) -> None:
    assert (read.params["learning_rate"], read.params["max_steps"], read.params["model_class"]) == (0.01, 4, "Model")
    assert read.params["parameters"] == 3 and not any("dir" in name for name in read.params)
    assert list(read.series("train/loss").steps)[:4] == [1, 2, 3, 4] and len(read.series("eval/loss").values) == 2
    assert "train/runtime" in read.metrics and not any(name.startswith("fit-") for name in (*read.params, *read.metrics))


def test_a_callback_and_a_watched_trainer_log_arguments_and_what_the_trainer_logs(store: Store, tmp_path):
    trainer(tmp_path, callbacks=[callback("transformers")]).train()  # outside of any run: as ever
    for how in ("callback", "watch"):
        with run("e", store=store) as logged:
            made = trainer(tmp_path, callbacks=[callback("transformers")] if how == "callback" else [])
            if how == "watch":
                logged.watch(logged.watch(made))
            made.train()
        check(get_run(logged.id, store=store))


def test_report_to_is_known_where_autolog_is_on(store: Store, tmp_path):
    assert autolog("transformers")[0].state == "on"
    try:
        with run("e", store=store) as logged:
            trainer(tmp_path, report_to="stratal", save_strategy="steps", save_steps=2, load_best_model_at_end=True).train()
    finally:
        autolog("transformers", off=True)
    read = get_run(logged.id, store=store)
    check(read)
    assert read.metrics["best_metric"] == pytest.approx(min(read.series("eval/loss").values), rel=1e-4)
    assert "checkpoint-" in str(read.params["best_checkpoint"])
    with pytest.raises(ValueError, match="stratal is not supported"):
        trainer(tmp_path, report_to="stratal")


def test_a_training_that_fails_raises_as_ever_and_the_next_one_is_logged(store: Store, tmp_path):
    ours = callback("transformers")
    with run("e", store=store) as logged:
        with pytest.raises(TypeError):
            trainer(tmp_path, callbacks=[ours], fails=True).train()
        trainer(tmp_path, callbacks=[ours]).train()
    assert "fit-2/train/loss" in get_run(logged.id, store=store).metrics and "transformers" in sys.modules
