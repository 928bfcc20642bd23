"""Transfers: large blobs that a client sends straight to the object store, by URLs that are signed for one part each.

What is sent so lies aside under a random name, and is read by nobody. The server copies it to where no URL leads, reads and hashes the
copies, and makes the blob readable if it is right. Laws (tested): 1 a blob is readable only after its bytes were verified, whatever is sent
to the URLs before, meanwhile or after; and what is not right touches nothing of the blob. 2 what was sent need not be sent again, and any
process of the server goes on. 3 a transfer is its beginner's; nobody learns from it whether the store has a blob, since all bytes must be
sent.
"""

import contextlib
import secrets
from hashlib import sha256

import msgspec

from stratal.core.errors import Conflict, Damaged, Misuse, NotFound
from stratal.core.records import Record
from stratal.store.files.blobs import Blobs, check_digest, damaged, digest_of
from stratal.store.files.bucket import BucketBlobs
from stratal.store.files.copies import folder_of, part_name
from stratal.store.files.objects import Held
from stratal.store.shipments import MOST_BLOB_BYTES

# Seconds for which a URL is good: a part of 64 MiB at 20 kB/s. URLs in one answer: a body below a megabyte.
GOOD_S, MOST_URLS = 3600.0, 1000
_ID_DIGITS = 32


class Plan(Record, frozen=True, kw_only=True):
    """What is to be sent, and by whom."""

    digest: str
    size_bytes: int
    part_bytes: int
    sender: str
    is_done: bool = False

    def parts(self) -> list[tuple[int, int]]:
        """Give (offset, size) of all parts."""
        return [(at, min(self.part_bytes, self.size_bytes - at)) for at in range(0, self.size_bytes, self.part_bytes)]


class Missing(Record, frozen=True, kw_only=True):
    """A part that is not there yet. url: takes one PUT of exactly these bytes; a secret."""

    offset: int
    size_bytes: int
    url: str


class Transfer(Record, frozen=True, kw_only=True):
    """Where a transfer is. missing: the first parts of those that are not there yet; none: finish it. headers: of each PUT."""

    id: str
    missing: tuple[Missing, ...]
    headers: dict[str, str]
    good_s: float


def check_transfer(blobs: Blobs, digest: str, size_bytes: int) -> None:
    """Raise Misuse for what cannot be sent so, or where blobs lie in no object store."""
    _place(blobs)
    check_digest(digest)
    if not 0 < size_bytes <= MOST_BLOB_BYTES:
        raise Misuse(f"a file of {size_bytes} bytes is not sent so", hint=f"from 1 to {MOST_BLOB_BYTES} bytes")


