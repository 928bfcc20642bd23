"""TensorBoard event files: known values of real writers, and files that were cut, bent and forged."""

import struct
from pathlib import Path

import pytest
from foreign_files import event, event_file, field, frame, scalar
from hypothesis import given, settings
from hypothesis import strategies as st

from stratal.interop.foreign import Remark, Skipped
from stratal.interop.importing import Options, import_runs
from stratal.interop.tensorboard import frames
from stratal.interop.tensorboard.checksum import crc32c, masked_crc
from stratal.interop.tensorboard.finding import find
from stratal.tracking.finding import find_runs


def statements(path: Path):
    """What the one source under a path says before its end, and its remarks."""
    said, remarks = [], []
    for one in find(path, Options()).sources[0].read(0):
        if isinstance(one, Remark):
            remarks.append(one)
        else:
            said.append(one)
    return said[:-1], remarks


def test_checksums_are_those_of_the_published_vectors():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"\0" * 32) == 0x8A9136AA
    assert crc32c(bytes(range(32))) == 0x46DD794E


@given(st.integers(2000, 20_000), st.integers(0, 255))
@settings(max_examples=40)
def test_long_data_has_the_checksum_that_the_plain_loop_gives(size: int, seed: int):
    data = bytes((seed + i * i) & 255 for i in range(size))
    register = 0xFFFFFFFF
    from stratal.interop.tensorboard.checksum import _TABLE

    for byte in data:
        register = _TABLE[(register ^ byte) & 255] ^ register >> 8
    assert crc32c(data) == register ^ 0xFFFFFFFF


def test_a_file_of_tensorboardx_has_its_known_values(fixtures: Path, store):
    report = import_runs("tensorboard", fixtures / "tensorboardx-2.6.5/tiny", store=store)
    assert report.is_complete
    hp, tiny = find_runs(store=store, order_by="started desc")
    assert (tiny.experiment, tiny.name, tiny.status, tiny.tags["imported.from"]) == ("tiny", "tiny", "finished", "tensorboard")
    loss = tiny.series("loss")
    assert loss.steps.tolist() == [0, 1, 2, 3, 4]
    assert loss.values.tolist() == [struct.unpack("<f", struct.pack("<f", 1 / (i + 1)))[0] for i in range(5)]
    assert loss.times.astype("int64").tolist() == [(1_700_000_000 + i) * 10**9 for i in range(5)]
    assert tiny.series("back").steps.tolist() == [2, 5] and tiny.series("back").values.tolist() == [2.0, 1.0]
    assert str(tiny.metrics["nan"]) == "nan" and tiny.metrics["inf"] == float("inf")
    (text,), (picture,), (histogram,), (curve,) = (tiny.media(name) for name in ("note/text_summary", "img", "h", "pr"))
    assert (text.load(), picture.kind, picture.details["width"]) == ("hello *text*", "image", 4)
    assert picture.read_bytes().startswith(b"\x89PNG")
    counted = histogram.load()
    assert (int(counted.counts.sum()), counted.edges[0] < 1.0 <= counted.edges[1], counted.edges[-1] >= 3.0) == (4, True, True)
    assert (curve.load()["plugin"], curve.load()["shape"][0]) == ("pr_curves", 6)
    assert (hp.name, hp.parent, hp.params) == ("hp", tiny.id, {"lr": 0.1, "model": "gbm", "flag": True})
    assert hp.metrics["hp/acc"] == pytest.approx(0.9)


def test_a_file_of_torch_has_its_known_values(fixtures: Path, store):
    assert import_runs("tensorboard", fixtures / "torch-2.13", store=store).is_complete
    hp, run = find_runs(store=store, order_by="started desc")
    assert run.series("loss").times.astype("int64").tolist() == [(1_700_000_000 + i) * 10**9 for i in range(3)]
    third = struct.unpack("<f", struct.pack("<f", 1 / 3))[0]
    assert (run.metrics["loss"], run.metrics["new_style"], run.metrics["double"]) == (third, third, 1 / 3)
    assert [item.load() for item in run.media("note/text_summary")] == ["hello"]
    assert [(item.kind, item.step) for item in run.media("img")] == [("image", 7)]
    (weights,) = run.media("weights")
    assert weights.kind == "histogram" and weights.load().counts.sum() == 4
    assert (hp.parent, hp.params) == (run.id, {"lr": 0.1, "model": "gbm", "flag": 1.0})


