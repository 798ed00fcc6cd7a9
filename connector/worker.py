# SPDX-License-Identifier: Apache-2.0
"""
One running process: its membership, its shards, its sources, its stop.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import structlog

from connector.admin.metrics import Metrics
from connector.assignments import Assignments
from connector.errors import ConnectorError, RetryError, SettingsError, StoppedError, TopicError
from connector.kafka.group import Group, group_config
from connector.runtime import Runtime
from connector.settings import Settings
from connector.shard import Shard, ShardParts
from connector.upstream.retry import Backoff
from connector.waiting import unless

log = structlog.get_logger()

# The event loop beats this often; after this long without a beat it counts as hung, and
# the group is no longer polled, so that its shards move to others.
_BEAT_SECONDS = 0.5
_HUNG_SECONDS = 10.0
# How often the watch looks at the group, and at the offsets topic.
_LOOK_SECONDS = 1.0
_WATCH_SECONDS = 10.0
# What ends a stop in which even abandoned shards, or the group's thread, do not end.
_GIVE_UP_SECONDS = 15.0


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
        self.runtime: Runtime | None = None
        self.waiting_for: str | None = None
        self._make_runtime = make_runtime
        self._assignments: Assignments | None = None
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

    @property
    def shards(self) -> Mapping[int, Shard]:
        """
        The shards that were given to this worker, by number.
        """
        return self._assignments.shards if self._assignments else {}

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
                runtime = await unless(self._stop, self._make_runtime(self.settings, self.metrics))
            except (TopicError, SettingsError):
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
        parts = ShardParts(
            shards=runtime.shards,
            group=_LateGroup(lambda: self._group),
            make_producer=runtime.make_producer,
            replay=runtime.replay,
            tasks=runtime.tasks,
            metrics=self.metrics,
        )
        assignments = self._assignments = Assignments(
            asyncio.get_running_loop(),
            lambda number: Shard(number, parts),
            runtime.shards,
            self.fail,
        )
        config = group_config(
            self.settings.kafka.consumer(),
            group_id=self.settings.group_id,
            client_id=runtime.client_id,
        )
        group = Group(
            config,
            topic=self.settings.offsets_topic,
            listener=assignments,
            alive=lambda: time.monotonic() - self._beat < _HUNG_SECONDS,
            # The group waits for whoever revokes, but not for longer than its interval.
            revoke_seconds=min(
                self.settings.drain_timeout, int(config["max.poll.interval.ms"]) / 2000
            ),
            logger=runtime.kafka_logger,
        )
        self._group = group
        self.metrics.unknown_offsets.set_function(
            lambda: sum(len(runtime.unknown.get(number, ())) for number in assignments.shards)
        )
        group.start()
        watch = asyncio.create_task(self._watch(runtime, group))
        watch.add_done_callback(self._on_watch_done)
        try:
            await self._stop.wait()
        finally:
            watch.cancel()
            await self._drain(group, assignments)

    async def _drain(self, group: Group, assignments: Assignments) -> None:
        """
        Leave the group and wait for the shards; what is not done in time is abandoned.
        """
        group.leave()
        deadline = time.monotonic() + self.settings.drain_timeout
        while group.is_alive() or not assignments.idle:
            if not group.is_alive():
                # Usually a revocation has done so; not where the thread failed.
                assignments.stop_all()
            if time.monotonic() > deadline:
                assignments.abandon_all()
            if time.monotonic() > deadline + _GIVE_UP_SECONDS:
                log.error("stop_gives_up", group=group.is_alive())
                return
            await asyncio.sleep(0.02)

    async def _watch(self, runtime: Runtime, group: Group) -> None:
        """
        Look after what nobody else would notice: a hung thread, a topic that was replaced.
        """
        looked = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if not group.is_alive():
                self.fail(RuntimeError("The thread of the group ended."))
            # The group is told so too by a broker that has just begun to start.
            if group.topic_gone or time.monotonic() - looked >= _WATCH_SECONDS:
                looked = time.monotonic()
                try:
                    await runtime.check_offsets_topic()
                except TopicError as failure:
                    self.fail(failure)
                except ConnectorError as failure:
                    log.warning("offsets_topic_not_checked", error=str(failure))

    def _on_watch_done(self, watch: asyncio.Task[None]) -> None:
        if not watch.cancelled() and (failure := watch.exception()) is not None:
            self.fail(failure)

    def fail(self, failure: BaseException) -> None:
        """
        End the worker because of a failure that no restart of a shard can mend.
        """
        if self._failure is None:
            self._failure = failure
        self._stop.set()

    async def _keep_beating(self) -> None:
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(_BEAT_SECONDS)


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
