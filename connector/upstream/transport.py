# SPDX-License-Identifier: Apache-2.0
"""
One exchange on the wire: a request, and an answer with bounds or a RetryError.

No redirects, no cookies, no netrc, no proxy unless asked. Errors are told in our own
words, because those of aiohttp hold URLs and pieces of answers (invariant 9).
"""

from __future__ import annotations

import asyncio
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from connector import __version__
from connector.errors import RetryError
from connector.upstream.body import ACCEPT_ENCODING, CHUNK_BYTES, BodyError, Caps, read_body
from connector.upstream.guards import GuardedResolver, Reach, Target
from connector.upstream.observer import SILENT, HttpObserver
from connector.upstream.problems import of_exchange
from connector.upstream.timing import REAL, Timing

# Bounds of an answer's head: 128 lines of 8 KiB, as most servers set them for requests.
_MAX_HEADER_BYTES = 8190
_MAX_HEADERS = 128

# Longer than the default poll interval of 15 s, so that a quiet feed keeps its connection.
_KEEPALIVE_SECONDS = 75.0

_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": ACCEPT_ENCODING,
    "User-Agent": f"finance-kafka-connector/{__version__}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """
    What came back, whole.

    Attributes:
        status: The HTTP status.
        headers: Case-insensitive.
        body: Decoded; empty where a body that explains an error was of no use.
        answered_ms: Our clock when the headers had come.
        took_ms: How long after the start that was.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    answered_ms: int
    took_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    status: int
    headers: Mapping[str, str]
    answered_ms: int
    took_ms: int


class Transport:
    """
    The connections of one source. Close it with ``aclose``.

    Args:
        source: The source's name, for errors and metrics.
        request_timeout: Seconds that one exchange may take: name resolution, connection,
            headers and body together, so that a slow trickle ends too.
        allow_private_addresses: See guards.
        trust_env: Use the proxies that the environment names, for https only. A proxy
            resolves names itself, out of reach of our check of addresses.
        ssl_context: Whom to trust; the system's authorities by default.
        observer: Told of every exchange.
        timing: Clocks.
    """

    def __init__(
        self,
        *,
        source: str,
        request_timeout: float,
        allow_private_addresses: bool,
        trust_env: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        observer: HttpObserver = SILENT,
        timing: Timing = REAL,
    ) -> None:
        self.source = source
        self._request_timeout = request_timeout
        self._allow_private_addresses = allow_private_addresses
        self._trust_env = trust_env
        self._ssl = ssl_context if ssl_context is not None else True
        self._observer = observer
        self._timing = timing
        self._targets: dict[str, Target] = {}
        self._open: tuple[aiohttp.ClientSession, GuardedResolver] | None = None
        self._closed = False

    def target(self, url: str, *, what: str) -> Target:
        """
        Check the URL of a setting, once.

        Args:
            url: The setting.
            what: What it is, for errors: ``token URL``.

        Raises:
            SettingsError: It may not be reached.
        """
        if url not in self._targets:
            self._targets[url] = Target.parse(
                url,
                what=f"The {what} of source {self.source}",
                allow_private_addresses=self._allow_private_addresses,
            )
        return self._targets[url]

    async def exchange(
        self,
        method: str,
        url: URL,
        target: Target,
        *,
        where: str,
        headers: Mapping[str, str],
        caps: Caps,
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> Answer:
        """
        Send one request and read its whole answer, whatever its status.

        Args:
            method: The HTTP method.
            url: Where to; made by the target.
            target: The origin it belongs to.
            where: What to call it in errors: ``GET /activity``.
            headers: Credentials and what the body needs.
            caps: The bounds of the answer's body.
            params: The query.
            data: The body.

        Raises:
            RetryError: No answer, or a 2xx whose body is cut, late or too large. Its
                cause is one of ``timeout dns address_refused connect tls proxy
                connection bad_answer bad_body too_large``.
        """
        session = self._session(target)
        began, head, body, wire = self._timing.monotonic(), None, b"", 0
        try:
            async with (
                asyncio.timeout(self._request_timeout),
                session.request(
                    method,
                    url,
                    params=params,
                    data=data,
                    headers={**_HEADERS, **headers},
                    allow_redirects=False,
                    proxy=self._proxy(target),
                ) as response,
            ):
                head = _Head(
                    status=response.status,
                    headers=response.headers,
                    answered_ms=self._timing.now_ms(),
                    took_ms=int((self._timing.monotonic() - began) * 1000),
                )
                body, wire = await read_body(
                    response.content,
                    encoding=response.headers.get("Content-Encoding", ""),
                    length=response.content_length,
                    caps=caps,
                )
        except (TimeoutError, aiohttp.ClientError, BodyError, OSError) as error:
            # The status of a refusal counts, even if the text behind it is broken.
            if head is None or 200 <= head.status < 300:
                cause, text = of_exchange(error)
                self._observer.on_failure(self.source, cause, self._timing.monotonic() - began)
                raise RetryError(f"{self.source}: {where}: {text}.", cause=cause) from None
        seconds = self._timing.monotonic() - began
        self._observer.on_response(self.source, _class_of(head.status), seconds, wire)
        return Answer(
            status=head.status,
            headers=head.headers,
            body=body,
            answered_ms=head.answered_ms,
            took_ms=head.took_ms,
        )

    async def aclose(self) -> None:
        """
        Close all connections, for good.
        """
        self._closed = True
        if self._open is not None:
            session, resolver = self._open
            self._open = None
            await session.close()
            await resolver.close()

    def _session(self, target: Target) -> aiohttp.ClientSession:
        if self._closed:
            raise RuntimeError("Implementation error: a request on a closed transport")
        if self._open is None:  # here, because it needs a running loop
            resolver = GuardedResolver(ThreadedResolver())
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=resolver,
                    ssl=self._ssl,
                    limit=0,  # the gate of the client counts
                    keepalive_timeout=_KEEPALIVE_SECONDS,
                ),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,  # it would read netrc too; see _proxy
                read_bufsize=CHUNK_BYTES,
                max_line_size=_MAX_HEADER_BYTES,
                max_field_size=_MAX_HEADER_BYTES,
                max_headers=_MAX_HEADERS,
            )
            self._open = (session, resolver)
        session, resolver = self._open
        if target.base.raw_host is not None:
            resolver.admit(target.base.raw_host, target.reach)
        return session

    def _proxy(self, target: Target) -> str | None:
        """
        Find the proxy that the environment names for an origin, if it is asked for.

        Plain http stays inside the private network, where no proxy belongs.
        """
        host = target.base.raw_host
        if not self._trust_env or target.base.scheme != "https" or host is None:
            return None
        if urllib.request.proxy_bypass(host):
            return None
        proxy = urllib.request.getproxies().get("https")
        if proxy and self._open is not None:
            # The operator named it, and it is mostly inside the private network.
            self._open[1].admit(URL(proxy).raw_host or "", Reach.BOTH)
        return proxy


def _class_of(status: int) -> str:
    return "429" if status == 429 else f"{status // 100}xx"
