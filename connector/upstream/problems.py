# SPDX-License-Identifier: Apache-2.0
"""
What went wrong, sorted and told in our words.

Texts of aiohttp hold URLs and pieces of answers, so none of them is passed on
(invariant 9).
"""

from __future__ import annotations

import os

import aiohttp

from connector.errors import (
    ConnectorError,
    CredentialsError,
    RateLimitedError,
    RefusedError,
    RetryError,
)
from connector.upstream.body import BodyError
from connector.upstream.guards import ForbiddenAddressError

_CREDENTIALS = {
    401: "the key or token is refused",
    403: "the key lacks a permission or is wrong, or a firewall of the provider refuses this "
    "address",
}
_BASE_URL = "Check …_BASE_URL, its version included."


def of_status(status: int, where: str, retry_after: float | None) -> ConnectorError:
    """
    Sort a status that is not 2xx by what the caller does next.

    Args:
        status: The HTTP status.
        where: Begins the text: ``stedi: GET /polling/transactions: HTTP 503``.
        retry_after: Seconds, if the provider asked for a wait.
    """
    if status in _CREDENTIALS:
        return CredentialsError(
            f"{where}: {_CREDENTIALS[status]}.", cause=f"http_{status}", retry_after=retry_after
        )
    if status == 429:
        return RateLimitedError(
            f"{where}: too many requests.", cause="http_429", retry_after=retry_after
        )
    if status == 408 or status >= 500:
        cause = "http_408" if status == 408 else "http_5xx"
        return RetryError(f"{where}.", cause=cause, retry_after=retry_after)
    if 300 <= status < 400:
        return RefusedError(f"{where}: redirects are not followed.", remedy=_BASE_URL)
    if status in (404, 405, 410):
        return RefusedError(f"{where}: there is no such thing.", remedy=_BASE_URL)
    return RefusedError(
        f"{where}: the request is refused for good.",
        remedy="Check the settings of this source and where its offset stands.",
    )


def of_exchange(  # noqa: PLR0911 - one case for each kind of failure
    error: Exception,
) -> tuple[str, str]:
    """
    Tell why an exchange brought no answer: the cause for metrics, the text for people.
    """
    match error:
        case BodyError():
            return error.cause, f"the answer cannot be used: {error}"
        case TimeoutError():
            return "timeout", "no whole answer within the request timeout"
        case aiohttp.ClientSSLError():
            return "tls", "the server's certificate is not trusted, or is for another name"
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
            return "proxy", "the proxy of the environment refuses"
        case aiohttp.ClientConnectorDNSError(os_error=ForbiddenAddressError() as forbidden):
            return "address_refused", (
                f"the host leads to {forbidden}; "
                "…_ALLOW_PRIVATE_ADDRESSES=true lets a source reach private networks"
            )
        case aiohttp.ClientConnectorDNSError():
            return "dns", "the host's name does not resolve"
        case aiohttp.ClientConnectorError():
            return "connect", f"no connection{_reason(error.os_error)}"
        case aiohttp.ClientResponseError():
            return "bad_answer", "the answer is not HTTP, or its headers are too large"
        case aiohttp.ClientPayloadError():
            return "bad_body", "the answer was cut"
        case OSError():
            return "connection", f"the connection broke{_reason(error)}"
        case _:
            return "connection", "the connection broke"


def _reason(error: OSError) -> str:
    return f" ({os.strerror(error.errno)})" if error.errno is not None else ""
