"""Scripts for W&B on our store: what they say, and what is then read. Its run files are in test_wandb_files.py, artifacts in
test_wandb_artifacts.py; no wandb library is used."""

import argparse
import copy
import math
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import stratal.interop.wandb as wandb
from stratal.core.errors import Misuse
from stratal.interop.wandb.script import session
from stratal.tracking import active
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import use_store
from stratal.tracking.reading import ReadRun, get_run


@pytest.fixture(autouse=True)
def _in_use(store, monkeypatch: pytest.MonkeyPatch):
    use_store(store)
    session._made.clear()
    session._current.clear()
    yield
    while (left := active.active_run()) is not None:
        left.finish()


def read(run) -> ReadRun:
    return get_run(run.ours.id)


def points(run, name: str) -> list[tuple[int, float]]:
    series = read(run).series(name)
    return list(zip(series.steps.tolist(), series.values.tolist(), strict=True))


def test_a_typical_script_is_a_run_with_its_words_settings_and_series():
    run = wandb.init(project="churn", name="first", notes="base", tags=["a", "b"], group="g", job_type="train", config={"lr": 0.1})
    wandb.config.update({"opt": {"beta": 0.9}})
    wandb.config.epochs = 3
    for i in range(3):
        wandb.log({"loss": 1 / (i + 1), "nested": {"acc": i}})
    wandb.finish()
    found = read(run)
    assert (found.experiment, found.name, found.group, found.job_type, found.status) == ("churn", "first", "g", "train", "finished")
    assert found.params == {"lr": 0.1, "opt/beta": 0.9, "epochs": 3}
    assert found.tags == {"a": "true", "b": "true"}
    assert [note.text for note in found.notes] == ["base"]
    assert points(run, "loss") == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert points(run, "nested/acc") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert (run.config["opt"], run.config.lr, wandb.run) == ({"beta": 0.9}, 0.1, None)


def test_rows_have_the_steps_that_wandb_gives_them():
    """The steps are those that wandb 0.31.0 wrote for the same calls; `low` it drops."""
    run = wandb.init(project="p")
    run.log({"first": 1})
    run.log({"part": 1}, commit=False)
    run.log({"rest": 2})
    assert run.step == 2
    run.log({"with_step": 1}, step=10)
    run.log({"joins": 2})
    run.log({"after": 3})
    run.log({"low": 1}, step=3)
    run.log({"after_low": 4})
    run.log({})
    run.log({"explicit": 1}, step=30, commit=True)
    run.log({"end": 1})
    steps = {name: read(run).series(name).steps.tolist() for name in read(run).metrics}
    assert steps == {
        "first": [0], "part": [1], "rest": [1], "with_step": [10], "joins": [10], "after": [11], "low": [3], "after_low": [12],
        "explicit": [30], "end": [31],
    }  # fmt: skip


def test_values_of_each_kind_are_kept_as_what_they_are(tmp_path: Path):
    (tmp_path / "page.html").write_text("<b>x</b>")
    run = wandb.init(project="p")
    run.log({"single": np.float32(0.5), "flag": True, "none": None, "odd": math.nan})
    run.log({"text": "hello", "list": [1, 2], "few": np.arange(5), "many": np.arange(100)})
    picture, plain = wandb.Image(np.full((1, 4, 6, 3), 7.0), caption="c"), wandb.Image(np.ones((2, 2)))
    run.log({"img": picture, "imgs": [plain, plain], "counts": wandb.Histogram(np_histogram=np.histogram([1, 2, 2], bins=2))})
    run.log({"html": wandb.Html("<i>y</i>"), "file": wandb.Html(tmp_path / "page.html")})
    run.log({"sound": wandb.Audio(np.zeros(800), sample_rate=8000), "film": wandb.Video(np.zeros((2, 3, 4, 6), np.uint8), fps=4)})
    table = wandb.Table(columns=["id", "label"], data=[[1, "a"]])
    table.add_data(2, "b")
    table.add_column("score", [0.5, 0.25])
    run.log({"table": table})
    found = read(run)
    assert found.metrics.keys() == {"single", "flag", "odd"} and found.metrics["flag"] == 1
    kinds = {item.name: (item.kind, item.step) for item in found.media()}
    assert kinds == {
        "text": ("text", 1), "list": ("json", 1), "few": ("json", 1), "many": ("histogram", 1), "img": ("image", 2), "imgs": ("image", 2),
        "counts": ("histogram", 2), "html": ("html", 3), "file": ("html", 3), "sound": ("audio", 4), "film": ("video", 4),
        "table": ("table", 5),
    }  # fmt: skip
    (kept,) = found.media("img")
    assert (kept.caption, kept.load().shape, int(kept.load().max())) == ("c", (4, 6, 3), 7)
    assert len(found.media("imgs")) == 2 and int(found.media("imgs")[0].load().max()) == 255
    assert found.media("table")[0].load().to_dict(as_series=False) == {"id": [1, 2], "label": ["a", "b"], "score": [0.5, 0.25]}
    assert found.media("counts")[0].load().counts.tolist() == [1, 2]


