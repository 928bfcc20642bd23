"""Videos: files as they are, and frames as an animated WebP.

There is no light and well-kept encoder of MP4 for Python; WebP plays in every browser, and Pillow writes it.
"""

import io
import os

import numpy as np

from stratal.core.errors import Misuse
from stratal.tracking.media.arrays import comes_from, to_array
from stratal.tracking.media.files import content_of, size_in_pixels
from stratal.tracking.media.images import open_with_pillow, to_pixels
from stratal.tracking.media.prepared import Content, Prepared, of_type
from stratal.tracking.media.values import Media

WEBP = "image/webp"
_FPS = 10.0  # a guess: of a robot, or of an agent that plays
_MOST_FPS = 1000  # WebP counts milliseconds
_QUALITY = 80  # Pillow's own default


def prepare(media: Media) -> Prepared:
    """Keep a file, or encode frames. Raises Misuse, NotFound."""
    value = media.value
    if isinstance(value, str | bytes | bytearray | memoryview | os.PathLike):
        content, head = content_of(value, "video")
        return Prepared("video", (content,), size_in_pixels(head, content.mime))
    fps = _FPS if media.rate is None else media.rate
    if fps > _MOST_FPS:
        raise Misuse(f"a video of {fps:g} frames a second cannot be", hint=f"at most {_MOST_FPS:,}")
    array = to_array(value)
    if comes_from(value, "torch") and array.ndim == 4:
        array = array.transpose(0, 2, 3, 1)
    if array.ndim != 4 or array.shape[3] not in (1, 3, 4) or 0 in array.shape:
        raise Misuse(
            f"{of_type(value)} is no video",
            hint="frames have shape (time, height, width, 3); of torch (time, 3, height, width); or give the path of a file",
        )
    count, height, width, channels = array.shape
    frames = to_pixels(array.reshape(count * height, width, channels)).reshape(count, height, width, channels)
    details = {"width": width, "height": height, "frames": count, "fps": float(fps)}
    return Prepared("video", (Content(_webp(frames, fps), WEBP, ".webp"),), details)


def load(data: bytes, mime: str, _details: object) -> object:
    """Give the frames of a WebP or GIF, (T, H, W, 3 | 4) uint8. Needs Pillow. Raises Misuse for other formats."""
    if not mime.startswith("image/"):
        raise Misuse(f"{mime} is not read back as frames", hint="take item.read_bytes() into a video library")
    image = open_with_pillow(data, "a video")
    frames = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        frames.append(np.asarray(image.convert("RGBA" if image.mode == "RGBA" else "RGB")))
    return np.stack(frames)


def _webp(frames: np.ndarray, fps: float) -> bytes:
    try:
        from PIL import Image, features  # an optional library
    except ModuleNotFoundError as error:
        raise Misuse("frames become a video by Pillow, which is not there", hint="pip install 'stratal[media]', or give a file") from error
    if not features.check("webp"):
        raise Misuse("this Pillow was built without WebP", hint="install Pillow's own wheel, or give a file")
    first, *rest = [
        Image.fromarray(frame[:, :, 0] if frame.shape[2] == 1 else frame).convert("RGBA" if frame.shape[2] == 4 else "RGB")
        for frame in frames
    ]
    out = io.BytesIO()
    first.save(
        out, format="WEBP", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0, quality=_QUALITY, method=2,
        allow_mixed=True,
    )  # fmt: skip
    return out.getvalue()
