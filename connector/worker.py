# SPDX-License-Identifier: Apache-2.0
"""
One running process: its membership, its shards, its sources, its stop.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import structlog

from connector.admin.metrics import Metrics
from connector.errors import ConnectorError, RetryError, StoppedError, TopicError
from connector.kafka.group import Group, group_config
from connector.runtime import Runtime
from connector.settings import Settings
from connector.shard import Shard, ShardParts, Stage
from connector.upstream.retry import Backoff

log = structlog.get_logger()

# The event loop beats this often; after this long without a beat it counts as hung, and
# the group is no longer polled, so that its shards move to others.
_BEAT_SECONDS = 0.5
_HUNG_SECONDS = 10.0
# How often the offsets topic is looked at while running.
_WATCH_SECONDS = 60.0


class Worker:
    """
    One worker of the connector.

    Args:
        settings: All of them.
        metrics: Where everything is counted.
        make_runtime: Connects to everything outside; raises RetryError until it can.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        make_runtime: Callable[[Settings, Metrics], Awaitable[Runtime]],
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self.shards: dict[int, Shard] = {}
        self.runtime: Runtime | None = None
        self.waiting_for: str | None = None
        self._make_runtime = make_runtime
        self._running: dict[int, asyncio.Task[None]] = {}
        self._group: Group | None = None
        self._beat = time.monotonic()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None

    @property
    def beat(self) -> float:
        """
        Monotonic seconds of the event loop's last beat.
        """
        return self._beat

    @property
    def group(self) -> Group | None:
        """
        The membership, once there is one.
        """
        return self._group

    def stop(self) -> None:
        """
        Begin the stop: give up the shards, leave the group, end.
        """
        self._stop.set()

    async def run(self) -> None:
        """
        Work until told to stop.

        Raises:
            TopicError: The offsets topic is not what it has to be.
            Exception: An internal failure; the process has to end.
        """
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._on_signal, signum)
        beating = asyncio.create_task(self._keep_beating())
        try:
            self.runtime = await self._prepare()
            if self.runtime is not None:
                await self._serve(self.runtime)
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating
            if self.runtime is not None:
                await self.runtime.close()
            for signum in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(signum)
        if self._failure is not None:
            raise self._failure
        log.info("worker_stopped")

    def _on_signal(self, signum: int) -> None:
        log.info("stop_requested", signal=signal.Signals(signum).name)
        self.stop()

    async def _prepare(self) -> Runtime | None:
        """
        Connect to Kafka and the registry; outages are waited out, visibly.
        """
        backoff = Backoff(first=0.5, cap=30.0)
        while not self._stop.is_set():
            try:
                runtime = await self._make_runtime(self.settings, self.metrics)
            except TopicError:
                raise
            except (RetryError, StoppedError) as failure:
                self.waiting_for = str(failure)
                delay = backoff.next_delay(failure)
                log.warning("start_waits", error=str(failure), delay_s=round(delay, 1))
                with suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._stop.wait()
            else:
                self.waiting_for = None
                return runtime
        return None

    async def _serve(self, runtime: Runtime) -> None:
        loop = asyncio.get_running_loop()
        parts = ShardParts(
            shards=runtime.shards,
            group=_LateGroup(lambda: self._group),
            make_producer=runtime.make_producer,
            replay=runtime.replay,
            tasks=runtime.tasks,
            metrics=self.metrics,
        )
        listener = _Assignments(loop, lambda number: Shard(number, parts), self)
        group = Group(
            group_config(
                self.settings.kafka.consumer(),
                group_id=self.settings.group_id,
                client_id=runtime.client_id,
            ),
            topic=self.settings.offsets_topic,
            listener=listener,
            alive=lambda: time.monotonic() - self._beat < _HUNG_SECONDS,
            revoke_seconds=self.settings.drain_timeout,
            logger=runtime.kafka_logger,
        )
        self._group = group
        group.start()
        watch = asyncio.create_task(self._watch(runtime, group))
        try:
            await self._stop.wait()
        finally:
            watch.cancel()
            group.leave()
            await self._join(group)
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _join(self, group: Group) -> None:
        """
        Wait for the group's thread; what is not drained in time is abandoned.
        """
        deadline = time.monotonic() + self.settings.drain_timeout
        while group.is_alive():
            if time.monotonic() > deadline:
                for shard in self.shards.values():
                    shard.abandon()
            await asyncio.sleep(0.02)

    async def _watch(self, runtime: Runtime, group: Group) -> None:
        """
        Look after what nobody else would notice: a hung thread, a topic that was replaced.
        """
        looked = time.monotonic()
        while True:
            await asyncio.sleep(1.0)
            if not group.is_alive():
                self.fail(RuntimeError("The thread of the group ended."))
            if group.topic_gone:
                self.fail(
                    TopicError(
                        f"The offsets topic {self.settings.offsets_topic} was deleted.",
                        remedy="Restore it, or start again and choose positions with "
                        "connector offsets set|reset.",
                    )
                )
            if time.monotonic() - looked >= _WATCH_SECONDS:
                looked = time.monotonic()
                try:
                    await runtime.check_offsets_topic()
                except TopicError as failure:
                    self.fail(failure)
                except ConnectorError as failure:
                    log.warning("offsets_topic_not_checked", error=str(failure))

    def fail(self, failure: BaseException) -> None:
        """
        End the worker because of a failure that no restart of a shard can mend.
        """
        if self._failure is None:
            self._failure = failure
        self._stop.set()

    def gain(self, number: int, make: Callable[[int], Shard]) -> None:
        """
        Begin to serve a shard; one of the same number that is still ending goes first.
        """
        if self.runtime is None or number >= self.runtime.shards:
            self.fail(
                TopicError(
                    f"The offsets topic {self.settings.offsets_topic} has more partitions than "
                    "when this worker started.",
                    remedy="Partitions must not be added by hand: restore the topic as it was.",
                )
            )
            return
        shard = make(number)
        self.shards[number] = shard
        self._running[number] = asyncio.create_task(
            self._run_shard(shard, self._running.get(number))
        )

    async def lose(self, numbers: Sequence[int]) -> None:
        """
        Stop shards and wait until their transactions have ended.
        """
        for number in numbers:
            if number in self.shards:
                self.shards[number].stop()
        await asyncio.gather(
            *(self._running[n] for n in numbers if n in self._running), return_exceptions=True
        )
        for number in numbers:
            self.shards.pop(number, None)

    def abandon(self, numbers: Sequence[int]) -> None:
        """
        Drop shards that are somebody else's already.
        """
        for number in numbers:
            shard = self.shards.pop(number, None)
            if shard is not None:
                shard.abandon()

    async def _run_shard(self, shard: Shard, former: asyncio.Task[None] | None) -> None:
        if former is not None:
            await asyncio.wait({former})
        try:
            await shard.run()
        except asyncio.CancelledError:
            raise
        except BaseException as failure:  # noqa: BLE001 - the worker ends, visibly
            log.error("shard_failed", shard=shard.number, type=type(failure).__name__)
            self.fail(failure)
        if shard.fatal is not None:
            self.fail(shard.fatal)

    async def _keep_beating(self) -> None:
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(_BEAT_SECONDS)

    def serving(self) -> bool:
        """
        True if we are a member and every shard assigned to us is served.
        """
        group = self._group
        if group is None or not group.joined or self._stop.is_set():
            return False
        return all(
            number in self.shards and self.shards[number].stage is Stage.RUNNING
            for number in group.assigned
        )


class _LateGroup:
    """
    The group, for shards that are made before it is.
    """

    def __init__(self, get: Callable[[], Group | None]) -> None:
        self._get = get

    async def prove(self, shard: int) -> Any:
        group = self._get()
        if group is None:
            raise RuntimeError("Implementation error: no group")
        return await group.prove(shard)


class _Assignments:
    """
    Carries the group's callbacks from its thread to the event loop.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make: Callable[[int], Shard],
        worker: Worker,
    ) -> None:
        self._loop = loop
        self._make = make
        self._worker = worker

    def on_gained(self, partitions: Sequence[int]) -> None:
        for number in partitions:
            self._loop.call_soon_threadsafe(self._worker.gain, number, self._make)

    def on_losing(self, partitions: Sequence[int]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(self._worker.lose(partitions), self._loop)

    def on_lost(self, partitions: Sequence[int]) -> None:
        self._loop.call_soon_threadsafe(self._worker.abandon, list(partitions))
