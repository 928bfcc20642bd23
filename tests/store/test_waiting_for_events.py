"""Waiting for events, over both databases. Excludes what they say."""

import threading

from stratal.core.people import Identity
from stratal.store.events import latest_seq, wait
from stratal.store.store import Store
from stratal.tracking.opening import open_store

ADA = Identity(name="ada")


def tell(store: Store, subject: str) -> int:
    with store.command() as tx:
        tx.emit("changed", subject)
    with store.database.read(ADA) as tx:
        return latest_seq(tx)


def test_what_is_there_already_is_not_waited_for(store: Store):
    first = tell(store, "a")
    assert wait(store.database, 0, timeout_s=60) == first
    assert wait(store.database, first, timeout_s=0) == first


def test_whoever_waits_is_told_of_what_another_process_commits(store: Store):
    """As often as it takes for a notice that comes between the look and the wait to have been lost."""
    other = open_store(store.url)
    seq = tell(store, "before")
    for number in range(20):
        found: list[int] = []
        waiting = threading.Thread(target=lambda found=found, seq=seq: found.append(wait(store.database, seq, timeout_s=60)))
        waiting.start()
        told = tell(other, f"{number}")
        waiting.join()
        assert found == [told]
        seq = told
    other.close()


def test_all_threads_that_wait_are_told(store: Store):
    other = open_store(store.url)
    seq, found = tell(store, "before"), list[int]()
    threads = [threading.Thread(target=lambda: found.append(wait(store.database, seq, timeout_s=600)), daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    told = tell(other, "all")
    for thread in threads:
        thread.join(60)
    assert found == [told] * 4, "one was told, and the others wait on"
    other.close()


def test_a_transaction_without_events_wakes_nobody_and_a_rolled_back_one_neither(store: Store):
    seq = tell(store, "before")
    try:
        with store.command() as tx:
            tx.emit("changed", "never")
            raise RuntimeError
    except RuntimeError:
        pass
    assert wait(store.database, seq, timeout_s=0.1) == seq


def test_closing_a_database_ends_a_wait(store: Store):
    seq = tell(store, "before")
    waiting = threading.Thread(target=lambda: wait(store.database, seq, timeout_s=0.5))
    waiting.start()
    store.database.close()
    waiting.join(30)
    assert not waiting.is_alive()
