# SPDX-License-Identifier: Apache-2.0
"""
What the tests of connector/upstream share: a clock to turn by hand, servers on loopback.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.test_utils import TestServer

from connector.upstream.auth import ApiKey
from connector.upstream.client import Client
from connector.upstream.timing import Timing, wall_ms


class Hands:
    """
    A clock whose hands the test moves; sleeping moves them at once.
    """

    def __init__(self, *, jitter: float = 0.0) -> None:
        self.seconds = 1000.0
        self.slept: list[float] = []
        self.timing = Timing(
            now_ms=wall_ms,
            monotonic=lambda: self.seconds,
            sleep=self._sleep,
            uniform=lambda low, high: low + (high - low) * jitter,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)


class Listener:
    """
    An observer that remembers.
    """

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def on_response(self, source, status_class, seconds, wire_bytes):
        self.heard.append(("response", source, status_class, wire_bytes))

    def on_failure(self, source, cause, seconds):
        self.heard.append(("failure", source, cause))

    def on_rate_limited(self, source, seconds):
        self.heard.append(("rate_limited", source, seconds))

    def on_ignored_header(self, source, header):
        self.heard.append(("ignored", source, header))

    def on_skew(self, source, seconds):
        self.heard.append(("skew", source, seconds))


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """
    Serve every path with one handler; gives the origin.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    async with TestServer(app) as server:
        yield f"http://127.0.0.1:{server.port}"


@asynccontextmanager
async def talking(script: Callable[[bytes, asyncio.StreamWriter], Awaitable[None]], ssl=None):
    """
    Serve raw bytes: the script gets the request's head and writes what it likes.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await script(head, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=ssl)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def told(error: BaseException) -> str:
    """
    Give all that a log could show of an error, but for lines of source code.
    """
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    return f"{error} {error!r} {vars(error)}"


def client_of(origin: str, **changes) -> Client:
    """
    Make a client of the source ``stedi`` for a server on loopback.
    """
    settings = {
        "source": "stedi",
        "base_url": f"{origin}/v1",
        "auth": ApiKey(key=lambda: "invented-key"),
        "request_timeout": 5.0,
        "max_concurrency": 4,
        "rate_limit": None,
        "allow_private_addresses": True,
    }
    return Client(**{**settings, **changes})
