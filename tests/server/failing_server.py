"""A server that is cut off at a chosen call, for tests of shipping."""

from stratal.core.errors import StoreDown
from stratal.store.calling import Server


class Failing(Server):
    """A server whose n-th call fails, before or after it was done."""

    def __init__(self, url: str, nth: int, *, after: bool, user: str = "tester", token: str | None = None) -> None:
        super().__init__(url, user, token)
        self.left, self.after = nth, after

    def _send(self, *args, **kwargs):
        self.left -= 1
        if self.left == 0 and not self.after:
            raise StoreDown("cut")
        answer = super()._send(*args, **kwargs)
        if self.left == 0:
            raise StoreDown("cut")
        return answer
