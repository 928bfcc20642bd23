"""What runs of real programs hold of them: entry, inputs, late imports, leased runs; and never a secret. Excluded: single parts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stratal.core.origin import Origin, inherit, origin
from stratal.tracking.capture.inputs import files_in
from stratal.tracking.explaining import capture_of
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.reading import ReadRun

# Joined here, so that no scanner takes this file for a leak.
SECRETS = {
    "cloud key": "AKIA" + "IOSFODNN7EXAMPLE",
    "code host": "gh" + "p_16C7e42F292c6912E7710c838347Ae178B4a",
    "models": "hf" + "_AbCdEfGhIjKlMnOpQrStUvWxYz",
    "chat": "xoxb" + "-123456789012-abcdefGHIJKL",
    "payment": "sk" + "_live_4eC39HqLyjWDarjtT1zdp7dc",
    "web": "ey" + "JhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N",
    "named": "correct-horse" + "-battery-staple",
    "remote": "tok" + "en-of-the-remote",
    "dotenv": "value-of-the-" + "dotenv-file",
    "variable": "value-of-the-" + "variable",
}


def program(folder: Path, text: str, *words: str, fails: bool = False, **variables: str) -> list[ReadRun]:
    (folder / "train.py").write_text(text)
    environ = {**os.environ, "STRATAL_CAPTURE": "on", **variables}
    done = subprocess.run([sys.executable, "train.py", *words], cwd=folder, env=environ, capture_output=True, text=True)
    assert (done.returncode != 0) == fails, done.stderr
    return list(find_runs(order_by="started", store=open_store(folder / ".stratal")))


def git(folder: Path, *words: str) -> None:
    options = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *options, *words], cwd=folder, check=True, capture_output=True)


def test_no_secret_of_a_program_reaches_its_store(tmp_path: Path) -> None:
    s = SECRETS
    (tmp_path / "tracked.py").write_text("x = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    git(tmp_path, "remote", "add", "origin", f"https://me:{s['remote']}@example.org/r.git")
    (tmp_path / "tracked.py").write_text(f"x = 2\nclient = '{s['chat']}'\n")
    (tmp_path / "fresh.py").write_text(f"key = '{s['models']}'\n")
    (tmp_path / "conf.yaml").write_text(f"lr: 0.1\npassword: {s['named']}\npay: {s['payment']}\n")
    (tmp_path / ".env").write_text(f"ANYTHING={s['dotenv']}\n")
    text = f"import stratal as st\nimport fresh, tracked\ncloud = '{s['cloud key']}'\nwith st.run('e') as run: run.log({{'a': 1.0}})\n"

    (run,) = program(
        tmp_path, text, "--config=conf.yaml", "--env", ".env", "--auth-token", s["named"], s["code host"],
        SERVICE_URL=s["variable"], OMP_API_KEY=s["variable"], CUDA_TOKEN=s["web"],
    )  # fmt: skip

    capture = capture_of(run)
    assert capture is not None and capture.git is not None
    assert {"sources/train.py", "untracked/fresh.py", "git/patch.diff", "configuration/conf.yaml"} <= set(capture.files)
    kept = {file: file.read_bytes() for file in (tmp_path / ".stratal").rglob("*") if file.is_file()}
    assert any(b"lr: 0.1" in data for data in kept.values())
    for name, secret in SECRETS.items():
        assert [file for file, data in kept.items() if secret.encode() in data] == [], name


def test_a_program_is_held_with_its_inputs_its_configuration_and_what_it_imports_late(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text("x = 1\n")
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    (tmp_path / "train.toml").write_text("lr = 0.1\n")
    text = (
        "import stratal as st\nfrom stratal.tracking.capturing import wait_for_captures\nst.seed_everything(3)\n"
        "with st.run('e') as run:\n    assert wait_for_captures(120)\n    import late\n    run.use('rows.csv')\n"
    )

    (run,) = program(tmp_path, text, "--config", "train.toml", "lr=0.1", OMP_NUM_THREADS="1")

    capture = capture_of(run)
    assert capture is not None
    assert set(capture.files) == {"sources/train.py", "sources/late.py", "configuration/train.toml"}
    assert set(capture.inputs) == {"rows.csv", "train.toml"}
    assert (capture.entry.kind, capture.entry.target, capture.entry.folder, capture.entry.seed) == ("script", "train.py", ".", 3)
    assert (capture.threads, capture.paths) == ({"OMP_NUM_THREADS": "1"}, (".",))
    store = open_store(tmp_path / ".stratal")
    assert all(store.blobs.has(file.digest) for file in capture.files.values())


def test_a_script_away_from_the_working_folder_is_its_own_project(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "code" / "train.py").write_text("import stratal as st\nwith st.run('e'): pass\n")
    environ = {**os.environ, "STRATAL_CAPTURE": "on"}
    subprocess.run([sys.executable, "../code/train.py"], cwd=tmp_path / "work", env=environ, check=True)

    capture = capture_of(find_runs(store=open_store(tmp_path / "work" / ".stratal"))[0])

    assert capture is not None
    assert (capture.entry.target, capture.entry.folder, set(capture.files)) == ("train.py", "../work", {"sources/train.py"})


def test_a_command_is_held_with_its_code(tmp_path: Path) -> None:
    code = "import stratal as st\nwith st.run('e'): pass"
    subprocess.run([sys.executable, "-c", code, "--lr", "1"], cwd=tmp_path, env={**os.environ, "STRATAL_CAPTURE": "on"}, check=True)

    store = open_store(tmp_path / ".stratal")
    capture = capture_of(find_runs(store=store)[0])

    assert capture is not None
    assert (capture.entry.kind, capture.entry.argv) == ("command", ("--lr", "1"))
    assert store.blobs.read(capture.files["entry/command.py"].digest).decode() == code


@pytest.mark.slow
def test_runs_of_pipelines_and_studies_hold_the_program_that_started_them(tmp_path: Path) -> None:
    text = (
        "import stratal as st\n@st.step\ndef one(x: int) -> int:\n    with st.run('inner') as run:\n        run.log({'x': x})\n"
        "    return x + 1\n@st.pipeline\ndef line() -> None:\n    one(1)\n"
        "def objective(trial):\n    return trial['x']\n"
        "if __name__ == '__main__':\n    line.run()\n"
        "    st.study('s', {'x': st.uniform(0, 1)}, minimize='loss', seed=1).optimize(objective, trials=2, workers=1)\n"
    )

    runs = program(tmp_path, text, "--lr", "1")

    captures = {run.kind: capture for run in runs if (capture := capture_of(run))}
    assert set(captures) == {"pipeline", "train", "study", "trial"}
    assert len({capture.program for capture in captures.values()}) == 1
    assert {(c.entry.kind, c.entry.target, c.entry.argv) for c in captures.values()} == {("script", "train.py", ("--lr", "1"))}
    assert "sources/train.py" in captures["pipeline"].files


def test_files_are_found_in_a_command_line(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.json", "c.csv", ".env"):
        (tmp_path / name).touch()

    found = files_in(["a.yaml", "--b=b.json", "data.path=c.csv", "--none=no.csv", ".env", "x\0y", "z" * 5000], tmp_path)

    assert [path.name for path in found] == ["a.yaml", "b.json", "c.csv"]


def test_a_worker_inherits_the_origin_of_the_program_that_it_works_for(monkeypatch: pytest.MonkeyPatch) -> None:
    before = origin()
    try:
        inherit('{"program": "p", "pid": 7, "kind": "module", "target": "m", "argv": ["1"], "folder": "/"}')
        assert origin() == Origin(program="p", pid=7, kind="module", target="m", argv=("1",), folder="/")
    finally:
        inherit(__import__("msgspec").json.encode(before).decode())
