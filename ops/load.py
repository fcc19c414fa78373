"""A load of HTTP requests from one process: connections kept open, one request at a time on each.

The client must cost next to nothing, or it would be measured along with the server: so it writes prepared bytes to a
socket and reads the status and the length of the answer, and is not an HTTP client in any other respect.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from statistics import quantiles

from msgspec import Struct


class Measured(Struct, frozen=True):
    """Requests a second, and the time that one takes, in milliseconds."""

    rate: float
    p50: float
    p99: float


def prepared(method: str, path: str, token: str, body: bytes = b"") -> bytes:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/scim+json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class WrongAnswerError(Exception):
    """The server answered something else than the measurement is about."""


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bytes]:
    """The status and the body of the answer."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    lowered = head.lower()
    start = lowered.find(b"content-length: ")
    length = int(lowered[start + 16 : lowered.index(b"\r", start)]) if start >= 0 else 0
    return int(head[9:12]), await reader.readexactly(length)


async def measure(
    port: int, requests: Callable[[], Iterator[bytes]], *, status: int, seconds: float, connections: int
) -> Measured:
    """Send requests for some time. Raises WrongAnswerError on any other status than the expected one."""
    source, times = requests(), list[float]()
    end = time.perf_counter() + seconds

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while (started := time.perf_counter()) < end:
                found, body = await exchange(reader, writer, next(source))
                times.append(time.perf_counter() - started)
                if found != status:
                    raise WrongAnswerError(f"{found} instead of {status}: {body[:300]!r}")
        finally:
            writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(connections)))
    took = time.perf_counter() - began
    percentiles = quantiles(times, n=100)
    return Measured(len(times) / took, percentiles[49] * 1000, percentiles[98] * 1000)