def test_several_films_are_one_with_all_of_them_side_by_side():
    run = wandb.init(project="p")
    films = np.zeros((3, 2, 3, 8, 16), np.uint8)
    films[0], films[1], films[2, 1] = 255, 128, 255
    run.log({"films": wandb.Video(films, fps=2)})
    frames = read(run).media("films")[0].load()
    assert frames.shape == (2, 16, 32, 3)
    corners = [[int(frame[y, x].mean()) for y, x in ((4, 8), (4, 24), (12, 8), (12, 24))] for frame in frames]
    assert np.allclose(corners, [[255, 128, 0, 0], [255, 128, 255, 0]], atol=8), "lossy, but in their places"


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_is_a_table_bare_and_wrapped(library):
    frame = pytest.importorskip(library).DataFrame({"id": [1, 2], "label": ["a", "b"]})
    run = wandb.init(project="p")
    run.log({"bare": frame, "wrapped": wandb.Table(dataframe=frame), "rows": wandb.Table(data=np.array([[1, 2]]), columns=["a", "b"])})
    tables = {item.name: item.load().to_dict(as_series=False) for item in read(run).media()}
    assert tables["bare"] == tables["wrapped"] == {"id": [1, 2], "label": ["a", "b"]} and tables["rows"] == {"a": [1], "b": [2]}
    assert wandb.Table(dataframe=frame).get_column("label") == ["a", "b"]


def test_tensors_keep_their_channels_first():
    torch = pytest.importorskip("torch")
    run = wandb.init(project="p")
    run.log({"img": wandb.Image(torch.zeros(3, 4, 6, requires_grad=True)), "loss": torch.tensor(0.5, requires_grad=True)})
    assert read(run).media("img")[0].load().shape == (4, 6, 3)
    assert points(run, "loss") == [(0, 0.5)] and run.summary["loss"] == 0.5


def test_a_figure_is_logged_bare_and_as_an_image():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(1, 1))
    axes.plot([1, 2])
    run = wandb.init(project="p")
    run.log({"bare": figure, "wrapped": wandb.Image(figure)})
    pyplot.close(figure)
    assert {item.name: item.kind for item in read(run).media()} == {"bare": "figure", "wrapped": "figure"}


@pytest.mark.parametrize(
    ("summary", "goal", "stands"),
    [("min", None, 1.0), ("max", None, 3.0), ("mean", None, 2.0), ("first", None, 3.0), (None, None, 2.0), ("best", "minimize", 1.0)],
)
def test_the_summary_is_what_define_metric_says_in_the_script_and_later(summary, goal, stands):
    run = wandb.init(project="p")
    wandb.define_metric("epoch")
    wandb.define_metric("val/*", "epoch", summary=summary, goal=goal)
    for epoch, value in enumerate((3.0, 1.0, 2.0)):
        run.log({"epoch": epoch * 10, "val": {"loss": value}})
    assert wandb.summary["val/loss"] == stands and run.summary.epoch == 20
    assert read(run).summary["val/loss"].value == stands
    assert read(run).series("val/loss").against().x.tolist() == [0.0, 10.0, 20.0]
    assert wandb.Api().run(run.path).summary["val/loss"] == stands


def test_what_is_set_in_the_summary_by_hand_is_kept():
    run = wandb.init(project="p")
    run.log({"loss": 0.5})
    run.summary["best"] = np.float64(0.2)
    run.summary.update({"loss": 0.1, "verdict": "good", "test": {"auc": 0.9}})
    found = read(run)
    assert (found.metrics["best"], found.metrics["loss"], found.metrics["test/auc"]) == (0.2, 0.1, 0.9)
    assert found.tags["verdict"] == "good"


