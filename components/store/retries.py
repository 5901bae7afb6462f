"""Retries of operations on an object store, and the errors that no retry cures: both are decided here and only here."""

import errno
from collections.abc import Callable
from typing import Any, TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_random_exponential

ATTEMPTS = 6
"""How often an operation is tried. The store's library has retried each of its requests already."""
PATIENCE_SECONDS = 300.0
"""No attempt begins after that: a store that accepts connections and never answers takes 20 s a request."""
WAIT: Any = wait_random_exponential(0.2, max=20)

PERMANENT_TYPES = (
    PermissionError, IsADirectoryError, NotADirectoryError, ValueError, TypeError, AttributeError, ImportError,
    NotImplementedError, AssertionError, MemoryError,
)  # fmt: skip
PERMANENT_NUMBERS = frozenset((
    errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENAMETOOLONG, errno.EMSGSIZE,  # the request will never be right
    errno.ENOSPC, errno.EDQUOT, errno.EROFS,  # this machine's disk
    errno.ESTALE,  # the object is another one
))  # fmt: skip
PASSING_CODES = ("IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch", "RequestTimeout")
"""Answers of S3 to an upload that was damaged on its way. s3fs gives them the number of a wrong request (EINVAL)."""
NO_LOGIN = (
    "NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "TokenRetrievalError", "SSOTokenLoadError",
    "UnauthorizedSSOTokenError",
)  # fmt: skip
WRONG_REQUEST = ("ParamValidationError", "UnknownEndpointError", "InvalidRegionError")
REPLACED = "FileExpired"
"""The name of s3fs's error for an object that is no longer the one that was opened."""

Result = TypeVar("Result")


class StoreUnavailable(OSError):
    """An object store that did not answer any attempt."""


def is_permanent(error: BaseException) -> bool:
    """Return whether an error stays whatever is repeated. A missing object is not judged: see `retried`."""
    if not isinstance(error, Exception) or isinstance(error, PERMANENT_TYPES):
        return True
    if type(error).__name__ in (*NO_LOGIN, *WRONG_REQUEST, REPLACED):
        return True
    return isinstance(error, OSError) and error.errno in PERMANENT_NUMBERS and _code(error) not in PASSING_CODES


def retried(url: str, function: Callable[[], Result], *, is_write: bool = False) -> Result:
    """Return what `function`, an operation on the object at `url`, returns; retry it where that may help.

    A missing object is permanent, except for a write: S3 answers so to the end of an upload that has ended before,
    when its first answer was lost. The whole upload is then repeated.
    Raise FileNotFoundError, PermissionError or another error that no retry cures at once, and StoreUnavailable after
    the last attempt.
    """

    def may_pass(error: BaseException) -> bool:
        return not is_permanent(error) and (is_write or not isinstance(error, FileNotFoundError))

    retrying = Retrying(
        retry=retry_if_exception(may_pass), stop=stop_after_attempt(ATTEMPTS) | stop_after_delay(PATIENCE_SECONDS),
        wait=WAIT, reraise=True,
    )  # fmt: skip
    try:
        return retrying(function)
    except Exception as error:
        explained = _explained(url, error)
        if explained is error:
            raise
        raise explained from error


def _explained(url: str, error: Exception) -> Exception:
    """Return the error with the object that it is about and what to do; one of this machine's files as it is."""
    name = type(error).__name__
    if isinstance(error, OSError) and error.filename is not None:
        return error
    if isinstance(error, PermissionError) or name in NO_LOGIN:
        return PermissionError(
            f"{url}: the object store refuses access ({error}): check the credentials in the environment, and what "
            "they permit"
        )
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(f"{url}: the object store has no such object or bucket")
    if name == REPLACED:
        return OSError(errno.ESTALE, f"{url}: the object was replaced while it was read: start again")
    if not is_permanent(error):
        return StoreUnavailable(
            f"{url}: the object store does not answer ({name}: {error}): check its address and the network, then "
            "start again"
        )
    if isinstance(error, OSError):
        return OSError(error.errno, f"{url}: {error.strerror or error}")
    return error


def _code(error: OSError) -> str:
    """Return the store's own code of an error that s3fs has translated."""
    response = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
