"""The one error of this protocol: a code that MLflow's clients know, and a text for people."""

from stratal.core.errors import Bug, Conflict, Forbidden, NotFound, Refused, StoreDown, StratalError
from stratal.store.quotas.rules import OverQuota

INVALID, EXISTS, MISSING, BAD_REQUEST, DENIED, UNAUTHENTICATED, STATE, BUSY, DOWN, ABSENT, BUG, QUOTA = (
    "INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST", "BAD_REQUEST", "PERMISSION_DENIED",
    "UNAUTHENTICATED", "INVALID_STATE", "REQUEST_LIMIT_EXCEEDED", "TEMPORARILY_UNAVAILABLE", "NOT_IMPLEMENTED", "INTERNAL_ERROR",
    "QUOTA_EXCEEDED",
)  # fmt: skip


class MlflowError(StratalError):
    """A call that ends here, with MLflow's code for why."""

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


def invalid(message: str) -> MlflowError:
    """Make the error of a request that asks for what cannot be."""
    return MlflowError(INVALID, message)


def missing(message: str) -> MlflowError:
    """Make the error of a request that names what is not there."""
    return MlflowError(MISSING, message)


def exists(message: str) -> MlflowError:
    """Make the error of a request that would make a thing twice."""
    return MlflowError(EXISTS, message)


def required(name: str) -> MlflowError:
    """Make the error of a request that leaves out what it needs, in MLflow's own words."""
    return invalid(f"Missing value for required parameter '{name}'.")


def code_of(error: StratalError) -> str:
    """Give MLflow's code for an error of ours."""
    match error:
        case MlflowError():
            return error.code
        case Forbidden():
            return DENIED
        case NotFound():
            return MISSING
        case StoreDown() | Conflict():
            return DOWN
        case OverQuota():
            return QUOTA
        case Refused():
            return STATE
        case Bug():
            return BUG
        case _:
            return INVALID