def test_alerts_files_and_words_of_a_run_in_course(tmp_path: Path):
    run = wandb.init(project="p", tags=["a"])
    wandb.alert("title", "text", level=wandb.AlertLevel.WARN, wait_duration=5)
    Path("out/deep").mkdir(parents=True)
    Path("out/deep/x.txt").write_text("x")
    Path("elsewhere.txt").write_text("y")
    assert wandb.save("out/**") == ["out/deep/x.txt"]
    wandb.save(str(tmp_path / "out/deep/*.txt"), base_path=tmp_path / "out")
    run.save(str(tmp_path / "out/deep/x.txt"))
    run.notes = "later"
    run.tags = (*run.tags, "b")
    found = read(run)
    assert [(alert.title, alert.level) for alert in found.alerts] == [("title", "warning")]
    assert {artifact.path for artifact in found.artifacts} == {"out/deep/x.txt", "deep/x.txt"}
    assert ([note.text for note in found.notes], set(found.tags)) == (["later"], {"a", "b"})
    assert Path(run.dir).is_dir() and run.url == f"stratal show {found.short}"
    with pytest.raises(wandb.Error, match="no file is at nothing"):
        run.save("nothing.*")
    with pytest.raises(wandb.Error, match="not below"):
        run.save("elsewhere.txt", base_path="out")


@pytest.mark.parametrize(("exit_code", "status", "error"), [(0, "finished", ""), (None, "finished", ""), (1, "failed", "exit code 1")])
def test_the_exit_code_says_how_a_run_ended(exit_code, status, error):
    run = wandb.init(project="p")
    run.finish(exit_code=exit_code)
    assert (read(run).status, read(run).error) == (status, error)


def test_a_block_that_raises_ends_its_run_as_failed():
    with pytest.raises(ZeroDivisionError), wandb.init(project="p") as run:
        1 / 0  # noqa: B018
    assert (read(run).status, read(run).error) == ("failed", "ZeroDivisionError: division by zero")


def test_variables_say_what_the_call_leaves_out(monkeypatch: pytest.MonkeyPatch):
    said = {
        "PROJECT": "env",
        "NAME": "n",
        "NOTES": "text",
        "TAGS": "a, b",
        "RUN_GROUP": "g",
        "JOB_TYPE": "eval",
        "RUN_ID": "xyz",
        "ENTITY": "team",
    }
    for name, value in said.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    run = wandb.init(job_type="train")
    found = read(run)
    assert (found.experiment, found.name, found.group, found.job_type) == ("env", "n", "g", "train")
    assert found.tags == {"a": "true", "b": "true", "wandb.id": "xyz", "wandb.entity": "team"}
    assert (run.id, run.path, [note.text for note in found.notes]) == ("xyz", "team/env/xyz", ["text"])
    run.finish()
    monkeypatch.setenv("WANDB_RESUME", "allow")
    assert wandb.init().resumed


