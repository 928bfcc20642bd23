"""The error tree. Classes say whose fault it is, so that a caller knows whether trying again can help.

    StratalError
    ├── Misuse          the call is wrong; change the call                        not retryable
    │   └── Forbidden   the person may not do this
    ├── NotFound        the thing named does not exist (here, yet)                not retryable
    ├── Conflict        somebody else was faster, or the state has moved on       read again, then retry
    │   └── StaleLease  the work was taken over; stop doing it                    not retryable
    ├── Refused         a rule of the project said no: a gate, a check            not retryable
    ├── Damaged         stored bytes are not what was stored                      not retryable
    ├── StoreDown       the store cannot be written or reached now                retryable
    │   └── OutcomeUnknown  it was lost while it did what it was told             look, then decide
    └── Bug             we are wrong; please report it                            not retryable

A room that needs a finer class derives it from one of these, in its own files.
"""

from typing import ClassVar


class StratalError(Exception):
    """Base of all errors that Stratal raises on purpose: a message, and `hint`, what to do next."""

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders; the default reduction would lose keyword arguments.
        return (rebuild, (type(self), self.message, self.hint, self.__dict__.copy()))


class Misuse(StratalError):
    """The call is wrong, and would be wrong again."""


class Forbidden(Misuse):
    """The acting person may not do this."""


class NotFound(StratalError):
    """The thing named does not exist."""


class Conflict(StratalError):
    """The state has moved on since it was read: read again, then decide again."""

    retryable = True


class StaleLease(Conflict):
    """The lease was lost and the work taken over: whoever holds the old token must stop."""

    retryable = False


class Refused(StratalError):
    """A rule of the project said no."""


class Damaged(StratalError):
    """Stored bytes are not the bytes that were stored."""


class StoreDown(StratalError):
    """The store cannot be written or reached at this moment; nothing has changed."""

    retryable = True


class OutcomeUnknown(StoreDown):
    """The store was lost after it had been told to do something: it was done, or it was not."""

    retryable = False


class Bug(StratalError):
    """Stratal broke its own rule."""


def rebuild(kind: type[StratalError], message: str, hint: str, state: dict[str, object]) -> StratalError:
    """Make an error again, with what it held, without calling its own `__init__`."""
    error = kind.__new__(kind)
    StratalError.__init__(error, message, hint=hint)
    error.__dict__.update(state)
    return error
