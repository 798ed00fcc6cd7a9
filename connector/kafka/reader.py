# SPDX-License-Identifier: Apache-2.0
"""
Reads topics for people: to a mark, or on and on. Commits nothing and joins no group.

The mark is the high watermark, the messages below it are read as read_committed: the
reading then waits for every transaction that was open below the mark, and the wait is
bounded (exactly-once R6, R7, R9).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient

from connector.errors import OutsideError, TopicError
from connector.kafka.marks import Span, cannot_go_on, find_spans, open_transaction, stable_offsets
from connector.kafka.topics import TopicInfo, describe

_BATCH = 2000
# How long one call waits for messages; a stop by Ctrl-C is noticed in between.
_WAIT = 0.2
# The end of a partition, and a group without the right to it: librdkafka asks for its
# coordinator although it is never joined, and reads all the same.
_NO_HARM = frozenset({KafkaError._PARTITION_EOF, KafkaError.GROUP_AUTHORIZATION_FAILED})


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


class Record(NamedTuple):
    """
    One message as it was read.

    Attributes:
        topic: Full name.
        partition: Its partition.
        offset: Its offset.
        timestamp: Milliseconds since 1970; -1 if it has none.
        key: Its key.
        value: Its value; None is a tombstone.
        headers: Its headers, in their order.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Reader:
    """
    One consumer and one admin client. Belongs to one thread; use it as a context.

    Args:
        common: Connection settings of consumers.
        group_id: A name that librdkafka insists on; the group is never joined.
        logger: A ``logging.Logger`` for what librdkafka says.
        uncommitted: Read what is aborted or undecided too, as a careless reader would.
        patience: Seconds to wait for messages below a mark when none come.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        common: Mapping[str, Any],
        *,
        group_id: str,
        logger: Any,
        uncommitted: bool = False,
        patience: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        config = reader_config(common, group_id)
        if uncommitted:
            config["isolation.level"] = "read_uncommitted"
        self._admin = AdminClient(dict(common), logger=logger)
        self._consumer = Consumer(config, logger=logger)
        self._patience = patience
        self._clock = clock
        self._interrupted = threading.Event()

    def __enter__(self) -> Self:
        """
        Use it as a context.
        """
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """
        Close it.
        """
        self.close()

    def close(self) -> None:
        """
        Let the consumer go.
        """
        self._consumer.close()

    def interrupt(self) -> None:
        """
        Let a reading under way, and every later one, fail soon. Any thread may call this.
        """
        self._interrupted.set()

    def describe(self, topics: Sequence[str]) -> dict[str, TopicInfo]:
        """
        Look up topics; those that do not exist are absent from the result.

        Raises:
            OutsideError: Kafka did not answer.
        """
        return describe(self._admin, topics) if topics else {}

    def spans(self, topic: str, partitions: Sequence[int]) -> dict[int, Span]:
        """
        Give what partitions of a topic hold now: first offset and high watermark.

        Raises:
            TopicError: The topic is gone.
            OutsideError: Kafka did not answer.
        """
        return find_spans(self._admin, topic, partitions)

    def undecided(self, topic: str, spans: Mapping[int, Span]) -> OutsideError | None:
        """
        Tell whether a transaction is open below the end of a span.

        Raises:
            TopicError: The topic is gone.
            OutsideError: Kafka did not answer.
        """
        stable = stable_offsets(
            self._admin, topic, [p for p, span in spans.items() if span.begin < span.end]
        )
        for partition, offset in stable.items():
            if offset < spans[partition].end:
                return open_transaction(topic, partition, offset, spans[partition].end)
        return None

    def read(
        self, topic: str, spans: Mapping[int, Span]
    ) -> Generator[Sequence[Record], None, None]:
        """
        Read what lies within the spans, once, in batches; a batch may be empty.

        Close it (``contextlib.closing``) before the reader is asked for anything else.

        Raises:
            OutsideError: Kafka went away, a transaction stays open below the end of a
                span, or retention removed messages before they were read.
        """
        open_spans = {p: span for p, span in spans.items() if span.begin < span.end}
        if not open_spans:
            return
        self._assign({(topic, p): span.begin for p, span in open_spans.items()})
        try:
            position = {p: span.begin for p, span in open_spans.items()}
            deadline = self._clock() + self._patience
            while open_spans:
                messages = self._next()
                if messages:
                    deadline = self._clock() + self._patience
                elif self._interrupted.is_set():
                    raise OutsideError(f"The reading of {topic} was given up.", cause="stop")
                elif self._clock() >= deadline:
                    raise self._stuck(topic, open_spans, position)
                yield list(self._sort_in(messages, open_spans, position))
        finally:
            self._consumer.unassign()

    def follow(
        self, begin: Mapping[tuple[str, int], int]
    ) -> Generator[Sequence[Record], None, None]:
        """
        Read on and on from the given offsets; an empty batch tells that nothing came.

        Args:
            begin: The first offset by topic and partition.

        Raises:
            OutsideError: Kafka says that this cannot go on; a broker that is away is
                waited for.
        """
        self._assign(begin)
        try:
            while True:
                messages = self._next()
                yield [_record(message) for message in messages if _is_record(message)]
        finally:
            self._consumer.unassign()

    def _next(self) -> list[Any]:
        """
        Take what is there, or wait a moment for the first message.

        ``consume`` alone would wait for a whole batch, and a replay would take as long.
        """
        first = self._consumer.poll(_WAIT)
        if first is None:
            return []
        return [first, *self._consumer.consume(_BATCH - 1, timeout=0)]

    def _assign(self, begin: Mapping[tuple[str, int], int]) -> None:
        self._consumer.assign(
            [TopicPartition(topic, partition, at) for (topic, partition), at in begin.items()]
        )

    def _sort_in(
        self, messages: Sequence[Any], open_spans: dict[int, Span], position: dict[int, int]
    ) -> Iterator[Record]:
        """
        Give the messages that count, and close the spans that are read to their end.
        """
        for message in messages:
            is_record = _is_record(message)
            partition, offset = message.partition(), message.offset()
            span = open_spans.get(partition)
            if span is None or offset is None or offset < 0:
                continue
            if is_record and offset < span.end:
                yield _record(message)
                offset += 1
            position[partition] = offset
            if offset >= span.end:
                del open_spans[partition]
                self._consumer.incremental_unassign([TopicPartition(message.topic(), partition)])

    def _stuck(
        self, topic: str, open_spans: Mapping[int, Span], position: Mapping[int, int]
    ) -> OutsideError | TopicError:
        partition, span = next(iter(open_spans.items()))
        try:
            stable = stable_offsets(self._admin, topic, [partition])[partition]
        except (OutsideError, TopicError) as failure:
            return failure
        if stable < span.end:
            return open_transaction(topic, partition, stable, span.end)
        return OutsideError(
            f"Kafka: {topic} partition {partition} could be read up to offset "
            f"{position[partition]} of {span.end} only, for {self._patience:g} s.",
            cause="kafka",
        )


def _is_record(message: Any) -> bool:
    """
    Tell a record from the news that a partition was read to its end, and from a passing
    failure.

    Raises:
        OutsideError, TopicError: What the message says will not pass.
    """
    error = message.error()
    if error is None:
        return True
    if error.code() in _NO_HARM or error.retriable():
        return False
    raise cannot_go_on(error, message.topic() or "a topic")


def _record(message: Any) -> Record:
    return Record(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        message.headers() or (),
    )
