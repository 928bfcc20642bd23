"""What is written in one go of the loop leaves at once. Excludes uvicorn's own protocol."""

import asyncio

from stratal.server.gathering import Gathering


class Wire:
    """A transport that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def close(self) -> None:
        self.told.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.told


def test_head_and_body_of_an_answer_leave_by_one_write_and_nothing_is_lost_at_the_end():
    async def talk() -> list[bytes | str]:
        wire = Wire()
        gathering = Gathering(wire)
        for part in (b"head ", b"body", b""):
            gathering.write(part)
        assert wire.told == []
        await asyncio.sleep(0)
        assert wire.told == [b"head body"]
        gathering.write(b"more")
        assert not gathering.is_closing()
        gathering.close()
        await asyncio.sleep(0)
        return wire.told

    assert asyncio.run(talk()) == [b"head body", b"more", "closed"]