def test_settings_count_before_variables_and_after_arguments(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_PROJECT", "env")
    run = wandb.init(name="said", settings=wandb.Settings(project="set", run_name="other", run_id="abc", run_tags=["t"], silent=True))
    assert (run.project, run.name, run.id, run.tags, run.settings.run_id) == ("set", "said", "abc", ("t",), "abc")


@pytest.mark.parametrize("variables", [{"WANDB_MODE": "disabled"}, {"WANDB_DISABLED": "true"}, {"WANDB_MODE": "online"}])
def test_a_disabled_script_runs_and_writes_nothing(variables, monkeypatch: pytest.MonkeyPatch, store):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    mode = "disabled" if variables == {"WANDB_MODE": "online"} else None
    Path("x.txt").write_text("x")
    with wandb.init(project="p", config={"lr": 0.1}, mode=mode) as run:
        wandb.config.lr = 0.2
        run.log({"loss": 0.5, "img": wandb.Image(np.zeros((2, 2)))})
        run.define_metric("loss", summary="min")
        run.log_artifact("x.txt", type="data")
        wandb.save("x.txt")
        wandb.alert("title")
        run.summary["best"] = 1
        run.tags, run.notes = ("a",), "note"
        assert (wandb.config.lr, run.summary["loss"], run.step, Path(run.dir).is_dir()) == (0.2, 0.5, 1, True)
        with pytest.raises(wandb.Error, match="read the files where they are"):
            run.use_artifact("x:latest")
    assert wandb.run is None and not find_runs() and not (store.folder / "wandb").exists()


def test_resuming_goes_on_after_the_last_step_with_config_and_tags():
    first = wandb.init(project="p", id="same", config={"lr": 0.1}, tags=["a"], name="n", group="g")
    first.log({"loss": 1.0}, step=7)
    first.finish()
    again = wandb.init(project="p", id="same", resume="must", config={"lr": 0.2})
    assert (again.resumed, again.starting_step, again.step, again.config.lr, again.name, again.tags[0]) == (True, 8, 8, 0.2, "n", "a")
    assert (again.group, again.summary["loss"]) == ("g", 1.0)
    again.log({"loss": 0.5})
    again.finish()
    assert again.ours.id == first.ours.id and points(first, "loss") == [(7, 1.0), (8, 0.5)]
    with pytest.raises(wandb.Error, match="is there already"):
        wandb.init(project="p", id="same", resume="never")
    with pytest.raises(wandb.Error, match="no run 'other' to resume"):
        wandb.init(project="p", id="other", resume="must")
    with pytest.raises(wandb.Error, match="no run 'same' to resume in project 'q'"):
        wandb.init(project="q", id="same", resume="must")
    assert wandb.init(project="p", id="fresh", resume="allow").resumed is False


def test_an_id_that_was_given_by_us_is_resumed_too():
    first = wandb.init(project="p")
    first.finish()
    assert wandb.init(project="p", id=first.id, resume="must").ours.id == first.ours.id


def test_a_fork_has_the_rows_up_to_its_step_and_an_id_of_its_own():
    origin = wandb.init(project="p", id="root", config={"lr": 0.1}, group="g", job_type="train")
    for i in range(5):
        origin.log({"loss": i})
    origin.finish()
    fork = wandb.init(project="p", fork_from="root?_step=2", config={"lr": 0.3}, job_type="tune")
    fork.log({"loss": 9})
    assert points(fork, "loss") == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 9.0)]
    assert (fork.group, fork.job_type, read(fork).group, read(fork).job_type) == ("g", "tune", "g", "tune")
    assert (fork.config.lr, fork.starting_step, "wandb.id" in read(fork).tags) == (0.3, 3, False)
    assert wandb.Api().run("p/root").ours.id == origin.ours.id
    for text in ("root", "root?_step=x", "nobody?_step=1"):
        with pytest.raises(wandb.Error, match=r"names no step|no run 'nobody'"):
            wandb.init(project="p", fork_from=text, reinit=True)


def test_a_second_init_gives_the_open_run_unless_reinit_says_else():
    first = wandb.init(project="p")
    assert wandb.init(project="q") is first is wandb.run
    second = wandb.init(project="p", reinit="create_new")
    second.log({"b": 1})
    first.log({"a": 1})
    assert (read(first).status, wandb.run) == ("running", first), "W&B, too, leaves wandb.run as it is"
    assert wandb.init() is second, "the newest that is open"
    with pytest.raises(wandb.Error, match="a run is open"):
        wandb.init(id=first.id, resume="must")
    third = wandb.init(project="p", settings={"reinit": "finish_previous"})
    assert [read(run).status for run in (first, second, third)] == ["finished", "finished", "running"]
    assert wandb.run is third


def test_a_forked_process_logs_to_its_parents_run_until_it_begins_its_own(store):
    script = """
import os, stratal.interop.wandb as wandb
run = wandb.init(project="p", name="parent")
if (child := os.fork()) == 0:
    wandb.log({"from_child": 1}, step=5)
    with wandb.init(project="p", name="child") as own:
        wandb.log({"own": 1})
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
run.log({"after": 1})
"""
    environ = {**os.environ, "STRATAL_STORE": str(store.folder)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environ)
    assert {(run.name, run.status): set(run.metrics) for run in find_runs()} == {
        ("parent", "finished"): {"from_child", "after"}, ("child", "finished"): {"own"},
    }  # fmt: skip


def test_a_setting_keeps_its_value_unless_a_change_is_allowed():
    run = wandb.init(project="p", config=argparse.Namespace(lr=0.1, depth=3), config_exclude_keys=["depth"])
    wandb.config.lr = 0.1
    with pytest.raises(wandb.Error, match="allow_val_change=True"):
        wandb.config.update({"lr": 0.2, "new": 1})
    assert dict(run.config) == {"lr": 0.1}
    wandb.config.update({"lr": 0.2}, allow_val_change=True)
    wandb.config.setdefaults({"lr": 5, "width": 2})
    with pytest.raises(AttributeError, match="config has no 'depht'; it has: lr, width"):
        wandb.config.depht  # noqa: B018
    run.finish()
    assert read(run).params == {"lr": 0.2, "width": 2}
    free = wandb.init(project="p", config={"lr": 0.1}, allow_val_change=True)
    free.config["lr"] = 0.3
    assert read(free).params == {"lr": 0.3}


