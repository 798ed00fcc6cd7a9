# SPDX-License-Identifier: Apache-2.0
"""
A shard: one partition of the offsets topic, one transactional producer, one owner.

::

    WAITING ──proven──▶ INITIALISING ──proven again──▶ REPLAYING ──▶ RUNNING
       ▲                     │                            │             │
       └──── BACKING_OFF ◀───┴──── any failure ◀──────────┴─────────────┘
                                                  stop: ▶ ENDED, from anywhere

A shard knows units and nothing of providers. Whatever fails, there is one way on:
drop the producer, ask the group, initialise, read Kafka again (invariants 2 and 3).
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeVar

import structlog

from connector.admin.metrics import Metrics
from connector.errors import ConnectorError, FencedError, ReloadError, RetryError, TopicError
from connector.kafka.group import Proof
from connector.kafka.producer import Transaction, TransactionalProducer
from connector.kafka.state import SHARD_KEY, ShardState
from connector.unit import Unit
from connector.upstream.retry import Backoff

log = structlog.get_logger()

T = TypeVar("T")

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
# How long "not ours" or "unsure" is believed before the group is asked again.
_ASK_AGAIN_SECONDS = 1.0


class Stage(Enum):
    """
    Where a shard is in its life.
    """

    WAITING = "waiting for proof"
    INITIALISING = "initialising"
    REPLAYING = "replaying"
    RUNNING = "running"
    BACKING_OFF = "backing off"
    ENDED = "ended"


class GroupPort(Protocol):
    """
    What a shard asks of the group.
    """

    async def prove(self, shard: int) -> Proof:
        """
        Tell whether the shard is ours.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardParts:
    """
    What a shard is built from; the same for all shards of a worker.

    Attributes:
        shards: How many shards there are.
        group: For proofs of ownership.
        make_producer: Makes the producer of a shard; called on the shard's thread.
        replay: Reads a shard's stored values; called on a thread of the worker.
        tasks: Makes the polling tasks that belong to a shard.
        metrics: Where to count.
        clock_ms: Our clock, milliseconds since 1970.
    """

    shards: int
    group: GroupPort
    make_producer: Callable[[int, threading.Event], TransactionalProducer]
    replay: Callable[[int], Awaitable[Mapping[str, bytes]]]
    tasks: Callable[[Session], Sequence[Awaitable[None]]]
    metrics: Metrics
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000


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
        parts: The worker's parts.
    """

    def __init__(
        self,
        state: ShardState,
        commit: Callable[[Transaction], Awaitable[float]],
        worn: Callable[[], bool],
        parts: ShardParts,
    ) -> None:
        self.state = state
        self._commit = commit
        self._worn = worn
        self._parts = parts
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

    async def begin_epoch(self) -> None:
        """
        Store the shard's own record, where there is none: its first transaction ever.
        """
        record = self.state.begin(self._parts.shards, self._parts.clock_ms())
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
        metrics, now_ms = self._parts.metrics, self._parts.clock_ms()
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


class Shard:
    """
    One shard from the moment it was assigned to the moment it is taken away.

    Args:
        number: Its number.
        parts: The worker's parts.
    """

    def __init__(self, number: int, parts: ShardParts) -> None:
        self.number = number
        self.stage = Stage.WAITING
        self.last_error: str | None = None
        self.session: Session | None = None
        self._parts = parts
        self._stopping = asyncio.Event()
        # The producer's thread looks at this between two calls to librdkafka.
        self._abandon = threading.Event()
        self._backoff = Backoff(first=0.2, cap=30.0)
        self._fatal: TopicError | None = None

    @property
    def fatal(self) -> TopicError | None:
        """
        Why the whole worker has to stop, if it has to.
        """
        return self._fatal

    def stop(self) -> None:
        """
        End soon: a transaction under way may finish, nothing new begins.
        """
        self._stopping.set()

    def abandon(self) -> None:
        """
        End now: the shard is somebody else's, or the drain budget is spent.
        """
        self._stopping.set()
        self._abandon.set()

    async def run(self) -> None:
        """
        Serve the shard until it is stopped. Raises nothing that a restart could mend.
        """
        while not self._stopping.is_set():
            try:
                await self._serve()
            except TopicError as failure:
                self._failed(failure, "topic")
                self._fatal = failure
                break
            except RetryError as failure:
                await self._again(failure, failure.cause)
            except ConnectorError as failure:
                await self._again(failure, type(failure).__name__.removesuffix("Error").lower())
        self.stage = Stage.ENDED
        self._parts.metrics.shard_owned.labels(self.number).set(0)

    async def _serve(self) -> None:
        self.stage = Stage.WAITING
        if not await self._proven():
            return
        thread = ThreadPoolExecutor(1, thread_name_prefix=f"shard-{self.number}")
        holder: list[TransactionalProducer] = []
        try:
            self.stage = Stage.INITIALISING
            await self._on(thread, lambda: holder.append(self._make_and_init()))
            # Ownership may have moved while we initialised: prove it again (R4).
            if not await self._proven():
                return
            self.stage = Stage.REPLAYING
            began = time.monotonic()
            values = await self._parts.replay(self.number)
            self._parts.metrics.replay_seconds.observe(time.monotonic() - began)
            if not self._stopping.is_set():
                await self._run(thread, holder[0], ShardState(self.number, values))
        finally:
            self.session = None
            self._parts.metrics.shard_owned.labels(self.number).set(0)
            # No flush: the object goes on its own thread, which nobody waits for (P14).
            thread.submit(holder.clear)
            thread.shutdown(wait=False)

    def _make_and_init(self) -> TransactionalProducer:
        # R5: a late loser would fence the rightful owner.
        if self._stopping.is_set():
            raise ReloadError("Stopped before the producer was initialised.")
        producer = self._parts.make_producer(self.number, self._abandon)
        producer.init()
        return producer

    async def _run(
        self, thread: ThreadPoolExecutor, producer: TransactionalProducer, state: ShardState
    ) -> None:
        async def commit(transaction: Transaction) -> float:
            seconds = await self._on(thread, lambda: producer.send(transaction))
            self._backoff.reset()
            return seconds

        if state.shards not in {None, self._parts.shards}:
            raise TopicError(
                f"The offsets topic has {self._parts.shards} partitions, its offsets were "
                f"written for {state.shards} shards.",
                remedy="Partitions must not be added by hand: restore the topic as it was.",
            )
        session = Session(state, commit, lambda: producer.worn, self._parts)
        if state.shards is None:
            await session.begin_epoch()
        self.session = session
        self.stage = Stage.RUNNING
        self.last_error = None
        self._parts.metrics.shard_owned.labels(self.number).set(1)
        log.info("shard_running", shard=self.number, offsets=len(state.source_partitions()))
        await self._supervise(session)

    async def _supervise(self, session: Session) -> None:
        tasks = [asyncio.ensure_future(task) for task in self._parts.tasks(session)]
        committer = asyncio.create_task(session.run())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({committer, stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)
            await session.close()
            # A transaction under way may finish; who is in a hurry sets the abandon flag.
            await committer

    async def _proven(self) -> bool:
        """
        Prove ownership, or wait a moment where it cannot be proven.
        """
        proof = await self._unless_stopping(self._parts.group.prove(self.number))
        if proof is Proof.OURS:
            return True
        if proof is not None:
            # While the assignment names the shard it must not be left without an owner:
            # ask again, produce nothing.
            self.last_error = f"ownership: {proof.value}"
            await self._pause(_ASK_AGAIN_SECONDS * random.uniform(0.5, 1.0))  # noqa: S311
        return False

    async def _again(self, failure: ConnectorError, cause: str) -> None:
        if self._stopping.is_set():
            return
        self._failed(failure, cause)
        outcome = (
            "fenced"
            if isinstance(failure, FencedError)
            else ("aborted" if cause == "kafka_abort" else "unknown")
        )
        self._parts.metrics.transactions.labels(self.number, outcome).inc()
        self.stage = Stage.BACKING_OFF
        await self._pause(self._backoff.next_delay(failure))

    def _failed(self, failure: ConnectorError, cause: str) -> None:
        self.last_error = str(failure)
        self._parts.metrics.shard_restarts.labels(self.number, cause).inc()
        log.warning("shard_restarts", shard=self.number, cause=cause, error=str(failure))

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _unless_stopping(self, question: Awaitable[T]) -> T | None:
        asked = asyncio.ensure_future(question)
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({asked, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not asked.done():
            asked.cancel()
            return None
        return asked.result()

    @staticmethod
    async def _on(thread: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(thread, call)
