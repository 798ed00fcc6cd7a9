# SPDX-License-Identifier: Apache-2.0
"""
The shards of one worker: begun, stopped and dropped as the group says.

The group calls from its own thread; everything here happens on the event loop, in the
order of those calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future

import structlog

from connector.errors import TopicError, place_of
from connector.shard import Shard

log = structlog.get_logger()


class Assignments:
    """
    Carries the group's callbacks to the event loop, and knows who is served.

    Args:
        loop: The event loop.
        make: Makes a shard of a number.
        total: How many shards there are.
        fail: Ends the worker because of what no restart of a shard can mend.

    Attributes:
        shards: Those that were given to us, by number.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make: Callable[[int], Shard],
        total: int,
        fail: Callable[[BaseException], None],
    ) -> None:
        self.shards: dict[int, Shard] = {}
        self._loop = loop
        self._make = make
        self._total = total
        self._fail = fail
        # The last run of each number; it may be that of a shard that was dropped.
        self._running: dict[int, asyncio.Task[None]] = {}

    @property
    def idle(self) -> bool:
        """
        True if no shard runs any more, not even a dropped one.
        """
        return all(task.done() for task in self._running.values())

    def on_gained(self, partitions: Sequence[int]) -> None:
        """
        Begin to serve shards. Any thread may call this.
        """
        self._loop.call_soon_threadsafe(self._gain, tuple(partitions))

    def on_losing(self, partitions: Sequence[int]) -> Future[None]:
        """
        Stop shards; the result is done when their transactions have ended. Any thread.
        """
        ended: Future[None] = Future()

        def lose() -> None:
            # Chosen in this call, not in a task that begins later: a loop that hung may
            # find next in its queue that they were given back to us.
            task = asyncio.ensure_future(self._lose(partitions))
            task.add_done_callback(lambda _task: ended.set_result(None))

        self._loop.call_soon_threadsafe(lose)
        return ended

    def on_lost(self, partitions: Sequence[int]) -> None:
        """
        Drop shards that are somebody else's already. Any thread.
        """
        self._loop.call_soon_threadsafe(self._drop, tuple(partitions))

    def stop_all(self) -> None:
        """
        Let every shard end after its transaction.
        """
        for shard in self.shards.values():
            shard.stop()

    def abandon_all(self) -> None:
        """
        Let every shard end now.
        """
        for shard in self.shards.values():
            shard.abandon()

    def _gain(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            if number >= self._total:
                self._fail(
                    TopicError(
                        "The offsets topic has more partitions than when this worker started.",
                        remedy="Partitions must not be added by hand: restore it as it was.",
                    )
                )
                return
            shard = self.shards[number] = self._make(number)
            former = self._running.get(number)
            self._running[number] = asyncio.create_task(self._run(shard, former))

    def _lose(self, numbers: Sequence[int]) -> Awaitable[None]:
        losing = {number: self.shards[number] for number in numbers if number in self.shards}
        for shard in losing.values():
            shard.stop()
        return self._ended(losing, [self._running[n] for n in numbers if n in self._running])

    async def _ended(
        self, losing: Mapping[int, Shard], running: Sequence[asyncio.Task[None]]
    ) -> None:
        await asyncio.gather(*running, return_exceptions=True)
        for number, shard in losing.items():
            # One that was given back to us meanwhile is another, and stays.
            if self.shards.get(number) is shard:
                del self.shards[number]

    def _drop(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            shard = self.shards.pop(number, None)
            if shard is not None:
                shard.abandon()

    async def _run(self, shard: Shard, former: asyncio.Task[None] | None) -> None:
        # One producer of an id at a time: the former must not fence the new one.
        if former is not None:
            await asyncio.wait({former})
        try:
            await shard.run()
        except asyncio.CancelledError:
            raise
        except BaseException as failure:  # noqa: BLE001 - the worker ends, visibly
            log.error("shard_failed", shard=shard.number, **place_of(failure))
            self._fail(failure)
        if shard.fatal is not None:
            self._fail(shard.fatal)
