"""Things of other libraries as media: matplotlib, plotly, Pillow, torch. Each test is skipped where its library is not installed."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import stratal as st
from stratal.core.errors import Misuse
from stratal.store.store import Store
from stratal.tracking.media import figures
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run


def logged(store: Store, value: object):
    with run("churn", store=store) as made:
        made.log({"thing": value}, step=1)
    (item,) = get_run(made.id, store=store).media("thing")
    return item


def drawn(points: int = 3):
    Figure = pytest.importorskip("matplotlib.figure").Figure
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot(np.arange(points) % 7, ".")
    return figure


def test_a_matplotlib_figure_is_kept_as_pixels_and_as_a_drawing(store: Store, tmp_path: Path):
    item = logged(store, drawn())
    assert (item.kind, item.mime, item.details) == ("figure", "image/png", {"width": 300, "height": 200})
    assert [file.mime for file in item.files] == ["image/png", "image/svg+xml"]
    pytest.importorskip("PIL")
    assert item.load().shape == (200, 300, 4)
    assert [path.suffix for path in item.save(tmp_path / "out")] == [".png", ".svg"]


def test_equal_figures_are_equal_files(store: Store):
    assert [file.digest for file in logged(store, drawn()).files] == [file.digest for file in logged(store, drawn()).files]


def test_a_drawing_of_many_points_is_kept_as_pixels_only(store: Store):
    assert [file.mime for file in logged(store, drawn(50_000)).files] == ["image/png"]


def test_an_axes_and_pyplot_itself_stand_for_their_figure(store: Store):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    figure, axes = pyplot.subplots()
    try:
        wanted = logged(store, figure).digest
        assert logged(store, axes).digest == logged(store, pyplot).digest == wanted
    finally:
        pyplot.close(figure)


def test_a_display_of_scikit_learn_is_its_figure(store: Store):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    from sklearn.metrics import RocCurveDisplay

    pyplot.switch_backend("agg")
    display = RocCurveDisplay.from_predictions([0, 1, 1, 0], [0.1, 0.9, 0.8, 0.4])
    try:
        assert logged(store, display).digest == logged(store, display.figure_).digest
    finally:
        pyplot.close(display.figure_)


def test_a_figure_that_cannot_be_drawn_is_refused_with_its_error(store: Store):
    figure = drawn()
    figure.axes[0].set_title("$\\no_such_symbol$")
    with pytest.raises(Misuse, match="cannot draw"):
        logged(store, figure)


def test_a_plotly_figure_comes_back_and_draws_itself_in_one_page(store: Store, tmp_path: Path):
    graphs = pytest.importorskip("plotly.graph_objects")
    figure = graphs.Figure(graphs.Scatter(y=[1.0, 3.0, 2.0], name="</script><b>not html</b>"))
    item = logged(store, figure)
    assert item.load() == figure
    saved = item.save(tmp_path)
    assert [path.suffix for path in saved] == [".json", ".html"]
    page = saved[1].read_text()
    assert "Plotly.newPlot" in page
    assert "</script><b>not html</b>" not in page
    assert "src=" not in page.partition("Plotly.newPlot")[2]
    again = logged(store, graphs.Figure())
    assert again.files[1].digest == item.files[1].digest, "the script that draws is stored once"


def test_a_page_keeps_a_text_from_ending_its_script():
    page = figures.page_of(json.dumps({"data": [{"name": "</script>"}], "layout": {}}).encode(), b"var Plotly;")
    assert page.count(b"</script>") == 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "HSV", "I;16"])
def test_a_pillow_image_of_any_mode_is_kept_as_png(store: Store, mode: str):
    Image = pytest.importorskip("PIL.Image")
    item = logged(store, Image.new(mode, (5, 3)))
    assert (item.mime, item.details) == ("image/png", {"width": 5, "height": 3})
    assert item.load().shape[:2] == (3, 5)


def test_a_pillow_image_of_floats_is_refused(store: Store):
    Image = pytest.importorskip("PIL.Image")
    with pytest.raises(Misuse, match="mode F"):
        logged(store, Image.new("F", (5, 3)))


def test_an_image_file_is_kept_byte_for_byte(store: Store, tmp_path: Path):
    Image = pytest.importorskip("PIL.Image")
    Image.new("RGB", (5, 3), "red").save(tmp_path / "red.jpg")
    item = logged(store, tmp_path / "red.jpg")
    assert item.read_bytes() == (tmp_path / "red.jpg").read_bytes()
    assert (item.mime, item.details) == ("image/jpeg", {"width": 5, "height": 3})
    assert item.load().shape == (3, 5, 3)
    assert logged(store, st.image(str(tmp_path / "red.jpg"))).digest == item.digest
    assert logged(store, st.image((tmp_path / "red.jpg").read_bytes())).digest == item.digest


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_frames_become_an_animation(store: Store, channels: int):
    pytest.importorskip("PIL")
    frames = np.zeros((4, 16, 16, channels), np.uint8)
    frames[1, :8] = 255
    frames[3, :, 8:] = 255
    item = logged(store, st.video(frames, fps=5))
    assert (item.kind, item.mime) == ("video", "image/webp")
    assert item.details == {"width": 16, "height": 16, "frames": 4, "fps": 5.0}
    back = item.load()
    assert len(back) == 4
    assert back[1, 2, 2, 0] > 200 > 50 > back[1, 14, 2, 0]


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 16, 16)), np.zeros((0, 16, 16, 3)), np.full((2, 4, 4, 3), np.nan), np.full((2, 4, 4, 3), 2.0)]
)
def test_what_is_no_video_is_refused(store: Store, wrong: np.ndarray):
    with pytest.raises(Misuse, match="'thing'"):
        logged(store, st.video(wrong))


def test_without_pillow_frames_and_photographs_are_refused_with_the_way_to_get_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff rest")
    item = logged(store, tmp_path / "photo.jpg")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(Misuse, match=r"stratal\[media\]"):
        logged(store, st.video(np.zeros((2, 4, 4, 3))))
    with pytest.raises(Misuse, match=r"stratal\[media\]"):
        item.load()
    assert logged(store, np.zeros((4, 4))).load().shape == (4, 4), "our own PNG needs no library"


def test_tensors_have_their_channels_first(store: Store):
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(3, 4, 5, requires_grad=True, dtype=torch.float32)
    assert logged(store, tensor).details == {"width": 5, "height": 4, "channels": 3}
    assert logged(store, torch.zeros(4, 5, dtype=torch.bfloat16)).details == {"width": 5, "height": 4, "channels": 1}
    assert logged(store, torch.arange(10)).kind == "histogram"
    with pytest.raises(Misuse, match="permute"):
        logged(store, torch.zeros(7, 5, 3))
    with pytest.raises(Misuse, match="dense"):
        logged(store, torch.eye(3).to_sparse())


def test_a_tensor_of_one_number_is_a_metric(store: Store):
    torch = pytest.importorskip("torch")
    with run("churn", store=store) as made:
        made.log({"loss": torch.tensor(0.5, requires_grad=True), "says": "beside"}, step=1)
    assert get_run(made.id, store=store).metrics == {"loss": 0.5}


def test_a_frame_of_pandas_is_a_table_and_its_column_a_histogram(store: Store):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"n": [1.5, 2.5]})
    assert logged(store, frame).load().to_dict(as_series=False) == {"n": [1.5, 2.5]}
    assert logged(store, frame["n"]).load().values == 2
