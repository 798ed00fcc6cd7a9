# SPDX-License-Identifier: Apache-2.0
"""
How long to wait before the next attempt; the engine asks, the client never retries.
"""

from __future__ import annotations

from collections.abc import Callable

from connector.errors import CredentialsError, RetryError
from connector.upstream.timing import REAL

# What stretches a Retry-After: all who were told the same time must not come at once.
_SPREAD = 0.1
_MAX_SPREAD = 30.0

# 2**32 times anything is past every cap; beyond it floats would overflow one day.
_MAX_DOUBLINGS = 32


class Backoff:
    """
    Exponential growth with full jitter, for one thing that is tried again and again.

    The n-th wait in a row is drawn evenly from ``[first, min(cap, first * 2**n)]``, so it
    is never shorter than ``first``. A CredentialsError begins at ``credentials_first``
    instead, because token servers lock accounts and bill tokens (notes 16). A
    ``retry_after`` is a lower bound, stretched by up to a tenth (30 s at most).

    Args:
        first: Seconds; the shortest wait.
        cap: Seconds; the longest wait of our own. A retry_after may be longer.
        credentials_first: Seconds; the shortest wait after refused credentials.
        uniform: Draws a number between two bounds.
    """

    def __init__(
        self,
        *,
        first: float = 1.0,
        cap: float = 900.0,
        credentials_first: float = 30.0,
        uniform: Callable[[float, float], float] = REAL.uniform,
    ) -> None:
        if not 0 < first <= credentials_first <= cap:
            raise ValueError("Implementation error: 0 < first <= credentials_first <= cap")
        self._first = first
        self._cap = cap
        self._credentials_first = credentials_first
        self._uniform = uniform
        self.failures = 0

    def next_delay(self, error: BaseException) -> float:
        """
        Count a failure and say how many seconds to wait after it.

        Args:
            error: What went wrong; only its class and its ``retry_after`` matter.
        """
        self.failures += 1
        first = self._credentials_first if isinstance(error, CredentialsError) else self._first
        ceiling = min(self._cap, first * 2.0 ** min(self.failures, _MAX_DOUBLINGS))
        delay = self._uniform(first, ceiling)
        asked = error.retry_after if isinstance(error, RetryError) else None
        if asked is None:
            return delay
        return max(delay, asked + self._uniform(0.0, min(asked * _SPREAD, _MAX_SPREAD)))

    def reset(self) -> None:
        """
        Forget the failures, because an attempt succeeded.
        """
        self.failures = 0
