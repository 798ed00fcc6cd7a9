# SPDX-License-Identifier: Apache-2.0
"""
Times as the simulated providers write and read them.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> int:
    """
    Tell this computer's time in milliseconds since 1970.
    """
    return time.time_ns() // 1_000_000


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    """
    Write a whole second; cached, because a backlog has many events in each.
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def iso(ms: int) -> str:
    """
    Write milliseconds since 1970 the way both providers do, such as ``2025-04-02T21:30:15.801Z``.
    """
    seconds, rest = divmod(ms, 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


def parse(text: str) -> int:
    """
    Read an ISO-8601 time that names its zone, as milliseconds since 1970.

    Raises:
        ValueError: It is no such time, or it names no zone.
    """
    read = datetime.fromisoformat(text)
    if read.tzinfo is None:
        raise ValueError("the time names no zone")
    return (read - _EPOCH) // timedelta(milliseconds=1)


def http_date(ms: int) -> str:
    """
    Write a time as the ``Date`` and ``Retry-After`` headers have it (RFC 9110, 5.6.7).
    """
    return formatdate(ms / 1000, usegmt=True)
