"""Each kind of media as files and back: pixels, samples, histograms, tables, documents. Excluded: runs, foreign libraries."""

import json
import math
import re
import wave
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stratal.core.errors import Misuse, NotFound
from stratal.tracking.media import files, histograms, images, places, png, sounds, tables, texts, values
from stratal.tracking.media.histograms import Histogram, histogram
from stratal.tracking.media.preparing import FILES, keeper_of, recognised
from stratal.tracking.media.values import Media

law = settings(max_examples=60)
PIXELS = arrays.arrays(
    np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3, 4])), elements=st.integers(0, 255)
)
FLOATS = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=40)


def _plain(value: object) -> str:
    """Name a case by its value, without the address that differs between processes."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def there_and_back(media: Media) -> object:
    keeper = keeper_of(media.kind)
    prepared = keeper.prepare(media)
    assert prepared == keeper.prepare(media), "equal values give equal bytes"
    first = prepared.contents[0]
    data = first.data.read_bytes() if isinstance(first.data, Path) else first.data
    return keeper.load(data, first.mime, prepared.details)


@law
@given(PIXELS)
def test_pixels_come_back_as_they_were(pixels: np.ndarray):
    assert (png.decode(png.encode(pixels)) == pixels).all()


@law
@given(PIXELS)
def test_a_png_of_ours_is_what_pillow_reads(pixels: np.ndarray):
    Image = pytest.importorskip("PIL.Image")
    import io

    read = np.asarray(Image.open(io.BytesIO(png.encode(pixels))))
    assert (read.reshape(pixels.shape) == pixels).all()


@law
@given(st.binary(max_size=200))
def test_other_bytes_are_no_png_of_ours(data: bytes):
    assert png.decode(png.SIGNATURE + data) is None


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [[0, 128, 255]]),
        (np.array([[False, True]]), [[0, 255]]),
        (np.array([[0, 255]], np.int64), [[0, 255]]),
        ([[0, 7], [8, 255]], [[0, 7], [8, 255]]),
    ],
)
def test_floats_booleans_and_whole_numbers_become_pixels(given_: object, expected: list[list[int]]):
    assert there_and_back(values.image(given_)).tolist() == expected


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (np.zeros((3, 4, 5)), "no image"),
        (np.zeros((2, 3, 4, 3)), "no image"),
        (np.zeros(5), "no image"),
        (np.zeros((0, 4)), "without pixels"),
        (np.full((2, 2), 1.5), "from 1.5 to 1.5"),
        (np.full((2, 2), -0.1), "from -0.1"),
        (np.full((2, 2), 300), "integers go from 0 to 255"),
        (np.array([[np.nan, 0.0]]), "1 of 2 pixels are NaN"),
        (np.array([[np.inf, 0.0]]), "infinite"),
        (np.array([["a"]]), "holds no numbers"),
        (np.zeros((2, 2), complex), "holds no numbers"),
        (b"not an image", "no image, sound"),
        ([[1, 2], [3]], "cannot be read as an array"),
    ],
    ids=_plain,
)
def test_what_is_no_image_is_refused_in_words(wrong: object, says: str):
    with pytest.raises(Misuse, match=says):
        images.prepare(values.image(wrong))


@law
@given(arrays.arrays(np.int16, arrays.array_shapes(min_dims=1, max_dims=2, max_side=20)))
def test_samples_of_16_bits_come_back_as_they_were(samples: np.ndarray):
    back = there_and_back(values.audio(samples, 8000))
    assert back.rate == 8000
    assert (back.samples == (samples[:, 0] if samples.ndim == 2 and samples.shape[1] == 1 else samples)).all()


def test_an_empty_sound_is_a_sound():
    assert there_and_back(values.audio(np.zeros(0), 44_100)).samples.shape == (0,)


def test_float_samples_are_kept_to_16_bits():
    wanted = np.sin(np.arange(1000) / 9)
    back = there_and_back(values.audio(wanted, 16_000)).samples / 32767
    assert np.abs(back - wanted).max() < 1 / 32767


@pytest.mark.parametrize(
    ("wrong", "rate", "says"),
    [
        (np.zeros(5), None, "needs its rate"),
        (np.zeros(5), 0.5, "needs its rate"),
        (np.full(5, 1.5), 8000, "go up to 1.5"),
        (np.array([np.nan]), 8000, "NaN"),
        (np.zeros(5, np.int32), 8000, "no known loudness"),
        (np.zeros((2, 100)), 8000, "100 channels"),
        (np.zeros((2, 2, 2)), 8000, "no sound"),
        ("missing.wav", None, "no file"),
    ],
    ids=_plain,
)
def test_what_is_no_sound_is_refused_in_words(wrong: object, rate: int | None, says: str):
    with pytest.raises((Misuse, NotFound), match=says):
        sounds.prepare(values.audio(wrong, rate))


@pytest.mark.parametrize("rate", [0, -1, "fast", True, math.inf, math.nan])
def test_a_rate_that_is_none_is_refused(rate: object):
    with pytest.raises(Misuse, match="no rate"):
        values.audio(np.zeros(3), rate)


@law
@given(FLOATS)
def test_a_histogram_counts_every_value_once(numbers: list[float]):
    made = histogram(np.array(numbers))
    finite = [number for number in numbers if math.isfinite(number)]
    assert made.values == len(numbers)
    assert made.counts.sum() == len(finite)
    assert made.nan == sum(map(math.isnan, numbers))
    assert len(made.edges) == (len(made.counts) + 1 if finite else 0)
    assert np.isfinite(made.edges).all()
    assert (np.diff(made.edges) > 0).all()
    if finite:
        assert made.edges[0] <= min(finite)
        assert made.edges[-1] >= max(finite)


@law
@given(FLOATS)
def test_a_histogram_comes_back_as_it_was(numbers: list[float]):
    made = histogram(np.array(numbers), caption="weights")
    back = there_and_back(Media(kind="histogram", value=made))
    assert isinstance(back, Histogram)
    assert (back.edges.tolist(), back.counts.tolist()) == (made.edges.tolist(), made.counts.tolist())
    assert (back.nan, back.low_infinite, back.high_infinite, back.mean) == (made.nan, made.low_infinite, made.high_infinite, made.mean)


@pytest.mark.parametrize("ends", [(-1.7e308, 1.7e308), (5e-324, 1e-323), (1e300, 1e300), (0.0, 0.0), (1.7976931348623157e308,) * 2])
def test_a_histogram_of_extreme_numbers_holds_both_ends(ends: tuple[float, float]):
    made = histogram(np.array(ends))
    assert made.counts.sum() == 2
    assert (np.diff(made.edges) > 0).all()


def test_counts_made_elsewhere_are_taken():
    made = histogram(counts=[1, 0, 2], edges=[0, 0.5, 1, 4])
    assert (made.values, made.counts.tolist()) == (3, [1, 0, 2])


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"values": ["a"]},
        {"values": [1], "counts": [1], "edges": [0, 1]},
        {"values": [1], "bins": 0},
        {"values": [1], "bins": 10**9},
        {"counts": [1], "edges": [0]},
        {"counts": [1], "edges": [1, 1]},
        {"counts": [-1], "edges": [0, 1]},
        {"counts": [0.5], "edges": [0, 1]},
        {"counts": [1], "edges": [0, math.inf]},
        {"counts": [math.nan], "edges": [0, 1]},
    ],
    ids=_plain,
)
def test_what_is_no_histogram_is_refused(wrong: dict[str, object]):
    with pytest.raises(Misuse):
        histogram(**wrong)


CELLS = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3),
    st.lists(st.floats(), min_size=3, max_size=3),
    st.lists(st.text(max_size=9) | st.none(), min_size=3, max_size=3),
    st.lists(st.booleans(), min_size=3, max_size=3),
)


@law
@given(st.dictionaries(st.text(max_size=5), CELLS, max_size=4))
def test_a_table_comes_back_as_it_was(columns: dict[str, list[object]]):
    frame = pl.DataFrame(columns, strict=False)
    back = there_and_back(values.table(frame))
    assert back.equals(frame)
    preview = json.loads(tables.prepare(values.table(frame)).contents[1].data)
    assert (preview["of_rows"], preview["of_columns"]) == frame.shape
    assert [column["name"] for column in preview["columns"]] == frame.columns


@pytest.mark.parametrize(
    "table",
    [
        [{"n": 1, "t": "a"}, {"n": 2, "t": None}],
        {"n": [1, 2], "t": ["a", None]},
        pl.DataFrame({"n": [1, 2], "t": ["a", None]}),
        pl.LazyFrame({"n": [1, 2], "t": ["a", None]}),
        pl.DataFrame({"n": [1, 2], "t": ["a", None]}).to_arrow(),
        pl.DataFrame({"n": [1, 2], "t": ["a", None]}).to_pandas(),
    ],
    ids=lambda table: type(table).__module__,
)
def test_every_form_of_a_table_gives_the_same_rows(table: object):
    assert there_and_back(values.table(table)).rows() == [(1, "a"), (2, None)]


def test_rows_with_named_columns_are_a_table():
    made = values.table([[1, "a"], [2, "b"]], columns=["n", "t"])
    assert there_and_back(made).to_dict(as_series=False) == {"n": [1, 2], "t": ["a", "b"]}


def test_whole_numbers_beside_floats_are_floats():
    assert there_and_back(values.table([{"n": 1}, {"n": 2.5}, {}])).to_dict(as_series=False) == {"n": [1.0, 2.5, None]}


def test_a_table_without_rows_keeps_its_columns():
    assert there_and_back(values.table(pl.DataFrame({"n": []}, schema={"n": pl.Int8}))).schema == {"n": pl.Int8}


def test_the_preview_is_bounded_and_valid_json():
    rows = [
        {"long": "x" * 10_000, "odd": math.inf, "huge": 2**62, "when": datetime(2026, 1, 1, tzinfo=UTC), "money": Decimal("1.10")}
    ] * 500
    preview = json.loads(tables.prepare(values.table(rows)).contents[1].data)
    first = dict(zip((column["name"] for column in preview["columns"]), preview["rows"][0], strict=True))
    assert (len(preview["rows"]), preview["of_rows"], len(first["long"])) == (50, 500, 201)
    assert (first["odd"], first["huge"], first["when"], first["money"]) == ("Infinity", str(2**62), "2026-01-01T00:00:00+00:00", "1.10")


@pytest.mark.parametrize(
    "wrong",
    [3, "missing.csv", [1, 2], [{"a": 1}, 2], {"a": [1, 2], "b": [1]}, [{"a": object()}], [{"a": 1}, {"a": "x"}], np.zeros((2, 2))],
    ids=_plain,
)
def test_what_is_no_table_is_refused_in_words(wrong: object):
    with pytest.raises((Misuse, NotFound)):
        tables.prepare(values.table(wrong))


@pytest.mark.parametrize("rows", [3, [[1, 2, 3]], [{"a": 1, "b": 2, "c": 3}]])
def test_rows_that_do_not_fit_their_columns_are_refused(rows: object):
    with pytest.raises(Misuse):
        values.table(rows, columns=["n", "t"])


def test_columns_named_twice_are_refused():
    with pytest.raises(Misuse, match="twice"):
        values.table([[1, 2]], columns=["n", "n"])


@law
@given(st.text(max_size=50))
def test_a_text_comes_back_as_it_was(text: str):
    assert there_and_back(values.text(text)) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@law
@given(JSON)
def test_a_document_comes_back_as_it_was(document: object):
    assert there_and_back(values.json(document)) == document


def test_a_document_holds_arrays_times_and_odd_numbers_as_json_can():
    given_ = {
        1: np.arange(3),
        "odd": [math.nan, -math.inf],
        "big": 2**100,
        "path": Path("a/b"),
        "set": {2, 1},
        "at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    assert there_and_back(values.json(given_)) == {
        "1": [0, 1, 2], "odd": ["NaN", "-Infinity"], "big": str(2**100), "path": "a/b", "set": [1, 2], "at": "2026-01-01T00:00:00Z",
    }  # fmt: skip


def cyclic() -> list[object]:
    made: list[object] = []
    made.append(made)
    return made


@pytest.mark.parametrize("wrong", [object(), cyclic(), "\ud800", {"a": lambda: 1}], ids=["object", "cycle", "surrogate", "function"])
def test_what_json_cannot_hold_is_refused(wrong: object):
    with pytest.raises(Misuse):
        texts.prepare(values.json(wrong))


@pytest.mark.parametrize("wrong", ["\ud800", 3, None, b"x"])
def test_what_is_no_text_is_refused(wrong: object):
    with pytest.raises(Misuse):
        texts.prepare(values.text(wrong))


FILES_BY_KIND = {
    "plot.png": (png.encode(np.zeros((3, 5, 1), np.uint8)), "image", "image/png"),
    "photo.jpg": (b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08\x00\x03\x00\x05" + b"\0" * 20, "image", "image/jpeg"),
    "move.gif": (b"GIF89a\x05\x00\x03\x00rest", "image", "image/gif"),
    "plot.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image", "image/svg+xml"),
    "film.mp4": (b"\0\0\0\x18ftypisomrest", "video", "video/mp4"),
    "film.webm": (b"\x1a\x45\xdf\xa3rest", "video", "video/webm"),
    "song.ogg": (b"OggSrest", "audio", "audio/ogg"),
    "song.mp3": (b"ID3rest", "audio", "audio/mpeg"),
    "page.html": (b"<p>hi</p>", "html", "text/html"),
    "notes.md": (b"# hi", "text", "text/markdown"),
    "all.json": (b'{"a": 1}', "json", "application/json"),
    "rows.csv": (b"a,b\n1,2\n", "table", "application/vnd.apache.parquet"),
}


@pytest.mark.parametrize("name", FILES_BY_KIND)
def test_a_file_is_known_by_its_bytes_or_its_ending(tmp_path: Path, name: str):
    data, kind, mime = FILES_BY_KIND[name]
    (tmp_path / name).write_bytes(data)
    (media,) = recognised(tmp_path / name)
    assert media.kind == kind
    prepared = keeper_of(kind).prepare(media)
    assert prepared.contents[0].mime == mime
    if mime in ("image/png", "image/jpeg", "image/gif"):
        assert (prepared.details["width"], prepared.details["height"]) == (5, 3)


@pytest.mark.parametrize(("name", "data"), [("plot.png", b"no image"), ("plot.svg", b"no drawing"), ("model.bin", b"\0\1"), ("empty", b"")])
def test_a_file_that_is_nothing_known_is_refused(tmp_path: Path, name: str, data: bytes):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(Misuse, match=r"run\.save"):
        recognised(tmp_path / name)


def test_a_file_of_another_kind_is_refused_with_the_right_word(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(FILES_BY_KIND["plot.png"][0])
    with pytest.raises(Misuse, match="audio"):
        sounds.prepare(values.audio(tmp_path / "a.png"))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path):
    with pytest.raises(NotFound):
        files.kind_of_file(tmp_path / "none.png")
    with pytest.raises(Misuse, match=r"run\.save"):
        files.kind_of_file(tmp_path)


def test_a_wav_of_another_width_is_kept_and_its_samples_refused(tmp_path: Path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(b"\x80" * 10)
    with pytest.raises(Misuse, match="8 bits"):
        there_and_back(values.audio(tmp_path / "a.wav"))


def test_a_json_file_that_is_none_is_refused(tmp_path: Path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(Misuse, match="no JSON"):
        texts.prepare(values.json(tmp_path / "a.json"))


@law
@given(st.text(min_size=1, max_size=500))
def test_every_name_has_a_place_that_stays_inside(name: str):
    from stratal.tracking.facts import check_artifact_path

    path = places.place_of(name, "0" * 64, ".png")
    assert check_artifact_path(path) == path
    assert path.startswith("media/")
    assert max(len(part.encode()) for part in path.split("/")) < 256
    assert places.ending_of(path) == ".png"


@law
@given(st.text(max_size=80), st.text(max_size=80))
def test_different_names_have_different_places(left: str, right: str):
    assert (left == right) == (places.folder_of(left) == places.folder_of(right))


def test_each_kind_of_wrapper_has_its_file():
    assert set(FILES) == {"image", "figure", "histogram", "table", "text", "json", "html", "audio", "video"}
    for kind in FILES:
        assert callable(keeper_of(kind).prepare)
        assert callable(keeper_of(kind).load)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("text", "text"),
        (np.zeros(5), "histogram"),
        (np.zeros((5, 5)), "image"),
        (np.zeros((5, 5, 3)), "image"),
        (pl.DataFrame({"a": [1]}), "table"),
        (pl.Series([1.0, 2.0]), "histogram"),
        ([{"a": 1}], "table"),
        (values.html("<p>"), "html"),
        (histograms.histogram([1]), "histogram"),
    ],
    ids=_plain,
)
def test_values_are_known_by_their_type(value: object, kind: str):
    assert [media.kind for media in recognised(value)] == [kind]


def test_each_refusal_says_what_to_do_instead():
    for wrong, hint in ((None, "leave it out"), ([1.5], r"st\.histogram"), (10**400, "too large"), (object(), r"st\.image")):
        with pytest.raises(Misuse, match=hint):
            recognised(wrong)


@pytest.mark.parametrize("wrong", [None, object(), {1}, b"x", [1, 2], [], [None], 1j, lambda: 1], ids=_plain)
def test_what_is_nothing_is_refused(wrong: object):
    with pytest.raises(Misuse, match="nothing that can be logged"):
        recognised(wrong)
