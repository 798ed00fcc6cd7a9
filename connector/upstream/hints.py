# SPDX-License-Identifier: Apache-2.0
"""
What a provider says about when to come back: ``Retry-After`` and ``X-RateLimit-*``.

One policy for all providers: Retry-After first, then X-RateLimit-Reset,
else the caller's own back-off. ``X-RateLimit-Limit`` is not used: its window is nowhere
documented, and ``…_RATE_LIMIT`` is where a budget is set.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from connector.upstream.clock import parse_http_date

# Longest wait that is obeyed; behind it the provider is asked again (DESIGN section 8).
# A Retry-After of a day once put a connector to sleep for a day (exactly-once R37).
MAX_WAIT = 3600.0

# X-RateLimit-Reset comes as milliseconds or seconds since 1970, or as seconds from now.
# 1e11 s is the year 5138 and 1e11 ms is 1973; 1e9 s is 2001, and from now 31 years.
_EPOCH_MS_FROM = 1e11
_EPOCH_S_FROM = 1e9

# Twenty digits hold every number that could be meant; more is not worth parsing.
_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,9})?")


class Hints(NamedTuple):
    """
    What one answer's headers ask for.

    Attributes:
        wait: Seconds to wait as asked, not capped; None if nothing was asked.
        exhausted: The budget headers say that nothing is left.
        ignored: Names of headers that were there and made no sense.
    """

    wait: float | None
    exhausted: bool
    ignored: tuple[str, ...]


def read_hints(headers: Mapping[str, str], *, status: int, server_ms: int) -> Hints:
    """
    Read the headers of an answer.

    Args:
        headers: Case-insensitive.
        status: The HTTP status; a Reset without a Remaining counts with 429 only.
        server_ms: The server's clock, which dates in the headers are held against.
    """
    ignored: list[str] = []

    def read(name: str, parse: Callable[[str, int], float | None]) -> float | None:
        text = headers.get(name)
        if text is None:
            return None
        value = parse(text.strip(), server_ms)
        if value is None:
            ignored.append(name)
        return value

    remaining = read("X-RateLimit-Remaining", _number)
    exhausted = remaining is not None and remaining < 1
    wait = read("Retry-After", _retry_after)
    if status == 429 or exhausted:
        reset = read("X-RateLimit-Reset", _reset)
        wait = reset if wait is None else wait
    return Hints(wait, exhausted, tuple(ignored))


def _number(text: str, _server_ms: int) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _retry_after(text: str, server_ms: int) -> float | None:
    seconds = _number(text, server_ms)
    if seconds is not None:
        return seconds
    date = parse_http_date(text)
    return None if date is None else max(0.0, (date - server_ms) / 1000)


def _reset(text: str, server_ms: int) -> float | None:
    number = _number(text, server_ms)
    if number is None or number < _EPOCH_S_FROM:
        return number
    reset_ms = number if number >= _EPOCH_MS_FROM else number * 1000
    return max(0.0, (reset_ms - server_ms) / 1000)