def test_scalars_and_histograms_as_tensorflow_writes_them_are_read(fixtures: Path, store):
    assert import_runs("tensorboard", fixtures / "tensorboard-2.21", store=store).is_complete
    (run,) = find_runs(store=store)
    assert run.series("epoch_loss").values.tolist() == [1.0, 0.5, struct.unpack("<f", struct.pack("<f", 1 / 3))[0]]
    (dense,), (words,) = run.media("dense"), run.media("words")
    assert (dense.load().counts.tolist(), len(dense.load().edges), words.load()) == ([1, 0, 1, 2], 5, "hi")


def test_a_shape_that_claims_anything_breaks_nothing(store, tmp_path: Path):
    huge = field(2, field(2, field(1, 2**62)) * 40)
    tensor = field(1, "t") + field(8, field(1, 1) + huge + field(5, struct.pack("<f", 0.5)))
    event_file(tmp_path / "logs/events.out.tfevents.1.host", event(1_700_000_000, 1, tensor))
    assert import_runs("tensorboard", tmp_path / "logs", store=store).is_complete
    assert find_runs(store=store)[0].metrics == {"t": 0.5}


def test_bytes_that_are_no_picture_are_kept_as_a_file(store, tmp_path: Path):
    picture = field(1, "../../../etc/x") + field(4, field(4, b"not a picture"))
    event_file(tmp_path / "logs/events.out.tfevents.1.host", event(1_700_000_000, 0, picture))
    assert import_runs("tensorboard", tmp_path / "logs", store=store).is_complete
    (run,) = find_runs(store=store)
    (kept,) = run.artifacts
    assert kept.path.startswith("images/etc/x~") and run.read_artifact(kept.path) == b"not a picture"


def test_sounds_and_densities_are_shown(store, tmp_path: Path):
    sound = field(1, "beep") + field(6, field(4, b"RIFF\0\0\0\0WAVEfmt "))
    limits, counts = struct.pack("<3d", 0.5, 1.0, 1.7976931348623157e308), struct.pack("<3d", 0.25, 0.75, 1.5)
    density = field(1, "d") + field(5, field(1, 0.1) + field(2, 9.0) + field(6, limits) + field(7, counts))
    event_file(tmp_path / "logs/events.out.tfevents.1.host", event(1_700_000_000, 3, sound, density))
    assert import_runs("tensorboard", tmp_path / "logs", store=store).is_complete
    (run,) = find_runs(store=store)
    assert [(item.name, item.kind, item.step) for item in run.media()] == [("beep", "audio", 3), ("d", "json", 3)]
    assert run.media("d")[0].load()["counts"] == [0.25, 0.75, 1.5]


def test_several_files_of_a_folder_are_one_run(store, tmp_path: Path):
    for start in (0, 3):
        events = [event(1_700_000_000 + s, s, scalar("loss", s)) for s in range(start, start + 4)]
        event_file(tmp_path / f"logs/events.out.tfevents.{100 + start}.host", *events, started_s=1.7e9 + start)
    report = import_runs("tensorboard", tmp_path / "logs", store=store)
    assert (len(report.runs), report.sources) == (1, 2)
    assert find_runs(store=store)[0].series("loss").steps.tolist() == [0, 1, 2, 3, 3, 4, 5, 6], "a restart purges nothing"


def test_scalars_in_tensors_are_read_in_every_type_that_holds_them(store, tmp_path: Path):
    def tensor(dtype, body):
        return field(1, dtype) + body

    tensors = {
        "content32": tensor(1, field(4, struct.pack("<f", 0.5))),
        "content64": tensor(2, field(4, struct.pack("<d", 1 / 3))),
        "typed32": tensor(1, field(5, struct.pack("<f", 0.25))),
        "typed64": tensor(2, b"\x31" + struct.pack("<d", 0.1)),
        "int32": tensor(3, field(7, 7)),
        "packed64": tensor(9, field(10, b"\x83\x01")),
        "negative": tensor(9, field(10, -5)),
        "half": tensor(19, field(13, 0x3C00)),
    }
    plugin = field(9, field(1, field(1, "scalars")))
    values = [field(1, tag) + field(8, body) + plugin for tag, body in tensors.items()]
    event_file(tmp_path / "logs/events.out.tfevents.1.host", event(1_700_000_000, 1, *values))
    assert import_runs("tensorboard", tmp_path / "logs", store=store).is_complete
    assert find_runs(store=store)[0].metrics == {
        "content32": 0.5, "content64": 1 / 3, "typed32": 0.25, "typed64": 0.1, "int32": 7.0, "packed64": 131.0, "negative": -5.0,
        "half": 1.0,
    }  # fmt: skip


