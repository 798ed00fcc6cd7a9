# SPDX-License-Identifier: Apache-2.0
"""
Time and chance as values, so that tests neither sleep nor guess.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


def wall_ms() -> int:
    """
    Tell our clock, in milliseconds since 1970.
    """
    return time.time_ns() // 1_000_000


def _uniform(low: float, high: float) -> float:
    return random.uniform(low, high)  # noqa: S311 - jitter, not cryptography


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """
    The clocks, the sleep and the dice of one client.

    Attributes:
        now_ms: Our clock, milliseconds since 1970; may jump.
        monotonic: Seconds from an arbitrary point; never goes back.
        sleep: Waits that many seconds; yields to cancellation.
        uniform: A random number between two bounds, for jitter.
    """

    now_ms: Callable[[], int] = wall_ms
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    uniform: Callable[[float, float], float] = _uniform


REAL = Timing()
