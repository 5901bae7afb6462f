"""A session with S3 whose requests always end: aiohttp's time limits begin only once a request is written.

Every upload first asks whether it may send its content (`Expect: 100-continue`), which a server that hangs never
answers.
"""

import asyncio
from typing import Any

from aiobotocore.httpsession import AIOHTTPSession
from botocore.exceptions import ReadTimeoutError

SLOWEST_BYTES_PER_SECOND = 1_000_000


class PatientSession(AIOHTTPSession):
    """A session that gives a request the time limits for connecting and reading, and time for what it sends."""

    async def send(self, request: Any) -> Any:
        num_bytes = int(request.headers.get("Content-Length") or 0)
        limits = self._timeout.sock_connect + self._timeout.sock_read
        try:
            return await asyncio.wait_for(super().send(request), limits + num_bytes / SLOWEST_BYTES_PER_SECOND)
        except TimeoutError as error:
            raise ReadTimeoutError(endpoint_url=request.url, error=error) from None
