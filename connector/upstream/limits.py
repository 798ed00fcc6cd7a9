# SPDX-License-Identifier: Apache-2.0
"""
Limits that belong to a source: its request budget, and requests at the same time.

Both can be changed while they are waited for, because a worker's share of a source
follows the shards that it owns (DESIGN section 6).
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple

from connector.errors import RateLimitedError
from connector.upstream.timing import REAL, Timing

# A pause up to this is waited out in silence; a longer one is an error, so that whoever
# asks can show it instead of hanging for up to an hour.
_SILENT_PAUSE = 10.0

# How long one sleep is at most: a new share or pause counts from then on.
_LONGEST_SLEEP = 1.0

# Part of a pause by which it is stretched at random, and its bound in seconds.
_SPREAD = 0.1
_MAX_SPREAD = 5.0

# Additions of floats end a hair below a whole token.
_HAIR = 1e-9


class _Flow(NamedTuple):
    """
    How a bucket behaves: its size, and what flows into it.
    """

    burst: float
    per_second: float

    @classmethod
    def of(cls, rate: tuple[int, float] | None, fraction: float) -> _Flow:
        if rate is None:
            return cls(1.0, 0.0)
        count, seconds = rate
        budget = count * fraction
        burst = max(1.0, 1.0 + (budget - 1.0) / 10)
        # In one window come the burst and what flows until its end, fewer than budget + 1.
        return cls(burst, min(budget, budget - burst + 1.0) / seconds)


class Limiter:
    """
    A token bucket that never allows more than n requests in any window, also at first.

    A tenth of the budget may come in one burst; the rest flows evenly, so that burst and
    flow together stay within n. What the provider says overrides: ``pause``.

    Args:
        source: The source's name, for errors.
        rate: Requests and the seconds of their window; None for no limit of ours.
        start_empty: Begin without the burst, as for a shard just gained.
        timing: Clock, sleep and dice.
    """

    def __init__(
        self,
        source: str,
        rate: tuple[int, float] | None,
        *,
        start_empty: bool = False,
        timing: Timing = REAL,
    ) -> None:
        self._source = source
        self._rate = rate
        self._timing = timing
        self._turn = asyncio.Lock()  # first come, first served; cancellation just leaves
        self._paused_until = timing.monotonic()
        self._flow = _Flow.of(rate, 1.0)
        self._tokens = 0.0 if start_empty else self._flow.burst
        self._filled_at = timing.monotonic()

    def set_share(self, fraction: float) -> None:
        """
        Use only a part of the budget from now on; 0 lets nothing through.

        Args:
            fraction: From 0 to 1. A larger share grows the flow, never the tokens at hand.
                Without a rate it has no effect.
        """
        if not 0.0 <= fraction <= 1.0:
            raise ValueError("Implementation error: a share is between 0 and 1")
        self._fill()
        self._flow = _Flow.of(self._rate, fraction)
        self._tokens = min(self._tokens, self._flow.burst)

    def pause(self, seconds: float) -> None:
        """
        Let nothing through for a time, because the provider said so.

        A later end wins; the end is moved back a little at random.
        """
        spread = self._timing.uniform(0.0, min(seconds * _SPREAD, _MAX_SPREAD))
        until = self._timing.monotonic() + seconds + spread
        self._paused_until = max(self._paused_until, until)

    @property
    def paused_for(self) -> float:
        """
        Seconds that the provider's pause still lasts; 0 without one.
        """
        return max(0.0, self._paused_until - self._timing.monotonic())

    async def acquire(self) -> None:
        """
        Wait for one request's worth of budget, in turn.

        Raises:
            RateLimitedError: The provider's pause lasts longer than 10 s.
        """
        async with self._turn:
            while (delay := self._delay()) > 0:
                await self._timing.sleep(min(delay, _LONGEST_SLEEP))
            if self._rate is not None:
                self._tokens -= 1.0

    def _delay(self) -> float:
        pause = self.paused_for
        if pause > _SILENT_PAUSE:
            raise RateLimitedError(
                f"{self._source}: the provider asked for a pause that is not over.",
                cause="paused",
                retry_after=pause,
            )
        if pause > 0:
            return pause
        if self._rate is None:
            return 0.0
        if not self._flow.per_second:
            return _LONGEST_SLEEP
        self._fill()
        missing = 1.0 - self._tokens
        return missing / self._flow.per_second if missing > _HAIR else 0.0

    def _fill(self) -> None:
        now = self._timing.monotonic()
        grown = self._tokens + (now - self._filled_at) * self._flow.per_second
        self._tokens = min(self._flow.burst, grown)
        self._filled_at = now


class Gate:
    """
    At most so many at a time, first come, first served; the limit may change.

    Args:
        limit: How many, at least 1.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.set_limit(limit)

    def set_limit(self, limit: int) -> None:
        """
        Change how many may be inside. Who is inside stays there.
        """
        if limit < 1:
            raise ValueError("Implementation error: a gate lets at least one through")
        self._limit = limit
        self._admit()

    async def __aenter__(self) -> None:
        """
        Wait for a place.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):  # _admit may have passed over it already
                    self._waiting.remove(turn)
            else:  # admitted and cancelled in the same step: the place goes on
                self._leave()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """
        Give the place to whoever waits longest.
        """
        self._leave()

    def _leave(self) -> None:
        self._inside -= 1
        self._admit()

    def _admit(self) -> None:
        while self._inside < self._limit and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._inside += 1
