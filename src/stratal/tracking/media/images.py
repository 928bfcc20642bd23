"""Images: pixels, tensors, Pillow's images and image files; arrays are kept as PNG, files as they are."""

import io
import os
from typing import TYPE_CHECKING, cast

import numpy as np

from stratal.core.errors import Misuse
from stratal.tracking.media import png
from stratal.tracking.media.arrays import Array, check_finite, comes_from, to_array
from stratal.tracking.media.files import content_of, size_in_pixels
from stratal.tracking.media.prepared import Content, Prepared, of_type
from stratal.tracking.media.values import Media

if TYPE_CHECKING:
    from PIL.Image import Image

PNG = "image/png"
_SHAPES = "an image has shape (height, width) or (height, width, 1, 3 or 4); a torch tensor (1, 3 or 4, height, width)"


def prepare(media: Media) -> Prepared:
    """Encode an image. Raises Misuse for shapes and values that are none, NotFound for a file that is not there."""
    value = media.value
    if isinstance(value, str | bytes | bytearray | memoryview | os.PathLike):
        content, head = content_of(value, "image")
        return Prepared("image", (content,), size_in_pixels(head, content.mime))
    if comes_from(value, "PIL"):
        return _from_pillow(value)
    pixels = to_pixels(value)
    height, width, channels = pixels.shape
    content = Content(png.encode(pixels), PNG, ".png")
    return Prepared("image", (content,), {"width": width, "height": height, "channels": channels})


def to_pixels(value: object) -> png.Pixels:
    """Give (H, W, 1 | 3 | 4) uint8 of an array or tensor. Raises Misuse."""
    array = to_array(value)
    if comes_from(value, "torch") and array.ndim == 3:
        if array.shape[0] not in (1, 3, 4):
            raise Misuse(f"{of_type(value)} is no image", hint=f"{_SHAPES}; tensor.permute(2, 0, 1) turns (height, width, 3) around")
        array = array.transpose(1, 2, 0)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        more = "log a batch as a list of images" if array.ndim == 4 else "st.histogram(values) takes any shape"
        raise Misuse(f"{of_type(value)} is no image: {_SHAPES}", hint=more)
    if 0 in array.shape:
        raise Misuse(f"{of_type(value)} is an image without pixels", hint="an image has at least one row and one column")
    return np.ascontiguousarray(_eight_bits(array))


def load(data: bytes, mime: str, _details: object) -> object:
    """Give the pixels, (H, W) or (H, W, C) uint8. Needs Pillow for files that others made; SVG comes back as its text."""
    if mime == "image/svg+xml":
        return data.decode()
    pixels = png.decode(data) if mime == PNG else None
    if pixels is None:
        pixels = np.asarray(open_with_pillow(data, "an image that is no PNG of ours"))
    return pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


def open_with_pillow(data: bytes, what: str) -> "Image":
    """Open an encoded image. Raises Misuse if Pillow is not there, or does not know the format."""
    try:
        from PIL import Image, UnidentifiedImageError  # an optional library
    except ModuleNotFoundError as error:
        raise Misuse(f"reading {what} needs Pillow", hint="pip install 'stratal[media]', or take item.read_bytes()") from error
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError as error:
        raise Misuse("Pillow does not know this image's format", hint="take item.read_bytes()") from error


def _eight_bits(array: Array) -> png.Pixels:
    if array.dtype == np.uint8:
        return array.astype(np.uint8, copy=False)
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    check_finite(array, "pixels")
    low, high = array.min(), array.max()
    if array.dtype.kind == "f":
        if low < 0 or high > 1:
            raise Misuse(f"pixels go from {low:.6g} to {high:.6g}; floats go from 0 to 1", hint=_rescaled())
        scaled: png.Pixels = np.rint(array.astype(np.float64) * 255).astype(np.uint8)
        return scaled
    if low < 0 or high > 255:
        raise Misuse(f"pixels go from {low} to {high}; integers go from 0 to 255", hint=_rescaled())
    return array.astype(np.uint8)


def _rescaled() -> str:
    return "rescale them: (x - x.min()) / (x.max() - x.min()); values that are no picture go into st.histogram(values)"


def _from_pillow(value: object) -> Prepared:
    image = cast("Image", value)
    mode = getattr(image, "mode", None)
    if mode is None or not hasattr(image, "save"):
        raise Misuse(f"{of_type(value)} is no image", hint="give a PIL.Image.Image")
    if mode == "F" or 0 in image.size:
        raise Misuse(f"a Pillow image of mode {mode} and size {image.size} cannot be kept as PNG", hint="convert it: image.convert('RGB')")
    kept = image if mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else image.convert("RGB")
    out = io.BytesIO()
    try:
        kept.save(out, format="PNG")
    except (OSError, ValueError) as error:
        raise Misuse(f"Pillow cannot save this image as PNG: {error}", hint="convert it: image.convert('RGB')") from error
    return Prepared("image", (Content(out.getvalue(), PNG, ".png"),), {"width": image.width, "height": image.height})
