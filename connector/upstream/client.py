# SPDX-License-Identifier: Apache-2.0
"""
What a provider module calls: one attempt, and a Reply or an error by what to do next.

The way of one call::

    gate ▷ credentials ▷ budget ▷ exchange ▷ hints and clock ▷ 401? once more ▷ Reply

Retries belong to the engine, which alone knows the committed offset to start from.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import structlog

from connector.encoding.json import JsonError, dumps, loads
from connector.errors import RetryError
from connector.upstream.auth import Auth
from connector.upstream.body import BODY_CAPS, Caps
from connector.upstream.clock import ServerClock
from connector.upstream.hints import MAX_WAIT, read_hints
from connector.upstream.limits import Gate, Limiter
from connector.upstream.observer import SILENT, HttpObserver
from connector.upstream.problems import of_status
from connector.upstream.timing import REAL, Timing
from connector.upstream.transport import Answer, Transport

_log = structlog.get_logger()

_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """
    An answer, read.

    Attributes:
        status: The HTTP status.
        body: The JSON document, every number exact; None if there was none.
        polled_at: Our clock, milliseconds since 1970, when the answer was complete.
        server_time: The server's clock, milliseconds since 1970: its Date in whole
            seconds, or without a sane one our clock and the skew known so far.
        retry_after: Seconds that the provider asks us to wait, at most 3,600.
    """

    status: int
    body: Any = field(repr=False)
    polled_at: int
    server_time: int
    retry_after: float | None


class Client:
    """
    The one client of a source; an async context manager.

    Args:
        source: The source's name.
        base_url: The provider's API with its version; requests stay below it.
        auth: Its credentials, sent there and, for tokens, to the token URL only.
        request_timeout: Seconds for one exchange, headers and body together. Waiting for
            the gate, the budget or a pause does not count.
        max_concurrency: Requests at the same time.
        rate_limit: Requests and the seconds of their window, or None.
        allow_private_addresses: See guards.
        trust_env: Use the environment's proxies for https.
        start_empty: Begin without the burst of the budget.
        caps: The bounds of a body.
        ssl_context: Whom to trust; the system's authorities by default.
        observer: Told what to measure.
        timing: Clocks, sleep and dice.

    Attributes:
        limiter: The request budget: ``set_share``, ``paused_for``.
        gate: The requests at the same time: ``set_limit``.

    Raises:
        SettingsError: The base URL may not be reached.
    """

    def __init__(
        self,
        *,
        source: str,
        base_url: str,
        auth: Auth,
        request_timeout: float,
        max_concurrency: int,
        rate_limit: tuple[int, float] | None,
        allow_private_addresses: bool,
        trust_env: bool = False,
        start_empty: bool = False,
        caps: Caps = BODY_CAPS,
        ssl_context: ssl.SSLContext | None = None,
        observer: HttpObserver = SILENT,
        timing: Timing = REAL,
    ) -> None:
        self.source = source
        self.limiter = Limiter(source, rate_limit, start_empty=start_empty, timing=timing)
        self.gate = Gate(max_concurrency)
        self._auth = auth
        self._caps = caps
        self._observer = observer
        self._timing = timing
        self._clock = ServerClock(timing.now_ms, lambda skew: observer.on_skew(source, skew))
        self._transport = Transport(
            source=source,
            request_timeout=request_timeout,
            allow_private_addresses=allow_private_addresses,
            trust_env=trust_env,
            ssl_context=ssl_context,
            observer=observer,
            timing=timing,
        )
        self._target = self._transport.target(base_url, what="base URL")

    async def __aenter__(self) -> Self:
        """
        Use it; connections open when they are needed.
        """
        return self

    async def __aexit__(self, *_: object) -> None:
        """
        Close it.
        """
        await self.aclose()

    async def aclose(self) -> None:
        """
        Close all connections, for good.
        """
        await self._transport.aclose()

    def clock(self) -> int:
        """
        Tell the server's clock, milliseconds since 1970; ours until one is known.
        """
        return self._clock.now()

    async def get(
        self,
        path: str,
        params: Mapping[str, str] = _NOTHING,
        *,
        fill: Mapping[str, str] = _NOTHING,
    ) -> Reply:
        """
        Get a document, in one attempt and at most one more with renewed credentials.

        Args:
            path: Below the base URL; it appears in errors, so what identifies something
                stands in it as a placeholder: ``/status/{request_identification}``.
            params: The query.
            fill: The values of the placeholders.

        Returns:
            The answer, its status 2xx.

        Raises:
            RateLimitedError: 429, or a pause that the provider asked for is not over.
            CredentialsError: 401 even with renewed credentials, or 403.
            RetryError: 408, 5xx, no answer, or a body that is cut, too large or no JSON.
            RefusedError: Any other status, or a path that leaves the base URL.
        """
        reply = await self.request("GET", path, params=params, fill=fill)
        if not 200 <= reply.status < 300:
            where = f"{self.source}: GET {path}: HTTP {reply.status}"
            raise of_status(reply.status, where, reply.retry_after)
        return reply

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        fill: Mapping[str, str] = _NOTHING,
    ) -> Reply:
        """
        Send a request and return the answer whatever its status, for providers whose
        own codes count before HTTP's.

        Args:
            method: ``GET`` or ``POST``. A POST is never sent twice after it may have
                arrived, except on 401.
            path: As in get.
            params: The query.
            json: A document to send; None sends none.
            fill: As in get.

        Returns:
            The answer; the body of one that is not 2xx is None if it is no JSON.

        Raises:
            RateLimitedError: A pause that the provider asked for is not over.
            CredentialsError: Credentials cannot be had; a 401 or 403 is returned.
            RetryError: No answer, or a 2xx body that is cut, too large or no JSON.
            RefusedError: The path leaves the base URL.
        """
        where = f"{method} {path}"
        url = self._target.join(path, fill)
        data = None if json is None else dumps(json)
        content = {} if data is None else {"Content-Type": "application/json"}

        async def once(credentials: Mapping[str, str]) -> Reply:
            await self.limiter.acquire()
            answer = await self._transport.exchange(
                method,
                url,
                self._target,
                where=where,
                headers={**content, **credentials},
                caps=self._caps,
                params=params or None,
                data=data,
            )
            return self._read(answer, where)

        async with self.gate:
            credentials = await self._auth.headers(self._transport)
            reply = await once(credentials)
            if reply.status == 401:
                self._auth.invalidate(credentials)
                renewed = await self._auth.headers(self._transport)
                # The same key again would only be counted as one more failure.
                if renewed != credentials:
                    reply = await once(renewed)
                    if reply.status == 401:
                        self._auth.invalidate(renewed)
        return reply

    def _read(self, answer: Answer, where: str) -> Reply:
        server_ms = self._clock.learn(
            answer.headers, answered_ms=answer.answered_ms, took_ms=answer.took_ms
        )
        if server_ms is None:
            server_ms = answer.answered_ms + self._clock.skew_ms
            if "Date" in answer.headers:
                self._observer.on_ignored_header(self.source, "Date")
        retry_after = self._heed(answer, server_ms)
        return Reply(
            status=answer.status,
            body=self._parse(answer, where),
            polled_at=self._timing.now_ms(),
            server_time=server_ms,
            retry_after=retry_after,
        )

    def _heed(self, answer: Answer, server_ms: int) -> float | None:
        """
        Obey what the headers say about the budget.
        """
        hints = read_hints(answer.headers, status=answer.status, server_ms=server_ms)
        for header in hints.ignored:
            self._observer.on_ignored_header(self.source, header)
        if hints.wait is None:
            return None
        wait = min(hints.wait, MAX_WAIT)
        if hints.wait > MAX_WAIT:
            _log.warning(
                "wait_shortened",
                source=self.source,
                asked_seconds=hints.wait,
                obeyed_seconds=wait,
            )
        if hints.exhausted or answer.status == 429 or answer.status >= 500:
            self.limiter.pause(wait)
            self._observer.on_rate_limited(self.source, wait)
        return wait

    def _parse(self, answer: Answer, where: str) -> Any:
        # On the event loop whatever its size: the parser holds the GIL until it is done,
        # so that a thread would only add its own cost. A page of 700 KB takes 2 ms.
        if not answer.body:
            return None
        try:
            return loads(answer.body)
        except JsonError as error:
            if not 200 <= answer.status < 300:
                return None
            self._observer.on_failure(self.source, "bad_body", answer.took_ms / 1000)
            raise RetryError(
                f"{self.source}: {where}: the answer is not JSON: {error}.", cause="bad_body"
            ) from None
