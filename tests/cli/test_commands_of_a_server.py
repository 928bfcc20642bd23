"""Each command with STRATAL_STORE=http://...: it works, or it refuses and says what to do. A command without a row here fails.

Excluded: what commands print; whoever adds one holds that against a folder."""

import os
import shlex
import shutil
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import polars as pl
import pytest
import typer
from sklearn.linear_model import LogisticRegression

import stratal as st
from stratal.cli.app import COMMANDS, build, main
from stratal.features import feature_view
from stratal.store.uploading import finish_uploads
from stratal.tracking.opening import open_store, use_store


class AtOnce:
    """Workers that do everything where they are asked."""

    def __init__(self, count: int, store: str) -> None:
        pass

    def submit(self, function, /, *args):
        done = Future()
        done.set_result(function(*args))
        return done

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace) -> None:
        pass


@st.step
def one(x: int) -> int:
    return x + 1


@st.pipeline
def plain(x: int) -> int:
    return one(x)


adding = plain.with_options(compute=AtOnce)

# Written so that they find what `team` has; {a}, {b}, {c}, {d} are runs, of which the last two are deleted, {p} is one of a pipeline.
WORKS = {
    "runs": "runs -q 'metrics.loss < 1'",
    "show": "show {a}",
    "alerts": "alerts",
    "compare": "compare {a} {b}",
    "top": "top metrics.loss",
    "spread": "spread metrics.loss",
    "importance": "importance metrics.loss",
    "views save": "views save good -q 'metrics.loss < 1'",
    "views show": "views show kept",
    "views remove": "views remove kept",
    "plot": "plot -m loss {a} {b}",
    "watch": "watch {a}",
    "events": "events --since 0 --limit 1",
    "why": "why {a}",
    "fork": "fork {a} --step 1",
    "tag": "tag {a} stage=done --remove none",
    "note": "note {a} 'looks fine'",
    "artifacts": "artifacts {a}",
    "output": "output {a}",
    "autolog": "autolog",
    "delete": "delete {b}",
    "restore": "restore {d}",
    "purge": "purge {c}",
    "data profile": "data profile rows.csv",
    "data infer": "data infer rows.csv",
    "data validate": "data validate rows.csv --schema schema.json",
    "data drift": "data drift rows.csv rows.csv",
    "data versions": "data versions churn",
    "data delete": "data delete dataset:spare@1",
    "data restore": "data restore dataset:gone@1",
    "data purge": "data purge dataset:old@1",
    "features list": "features list",
    "features show": "features show customer",
    "features get": "features get customer c1",
    "features parity": "features parity customer",
    "evaluate": "evaluate model:churn@1 rows.csv --target y",
    "register": "register artifact:{a}/model --name other",
    "models": "models churn",
    "gates": "gates model:churn@1 staging",
    "promote": "promote model:churn@1 staging",
    "history": "history churn",
    "policy": "policy churn",
    "audit verify": "audit verify",
    "study list": "study list",
    "study show": "study show tune",
    "checkpoints": "checkpoints {a}",
    "pipeline show": "pipeline show {p}",
    "pipeline why": "pipeline why {p} one",
    "webhook add": "webhook add hook https://hooks.example.org/x",
    "webhook list": "webhook list",
    "webhook deliveries": "webhook deliveries",
    "sync": "sync",
    "import": "import tensorboard logs",
    "export": "export out --artifacts",
}
# What they are asked here is refused, by a rule that a folder has, too: there is no approval, predecessor, report or endpoint.
REFUSED_AS_IN_A_FOLDER = {
    "approve": "approve model:churn@1 production",
    "rollback": "rollback churn --reason x",
    "report": "report {b}",
    "webhook pause": "webhook pause none",
    "webhook remove": "webhook remove none",
    "webhook resend": "webhook resend none",
    "webhook resume": "webhook resume none",
    "webhook test": "webhook test none",
}
ONLY_WHERE_THE_STORE_LIES = {
    "server": "server --port 0",
}
# Administration: done where the store lies, or over HTTP; in either way in plain words.
ADMINISTRATION = {
    "retain": "retain churn --days 1 --dry-run",
    "gc": "gc --dry-run",
    "doctor": "doctor",
    "migrate": "migrate --dry-run",
    "backup make": "backup make copies",
    "backup list": "backup list copies",
    "backup verify": "backup verify copies",
    "backup restore": "backup restore copies restored",
    "user add": "user add bob",
    "user list": "user list",
    "user disable": "user disable bob",
    "user enable": "user enable bob",
    "user password": "user password bob",
    "user bind": "user bind bob sub",
    "user log": "user log",
    "token create": "token create bob --title x",
    "token list": "token list",
    "token revoke": "token revoke none",
    "grant add": "grant add bob viewer",
    "grant list": "grant list",
    "grant remove": "grant remove bob viewer",
    "quota set": "quota set experiment:churn --runs 10000",
    "quota list": "quota list",
    "quota remove": "quota remove experiment:churn",
    "quota recount": "quota recount",
}
# Whose own tests have a server: they start programs, which takes long. `demo` has none.
HELD_BY_OTHERS = {"train", "reproduce", "pipeline resume", "demo"}


