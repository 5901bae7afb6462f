"""Which errors of an object store are retried, how often, and what is said in the end."""

import errno
from collections.abc import Callable

import pytest
import tenacity
from aiohttp import ClientPayloadError
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, ReadTimeoutError
from s3fs.errors import translate_boto_error
from s3fs.utils import FileExpired

from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store import retries
from switchpoint.components.store.retries import ATTEMPTS, StoreUnavailable, retried

URL = "s3://bucket/key"


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "WAIT", tenacity.wait_none())


def answer(code: str) -> OSError:
    """Return the error that s3fs makes of an answer of S3."""
    return translate_boto_error(ClientError({"Error": {"Code": code, "Message": "said by S3"}}, "GetObject"))


class Fails:
    """An operation that fails so many times."""

    def __init__(self, error: BaseException, times: int = 1_000) -> None:
        self.error, self.times, self.calls = error, times, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return "the answer"


PASSING: list[Callable[[], BaseException]] = [
    lambda: answer("InternalError"), lambda: answer("503"), lambda: answer("SlowDown"), lambda: answer("500"),
    lambda: answer("IncompleteBody"), lambda: answer("RequestTimeout"), lambda: answer("a code of another store"),
    lambda: ConnectionResetError(errno.ECONNRESET, "reset by peer"), lambda: TimeoutError("no answer"),
    lambda: ClientPayloadError("cut"), lambda: EndpointConnectionError(endpoint_url="http://store"),
    lambda: ReadTimeoutError(endpoint_url="http://store"), lambda: OSError("5 bytes came for [0, 10)"),
]  # fmt: skip
PERMANENT: list[tuple[Callable[[], BaseException], type[Exception], str]] = [
    (lambda: answer("NoSuchKey"), FileNotFoundError, "s3://bucket/key: the object store has no such object"),
    (lambda: answer("NoSuchBucket"), FileNotFoundError, "no such object or bucket"),
    (lambda: answer("AccessDenied"), PermissionError, r"s3://bucket/key: the object store refuses access \(said by S3"),
    (lambda: answer("SignatureDoesNotMatch"), PermissionError, "check the credentials"),
    (NoCredentialsError, PermissionError, "check the credentials"),
    (lambda: answer("AuthorizationHeaderMalformed"), OSError, "s3://bucket/key: said by S3"),
    (lambda: answer("InvalidRange"), OSError, "s3://bucket/key: said by S3"),
    (lambda: answer("501"), OSError, "s3://bucket/key: said by S3"),
    (lambda: FileExpired("bucket/key", "etag"), OSError, "s3://bucket/key: the object was replaced while it was read"),
    (lambda: OSError(errno.ENOSPC, "No space left on device", "/here"), OSError, "No space left on device: '/here'"),
    (lambda: BadInput("half a login"), BadInput, "half a login"),
]


@pytest.mark.parametrize("error", PASSING)
def test_what_may_pass_is_retried(error: Callable[[], BaseException]) -> None:
    operation = Fails(error(), ATTEMPTS - 1)
    assert retried(URL, operation) == "the answer"
    assert operation.calls == ATTEMPTS
    operation = Fails(error())
    with pytest.raises(StoreUnavailable, match="s3://bucket/key: the object store does not answer") as raised:
        retried(URL, operation)
    assert operation.calls == ATTEMPTS
    assert str(operation.error) in str(raised.value)


@pytest.mark.parametrize(("error", "kind", "message"), PERMANENT)
def test_what_no_retry_cures_is_told_at_once(
    error: Callable[[], BaseException], kind: type[Exception], message: str
) -> None:
    operation = Fails(error())
    with pytest.raises(kind, match=message) as raised:
        retried(URL, operation)
    assert operation.calls == 1
    assert not isinstance(raised.value, StoreUnavailable)
    assert retries.is_permanent(raised.value) != isinstance(raised.value, FileNotFoundError)


def test_the_end_of_an_upload_that_had_ended_before_is_no_missing_object() -> None:
    operation = Fails(answer("NoSuchUpload"), 1)
    assert retried(URL, operation, is_write=True) == "the answer"
    assert operation.calls == 2


def test_no_attempt_begins_after_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "PATIENCE_SECONDS", 0.0)
    operation = Fails(TimeoutError("no answer"))
    with pytest.raises(StoreUnavailable):
        retried(URL, operation)
    assert operation.calls == 1


def test_an_interrupt_is_not_retried() -> None:
    operation = Fails(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        retried(URL, operation)
    assert operation.calls == 1
