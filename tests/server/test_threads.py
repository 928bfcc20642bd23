"""Calls of the event loop in threads: values, errors, how many at once, who goes away, the end."""

import asyncio
import threading
from contextvars import ContextVar

import pytest

from stratal.core.errors import StoreDown
from stratal.server.threads import Threads

WHO: ContextVar[str] = ContextVar("who", default="nobody")


@pytest.fixture
def threads():
    made = Threads(3, "test")
    yield made
    made.close()


def test_values_and_errors_come_back_and_the_call_knows_what_its_task_knows(threads):
    def fail() -> None:
        raise KeyError("x")

    async def ask() -> list[object]:
        WHO.set("ada")
        return await asyncio.gather(threads.run(WHO.get), threads.run(fail), threads.run(lambda: None), return_exceptions=True)

    found = asyncio.run(ask())
    assert found[0] == "ada" and isinstance(found[1], KeyError) and found[2] is None


def test_as_many_run_at_once_as_there_are_threads_and_no_more(threads):
    together, most, lock = threading.Barrier(3), [0, 0], threading.Lock()

    def call() -> None:
        with lock:
            most[0] += 1
            most[1] = max(most)
        together.wait(20)  # three meet here, or none gets on
        with lock:
            most[0] -= 1

    async def ask() -> None:
        await asyncio.gather(*(threads.run(call) for _ in range(30)))

    asyncio.run(ask())
    assert most == [0, 3]


def test_one_after_the_other_is_done_by_one_thread(threads):
    async def ask() -> set[int]:
        return {await threads.run(threading.get_ident) for _ in range(20)}

    assert len(asyncio.run(ask())) == 1


def test_who_goes_away_ends_nothing_that_has_begun_and_begins_nothing():
    threads, began, go_on, done = Threads(1, "test"), threading.Event(), threading.Event(), []

    def slow() -> None:
        began.set()
        go_on.wait(20)
        done.append("slow")

    async def ask() -> None:
        first, second = threads.run(slow), threads.run(lambda: done.append("never"))
        while not began.is_set():
            await asyncio.sleep(0)
        first.cancel(), second.cancel()
        go_on.set()
        await threads.run(lambda: done.append("last"))

    asyncio.run(ask())
    threads.close()
    assert done == ["slow", "last"]


def test_the_end_waits_for_what_was_asked_and_takes_nothing_more():
    threads, done = Threads(2, "test"), []

    async def ask() -> None:
        for number in range(50):
            threads.run(lambda number=number: done.append(number))
        threads.close()
        assert sorted(done) == list(range(50))
        with pytest.raises(StoreDown):
            threads.run(lambda: None)

    asyncio.run(ask())


def test_calls_of_one_person_that_take_long_leave_half_of_the_threads_to_others():
    threads, go_on, began = Threads(4, "test"), threading.Event(), threading.Semaphore(0)

    def slow() -> str:
        began.release()
        go_on.wait(20)
        return "slow"

    async def ask() -> list[str]:
        held = [threads.run(slow, "bob") for _ in range(10)]
        for _ in range(2):
            await asyncio.to_thread(began.acquire)
        assert await threads.run(lambda: "vera", "vera") == "vera" and await threads.run(lambda: "nobody") == "nobody"
        assert not began.acquire(blocking=False)
        go_on.set()
        return await asyncio.gather(*held)

    assert asyncio.run(ask()) == ["slow"] * 10
    threads.close()


def test_the_end_does_what_a_person_has_asked_for_beyond_their_half():
    threads, done = Threads(2, "test"), []

    async def ask() -> None:
        for number in range(5):
            threads.run(lambda number=number: done.append(number), "bob")
        threads.close()

    asyncio.run(ask())
    assert sorted(done) == [0, 1, 2, 3, 4]
