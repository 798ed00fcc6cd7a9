# SPDX-License-Identifier: Apache-2.0
"""
Where partitions begin and end, for whom, and what stands in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from connector.errors import OutsideError, TopicError
from connector.kafka.errors import explain, kafka_error

_TIMEOUT = 10.0
_GONE = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    }
)
# A leader that is not the leader any more. After a broker came back, an admin client goes
# on asking with the epoch that it remembers, up to metadata.max.age.ms (15 minutes).
_STALE = frozenset(
    {
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.NOT_LEADER_FOR_PARTITION,
    }
)


class Span(NamedTuple):
    """
    What is to be read of a partition.

    Attributes:
        begin: The first offset.
        end: The offset behind the last one.
    """

    begin: int
    end: int


def find_spans(admin: AdminClient, topic: str, partitions: Sequence[int]) -> dict[int, Span]:
    """
    Ask for the first offset and the high watermark of partitions.

    The high watermark is asked for as READ_UNCOMMITTED; the last stable offset would be
    the wrong goal, because an undecided commit may lie above it (R6).

    Raises:
        TopicError: The topic or a partition of it does not exist.
        OutsideError: Kafka did not answer.
    """
    first = _offsets(admin, topic, partitions, OffsetSpec.earliest())
    last = _offsets(admin, topic, partitions, OffsetSpec.latest())
    return {partition: Span(first[partition], last[partition]) for partition in partitions}


def stable_offsets(admin: AdminClient, topic: str, partitions: Sequence[int]) -> dict[int, int]:
    """
    Ask for the last stable offsets: where a read_committed reader stops for now.

    Raises:
        TopicError: The topic or a partition of it does not exist.
        OutsideError: Kafka did not answer.
    """
    return _offsets(
        admin,
        topic,
        partitions,
        OffsetSpec.latest(),
        isolation_level=IsolationLevel.READ_COMMITTED,
    )


def open_transaction(topic: str, partition: int, stable: int, end: int) -> OutsideError:
    """
    Make the error about a transaction of somebody else that does not end (R9).
    """
    return OutsideError(
        f"{topic} partition {partition} can be read up to its last stable offset {stable} of "
        f"{end} only: a transaction is open there. Find it with kafka-transactions.sh "
        f"find-hanging --topic {topic} --partition {partition}, then end it with "
        "kafka-transactions.sh abort.",
        cause="open_transaction",
    )


def cannot_go_on(error: KafkaError, topic: str) -> OutsideError | TopicError:
    """
    Make the error about a topic that cannot be read on.
    """
    if error.code() in _GONE:
        return TopicError(f"Topic {topic} was deleted while it was read.")
    if error.code() == KafkaError._AUTO_OFFSET_RESET:
        return OutsideError(
            f"{topic}: messages were removed by retention before they could be read; start again.",
            cause="kafka",
        )
    return OutsideError(f"Kafka: {topic} cannot be read ({explain(error)}).", cause="kafka")


def _offsets(
    admin: AdminClient,
    topic: str,
    partitions: Sequence[int],
    which: OffsetSpec,
    *,
    isolation_level: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
) -> dict[int, int]:
    if not partitions:
        return {}
    wanted = {TopicPartition(topic, partition): which for partition in partitions}
    try:
        try:
            return _ask(admin, wanted, isolation_level)
        except KafkaException as failure:
            if kafka_error(failure).code() not in _STALE:
                raise
        # All topics: to ask for one by its name could create it anew.
        admin.list_topics(timeout=_TIMEOUT)
        return _ask(admin, wanted, isolation_level)
    except KafkaException as failure:
        error = kafka_error(failure)
        if error.code() in _GONE:
            raise TopicError(
                f"Topic {topic} does not exist, or not with the partitions it should have."
            ) from None
        raise OutsideError(
            f"Kafka: the offsets of {topic} cannot be asked for ({explain(error)}).",
            cause="kafka",
        ) from None
    except TimeoutError:
        raise OutsideError(
            f"Kafka: no answer about {topic} within {_TIMEOUT:g} s.", cause="kafka"
        ) from None


def _ask(
    admin: AdminClient,
    wanted: Mapping[TopicPartition, OffsetSpec],
    isolation_level: IsolationLevel,
) -> dict[int, int]:
    asked = admin.list_offsets(dict(wanted), isolation_level=isolation_level)
    return {at.partition: future.result(_TIMEOUT).offset for at, future in asked.items()}
