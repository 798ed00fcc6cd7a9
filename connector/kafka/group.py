# SPDX-License-Identifier: Apache-2.0
"""
Membership in the group that spreads the shards over the workers.

A Consumer belongs to one thread (notes 1): this one. It subscribes to the offsets
topic for the assignment alone; no record is ever read through it. Others ask it by
messages. Ownership is proven by a group commit, which the coordinator refuses to
everybody who is not a member of the current generation (DESIGN section 4).
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from enum import Enum
from typing import Any, Protocol

import structlog
from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from connector.kafka.errors import explain, kafka_error

log = structlog.get_logger()

# How long one poll waits, and with it how long a question to the thread may wait.
_POLL_SECONDS = 0.05

_NOT_OURS = frozenset(
    {
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.STALE_MEMBER_EPOCH,
    }
)


class Proof(Enum):
    """
    What the group says about a shard.
    """

    OURS = "ours"
    NOT_OURS = "not ours"
    UNSURE = "unsure"


class Listener(Protocol):
    """
    Who acts on the assignment. Called on the thread of the group: must not block there.
    """

    def on_gained(self, partitions: Sequence[int]) -> None:
        """
        Take these shards.
        """

    def on_losing(self, partitions: Sequence[int]) -> Future[None]:
        """
        Give these shards up; the result is done when their transactions have ended.
        """

    def on_lost(self, partitions: Sequence[int]) -> None:
        """
        These shards are somebody else's already: do not wait for anything.
        """


def group_config(base: Mapping[str, Any], *, group_id: str, client_id: str) -> dict[str, Any]:
    """
    Make the properties of the group's consumer.

    Args:
        base: Connection settings, and ``session.timeout.ms`` and ``max.poll.interval.ms``
            where a user set them.
        group_id: The group: prefix and name of the connector.
        client_id: Shown by tools that list members.
    """
    session_ms = int(base.get("session.timeout.ms", 10_000))
    return {
        "session.timeout.ms": session_ms,
        "max.poll.interval.ms": max(60_000, session_ms),
        # A proof must not hold the thread for a minute when a broker is away.
        "socket.timeout.ms": 10_000,
        **base,
        # A third of the session is the least that a lost heartbeat leaves room for.
        "heartbeat.interval.ms": min(1_000, session_ms // 3),
        "group.id": group_id,
        "client.id": client_id,
        "group.protocol": "classic",
        "partition.assignment.strategy": "cooperative-sticky",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "allow.auto.create.topics": False,
        "auto.offset.reset": "latest",
    }


class Group(threading.Thread):
    """
    The thread that is a member of the group.

    Args:
        config: From ``group_config``.
        topic: The offsets topic.
        listener: Who takes and gives up the shards.
        alive: True while the event loop makes progress; polling stops when it does not,
            so that a hung worker loses its shards to others.
        revoke_seconds: How long a revocation waits for transactions under way.
        logger: A ``logging.Logger`` for what librdkafka says.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        topic: str,
        listener: Listener,
        alive: Callable[[], bool],
        revoke_seconds: float,
        logger: Any,
    ) -> None:
        super().__init__(name="group", daemon=True)
        self._topic = topic
        self._listener = listener
        self._alive = alive
        self._revoke_seconds = revoke_seconds
        self._questions: queue.SimpleQueue[tuple[int, Future[Proof]]] = queue.SimpleQueue()
        self._leave = threading.Event()
        self._assigned: frozenset[int] = frozenset()
        self._joined = False
        self._beat = time.monotonic()
        self._topic_gone = False
        self._consumer = Consumer(dict(config), logger=logger)

    @property
    def assigned(self) -> frozenset[int]:
        """
        The shards that the last assignment gave us.
        """
        return self._assigned

    @property
    def joined(self) -> bool:
        """
        True once an assignment came, even an empty one, and none was lost since.
        """
        return self._joined

    @property
    def beat(self) -> float:
        """
        Monotonic seconds of the last poll.
        """
        return self._beat

    @property
    def topic_gone(self) -> bool:
        """
        True if the offsets topic was deleted under us (notes 9).
        """
        return self._topic_gone

    async def prove(self, shard: int) -> Proof:
        """
        Ask the coordinator whether a shard is ours, by one synchronous group commit.

        Whoever waits here has to be cancelled by its own stop signal, or it and a
        revocation would wait for each other (notes 1).
        """
        answer: Future[Proof] = Future()
        self._questions.put((shard, answer))
        return await asyncio.wrap_future(answer)

    def leave(self) -> None:
        """
        Ask the thread to give up its shards and leave; ``join`` waits for it.
        """
        self._leave.set()

    def run(self) -> None:
        """
        Poll until told to leave.
        """
        self._consumer.subscribe(
            [self._topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )
        try:
            while not self._leave.is_set():
                if self._alive():
                    self._poll()
                    self._beat = time.monotonic()
                else:
                    self._leave.wait(_POLL_SECONDS)
                self._answer()
        finally:
            # Calls on_revoke, then leaves the group, so that others need no session timeout.
            self._consumer.close()
            self._answer()

    def _poll(self) -> None:
        message = self._consumer.poll(_POLL_SECONDS)
        if message is None:
            return
        error = message.error()
        if error is None:
            log.warning("group_read_a_record", shard=message.partition())
        elif error.code() in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}:
            self._topic_gone = True
        elif error.code() != KafkaError._PARTITION_EOF:
            log.warning("group_error", error=explain(error))

    def _answer(self) -> None:
        """
        Answer all questions that wait, with one commit: while a broker is away each commit
        takes seconds, and one for each shard would keep us from polling for too long.
        """
        asked: dict[int, list[Future[Proof]]] = {}
        with suppress(queue.Empty):
            while True:
                shard, answer = self._questions.get_nowait()
                if answer.set_running_or_notify_cancel():
                    asked.setdefault(shard, []).append(answer)
        proofs = self._prove([shard for shard in asked if shard in self._assigned])
        for shard, answers in asked.items():
            for answer in answers:
                answer.set_result(proofs.get(shard, Proof.NOT_OURS))

    def _prove(self, shards: Sequence[int]) -> dict[int, Proof]:
        if not shards:
            return {}
        places = [TopicPartition(self._topic, shard, 0) for shard in shards]
        try:
            committed = self._consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as failure:
            return dict.fromkeys(shards, self._verdict(kafka_error(failure), shards))
        except RuntimeError:  # The consumer is closed: we have left.
            return {}
        return {place.partition: self._verdict(place.error, shards) for place in committed}

    @staticmethod
    def _verdict(error: KafkaError | None, shards: Sequence[int]) -> Proof:
        if error is None:
            return Proof.OURS
        if error.code() in _NOT_OURS:
            return Proof.NOT_OURS
        log.info("ownership_unsure", shards=list(shards), error=explain(error))
        return Proof.UNSURE

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        places = [TopicPartition(p.topic, p.partition, OFFSET_END) for p in partitions]
        # In this order: a pause before the assignment is lost, and then every worker
        # would fetch what it commits itself (notes).
        consumer.incremental_assign(places)
        if places:
            consumer.pause(places)
        numbers = sorted(p.partition for p in partitions)
        self._assigned |= frozenset(numbers)
        self._joined = True
        self._topic_gone = False
        log.info("shards_gained", shards=numbers, owned=sorted(self._assigned))
        self._listener.on_gained(numbers)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = sorted(p.partition for p in partitions)
        log.info("shards_losing", shards=numbers)
        self._assigned -= frozenset(numbers)
        ended = self._listener.on_losing(numbers)
        deadline = time.monotonic() + self._revoke_seconds
        while not ended.done() and time.monotonic() < deadline:
            # Shards that still ask for a proof must get their answer meanwhile.
            self._answer()
            try:
                ended.result(0.02)
            except TimeoutError:
                continue
        if not ended.done():
            self._listener.on_lost(numbers)
        if partitions:
            consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = sorted(p.partition for p in partitions)
        log.warning("shards_lost", shards=numbers)
        self._assigned -= frozenset(numbers)
        self._joined = False
        self._listener.on_lost(numbers)
        if partitions:
            consumer.incremental_unassign(partitions)
