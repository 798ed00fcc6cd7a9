# SPDX-License-Identifier: Apache-2.0
"""
One transactional producer: the only thing that writes for a shard.

Every method blocks and belongs to one thread (exactly-once P2, P5). There are two
ways out of a call: it is definitely done, or it raises and the producer is spent:
the shard drops it and asks Kafka what is true (R16, R18).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from connector.errors import ConnectorError, ReloadError
from connector.kafka.errors import Next, as_connector_error, kafka_error, next_step
from connector.unit import Message

# One call to librdkafka; short, so that a stop is noticed between two of them.
_CALL_SECONDS = 2.0
# Reports pile up in librdkafka until polled; more than this many may not wait (P4).
_POLL_EVERY = 1000
# librdkafka's default: what a batch may hold before it is sent.
_DEFAULT_BATCH_SIZE = 1_000_000
# A batch has a header of 61 bytes, a record up to 30 more than key, value, headers.
_BATCH_OVERHEAD = 1024


# librdkafka 2.16.0 now and then corrupts its memory when a fenced transactional producer is
# destroyed: "tcache_thread_shutdown(): unaligned tcache chunk detected", and the process is
# gone (tests/integration/test_fencing.py shows it within a minute). A handle that is kept
# costs a few threads and about 1 MB; fences are rare.
_FENCED_HANDLES: list[Producer] = []


class StateWrite(NamedTuple):
    """
    One message for the shard's partition of the offsets topic.
    """

    key: bytes
    value: bytes | None


class Transaction(NamedTuple):
    """
    What is sent in one transaction, in this order; the offset records come last (R12).

    Attributes:
        messages: Pairs of a message and its ``seq`` header.
        state: The offset records.
        timestamp: Message timestamp of ``messages``, ms since 1970, for each of them.
    """

    messages: Sequence[tuple[Message, bytes, int]]
    state: Sequence[StateWrite]


def transactional_config(
    base: Mapping[str, Any],
    *,
    transactional_id: str,
    smallest_limit: int,
    largest_limit: int,
) -> dict[str, Any]:
    """
    Make the properties of a shard's producer; what keeps it correct cannot be overridden.

    Args:
        base: Connection settings and the user's producer properties.
        transactional_id: ``<name>-<shard>``, stable for ever (R1).
        smallest_limit: The smallest ``max.message.bytes`` of the topics written to;
            batches stay below it, because a broker refuses batches, not records.
        largest_limit: The largest one; what a single record may have.
    """
    tuned = {
        "linger.ms": 10,
        "compression.type": "lz4",
        "queue.buffering.max.kbytes": 32768,
        "queue.buffering.max.messages": 200_000,
        "socket.keepalive.enable": True,
        "batch.size": _DEFAULT_BATCH_SIZE,
        **base,
    }
    return {
        **tuned,
        "batch.size": max(1, min(int(tuned["batch.size"]), smallest_limit - _BATCH_OVERHEAD)),
        "message.max.bytes": max(1000, largest_limit),
        "client.id": transactional_id,
        "transactional.id": transactional_id,
        "transaction.timeout.ms": 15_000,
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",
        "delivery.report.only.error": True,
        "allow.auto.create.topics": False,
    }


class TransactionalProducer:
    """
    A shard's producer, from its birth to its first failure.

    Args:
        config: From ``transactional_config``.
        offsets_topic: Name of the offsets topic.
        shard: Number of the shard: its partition there.
        logger: A ``logging.Logger`` for what librdkafka says.
        stop: Set when the shard must end now; waits then give up.
        patience: Seconds that one indefinite call may be repeated.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        offsets_topic: str,
        shard: int,
        logger: Any,
        stop: threading.Event,
        patience: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._offsets_topic = offsets_topic
        self._shard = shard
        self._stop = stop
        self._patience = patience
        self._clock = clock
        self._timeout = float(config["transaction.timeout.ms"]) / 1000
        self._disconnects = 0
        self._worn = False
        self._fenced = False
        self._producer = Producer(dict(config), logger=logger, error_cb=self._on_error)

    def init(self) -> None:
        """
        Initialise transactions: fences whoever used the id before, ends what it left open.

        Raises:
            ConnectorError: Whatever came instead; the producer is spent.
        """
        self._until_definite("init_transactions", self._producer.init_transactions)

    def send(self, transaction: Transaction) -> float:
        """
        Commit one transaction, or raise with nothing of it committed or known to be.

        Returns:
            Seconds that the commit itself took.

        Raises:
            RetryError: Aborted; nothing was committed.
            FencedError, ReloadError: The outcome is for Kafka to say.
        """
        try:
            self._producer.begin_transaction()
            self._produce(transaction)
            # Serves the error callback, so that only what happens from here on counts
            # below. A fatal error comes out of it as an exception.
            self._producer.poll(0)
        except KafkaException as failure:
            error = kafka_error(failure)
            self._abort_quietly(error)
            raise self._failed(error, "produce") from None
        disconnects, began = self._disconnects, self._clock()
        self._until_definite("commit_transaction", self._producer.commit_transaction)
        seconds = self._clock() - began
        try:
            self._producer.poll(0)
        except KafkaException as failure:
            # What is committed is committed; only the next transaction needs another one.
            self._failed(kafka_error(failure), "poll")
            self._worn = True
        else:
            self._worn = self._disconnects > disconnects or seconds > self._timeout
        return seconds

    def drop(self) -> None:
        """
        Let librdkafka's handle go, here and now and without a flush (P14).

        What is open is left to the next owner's ``init``. Nothing may be called after it.
        A fenced one is kept until the process ends, see ``_FENCED_HANDLES``.
        """
        if self._fenced:
            _FENCED_HANDLES.append(self._producer)
        del self._producer

    @property
    def worn(self) -> bool:
        """
        True if the last commit met a disconnect: the next one deserves a new producer (R19).
        """
        return self._worn

    def _produce(self, transaction: Transaction) -> None:
        produce = self._producer.produce
        poll = self._producer.poll
        # Waiting for room may use a third of the transaction's life, no more.
        deadline = self._clock() + self._timeout / 3
        for count, (message, seq, timestamp) in enumerate(transaction.messages, 1):
            headers = [("id", message.id.encode()), ("seq", seq)]
            if message.event_time is not None:
                headers.append(("event_time", b"%d" % message.event_time))
            if message.headers:
                headers.extend(message.headers)
            while True:
                try:
                    produce(
                        message.topic,
                        value=message.value,
                        key=message.key,
                        headers=headers,
                        timestamp=timestamp,
                    )
                    break
                except BufferError:
                    self._wait_for_room(deadline)
            if count % _POLL_EVERY == 0:
                poll(0)
        for write in transaction.state:
            while True:
                try:
                    produce(
                        self._offsets_topic,
                        value=write.value,
                        key=write.key,
                        partition=self._shard,
                    )
                    break
                except BufferError:
                    self._wait_for_room(deadline)

    def _wait_for_room(self, deadline: float) -> None:
        if self._clock() >= deadline or self._stop.is_set():
            raise KafkaException(KafkaError(KafkaError._QUEUE_FULL, "no room in the queue"))
        self._producer.poll(0.1)

    def _until_definite(self, name: str, call: Callable[[float], None]) -> None:
        """
        Repeat a call until its answer is definite (R17); nothing else may come between.
        """
        give_up = self._clock() + self._patience
        while True:
            try:
                call(_CALL_SECONDS)
                return
            except KafkaException as failure:
                error = kafka_error(failure)
                step = next_step(error)
                if step is Next.SAME_CALL:
                    if self._stop.is_set() or self._clock() >= give_up:
                        raise ReloadError(
                            f"Kafka: {name} got no definite answer ({error.name()})."
                        ) from None
                    # An error that comes back at once must not become a hot loop.
                    self._stop.wait(0.05)
                    continue
                self._abort_quietly(error)
                raise self._failed(error, name) from None

    def _failed(self, error: KafkaError, doing: str) -> ConnectorError:
        self._fenced = self._fenced or error.fatal() or next_step(error) is Next.FENCED
        return as_connector_error(error, doing)

    def _abort_quietly(self, cause: KafkaError) -> None:
        """
        Abort what an abortable error left open, so that readers do not wait for it.

        The first error is the one to report; what the abort says only delays the end.
        """
        if next_step(cause) not in {Next.ABORT, Next.CONFIGURATION, Next.RELOAD}:
            return
        give_up = self._clock() + self._timeout / 3
        while self._clock() < give_up:
            try:
                self._producer.abort_transaction(_CALL_SECONDS)
                return
            except KafkaException as failure:
                if next_step(kafka_error(failure)) is not Next.SAME_CALL or self._stop.is_set():
                    return

    def _on_error(self, error: KafkaError) -> None:
        # A callback that raises would come out of poll or commit (P6): only count.
        if error.code() in {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}:
            self._disconnects += 1
