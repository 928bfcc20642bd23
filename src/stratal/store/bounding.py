"""Bounding: how much one transaction settles, so that nobody else waits long to write. Pure: tails come in, and what is taken of them.

Laws (tested): 1 what is taken is a prefix of the frames, and never nothing of some. 2 a fact that is larger than the bound is taken alone.
"""

from stratal.store.frames import FACT, Frame, Scan
from stratal.store.journal import Tail

# Bytes of facts that are settled in one transaction: some 40,000 tags, which take half a second. Points have a bound of their own, the
# window of a read: of them so many bytes cost a hundredth.
MOST_FACT_BYTES = 1 << 20


def bounded(tail: Tail) -> Tail:
    """Give what one transaction takes of a tail."""
    size = 0
    for number, frame in enumerate(tail.read.frames):
        if frame.kind == FACT:
            size += frame.stop - frame.start
            if number and size > MOST_FACT_BYTES:
                return first_frames(tail, tail.read.frames[:number])
    return tail


def is_large(frame: Frame) -> bool:
    """Tell whether a frame is a fact that is more than one transaction takes."""
    return frame.kind == FACT and frame.stop - frame.start > MOST_FACT_BYTES


def first_frames(tail: Tail, frames: list[Frame]) -> Tail:
    """Give what these first frames of a tail hold."""
    end = frames[-1].end
    damage = [each for each in tail.read.damage if each[1] <= end]
    return tail._replace(data=tail.data[:end], read=Scan(frames, end, damage))


def rest_of(tail: Tail, taken: Tail) -> Tail | None:
    """Give what follows what was taken of a tail, None for nothing."""
    skip, count = taken.read.end, len(taken.read.frames)
    if count == len(tail.read.frames):
        return None
    frames = [frame._replace(start=frame.start - skip, stop=frame.stop - skip) for frame in tail.read.frames[count:]]
    damage = [(start - skip, stop - skip) for start, stop in tail.read.damage if start >= skip]
    return tail._replace(offset=tail.offset + skip, data=tail.data[skip:], read=Scan(frames, tail.read.end - skip, damage))
