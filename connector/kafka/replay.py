# SPDX-License-Identifier: Apache-2.0
"""
Reading a partition of the offsets topic to its true end.

The goal is the end offset as an uncommitted reader sees it, taken after
``init_transactions``; the reading itself is read_committed, so it waits for every
transaction that was open below the goal (exactly-once R6, R7).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from connector.errors import OutsideError, TopicError
from connector.kafka.errors import explain, kafka_error

_BATCH = 1000


def reader_config(base: Mapping[str, Any], group_id: str) -> dict[str, Any]:
    """
    Make the properties of a consumer that reads by assignment and commits nothing.

    Args:
        base: Connection settings.
        group_id: A name that librdkafka insists on; the group is never joined.
    """
    return {
        **base,
        "group.id": group_id,
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "allow.auto.create.topics": False,
        "fetch.wait.max.ms": 50,
    }


def bounds(
    admin: AdminClient, topic: str, partitions: list[int], *, timeout: float = 10.0
) -> dict[int, tuple[int, int]]:
    """
    Ask for the first offset and the high watermark of partitions.

    The high watermark is asked for as READ_UNCOMMITTED; the last stable offset would be
    the wrong goal, because an undecided commit may lie above it (R6).

    Raises:
        TopicError: The topic or a partition of it does not exist.
        OutsideError: Kafka did not answer.
    """
    result = {}
    specs = [TopicPartition(topic, p) for p in partitions]
    try:
        first = admin.list_offsets({s: OffsetSpec.earliest() for s in specs})
        last = admin.list_offsets(
            {s: OffsetSpec.latest() for s in specs},
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
        )
        lows = {s.partition: f.result(timeout) for s, f in first.items()}
        highs = {s.partition: f.result(timeout) for s, f in last.items()}
    except KafkaException as failure:
        error = kafka_error(failure)
        if error.code() in {
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            KafkaError._UNKNOWN_TOPIC,
            KafkaError._UNKNOWN_PARTITION,
        }:
            raise TopicError(
                f"Topic {topic} does not exist, or not with the partitions it should have."
            ) from None
        raise OutsideError(
            f"Kafka: the end of {topic} cannot be read ({explain(error)}).", cause="kafka"
        ) from None
    except TimeoutError:
        raise OutsideError(
            f"Kafka: no answer about the end of {topic} within {timeout:g} s.", cause="kafka"
        ) from None
    for partition in partitions:
        result[partition] = (lows[partition].offset, highs[partition].offset)
    return result


def read_to_end(
    consumer: Consumer,
    topic: str,
    goals: Mapping[int, tuple[int, int]],
    take: Callable[[Message], bool],
    *,
    patience: float,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """
    Read partitions as read_committed, each from its first offset up to its goal.

    Args:
        consumer: From ``reader_config``; its assignment is replaced.
        topic: The topic.
        goals: For each partition its first offset and the high watermark to reach.
        take: Gets each message; True ends the reading early.
        patience: Seconds that the whole reading may take.
        clock: Monotonic seconds.

    Raises:
        OutsideError: Kafka did not answer, or a transaction is open below a goal (R9).
    """
    positions = {p: low for p, (low, mark) in goals.items() if mark > low}
    deadline = clock() + patience
    try:
        consumer.assign([TopicPartition(topic, p, low) for p, low in positions.items()])
        while positions:
            for message in consumer.consume(_BATCH, timeout=0.1):
                error, partition = message.error(), message.partition()
                if error is None:
                    if partition in positions:
                        positions[partition] = message.offset() + 1
                    if take(message):
                        return
                elif error.code() == KafkaError._PARTITION_EOF:
                    # Under read_committed this comes at the last stable offset, and again
                    # when that moves: only one at or beyond the goal counts (R7).
                    if message.offset() >= goals[partition][1]:
                        positions.pop(partition, None)
                elif not error.retriable():
                    raise KafkaException(error)
            if positions and clock() >= deadline:
                raise _stuck(topic, positions, goals)
    except KafkaException as failure:
        raise OutsideError(
            f"Kafka: {topic} cannot be read ({explain(kafka_error(failure))}).", cause="kafka"
        ) from None
    finally:
        consumer.unassign()


def _stuck(
    topic: str, positions: Mapping[int, int], goals: Mapping[int, tuple[int, int]]
) -> OutsideError:
    partition, position = next(iter(positions.items()))
    return OutsideError(
        f"Kafka: {topic} partition {partition} could be read up to offset {position} of "
        f"{goals[partition][1]} only. If a transaction is open there, find it with "
        f"kafka-transactions.sh find-hanging --topic {topic} --partition {partition} and end "
        "it with kafka-transactions.sh abort.",
        cause="open_transaction",
    )


class OffsetsReader:
    """
    One warm consumer for all replays of a worker (notes 4). Belongs to one thread.

    Args:
        config: From ``reader_config``.
        admin: For the goal of each replay.
        topic: The offsets topic.
        patience: Seconds that one replay may take.
        logger: A ``logging.Logger`` for what librdkafka says.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        admin: AdminClient,
        topic: str,
        logger: Any,
        patience: float = 60.0,
    ) -> None:
        self._admin = admin
        self._topic = topic
        self._patience = patience
        self._consumer = Consumer(dict(config), logger=logger)

    def replay(self, partition: int) -> dict[str, bytes]:
        """
        Read a partition from its beginning to the high watermark of now.

        Returns:
            The last value of each key; deleted keys are absent (R8).

        Raises:
            OutsideError: Kafka did not answer, or a transaction of somebody else is open
                below the mark for longer than our patience (R9).
            TopicError: The topic is gone.
        """
        values: dict[str, bytes] = {}

        def take(message: Message) -> bool:
            key, value = message.key(), message.value()
            if key is None:
                return False
            if value is None:
                values.pop(key.decode(), None)
            else:
                values[key.decode()] = value
            return False

        goals = bounds(self._admin, self._topic, [partition])
        read_to_end(self._consumer, self._topic, goals, take, patience=self._patience)
        return values

    def has_records(self, topic: str, partitions: int) -> bool:
        """
        Tell whether a topic holds at least one committed record.

        Control records and aborted ones do not count: an aborted first transaction leaves
        an end offset above 0 and no record (notes 12).
        """
        found: list[bool] = []

        def take(_message: Message) -> bool:
            found.append(True)
            return True

        goals = bounds(self._admin, topic, list(range(partitions)))
        read_to_end(self._consumer, topic, goals, take, patience=self._patience)
        return bool(found)

    def close(self) -> None:
        """
        Let the consumer go.
        """
        self._consumer.close()
