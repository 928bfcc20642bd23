"""`stratal show --media`, `stratal artifacts`: what runs logged beside numbers, on the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

import stratal as st
from stratal.cli.app import main
from stratal.store.store import Store
from stratal.tracking.opening import use_store
from stratal.tracking.runs import Run, run


@pytest.fixture
def made(store: Store) -> Run:
    use_store(store)
    with run("churn") as made:
        for step in range(3):
            made.log({"digits/0": st.image(np.full((4, 6), step / 2), caption=f"step \x1b[31m{step}"), "loss": step}, step=step)
        made.log({"says": "hello"})
        made.save_bytes("report/summary.txt", b"fine")
    return made


def output(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    with pytest.raises(SystemExit) as left:
        main(words)
    captured = capsys.readouterr()
    assert left.value.code == code, captured.err
    assert "Traceback" not in captured.err
    return captured.out if code == 0 else captured.err


def test_show_lists_media_by_name_and_other_artifacts_apart(made: Run, capsys: pytest.CaptureFixture[str]):
    page = output(capsys, "show", made.short)
    assert [line.split() for line in page.splitlines() if line.startswith(("digits", "says"))] == [
        ["digits/0", "image", "3", "0", "to", "2"],
        ["says", "text", "1", "0"],
    ]
    assert "report/summary.txt" in page
    assert "media/digits" not in page


def test_show_as_json_sums_media_up(made: Run, capsys: pytest.CaptureFixture[str]):
    document = json.loads(output(capsys, "show", made.short, "--json"))
    assert document["media"][0] == {"name": "digits/0", "kinds": ["image"], "items": 3, "first_step": 0, "last_step": 2}


def test_show_media_lists_items_and_lets_no_caption_steer_the_terminal(made: Run, capsys: pytest.CaptureFixture[str]):
    page = output(capsys, "show", made.short, "--media", "digits/0")
    assert "\x1b" not in page
    assert "step \\x1b[31m2" in page
    assert "width 6" in page


def test_show_media_as_json_has_all_that_a_page_draws_from(made: Run, capsys: pytest.CaptureFixture[str]):
    first, *_ = json.loads(output(capsys, "show", made.short, "--media", "digits/0", "--json"))
    assert {name: first[name] for name in ("name", "step", "kind", "mime", "caption")} == {
        "name": "digits/0", "step": 0, "kind": "image", "mime": "image/png", "caption": "step \x1b[31m0",
    }  # fmt: skip
    assert first["details"] == {"width": 6, "height": 4, "channels": 1}
    assert first["path"].startswith("media/digits/0/")
    assert len(first["digest"]) == 64


def test_show_media_saves_into_a_folder(made: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    saved = json.loads(output(capsys, "show", made.short, "--media", "digits/0", "--out", "pictures", "--json"))
    assert len(saved) == 3
    assert all(Path(path).parent == Path("pictures") and Path(path).is_file() for path in saved)
    assert "1 file saved" in output(capsys, "show", made.short, "--media", "says", "--out", "texts")
    assert [path.read_text() for path in Path("texts").iterdir()] == ["hello"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--media", "nothing"], 1, "it has: digits/0, says"),
        (["--out", "folder"], 2, "--media"),
    ],
)
def test_wrong_calls_of_show_say_what_to_do(made: Run, capsys: pytest.CaptureFixture[str], words: list[str], code: int, says: str):
    assert says in output(capsys, "show", made.short, *words, code=code)


def test_artifacts_are_listed_and_copied_under_their_paths(made: Run, capsys: pytest.CaptureFixture[str]):
    assert "report/summary.txt" in output(capsys, "artifacts", made.short)
    assert [each["path"] for each in json.loads(output(capsys, "artifacts", made.short, "report", "--json"))["artifacts"]] == [
        "report/summary.txt"
    ]
    assert "1 file in copy" in output(capsys, "artifacts", made.short, "report/summary.txt", "--download", "copy")
    assert Path("copy/report/summary.txt").read_bytes() == b"fine"
    assert len(json.loads(output(capsys, "artifacts", made.short, "--download", "copy", "--json"))["downloaded"]) == 4


def test_a_download_never_overwrites_another_file(made: Run, capsys: pytest.CaptureFixture[str]):
    Path("copy/report").mkdir(parents=True)
    Path("copy/report/summary.txt").write_bytes(b"mine")
    assert "is there, and is another file" in output(capsys, "artifacts", made.short, "report", "--download", "copy", code=1)
    assert Path("copy/report/summary.txt").read_bytes() == b"mine"


def test_an_artifact_that_is_not_there_is_told(made: Run, capsys: pytest.CaptureFixture[str]):
    assert "no artifact" in output(capsys, "artifacts", made.short, "nothing", code=1)
