"""What can go wrong while ranks train.

Misuse
└── JobFailed    the program that the ranks ran has failed; its traceback is in the message
StratalError
└── RankLost     another rank went away in the middle of a step; the supervisor starts a new generation
"""

from typing import ClassVar

from stratal.core.errors import Misuse, StratalError


class JobFailed(Misuse):
    """The program on the ranks failed. `exit_code` is what a shell should see, never 0; `rank` is the culprit, if it is known."""

    exit_code: int = 1
    rank: int | None = None


class RankLost(StratalError):  # the error tree names what happened
    """A step could not be finished because another rank is gone."""

    retryable: ClassVar[bool] = True
