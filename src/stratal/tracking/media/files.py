"""Files of others as media: what a file is, by its first bytes where a format has such, else by its ending."""

import os
from pathlib import Path, PurePath

from stratal.core.errors import Misuse, NotFound
from stratal.tracking.media.prepared import Content, encoded, of_type

_HEAD = 64 << 10  # of JPEG, where the size may stand behind a preview
# Ending to (kind, mime) of formats whose bytes say nothing.
_BY_ENDING = {
    ".svg": ("image", "image/svg+xml"), ".txt": ("text", "text/plain"), ".md": ("text", "text/markdown"), ".log": ("text", "text/plain"),
    ".json": ("json", "application/json"), ".html": ("html", "text/html"), ".htm": ("html", "text/html"),
    ".csv": ("table", "text/csv"), ".parquet": ("table", "application/vnd.apache.parquet"),
}  # fmt: skip
_ENDINGS = {
    "image/png": ".png", "image/jpeg": ".jpg", "image/gif": ".gif", "image/webp": ".webp", "image/bmp": ".bmp", "image/svg+xml": ".svg",
    "audio/wav": ".wav", "audio/mpeg": ".mp3", "audio/ogg": ".ogg", "audio/flac": ".flac", "audio/mp4": ".m4a",
    "video/mp4": ".mp4", "video/quicktime": ".mov", "video/webm": ".webm", "text/plain": ".txt", "text/markdown": ".md",
    "application/json": ".json", "text/html": ".html",
}  # fmt: skip


def kind_of_file(path: PurePath) -> str:
    """Tell what kind of media a file is. Raises NotFound or Misuse."""
    return _recognised(_head(path), path.suffix.lower(), f"the file {path}")[0]


def content_of(value: object, kind: str) -> tuple[Content, bytes]:
    """Give a file (path, text of a path, or bytes) as content of a kind, and its first bytes. Raises NotFound, Misuse."""
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        found, mime = _recognised(data[:_HEAD], "", f"these {len(data):,} bytes")
        head, content = data[:_HEAD], Content(data, mime, _ENDINGS[mime])
    else:
        path = Path(os.fspath(value)) if isinstance(value, str | os.PathLike) else None
        if path is None:
            raise Misuse(f"{of_type(value)} is no {kind}", hint=f"give the path of a file, or see st.{kind}")
        head = _head(path)
        found, mime = _recognised(head, path.suffix.lower(), f"the file {path}")
        content = Content(path, mime, _ENDINGS.get(mime, path.suffix.lower()))
    if found != kind and not (kind == "video" and mime in ("image/gif", "image/webp")):
        raise Misuse(f"this is {mime}, and no {kind}", hint=f"log it as st.{found}(...)")
    return content, head


def text_of_file(path: Path) -> str:
    """Read a text file. Raises NotFound, or Misuse if it is none."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(f"the file {path} cannot be read as UTF-8: {error}", hint="keep other files with run.save(path)") from error


def size_in_pixels(head: bytes, mime: str) -> dict[str, object]:
    """Give width and height where the first bytes say them."""
    width = height = 0
    if mime == "image/png" and len(head) >= 24:
        width, height = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
    elif mime == "image/gif" and len(head) >= 10:
        width, height = int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    elif mime == "image/jpeg":
        width, height = _jpeg_size(head)
    return {"width": width, "height": height} if width and height else {}


def _jpeg_size(head: bytes) -> tuple[int, int]:
    place = 2
    while place + 9 < len(head) and head[place] == 0xFF:
        marker, length = head[place + 1], int.from_bytes(head[place + 2 : place + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a start of frame; those three are tables
            return int.from_bytes(head[place + 7 : place + 9]), int.from_bytes(head[place + 5 : place + 7])
        place += 2 + length
    return 0, 0


def _head(path: PurePath) -> bytes:
    encoded(str(path))
    try:
        with Path(path).open("rb") as file:
            return file.read(_HEAD)
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}", hint="check the path; it is taken from the working folder") from error
    except (OSError, ValueError) as error:
        raise Misuse(f"the file {path} cannot be read: {error}", hint="a folder is kept with run.save(path)") from error


def _recognised(head: bytes, ending: str, what: str) -> tuple[str, str]:
    """Give (kind, mime)."""
    if found := _by_bytes(head, ending):
        return found
    if ending in _BY_ENDING and not (ending == ".svg" and b"<svg" not in head):
        return _BY_ENDING[ending]
    raise Misuse(
        f"{what} is no image, sound, video, table, page or text that is known here; it begins with {head[:8]!r}",
        hint="keep any file with run.save(path)",
    )


def _by_bytes(head: bytes, ending: str) -> tuple[str, str] | None:
    if head[:4] == b"RIFF":
        return {b"WEBP": ("image", "image/webp"), b"WAVE": ("audio", "audio/wav")}.get(head[8:12])
    if head[4:8] == b"ftyp":
        if ending == ".m4a" or head[8:12] == b"M4A ":
            return "audio", "audio/mp4"
        return ("video", "video/quicktime") if head[8:12] == b"qt  " else ("video", "video/mp4")
    for magic, found in (
        (b"\x89PNG\r\n\x1a\n", ("image", "image/png")),
        (b"\xff\xd8\xff", ("image", "image/jpeg")),
        (b"GIF8", ("image", "image/gif")),
        (b"\x1a\x45\xdf\xa3", ("video", "video/webm")),
        (b"OggS", ("audio", "audio/ogg")),
        (b"fLaC", ("audio", "audio/flac")),
        (b"ID3", ("audio", "audio/mpeg")),
    ):
        if head.startswith(magic):
            return found
    if head[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2") and ending == ".mp3":
        return "audio", "audio/mpeg"
    return ("image", "image/bmp") if head[:2] == b"BM" and ending in (".bmp", "") else None
