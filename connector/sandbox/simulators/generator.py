# SPDX-License-Identifier: Apache-2.0
"""
Keeps events coming: a steady rate with bursts, equal times and late ones.
"""

from __future__ import annotations

import asyncio
import contextlib
from random import Random

from pydantic import BaseModel, ConfigDict, Field

from connector.sandbox.simulators.simulator import Simulator

_TICK = 0.02


class Rhythm(BaseModel):
    """
    How events come.

    Attributes:
        rate: Events a second, on average.
        burst: The chance of each event to bring a burst forward: as many events of one
            time as ``burst_size``, for which there is a pause afterwards.
        burst_size: How many events a burst has.
        equal: The share of events that have the time of the one before.
        late: The share of events that appear later than their event time.
        late_by: The most seconds by which they do.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rate: float = Field(default=10.0, gt=0)
    burst: float = Field(default=0.005, ge=0, le=1)
    burst_size: int = Field(default=20, ge=1)
    equal: float = Field(default=0.1, ge=0, le=1)
    late: float = Field(default=0.05, ge=0, le=1)
    late_by: float = Field(default=2.0, ge=0)


class Generator:
    """
    One task that offers events to one provider until it is stopped.

    Args:
        simulator: Where the events go.
        rhythm: How they come.
    """

    def __init__(self, simulator: Simulator, rhythm: Rhythm) -> None:
        self._simulator = simulator
        self._rhythm = rhythm
        self._random = Random(simulator.random.random())
        self._last = simulator.now()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """
        Offer nothing any more.
        """
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        """
        Offer what is owed at each tick.
        """
        loop = asyncio.get_running_loop()
        owed, before = 0.0, loop.time()
        while True:
            await asyncio.sleep(_TICK)
            owed += (loop.time() - before) * self._rhythm.rate
            before = loop.time()
            while owed >= 1:
                owed -= self._step()

    def _step(self) -> int:
        """
        Offer one event, or a burst of them, and tell how many.
        """
        draw, rhythm, now = self._random.random, self._rhythm, self._simulator.now()
        if draw() < rhythm.burst:
            self._simulator.offer(count=rhythm.burst_size, event_time=now)
            return rhythm.burst_size
        self._last = self._last if draw() < rhythm.equal else now
        late = draw() * rhythm.late_by if draw() < rhythm.late else 0.0
        self._simulator.offer(event_time=self._last, late=late)
        return 1