def test_settings_are_copied_and_pickled_as_what_they_say():
    config = wandb.init(project="p", config={"lr": 0.1, "opt": {"beta": [1]}}).config
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == copy.copy(config) == {"lr": 0.1, "opt": {"beta": [1]}}
    copy.copy(config)["lr"] = 5
    assert config.lr == 0.1


def test_a_setting_that_is_refused_is_not_set():
    run = wandb.init(project="p")
    with pytest.raises(Misuse):
        run.config["bad\nname"] = 1
    assert dict(run.config) == {} and read(run).params == {}


@pytest.mark.parametrize("say", ["config", "summary"])
def test_what_belongs_to_a_run_needs_one(say):
    assert wandb.run is None
    with pytest.raises(wandb.Error, match=f"wandb.{say} needs a run"):
        getattr(wandb, say)
    for call in (lambda: wandb.log({"a": 1}), lambda: wandb.save("x"), lambda: wandb.use_artifact("x"), lambda: wandb.alert("x")):
        with pytest.raises(wandb.Error, match=r"call wandb\.init"):
            call()
    wandb.finish()
    assert wandb.login() is True


def test_the_api_reads_rows_as_scripts_expect_them():
    with wandb.init(project="p", id="one", entity="team", config={"lr": 0.1}, tags=["a"]) as run:
        run.log({"loss": 1.0, "acc": 0.1})
        run.log({"loss": 0.5})
    with wandb.init(project="p", name="second") as other:
        other.finish(exit_code=1)
    api = wandb.Api(timeout=30)
    found = api.run("team/p/one")
    assert (found.id, found.state, found.config, found.tags, found.summary) == (
        "one",
        "finished",
        {"lr": 0.1},
        ["a"],
        {"loss": 0.5, "acc": 0.1},
    )
    rows = list(found.scan_history())
    assert [(row["_step"], row["loss"], row.get("acc")) for row in rows] == [(0, 1.0, 0.1), (1, 0.5, None)]
    assert rows[0]["_timestamp"] == pytest.approx(found.ours.started.timestamp(), abs=60) and 0 <= rows[0]["_runtime"] < 60
    assert list(found.scan_history(keys=["acc", "loss"])) == [{"acc": 0.1, "loss": 1.0}]
    assert [row["_step"] for row in found.scan_history(min_step=1, max_step=2)] == [1]
    assert found.history(keys=["loss"], pandas=False) == [{"loss": 1.0, "_step": 0}, {"loss": 0.5, "_step": 1}]
    assert found.history()["loss"].tolist() == [1.0, 0.5] and math.isnan(found.history()["acc"][1])
    assert [(each.name, each.state) for each in api.runs("team/p")] == [("second", "failed"), (found.name, "finished")]
    assert api.runs("p", order="+created_at")[0].id == "one"
    for wrong in (lambda: api.run("p/none"), lambda: api.runs("p", filters={"a": 1}), lambda: api.runs("p", order="-summary_metrics.x")):
        with pytest.raises(wandb.Error, match=r"stratal runs|st\.runs"):
            wrong()


@pytest.mark.parametrize(
    ("name", "instead"),
    [("sweep", "st.study"), ("agent", "optimize"), ("plot", "log a figure"), ("Object3D", "run.save"), ("keras", "st.callback"),
     ("restore", "st.get"), ("sklearn", "st.autolog"), ("tensorboard", "stratal import tensorboard")],
)  # fmt: skip
def test_what_is_missing_raises_and_says_what_to_write(name, instead):
    with pytest.raises(wandb.Error, match=rf"wandb\.{name} is not there") as raised:
        getattr(wandb, name)
    assert instead in raised.value.hint