def begin_transfer(blobs: Blobs, digest: str, size_bytes: int, *, sender: str) -> Transfer:
    """Begin to take a blob. Raises Misuse as `check_transfer`, and where the object store signs no URLs."""
    check_transfer(blobs, digest, size_bytes)
    plan = Plan(digest=digest, size_bytes=size_bytes, part_bytes=_place(blobs).part_bytes, sender=sender)
    id = secrets.token_hex(_ID_DIGITS // 2)
    found = _transfer(_place(blobs), id, plan)
    _place(blobs).claim()
    _write(_place(blobs), id, plan)
    return found


def read_transfer(blobs: Blobs, id: str, *, sender: str) -> Transfer:
    """Say which parts are missing, with fresh URLs. Raises NotFound."""
    place = _place(blobs)
    return _transfer(place, id, _plan(place, id, sender))


def finish_transfer(blobs: Blobs, id: str, *, sender: str) -> str:
    """Verify what was sent, make it readable, and give its digest; once it is done, that alone.

    Raises Conflict while parts are missing, Damaged if it is something else: then all parts are thrown away. O(bytes) of reading."""
    place = _place(blobs)
    plan = _plan(place, id, sender)
    if plan.is_done:
        return plan.digest
    if missing := _missing(place, id, plan):  # before any of it is copied and read, for nothing
        raise _not_sent(missing[0][0])
    aside = f"checked/{id}-{secrets.token_hex(8)}"
    try:
        _adopt(place, plan, id, aside)
    except Damaged:
        _throw_away(place, f"incoming/{id}")
        raise
    finally:
        _throw_away(place, aside)
    _write(place, id, msgspec.structs.replace(plan, is_done=True))
    _throw_away(place, f"incoming/{id}")
    return plan.digest


def _adopt(place: BucketBlobs, plan: Plan, id: str, aside: str) -> None:
    """Copy, then look, then copy what was looked at: nothing that is not verified lies with the blob, and no URL leads to either copy."""
    names = _verified(place, plan, id, aside)
    if place.renew(plan.digest):
        return
    collected = Conflict(f"blob {plan.digest[:12]}… was collected while it came", hint="finish it once more")
    copy = place.copies(plan.digest).free().number
    for (offset, _), name in zip(plan.parts(), names, strict=True):
        try:
            place.objects.copy(_checked(aside, offset), f"{folder_of(plan.digest)}/{copy}/{name}")
        except NotFound:
            raise collected from None
    if not place.publish(plan.digest, copy, plan.size_bytes, names):
        raise collected


def _verified(place: BucketBlobs, plan: Plan, id: str, aside: str) -> list[str]:
    """Copy all parts aside, and give their names if together they are the blob. Raises Conflict, Damaged."""
    whole, names = sha256(), list[str]()
    for offset, size in plan.parts():
        checked = _checked(aside, offset)
        try:
            place.objects.copy(_part(id, offset), checked)
        except (NotFound, Held):
            raise _not_sent(offset) from None
        if place.objects.head(checked).size_bytes != size:
            raise _not_sent(offset)
        data = place.objects.read_range(checked, 0, size)
        whole.update(data)
        names.append(part_name(offset, digest_of(data)))
    if whole.hexdigest() != plan.digest:
        raise damaged(plan.digest)
    return names


def _transfer(place: BucketBlobs, id: str, plan: Plan) -> Transfer:
    missing = [] if plan.is_done else _missing(place, id, plan)
    names = [_part(id, offset) for offset, _ in missing[:MOST_URLS]]
    urls = place.objects.sign("PUT", names, GOOD_S) if names else []
    if urls is None:
        raise _not_so()
    found = tuple(Missing(offset=at, size_bytes=size, url=url) for (at, size), url in zip(missing, urls, strict=False))
    return Transfer(id=id, missing=found, headers=place.objects.put_headers, good_s=GOOD_S)


def _missing(place: BucketBlobs, id: str, plan: Plan) -> list[tuple[int, int]]:
    there = {found.name: found.size_bytes for found in place.objects.below(f"incoming/{id}")}
    return [part for part in plan.parts() if there.get(_part(id, part[0])) != part[1]]


def _plan(place: BucketBlobs, id: str, sender: str) -> Plan:
    unknown = NotFound(f"there is no transfer {id[:_ID_DIGITS]!r} of yours", hint="begin one")
    if len(id) != _ID_DIGITS or not set(id) <= set("0123456789abcdef"):
        raise unknown
    try:
        plan = msgspec.json.decode(place.objects.read(f"incoming/{id}/plan"), type=Plan)
    except NotFound:
        raise unknown from None
    if plan.sender != sender:
        raise unknown
    return plan


def _write(place: BucketBlobs, id: str, plan: Plan) -> None:
    place.objects.put(f"incoming/{id}/plan", msgspec.json.encode(plan))


def _throw_away(place: BucketBlobs, folder: str) -> None:
    for found in place.objects.below(folder):
        if not found.name.endswith("/plan"):
            with contextlib.suppress(Held):  # a collection tries again
                place.objects.delete(found.name)


def _part(id: str, offset: int) -> str:
    return f"incoming/{id}/{offset:016d}"


def _checked(aside: str, offset: int) -> str:
    return f"{aside}/{offset:016d}"


def _not_sent(offset: int) -> Conflict:
    return Conflict(f"the part at {offset} has not been sent", hint="ask which parts are missing, and send them")


def _place(blobs: Blobs) -> BucketBlobs:
    if not isinstance(blobs, BucketBlobs):
        raise _not_so()
    return blobs


def _not_so() -> Misuse:
    return Misuse("the files of this store are sent through the server", hint="PUT /ingest/v1/blobs/DIGEST")
