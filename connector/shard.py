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
from connector.kafka.state import ShardState
from connector.session import Session
from connector.upstream.retry import Backoff
from connector.waiting import unless

log = structlog.get_logger()

T = TypeVar("T")

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
        if self.stage is not Stage.RUNNING:
            # No records are under way, and a group waits for whoever loses a shard.
            self._abandon.set()

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
            await self._on(thread, lambda: self._initialise(holder))
            # Ownership may have moved while we initialised: prove it again (R4).
            if not await self._proven():
                return
            self.stage = Stage.REPLAYING
            began = time.monotonic()
            # It waits for transactions of others; a stop must not wait with it.
            values = await unless(self._stopping, self._parts.replay(self.number))
            self._parts.metrics.replay_seconds.observe(time.monotonic() - began)
            if values is not None and not self._stopping.is_set():
                await self._run(thread, holder[0], ShardState(self.number, values))
        finally:
            self.session = None
            self._parts.metrics.shard_owned.labels(self.number).set(0)
            # On its own thread, which nobody waits for (P14).
            for producer in holder:
                thread.submit(producer.drop)
            thread.shutdown(wait=False)

    def _initialise(self, holder: list[TransactionalProducer]) -> None:
        # R5: a late loser would fence the rightful owner.
        if self._stopping.is_set():
            raise ReloadError("Stopped before the producer was initialised.")
        producer = self._parts.make_producer(self.number, self._abandon)
        holder.append(producer)
        producer.init()

    async def _run(
        self, thread: ThreadPoolExecutor, producer: TransactionalProducer, state: ShardState
    ) -> None:
        async def commit(transaction: Transaction) -> float:
            try:
                seconds = await self._on(thread, lambda: producer.send(transaction))
            except ConnectorError as failure:
                self._parts.metrics.transactions.labels(self.number, _outcome(failure)).inc()
                raise
            self._backoff.reset()
            self.last_error = None
            return seconds

        if state.shards not in {None, self._parts.shards}:
            raise TopicError(
                f"The offsets topic has {self._parts.shards} partitions, its offsets were "
                f"written for {state.shards} shards.",
                remedy="Partitions must not be added by hand: restore the topic as it was.",
            )
        session = Session(
            state,
            commit,
            lambda: producer.worn,
            metrics=self._parts.metrics,
            clock_ms=self._parts.clock_ms,
        )
        if state.shards is None:
            await session.begin_epoch(self._parts.shards)
        self.session = session
        self.stage = Stage.RUNNING
        self._parts.metrics.shard_owned.labels(self.number).set(1)
        log.info("shard_running", shard=self.number, offsets=len(state.source_partitions()))
        await self._supervise(session)

    async def _supervise(self, session: Session) -> None:
        tasks = [asyncio.ensure_future(task) for task in self._parts.tasks(session)]
        committer = asyncio.ensure_future(session.run())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({committer, stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            stopping.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)
            await session.close()
            # A transaction under way may finish; who is in a hurry sets the abandon flag.
            await committer

    async def _proven(self) -> bool:
        """
        Prove ownership, or wait a moment where it cannot be proven.
        """
        proof = await unless(self._stopping, self._parts.group.prove(self.number))
        if proof is Proof.OURS:
            return True
        if proof is not None:
            # While the assignment names the shard it must not be left without an owner:
            # ask again, produce nothing.
            self.last_error = f"ownership: {proof.value}"
            await self._pause(_ASK_AGAIN_SECONDS * random.uniform(0.5, 1.0))  # noqa: S311
        return False

    async def _again(self, failure: ConnectorError, cause: str) -> None:
        # Its frames hold the session, and with it a state that may be large.
        failure.__traceback__ = failure.__context__ = None
        if self._stopping.is_set():
            return
        self._failed(failure, cause)
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

    @staticmethod
    async def _on(thread: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        def bare() -> T:
            try:
                return call()
            except ConnectorError as failure:
                # The frames of a traceback hold librdkafka's handle beyond its drop, and
                # its threads and sockets with it.
                failure.__context__ = None
                raise failure.with_traceback(None) from None

        return await asyncio.get_running_loop().run_in_executor(thread, bare)


def _outcome(failure: ConnectorError) -> str:
    """
    Name how a transaction ended, for its metric.
    """
    if isinstance(failure, FencedError):
        return "fenced"
    aborted = isinstance(failure, RetryError) and failure.cause == "kafka_abort"
    return "aborted" if aborted else "unknown"
