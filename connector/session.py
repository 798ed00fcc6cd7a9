# SPDX-License-Identifier: Apache-2.0
"""
A shard between a replay and the next failure: units become transactions here.

Whatever is ready when the producer is free goes into the next transaction, within
bounds; the units of one source partition stay in order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import structlog

from connector.admin.metrics import Metrics
from connector.errors import ReloadError
from connector.kafka.producer import Transaction
from connector.kafka.state import SHARD_KEY, ShardState
from connector.unit import Unit

log = structlog.get_logger()

# Bounds of one transaction in a backlog (exactly-once P7).
MAX_RECORDS = 10_000
MAX_BYTES = 8 * 1024 * 1024
# In a backlog a transaction waits this long to become worth its cost. Nothing that is
# caught up ever waits.
_GATHER_SECONDS = 0.2
_WORTH_RECORDS = 5_000
# What one source partition may have fetched and not committed (memory stays bounded
# however slow Kafka is).
_AHEAD_UNITS = 32
_AHEAD_BYTES = 16 * 1024 * 1024
# The broker forgets idle transactional ids after days; long before that a shard begins
# again from the top (exactly-once R23).
_IDLE_SECONDS = 12 * 3600.0


class _Ahead:
    """
    What of one source partition is fetched and not committed.
    """

    __slots__ = ("messages", "size", "units")

    def __init__(self) -> None:
        self.units = 0
        self.size = 0
        self.messages = 0


class Session:
    """
    A shard between a replay and the next failure: the port through which tasks commit.

    Args:
        state: The committed state.
        commit: Commits one transaction and returns its seconds, or raises.
        worn: True if the last commit met a disconnect.
        metrics: Where to count.
        clock_ms: Our clock, milliseconds since 1970.
    """

    def __init__(
        self,
        state: ShardState,
        commit: Callable[[Transaction], Awaitable[float]],
        worn: Callable[[], bool],
        *,
        metrics: Metrics,
        clock_ms: Callable[[], int],
    ) -> None:
        self.state = state
        self._commit = commit
        self._worn = worn
        self._metrics = metrics
        self._clock_ms = clock_ms
        self._ready: list[Unit] = []
        self._ahead: dict[str, _Ahead] = {}
        self._changed = asyncio.Condition()
        self._closing = False
        self._last_commit = time.monotonic()

    @property
    def shard(self) -> int:
        """
        The number of the shard.
        """
        return self.state.shard

    async def room(self, source_partition: str) -> None:
        """
        Wait until a source partition may fetch more.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._has_room(source_partition))

    async def submit(self, unit: Unit) -> None:
        """
        Hand over a unit; those of one source partition are committed in this order.
        """
        ahead = self._ahead.setdefault(unit.source_partition, _Ahead())
        ahead.units += 1
        ahead.size += unit.size
        ahead.messages += len(unit.messages)
        async with self._changed:
            self._ready.append(unit)
            self._changed.notify_all()

    async def settled(self, source_partition: str) -> None:
        """
        Wait until all that a source partition submitted is committed.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._ahead_of(source_partition).units == 0)

    def inflight(self, source_partition: str) -> int:
        """
        Count the messages of a source partition that are not committed yet.
        """
        return self._ahead_of(source_partition).messages

    async def close(self) -> None:
        """
        Commit nothing more after the transaction under way.
        """
        async with self._changed:
            self._closing = True
            self._changed.notify_all()

    async def run(self) -> None:
        """
        Commit what is ready, until closed.

        Raises:
            ConnectorError: A transaction failed; nothing in memory counts any more.
        """
        while True:
            batch = await self._gather()
            if not batch:
                return
            await self._commit_batch(batch)

    async def begin_epoch(self, shards: int) -> None:
        """
        Store the shard's own record, where there is none: its first transaction ever.
        """
        record = self.state.begin(shards, self._clock_ms())
        changes = {SHARD_KEY: record}
        await self._commit(Transaction((), self.state.encode(changes)))
        self.state.apply(changes)

    def _has_room(self, source_partition: str) -> bool:
        ahead = self._ahead_of(source_partition)
        return ahead.units == 0 or (ahead.units < _AHEAD_UNITS and ahead.size < _AHEAD_BYTES)

    def _ahead_of(self, source_partition: str) -> _Ahead:
        return self._ahead.get(source_partition) or _Ahead()

    async def _gather(self) -> list[Unit]:
        """
        Take what is ready; in a backlog wait a little for more.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._ready or self._closing)
            if not self._closing and not self._worth_it():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_GATHER_SECONDS):
                        await self._changed.wait_for(lambda: self._worth_it() or self._closing)
            if self._closing:
                return []
            return self._take()

    def _worth_it(self) -> bool:
        records = size = 0
        blocked = True
        for unit in self._ready:
            if unit.caught_up:
                return True
            records += len(unit.messages)
            size += unit.size
            blocked = blocked and not self._has_room(unit.source_partition)
        # A partition that may not fetch more before we commit must not be waited for.
        return records >= _WORTH_RECORDS or size >= MAX_BYTES // 2 or blocked

    def _take(self) -> list[Unit]:
        batch: list[Unit] = []
        records = size = 0
        for unit in self._ready:
            records += len(unit.messages)
            size += unit.size
            if batch and (records > MAX_RECORDS or size > MAX_BYTES):
                break
            batch.append(unit)
        del self._ready[: len(batch)]
        return batch

    async def _commit_batch(self, batch: Sequence[Unit]) -> None:
        if time.monotonic() - self._last_commit > _IDLE_SECONDS:
            raise ReloadError("A new producer after hours without a transaction.")
        messages = [message for unit in batch for message in unit.messages]
        numbers, record = self.state.number(message.topic for message in messages)
        stamps = [unit.timestamp for unit in batch for _ in unit.messages]
        changes = {key: value for unit in batch for key, value in unit.state.items()}
        # The shard's record comes last: it covers all the rest.
        changes[SHARD_KEY] = record
        transaction = Transaction(
            list(zip(messages, numbers, stamps, strict=True)), self.state.encode(changes)
        )
        began = time.monotonic()
        commit_seconds = await self._commit(transaction)
        self._last_commit = time.monotonic()
        self.state.apply(changes)
        self._observe(batch, self._last_commit - began, commit_seconds)
        async with self._changed:
            for unit in batch:
                ahead = self._ahead[unit.source_partition]
                ahead.units -= 1
                ahead.size -= unit.size
                ahead.messages -= len(unit.messages)
            self._changed.notify_all()
        if self._worn():
            raise ReloadError("A new producer after a commit that met a disconnect.")

    def _observe(self, batch: Sequence[Unit], seconds: float, commit_seconds: float) -> None:
        metrics, now_ms = self._metrics, self._clock_ms()
        records = sum(len(unit.messages) for unit in batch)
        metrics.transactions.labels(self.shard, "committed").inc()
        metrics.transaction_seconds.observe(seconds)
        metrics.transaction_records.observe(records)
        for unit in batch:
            source, _, stream = unit.source_partition.partition("/")
            metrics.last_commit.labels(source, stream).set(now_ms / 1000)
            if unit.messages:
                metrics.visible_seconds.labels(source, stream).observe(
                    max(0, now_ms - unit.timestamp) / 1000
                )
            counts: dict[str, int] = {}
            for message in unit.messages:
                counts[message.topic] = counts.get(message.topic, 0) + 1
            for topic, count in counts.items():
                metrics.records_produced.labels(source, topic).inc(count)
        log.info(
            "transaction_committed",
            shard=self.shard,
            sources=sorted({unit.source_partition for unit in batch}),
            units=len(batch),
            records=records,
            bytes=sum(unit.size for unit in batch),
            ms=round(seconds * 1000, 1),
            commit_ms=round(commit_seconds * 1000, 1),
        )