@pytest.fixture(scope="module")
def team(migrated: Path, tmp_path_factory: pytest.TempPathFactory, stage) -> Iterator[tuple[str, dict[str, str]]]:
    """A served store with something of each room, and the names of its runs."""
    from stratal.server.app import Application  # and all rooms

    here = open_store(shutil.copytree(migrated, tmp_path_factory.mktemp("team") / "store"))
    use_store(here)
    rows = pl.DataFrame({"k": [f"c{n}" for n in range(40)], "x": [float(n) for n in range(40)], "z": [1.0, 2.0] * 20})
    st.dataset("churn", rows)
    for number, name in enumerate(("spare", "old", "gone")):
        version = st.dataset(name, rows.with_columns(z=pl.lit(number)))
        if name != "spare":
            version.delete()
    ids = []
    for number in range(24):
        with st.run("churn", params={"lr": 0.1 * number, "depth": number % 3}, store=here) as run:
            run.log({"loss": 1 / (number + 2)}, step=1)
        ids.append(run.id)
    numbers = rows.select("x", "z").to_numpy()
    with st.run("churn", store=here) as trained:
        model = trained.log_model("model", LogisticRegression().fit(numbers, [0, 1] * 20), sample=numbers[:2])
    st.register("churn", model)
    view = feature_view("customer", source="dataset:churn", entity="k", features={"x": pl.col("x")})
    view.materialise("dataset:churn@1", store=here)
    st.study("tune", {"x": st.uniform(0.0, 1.0)}, minimize="loss", seed=1, store=here).optimize(lambda trial: trial["x"], trials=2)
    st.save_view("kept", "metrics.loss < 1", store=here)
    st.delete(ids[2], store=here)
    st.delete(ids[3], store=here)
    stage[0].handler = application = Application(here)
    yield stage[1], {"a": trained.id, "b": ids[1], "c": ids[2], "d": ids[3], "p": adding.run(1).id}
    application.close()
    here.close()


@pytest.fixture
def run_command(team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Give a function that runs a command line against the server, and gives how it ended and what it said."""
    url, names = team
    monkeypatch.setenv("STRATAL_STORE", url)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    pl.DataFrame({"x0": [float(n) for n in range(40)], "x1": [1.0, 2.0] * 20, "y": [0, 1] * 20}).write_csv("rows.csv")
    shutil.copytree(Path(__file__).parent.parent / "interop/fixtures/tensorboardx-2.6.5/tiny", "logs")
    with pytest.raises(SystemExit):
        main(["data", "infer", "rows.csv", "--output", "schema.json"])
    capsys.readouterr()

    def call(line: str) -> tuple[object, str]:
        with pytest.raises(SystemExit) as ended:
            main(shlex.split(line.format(**names)))
        said = capsys.readouterr()
        return ended.value.code or 0, said.out + said.err

    yield call
    finish_uploads()


def leaves(command: object, words: tuple[str, ...] = ()) -> Iterator[str]:
    for name, below in getattr(command, "commands", {}).items():
        yield from leaves(below, (*words, name))
    if not getattr(command, "commands", {}):
        yield " ".join(words)


def test_every_command_has_a_row():
    rows = [*WORKS, *REFUSED_AS_IN_A_FOLDER, *ONLY_WHERE_THE_STORE_LIES, *ADMINISTRATION, *HELD_BY_OTHERS]
    assert sorted(rows) == sorted(leaves(typer.main.get_command(build(list(COMMANDS)))))
    assert os.environ.get("STRATAL_STORE") is None


@pytest.mark.parametrize("name", WORKS)
def test_it_works(run_command, name: str):
    code, said = run_command(WORKS[name])
    assert code == 0, said


@pytest.mark.parametrize("name", REFUSED_AS_IN_A_FOLDER)
def test_it_is_refused_as_in_a_folder(run_command, name: str):
    code, said = run_command(REFUSED_AS_IN_A_FOLDER[name])
    assert code in (1, 2) and said.startswith("error ")
    assert "is a server" not in said


@pytest.mark.parametrize("name", ONLY_WHERE_THE_STORE_LIES)
def test_it_says_where_to_do_it(run_command, name: str):
    code, said = run_command(ONLY_WHERE_THE_STORE_LIES[name])
    assert code in (1, 2)
    assert "is a server" in said and "on the server's machine" in said


@pytest.mark.parametrize("name", ADMINISTRATION)
def test_administration_ends_in_plain_words(run_command, name: str):
    code, said = run_command(ADMINISTRATION[name])
    is_told = name == "doctor" and "good" in said  # it ends by 1 where something is to be done
    assert code == 0 or is_told or "error " in said or "Usage:" in said
