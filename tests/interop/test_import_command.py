"""`stratal import` as it is typed."""

import json
from pathlib import Path

import pytest
from foreign_files import event, event_file, scalar

from stratal.cli.app import main
from stratal.tracking.opening import use_store


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def test_an_import_says_what_became_of_everything(fixtures: Path, store, capsys: pytest.CaptureFixture[str]):
    use_store(store)
    code, page, _ = call(capsys, "import", "tensorboard", str(fixtures / "tensorboardx-2.6.5/tiny"))
    assert code == 0
    for part in ("points", "10", "describes the dashboard", "2 runs from 2 sources", "new"):
        assert part in page
    code, page, _ = call(capsys, "import", "tensorboard", str(fixtures / "tensorboardx-2.6.5/tiny"))
    assert code == 0 and "2 of them unchanged" in page


def test_a_loss_is_an_exit_code_and_stands_in_the_document(store, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    use_store(store)
    path = event_file(tmp_path / "logs/events.out.tfevents.1.host", *(event(1.7e9, n, scalar("m", n)) for n in range(5)))
    bent = bytearray(path.read_bytes())
    bent[-6] ^= 1
    path.write_bytes(bent)
    code, page, _ = call(capsys, "import", "tensorboard", str(tmp_path / "logs"), "--json")
    document = json.loads(page)
    assert code == 1
    assert document["is_complete"] is False
    assert document["counts"]["events"]["lost"] == {"does not match its checksum": 1}
    assert document["counts"]["points"]["imported"] == 4
    assert call(capsys, "import", "tensorboard", str(tmp_path / "logs"))[0] == 1, "a loss stays one"


def test_a_wrong_call_says_what_to_do(store, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    use_store(store)
    code, _, said = call(capsys, "import", "guildai", str(tmp_path))
    assert code == 2 and "choose one of" in said
