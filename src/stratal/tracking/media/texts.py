"""Texts, pages and JSON documents."""

import os
from pathlib import Path

import msgspec

from stratal.core.errors import Damaged, Misuse
from stratal.tracking.documents import to_document
from stratal.tracking.media.files import content_of, text_of_file
from stratal.tracking.media.prepared import Content, Prepared, encoded, of_type
from stratal.tracking.media.values import Media

_FORMS = {"text": ("text/plain", ".txt"), "html": ("text/html", ".html"), "json": ("application/json", ".json")}


def prepare(media: Media) -> Prepared:
    """Keep a text, a page or a document. Raises Misuse."""
    value, kind = media.value, media.kind
    mime, suffix = _FORMS[kind]
    if isinstance(value, os.PathLike):
        content, _ = content_of(value, kind)
        data = encoded(text_of_file(Path(value)))
        mime, suffix = content.mime, content.suffix
        if kind == "json":
            _parsed(data, Misuse)
    elif kind == "json":
        data = _written(value)
    elif isinstance(value, str):
        data = encoded(value)
    else:
        raise Misuse(f"{of_type(value)} is no {kind}", hint=f"st.{kind} takes a text or a pathlib.Path")
    return Prepared(kind, (Content(data, mime, suffix),), {"characters": len(data.decode())})


def load(data: bytes, mime: str, _details: object) -> object:
    """Give the text, or the document."""
    return _parsed(data, Damaged) if mime == "application/json" else data.decode()


def _written(value: object) -> bytes:
    document = to_document(value)
    try:
        return msgspec.json.encode(document)
    except (ValueError, TypeError) as error:  # half of a character in a text
        raise Misuse(f"{of_type(value)} cannot be written as JSON: {error}", hint="give plain dicts, lists, numbers and texts") from error


def _parsed(data: bytes, wrong: type[Misuse] | type[Damaged]) -> object:
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise wrong(f"this is no JSON: {error}") from error
