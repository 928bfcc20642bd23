"""Logging what is not all numbers: everything is recognised, checked and encoded before anything is written."""

import operator
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from stratal.core.errors import Misuse, NotFound
from stratal.store.frames import NO_STEP, check_metric_names
from stratal.store.store import Store
from stratal.tracking.facts import MediaEntry, MediaFile, check_name, check_text
from stratal.tracking.media.places import FOLDER, place_of
from stratal.tracking.media.prepared import Content, Prepared
from stratal.tracking.media.preparing import keeper_of, recognised
from stratal.tracking.media.values import Media

# What stands in the fact itself instead of in a file: a histogram a step, and most texts. A file costs 0.2 ms, a fact 0.02.
SMALL_BYTES = 4096
SMALL_KINDS = frozenset(("histogram", "text", "json"))
_MOST_CAPTION = 10_000


class Split(NamedTuple):
    """One call's values: the numbers for the journal's points, and the items."""

    numbers: dict[str, float]
    items: list[tuple[str, Media, Prepared]]
    step: int | None


def split(values: Mapping[str, object], step: int | None) -> Split:
    """Tell numbers from media, check and encode. Raises Misuse or NotFound, with the name of what is wrong; nothing is written."""
    numbers = {name: value for name, value in values.items() if _is_number(value)}
    media = {name: value for name, value in values.items() if name not in numbers}
    if numbers and (wrong := check_metric_names(tuple(numbers))):
        raise Misuse(f"these metrics cannot be logged: {wrong}", hint="a metric has a printable name and a number")
    step = _checked_step(step)
    return Split(numbers, [item for name, value in media.items() for item in _prepared(name, value)], step)  # type: ignore[arg-type]  # told apart above


def entries(store: Store, items: Sequence[tuple[str, Media, Prepared]]) -> list[MediaEntry]:
    """Store the contents as blobs, and give what the fact will say of them. Raises StoreDown."""
    return [_entry(store, name, media, prepared) for name, media, prepared in items]


def _checked_step(step: object) -> int | None:
    if step is None:
        return None
    if not hasattr(step, "__index__") or not NO_STEP < operator.index(step) < -NO_STEP:
        raise Misuse(f"step {step!r} is not a whole number of 64 bits, or is the lowest of them", hint="pass an int, or leave it out")
    return operator.index(step)


def _is_number(value: object) -> bool:
    """Tell what the journal takes as a point: the journal's own test."""
    try:
        struct.pack("<d", value)
    except (struct.error, TypeError, ValueError, OverflowError, RuntimeError):
        return False
    return True


def _prepared(name: str, value: object) -> list[tuple[str, Media, Prepared]]:
    check_name("media", name)
    found = []
    try:
        for media in recognised(value):
            check_text("caption", media.caption)
            if len(media.caption) > _MOST_CAPTION:
                raise Misuse(f"the caption has {len(media.caption):,} characters", hint=f"at most {_MOST_CAPTION:,}; log a text beside it")
            media.caption.encode()
            found.append((name, media, keeper_of(media.kind).prepare(media)))
    except UnicodeEncodeError as error:
        raise Misuse(f"{name!r}: the caption holds half of a character", hint="decode it with errors='replace'") from error
    except (Misuse, NotFound) as error:
        raise type(error)(f"{name!r} cannot be logged: {error.message}", hint=error.hint) from error
    return found


def _entry(store: Store, name: str, media: Media, prepared: Prepared) -> MediaEntry:
    first = prepared.contents[0]
    is_small = prepared.kind in SMALL_KINDS and isinstance(first.data, bytes) and len(first.data) <= SMALL_BYTES
    return MediaEntry(
        name=name,
        kind=prepared.kind,
        mime=first.mime,
        caption=media.caption,
        files=[] if is_small else [_file(store, name, content) for content in prepared.contents],
        text=first.data.decode() if is_small and isinstance(first.data, bytes) else None,
        details=dict(prepared.details),
    )


def _file(store: Store, name: str, content: Content) -> MediaFile:
    digest = store.blobs.put_file(content.data) if isinstance(content.data, Path) else store.blobs.put(content.data)
    path = f"{FOLDER}/{content.shared}{content.suffix}" if content.shared else place_of(name, digest, content.suffix)
    return MediaFile(path=path, digest=digest, size_bytes=store.blobs.size_bytes(digest), mime=content.mime)