def test_every_cut_of_a_file_says_a_prefix(fixtures: Path, tmp_path: Path):
    source = fixtures / "tensorboardx-2.6.5/tiny/events.out.tfevents.1795466831.host"
    data, whole = source.read_bytes(), statements(source)[0]
    place = tmp_path / "tiny"
    place.mkdir()
    path = place / source.name
    ends = {one.place for one in whole}
    for cut in (*range(40, 400), *range(400, len(data), 37)):
        path.write_bytes(data[:cut])
        said, remarks = statements(place)
        assert [one.place for one in said] == [one.place for one in whole if one.place <= cut]
        assert repr(said[1:]) == repr(whole[1 : len(said)])
        assert bool(remarks) == (cut not in ends)
        assert not any(remark.is_loss for remark in remarks)


def test_every_flipped_bit_costs_its_event_only_or_stops_with_a_loss(fixtures: Path, tmp_path: Path):
    source = fixtures / "tensorboardx-2.6.5/tiny/events.out.tfevents.1795466831.host"
    data, whole = source.read_bytes(), statements(source)[0]
    (tmp_path / "tiny").mkdir()
    path = tmp_path / "tiny" / source.name
    good = {one.place: repr(one.statements) for one in whole[1:]}  # as text: NaN is NaN
    for at in range(40, len(data), 7):
        bent = bytearray(data)
        bent[at] ^= 1 << at % 8
        path.write_bytes(bent)
        said, remarks = statements(tmp_path / "tiny")
        bad = [one for one in said[1:] if repr(one.statements) != good[one.place]]
        if remarks:
            assert not bad and remarks[0].is_loss
        else:
            assert len(said) == len(whole) and len(bad) == 1
            assert [type(statement) for statement in bad[0].statements] == [Skipped]


def test_a_frame_that_claims_to_be_huge_is_not_read(store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = event_file(tmp_path / "logs/events.out.tfevents.1.host", event(1_700_000_000, 0, scalar("loss", 1.0)))
    head = struct.pack("<Q", 1 << 40)
    path.write_bytes(path.read_bytes() + head + struct.pack("<I", masked_crc(head)))
    assert "claims" in import_runs("tensorboard", tmp_path / "logs", store=store).losses[0]
    monkeypatch.setattr(frames, "MOST_RECORD_BYTES", 64)
    big = event_file(tmp_path / "big/events.out.tfevents.1.host", event(1_700_000_000, 0, scalar("x" * 100, 1.0)))
    assert [remark.is_loss for remark in statements(big.parent)[1]] == [True]


def test_links_are_not_followed_and_empty_files_are_said(store, tmp_path: Path):
    event_file(tmp_path / "logs/events.out.tfevents.1.host", event(1_700_000_000, 0, scalar("loss", 1.0)))
    outside = event_file(tmp_path / "outside/events.out.tfevents.2.host", event(1_700_000_000, 0, scalar("secret", 1.0)))
    (tmp_path / "logs/link").symlink_to(outside.parent)
    (tmp_path / "logs/events.out.tfevents.3.host").symlink_to(outside)
    (tmp_path / "logs/empty").mkdir()
    (tmp_path / "logs/empty/events.out.tfevents.4.host").write_bytes(b"")
    report = import_runs("tensorboard", tmp_path / "logs", store=store)
    assert find_runs(store=store)[0].metrics == {"loss": 1.0}
    assert sum("not followed" in remark for remark in report.remarks) == 2
    assert sum("no event" in remark for remark in report.remarks) == 1


def test_times_that_are_none_take_the_one_before(store, tmp_path: Path):
    odd = [event(float("nan"), 1, scalar("m", 1.0)), event(-5.0, 2, scalar("m", 2.0)), event(1e300, 3, scalar("m", 3.0))]
    event_file(tmp_path / "logs/events.out.tfevents.1.host", *odd)
    assert import_runs("tensorboard", tmp_path / "logs", store=store).is_complete
    assert set(find_runs(store=store)[0].series("m").times.astype("int64").tolist()) == {1_700_000_000 * 10**9}


def test_what_has_no_place_is_left_out_by_rule(store, tmp_path: Path):
    event_file(tmp_path / "logs/events.out.tfevents.1.host", field(1, 1.7e9) + field(4, b"graph"), frame(b"")[:0] + field(9, b"meta"))
    report = import_runs("tensorboard", tmp_path / "logs", store=store)
    assert report.is_complete
    assert sum(sum(counts.left_out.values()) for counts in report.counts.values()) == 2
