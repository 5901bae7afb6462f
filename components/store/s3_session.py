"""Requests to S3 that end: aiohttp's time limits begin when a request is written, which may wait for ever.

Every upload first asks whether it may go on (`Expect: 100-continue`), and a server that hangs never answers that.
"""

import asyncio
from typing import Any

from aiobotocore.httpsession import AIOHTTPSession
from botocore.exceptions import ReadTimeoutError

SLOWEST_BYTES_PER_SECOND = 1_000_000


class PatientSession(AIOHTTPSession):
    """Gives a request up after the time limits for connecting and reading, and for what it sends."""

    async def send(self, request: Any) -> Any:
        num_bytes = int(request.headers.get("Content-Length") or 0)
        limits = self._timeout.sock_connect + self._timeout.sock_read
        try:
            return await asyncio.wait_for(super().send(request), limits + num_bytes / SLOWEST_BYTES_PER_SECOND)
        except TimeoutError as error:
            raise ReadTimeoutError(endpoint_url=request.url, error=error) from None
