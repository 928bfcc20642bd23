"""Failures: each error, of this protocol or of ours, as MLflow's clients read it.

They repeat what was answered by 408, 429 or 5xx for minutes; so only what is worth repeating is answered so.
"""

from stratal.core.errors import StratalError
from stratal.core.records import Record
from stratal.interop.mlflow.service import errors as codes
from stratal.server.asgi import Answer, json_answer
from stratal.server.guards import Unauthenticated

STATUS = {
    codes.INVALID: 400, codes.EXISTS: 400, codes.BAD_REQUEST: 400, codes.STATE: 400, codes.UNAUTHENTICATED: 401, codes.DENIED: 403,
    codes.QUOTA: 403, codes.MISSING: 404, codes.BUSY: 429, codes.BUG: 500, codes.ABSENT: 501, codes.DOWN: 503,
}  # fmt: skip
AGAIN_S = "2"


class Complaint(Record, frozen=True, kw_only=True):
    """What is wrong."""

    error_code: str
    message: str


def failed(error: StratalError, *, status: int | None = None) -> Answer:
    """Give an error as an answer. status: another than that of its code."""
    code = _code(error)
    headers = (("retry-after", AGAIN_S),) if code in (codes.BUSY, codes.DOWN) else ()
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    return json_answer(status or STATUS.get(code, 400), Complaint(error_code=code, message=message), headers=headers)


def _code(error: StratalError) -> str:
    return codes.UNAUTHENTICATED if isinstance(error, Unauthenticated) else codes.code_of(error)
