"""Copies: how the objects of one blob are named and understood, in a store that has no rename, no locks and no times to set.

A blob's folder holds numbered copies. A copy is published by one object: `whole` (its bytes), or `parts-SIZE`, which names the parts
`p-OFFSET-DIGEST` beside it. `young` is written anew to make it young. `dead-RANDOM` is a collection's mark: it is written before the
collection looks for the last time, and whoever made the copy young looks after that; so one of both sees the other, and either the
collection goes back, or the writer writes another copy.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from stratal.store.files.blobs import Digest, is_digest
from stratal.store.files.objects import Object

WHOLE, YOUNG = "whole", "young"
_PART = re.compile(r"p-([0-9]{16})-([0-9a-f]{64})")
_MANIFEST = re.compile(r"parts-([0-9]{1,16})")
_NUMBER = re.compile(r"[0-9]{1,6}")


@dataclass
class Copy:
    """What lies in a copy's folder. whole, manifest: the object that publishes it."""

    number: int
    whole: Object | None = None
    manifest: Object | None = None
    parts: list[Object] = field(default_factory=list)
    young: Object | None = None
    dead: list[Object] = field(default_factory=list)

    @property
    def is_published(self) -> bool:
        """Whether it can be read. A list of parts of which some are gone publishes nothing: a collection came in between."""
        return self.whole is not None or (self.manifest is not None and self._parts_bytes() >= self._manifest_bytes())

    @property
    def size_bytes(self) -> int:
        """Of the blob, or of the parts that are there of it."""
        if self.whole is not None:
            return self.whole.size_bytes
        return self._manifest_bytes() if self.is_published else sum(part.size_bytes for part in self.parts)

    @property
    def content(self) -> list[Object]:
        """All but the marks of collections, in the order in which they are deleted: what publishes it comes first."""
        return [each for each in (self.whole, self.manifest, *self.parts, self.young) if each is not None]

    @property
    def newest_ns(self) -> int:
        """When anything of it was written last."""
        return max((each.changed_ns for each in self.content), default=0)

    def chain(self) -> list[Object]:
        """Give parts that follow on each other from the start of the blob."""
        by_offset: dict[int, Object] = {}
        for part in self.parts:
            offset = offset_of(part.name)
            if offset not in by_offset or by_offset[offset].size_bytes < part.size_bytes:
                by_offset[offset] = part
        found, at = [], 0
        while (part_here := by_offset.get(at)) is not None and part_here.size_bytes:
            found.append(part_here)
            at += part_here.size_bytes
        return found

    def _parts_bytes(self) -> int:
        return sum(part.size_bytes for part in self.chain())

    def _manifest_bytes(self) -> int:
        return int(self.manifest.name.rpartition("-")[2]) if self.manifest is not None else 0


@dataclass
class Copies:
    """All copies of a blob, by number."""

    digest: Digest
    copies: dict[int, Copy] = field(default_factory=dict)

    def readable(self) -> Copy | None:
        """Give a copy to read, rather one that no collection has marked."""
        published = [copy for copy in self.copies.values() if copy.is_published]
        return min(published, key=lambda copy: (bool(copy.dead), copy.number), default=None)

    def live(self) -> Copy | None:
        """Give a published copy that no collection has marked."""
        found = self.readable()
        return found if found is not None and not found.dead else None

    def free(self) -> Copy:
        """Give the copy to write now: the first one that is not published, and that no collection has marked."""
        number = 0
        while (copy := self.copies.get(number)) is not None and (copy.dead or copy.is_published):
            number += 1
        return copy or Copy(number)

    @property
    def newest_ns(self) -> int:
        """When anything of the blob was written last."""
        return max((copy.newest_ns for copy in self.copies.values()), default=0)


def folder_of(digest: str) -> str:
    """Give the folder of a blob."""
    return f"{digest[:2]}/{digest[2:]}"


def part_name(offset: int, digest: str) -> str:
    """Name a part by where it begins and what it holds."""
    return f"p-{offset:016d}-{digest}"


def offset_of(name: str) -> int:
    """Give where a part begins."""
    return int(name.rpartition("/")[2].split("-")[1])


def understand(objects: Iterable[Object]) -> dict[str, Copies]:
    """Sort listed objects into blobs and copies; what is none of ours is passed over."""
    found: dict[str, Copies] = {}
    for each in objects:
        words = each.name.split("/")
        if len(words) != 4 or not is_digest(words[0] + words[1]) or not _NUMBER.fullmatch(words[2]):
            continue
        digest = Digest(words[0] + words[1])
        copies = found.setdefault(digest, Copies(digest))
        _place(copies.copies.setdefault(int(words[2]), Copy(int(words[2]))), words[3], each)
    return found


def chain_of(objects: Iterable[Object]) -> list[Object]:
    """Give parts in one folder that follow on each other from the start."""
    return Copy(0, parts=[each for each in objects if _PART.fullmatch(each.name.rpartition("/")[2])]).chain()


def _place(copy: Copy, name: str, found: Object) -> None:
    if name == WHOLE:
        copy.whole = found
    elif name == YOUNG:
        copy.young = found
    elif _MANIFEST.fullmatch(name):
        copy.manifest = found
    elif _PART.fullmatch(name):
        copy.parts.append(found)
    elif name.startswith("dead-"):
        copy.dead.append(found)