def test_each_public_name_of_wandb_is_there_or_says_what_to_write():
    """The names are `wandb.__all__` of 0.31.0."""
    public = (
        "init finish setup login save sweep controller agent config log summary Api Graph Image Plotly Video Audio Table EvalTable Html "
        "box3d "
        "Object3D Molecule Histogram ArtifactTTL log_artifact use_artifact log_model use_model link_model define_metric Error "
        "termsetup termlog termerror termwarn Artifact Settings teardown watch unwatch plot plot_table restore Run"
    )
    wandb.init(project="p")
    missing = []
    for name in public.split():
        try:
            getattr(wandb, name)
        except wandb.Error as error:
            assert error.hint
            missing.append(name)
    assert missing == [
        "sweep", "controller", "agent", "Graph", "EvalTable", "box3d", "Object3D", "Molecule", "ArtifactTTL", "termsetup", "plot",
        "plot_table", "restore",
    ]  # fmt: skip


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(wandb, "nothing_of_the_kind") and "init" in dir(wandb)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda run: run.log([1, 2]), "log takes a dict"),
        (lambda run: run.log({"a": 1}, step=1.5), r"step 1\.5 is no whole number"),
        (lambda run: wandb.Video(np.zeros((3, 4))), "time, channels, height, width"),
        (lambda run: wandb.Image(np.zeros((2, 2)), boxes={"a": 1}), "draw them into the pixels"),
        (lambda run: run.log({"x": wandb.Image(np.zeros((2, 2, 5)))}), "is no image"),
        (lambda run: run.log({"x": wandb.Image(np.full((2, 2), 300.0))}), "pixels go from 300"),
        (lambda run: wandb.Table(columns=["a", "b"]).add_data(1), "1 values for 2 columns"),
        (lambda run: wandb.Table(columns=["a"], data=[[1]]).add_column("b", [1, 2]), "2 values for 1 rows"),
        (lambda run: wandb.Table(columns=["a"], data=5), "is no table"),
        (lambda run: run.log({"x": wandb.Table(columns=["a"], data=[[wandb.Html("x")]])}), r"wandb\.Html in a cell of a table"),
        (lambda run: run.log({"x": object()}), "nothing that can be logged"),
        (lambda run: wandb.Histogram(None), "made of values"),
        (lambda run: run.define_metric("a", summary="min,max"), "summary='min,max' cannot be honoured"),
        (lambda run: run.define_metric("a", summary="most"), "is no summary"),
        (lambda run: run.alert("a", level="LOUD"), "level='LOUD' is unknown"),
        (lambda run: run.alert("a", wait_duration="long"), "is no time"),
        (lambda run: run.link_model("x", "y"), "st.register"),
        (lambda run: run.unwatch(), "leave the line out"),
        (lambda run: setattr(run, "name", "new"), "name it when it begins"),
        (lambda run: run.config.update(5), "holds no settings"),
        (lambda run: run.config.pop("a"), "cannot be taken back|'a'"),
        (lambda run: wandb.init(config="config.yaml", reinit=True), "config is a path"),
        (lambda run: wandb.init(mode="loud", reinit=True), "mode='loud' is unknown"),
        (lambda run: wandb.init(resume="maybe", reinit=True), "resume='maybe' is unknown"),
        (lambda run: wandb.init(reinit="perhaps"), "reinit='perhaps' is unknown"),
        (lambda run: wandb.init(config=5, reinit=True), "holds no settings"),
        (lambda run: wandb.init(config={"a\n": 5}, reinit=True), "cannot name the param"),
        (lambda run: wandb.init(resume_from="x?_step=1"), "resume_from cannot be honoured"),
        (lambda run: wandb.init(sync_tensorboard=True), "stratal import tensorboard"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_refused_in_words_and_writes_nothing(call, words):
    run = wandb.init(project="p")
    with pytest.raises((Misuse, KeyError), match=words):
        call(run)
    found = read(run)
    assert (found.metrics, found.params, found.media(), run.step) == ({}, {}, [], 0)
    assert [(each.id, each.status) for each in find_runs()] == [(run.ours.id, "running")]


def test_importing_the_module_imports_nothing_heavy():
    code = "import sys, stratal.interop.wandb as wandb; wandb.Error, wandb.AlertLevel; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "polars", "sqlalchemy", "pandas", "torch"} & set(loaded)


def test_what_hints_tell_people_to_write_is_there():
    import stratal as st
    from stratal.cli.app import COMMANDS

    sources = "".join(file.read_text() for file in Path(session.__file__).parent.glob("*.py"))
    verbs, commands = (
        set(re.findall(r"\bst\.(\w+)\(", sources)),
        set(re.findall(r"stratal (runs|show|import|delete|gc|restore)\b", sources)),
    )
    assert len(verbs) > 8 and verbs <= set(st.__all__), verbs - set(st.__all__)
    assert commands and commands <= set(COMMANDS)
