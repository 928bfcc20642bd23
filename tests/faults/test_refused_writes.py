"""Refused writes and interrupts in odd places: segments, blobs, the capture thread. Excludes full disks as such."""

import errno
import os
import signal
from pathlib import Path

import pytest

from stratal.core.errors import Misuse, StoreDown
from stratal.core.ids import new_id, to_bytes
from stratal.store import journal
from stratal.store.journal import Writer, segments
from stratal.store.store import Store


def test_a_full_disk_makes_no_file_per_refused_call_in_a_power_safe_journal_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    writer, id, whole_write = Writer(tmp_path, power=True), to_bytes(new_id()), os.write
    writer.log(id, 0, {"a": 1.0}, 0)
    with monkeypatch.context() as full:
        full.setattr(journal.os, "write", lambda fd, data: whole_write(fd, data[:30]))
        for step in range(20):
            with pytest.raises(StoreDown):
                writer.log(id, 0, {"a": 1.0}, step)
    writer.log(id, 0, {"a": 1.0}, 1)
    assert len(segments(tmp_path)) == 1


def test_a_segment_that_could_not_be_opened_never_gives_its_name_to_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A sweeper that has judged the first by its name would unlink the second."""
    writer, id = Writer(tmp_path, power=True), to_bytes(new_id())

    def refuse(_: Path) -> None:
        raise OSError(errno.EIO, "input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(journal, "sync_folder", refuse)
        with pytest.raises(StoreDown):
            writer.log(id, 0, {"a": 1.0}, 0)
    seen = os.listdir(tmp_path)
    writer.log(id, 0, {"a": 1.0}, 0)
    assert not set(seen) & set(segments(tmp_path)[-1:])
    assert len(segments(tmp_path)) == 1, "and leaves no file behind"


def test_a_full_segment_is_given_up_only_when_the_next_one_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In between nobody would hold a lock, and the writer would pass for dead."""
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 100)
    writer, id, living = Writer(tmp_path), to_bytes(new_id()), []
    writer.log(id, 0, {"a": 1.0}, 0)
    rename = Path.rename

    def look(self: Path, target: Path) -> Path:
        living.append(journal.living_writers(tmp_path))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", look)
    for step in range(3):
        writer.log(id, 0, {"a": 1.0}, step)
    assert living == [{writer.id}] * len(living) != []


def test_a_signal_handler_that_logs_inside_a_log_call_does_not_wait_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    writer, id, whole_write = Writer(tmp_path), to_bytes(new_id()), os.write
    raised = []

    def handle(*_: object) -> None:
        try:
            writer.log(id, 0, {"from handler": 1.0}, 0)
        except StoreDown as error:
            raised.append(error)

    def write_and_signal(fd: int, data: bytes) -> int:
        monkeypatch.setattr(journal.os, "write", whole_write)
        signal.raise_signal(signal.SIGUSR1)
        return whole_write(fd, data)

    before = signal.signal(signal.SIGUSR1, handle)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    try:
        monkeypatch.setattr(journal.os, "write", write_and_signal)
        signal.alarm(20)
        writer.log(id, 0, {"a": 1.0}, 0)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGUSR1, before)
    assert len(raised) == 1
    writer.log(id, 0, {"a": 1.0}, 1)


def test_a_file_that_may_not_be_read_is_the_callers_and_not_the_stores_fault(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_bytes(b"x")
    whole_open = Path.open

    def refuse(self: Path, *arguments: str) -> object:
        if self == tmp_path / "file":
            raise PermissionError(errno.EACCES, "Permission denied")
        return whole_open(self, *arguments)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(Misuse, match="Permission denied"):
        store.blobs.put_file(tmp_path / "file")


def test_a_blob_folder_that_is_gone_is_not_a_missing_file(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_bytes(b"x")

    def refuse(*_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StoreDown):
        store.blobs.put_file(tmp_path / "file")
