# SPDX-License-Identifier: Apache-2.0
"""
Credentials: an API key, or OAuth2 client credentials.

Secrets come as functions, because a file may hold a new one after a 401 (notes 16). What
is made of them lives in memory only: in no log, no error and no repr.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NoReturn, Protocol

import structlog

from connector.encoding.json import dumps
from connector.errors import CredentialsError, RateLimitedError, RefusedError, RetryError
from connector.upstream.body import Caps
from connector.upstream.hints import MAX_WAIT, read_hints
from connector.upstream.retry import Backoff
from connector.upstream.timing import REAL, Timing
from connector.upstream.tokens import Token, make_token, sendable
from connector.upstream.transport import Answer, Transport

_log = structlog.get_logger()

# A JWT is 1 to 2 KB; servers take headers of 8 KiB at most.
_TOKEN_CAPS = Caps(wire_bytes=64 * 1024, decoded_bytes=64 * 1024)

# A token refused sooner than this after its predecessor was refused too says that the
# credentials are the problem, not the token.
_YOUNG_SECONDS = 60.0

# After a failed renewal a token that is still good is used on for at least this long.
_RENEWAL_PAUSE = 5.0


class Auth(Protocol):
    """
    What puts credentials on a request.
    """

    async def headers(self, transport: Transport) -> Mapping[str, str]:
        """
        Give the headers, fetching a token over the transport where one is needed.

        Raises:
            CredentialsError: They are refused, or cannot be read or sent.
            RetryError: The token server cannot be reached.
            RefusedError: What is configured as token URL is none.
        """
        ...

    def invalidate(self, refused: Mapping[str, str]) -> None:
        """
        Hear that a request with these headers was answered 401.

        Nothing happens if they were replaced meanwhile: of many requests under way with
        the same token, the first 401 renews it and the others profit.
        """
        ...


class ApiKey:
    """
    A key in a header: Stedi takes it bare in ``Authorization``, or behind ``Key``.

    Args:
        key: Reads the key, or raises CredentialsError; called once, and again after a 401.
        header: The header's name.
        prefix: Stands before the key, with a space, unless it is empty.
    """

    def __init__(
        self, *, key: Callable[[], str], header: str = "Authorization", prefix: str = ""
    ) -> None:
        self._key = key
        self._header = header
        self._prefix = prefix
        self._known: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        """
        Name the header only.
        """
        return f"ApiKey(header={self._header!r})"

    async def headers(self, transport: Transport) -> Mapping[str, str]:
        """
        Give the header; see Auth.
        """
        if self._known is None:
            key = sendable(self._key(), f"{transport.source}: the API key")
            value = f"{self._prefix} {key}" if self._prefix else key
            self._known = {self._header: sendable(value, f"{transport.source}: the prefix")}
        return self._known

    def invalidate(self, refused: Mapping[str, str]) -> None:
        """
        Read the key again next time; see Auth.
        """
        if refused == self._known:
            self._known = None


class OAuth2ClientCredentials:
    """
    Bearer tokens by client credentials, asked for in JSON (MonetaGo, seed 001).

    One request at a time, whoever waits for it; renewed before the token ends, and used
    on if that fails while it is still good. When credentials are refused (by the token
    server, or by a 401 for a token that just replaced a refused one), no token is asked
    for during 30 s, growing to 15 min: token servers lock accounts and bill tokens
    (notes 16). Until then every caller gets the CredentialsError with the time left.

    Args:
        token_url: Where the tokens come from. Credentials go to this origin only.
        client_id: The client.
        client_secret: Reads the secret, or raises CredentialsError; called before every
            token request.
        audience: What the token is for.
        timing: Clock and dice.
    """

    def __init__(
        self,
        *,
        token_url: str,
        client_id: str,
        client_secret: Callable[[], str],
        audience: str,
        timing: Timing = REAL,
    ) -> None:
        self._token_url = token_url
        self._client_id = client_id
        self._client_secret = client_secret
        self._audience = audience
        self._timing = timing
        self._token: Token | None = None
        self._flight: asyncio.Future[Token] | None = None
        self._replacing = False
        self._backoff = Backoff(uniform=timing.uniform)
        self._barred_until = timing.monotonic()

    def __repr__(self) -> str:
        """
        Name nothing of it.
        """
        return "OAuth2ClientCredentials()"

    async def headers(self, transport: Transport) -> Mapping[str, str]:
        """
        Give the Authorization header; see Auth.
        """
        while True:
            token, now = self._token, self._timing.monotonic()
            if token is not None and now < token.renew_at:
                return token.headers
            if self._flight is None:
                return (await self._lead(transport)).headers
            flight = self._flight
            await asyncio.wait((flight,))
            # Cancelled: whoever led was stopped, so that one of the others leads now.
            if not flight.cancelled():
                return flight.result().headers

    def invalidate(self, refused: Mapping[str, str]) -> None:
        """
        Drop the token; see Auth and the class.
        """
        token = self._token
        if token is None or refused != token.headers:
            return
        self._token = None
        self._replacing = True
        if self._timing.monotonic() - token.made_at >= _YOUNG_SECONDS:
            self._backoff.reset()
        elif token.is_replacement:
            self._bar()

    async def _lead(self, transport: Transport) -> Token:
        """
        Fetch a token for everybody who waits.
        """
        flight = self._flight = asyncio.get_running_loop().create_future()
        try:
            token = await self._renew(transport)
        except Exception as error:
            flight.set_exception(error)
            flight.exception()  # heard, even if nobody else waits
            raise
        except BaseException:
            flight.cancel()
            raise
        else:
            flight.set_result(token)
            return token
        finally:
            self._flight = None

    async def _renew(self, transport: Transport) -> Token:
        try:
            self._token = await self._fetch(transport)
        except RetryError as error:
            token, now = self._token, self._timing.monotonic()
            if token is None or now >= token.ends_at:
                raise
            _log.warning(
                "token_renewal_failed",
                source=transport.source,
                cause=error.cause,
            )
            self._token = replace(token, renew_at=max(now + _RENEWAL_PAUSE, self._barred_until))
        return self._token

    async def _fetch(self, transport: Transport) -> Token:
        began = self._timing.monotonic()
        if began < self._barred_until:
            raise CredentialsError(
                f"{transport.source}: the credentials were refused; no token is asked for yet.",
                cause="credentials",
                retry_after=self._barred_until - began,
            )
        target = transport.target(self._token_url, what="token URL")
        request = {
            "client_id": self._client_id,
            "client_secret": self._client_secret(),
            "audience": self._audience,
            "grant_type": "client_credentials",
        }
        answer = await transport.exchange(
            "POST",
            target.base,
            target,
            where="token request",
            headers={"Content-Type": "application/json"},
            caps=_TOKEN_CAPS,
            data=dumps(request),
        )
        if not 200 <= answer.status < 300:
            self._refuse(answer, transport.source)
        token = make_token(
            answer.body,
            source=transport.source,
            made_at=began,
            is_replacement=self._replacing,
            timing=self._timing,
        )
        if not self._replacing:
            self._backoff.reset()
        self._replacing = False
        return token

    def _bar(self) -> None:
        delay = self._backoff.next_delay(CredentialsError(""))
        self._barred_until = self._timing.monotonic() + delay

    def _refuse(self, answer: Answer, source: str) -> NoReturn:
        where = f"{source}: token request: HTTP {answer.status}"
        hints = read_hints(answer.headers, status=answer.status, server_ms=answer.answered_ms)
        asked = None if hints.wait is None else min(hints.wait, MAX_WAIT)
        if answer.status in (400, 401, 403):
            self._bar()
            wait = self._barred_until - self._timing.monotonic()
            raise CredentialsError(
                f"{where}: client id, secret or audience is refused.",
                cause="credentials",
                retry_after=max(wait, asked or 0.0),
            )
        if answer.status == 429:
            raise RateLimitedError(
                f"{where}: too many requests.", cause="http_429", retry_after=asked
            )
        if answer.status == 408 or answer.status >= 500:
            raise RetryError(
                f"{where}: the token server fails.", cause="token_server", retry_after=asked
            )
        raise RefusedError(f"{where}.", remedy="Check …_TOKEN_URL; redirects are not followed.")
