"""Sounds: samples become WAV of 16 bits, files stay as they are."""

import io
import os
import wave
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stratal.core.errors import Misuse
from stratal.tracking.media.arrays import check_finite, to_array
from stratal.tracking.media.files import content_of
from stratal.tracking.media.prepared import Content, Prepared, of_type
from stratal.tracking.media.values import Media

WAV = "audio/wav"
_MOST_CHANNELS = 64


class Sound(NamedTuple):
    """samples: (n,) or (n, channels) int16; rate: samples a second."""

    samples: NDArray[np.int16]
    rate: int


def prepare(media: Media) -> Prepared:
    """Encode samples, or keep a file. Raises Misuse, NotFound."""
    value, rate = media.value, media.rate
    if isinstance(value, str | bytes | bytearray | memoryview | os.PathLike):
        content, _ = content_of(value, "audio")
        return Prepared("audio", (content,))
    if rate is None or rate != int(rate) or not 1 <= rate < 2**31:
        raise Misuse(f"a sound of samples needs its rate, not {rate!r}", hint="st.audio(samples, 16_000)")
    samples = _sixteen_bits(value)
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(int(rate))
        file.writeframes(samples.astype("<i2").tobytes())
    details = {"rate_hz": int(rate), "channels": file.getnchannels(), "seconds": len(samples) / rate}
    return Prepared("audio", (Content(out.getvalue(), WAV, ".wav"),), details)


def load(data: bytes, mime: str, _details: object) -> Sound:
    """Give samples and rate of a WAV of 16 bits. Raises Misuse for other formats."""
    try:
        if mime != WAV:
            raise wave.Error(mime)
        with wave.open(io.BytesIO(data)) as file:
            if file.getsampwidth() != 2:
                raise wave.Error(f"{8 * file.getsampwidth()} bits")
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)
            channels = file.getnchannels()
            return Sound(samples if channels == 1 else samples.reshape(-1, channels), file.getframerate())
    except (wave.Error, EOFError) as error:
        raise Misuse(
            f"only WAV of 16 bits is read back as samples ({error})", hint="take item.read_bytes() into an audio library"
        ) from error


def _sixteen_bits(value: object) -> NDArray[np.int16]:
    array = to_array(value)
    if array.ndim == 2 and array.shape[1] > _MOST_CHANNELS:
        raise Misuse(f"{of_type(value)} would be a sound of {array.shape[1]} channels", hint="samples are (n, channels); turn them: x.T")
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] == 0):
        raise Misuse(f"{of_type(value)} is no sound", hint="samples have shape (n,) or (n, channels)")
    if array.dtype == np.int16:
        return array.astype(np.int16, copy=False)
    if array.dtype.kind != "f":
        raise Misuse(f"samples of {array.dtype} have no known loudness", hint="give int16, or floats from -1 to 1")
    check_finite(array, "samples")
    if array.size and np.abs(array).max() > 1:
        raise Misuse(f"samples go up to {np.abs(array).max():.6g}; floats go from -1 to 1", hint="scale them: x / abs(x).max()")
    return np.rint(array.astype(np.float64) * 32767).astype(np.int16)
