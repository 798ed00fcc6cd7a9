# SPDX-License-Identifier: Apache-2.0
"""
Reading to a mark: what lies at or behind it is not given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError

from connector.errors import OutsideError, TopicError
from connector.kafka import reader as module
from connector.kafka.marks import Span
from connector.kafka.reader import Reader


class Fetched:
    """A message, or the news that a partition was read to its end."""

    def __init__(self, partition: int, offset: int, error: KafkaError | None = None) -> None:
        self._partition = partition
        self._offset = offset
        self._error = error

    def error(self) -> KafkaError | None:
        return self._error

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_700_000_000_000

    def key(self) -> bytes:
        return b"k"

    def value(self) -> bytes:
        return b"v"

    def headers(self) -> None:
        return None


class Script:
    """Stands for librdkafka's consumer: gives one batch after another, then must not be asked."""

    def __init__(self, config: dict[str, Any], **_more: object) -> None:
        self.config = config
        self.batches: list[list[Fetched]] = []
        self.rest: list[Fetched] = []
        self.assigned: list[tuple[int, int]] = []
        self.released: list[int] = []
        self.unassigned = 0

    def assign(self, places: Sequence[Any]) -> None:
        self.assigned = [(place.partition, place.offset) for place in places]

    def incremental_unassign(self, places: Sequence[Any]) -> None:
        self.released.extend(place.partition for place in places)

    def unassign(self) -> None:
        self.unassigned += 1

    def poll(self, _timeout: float) -> Fetched | None:
        assert self.batches, "it reads on behind its mark"
        batch = self.batches.pop(0)
        self.rest = batch[1:]
        return batch[0] if batch else None

    def consume(self, _count: int, timeout: float) -> list[Fetched]:
        assert 0 == timeout
        return self.rest


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    monkeypatch.setattr(module, "Consumer", Script)
    monkeypatch.setattr(module, "AdminClient", lambda _config, **_more: None)
    return Reader({}, group_id="g", logger=None)


def script(reader: Reader, *batches: list[Fetched]) -> Script:
    """Set what the consumer gives."""
    consumer: Any = reader._consumer
    consumer.batches = list(batches)
    return consumer


def messages(partition: int, *offsets: int) -> list[Fetched]:
    """Make messages."""
    return [Fetched(partition, offset) for offset in offsets]


def end_of(partition: int, offset: int) -> Fetched:
    """Make the news that a partition was read to its end."""
    return Fetched(partition, offset, KafkaError(KafkaError._PARTITION_EOF))


def read(reader: Reader, spans: dict[int, Span]) -> list[tuple[int, int]]:
    """Read spans, and give partition and offset of what came."""
    return [(r.partition, r.offset) for batch in reader.read("t", spans) for r in batch]


def test_nothing_at_or_behind_the_mark_is_given(reader: Reader) -> None:
    """A batch that reaches over the end of the span is cut there, and the reading is over."""
    consumer = script(reader, messages(0, 3, 4, 5, 6, 7))

    assert [(0, 3), (0, 4)] == read(reader, {0: Span(3, 5)})
    assert [(0, 3)] == consumer.assigned
    assert [0] == consumer.released
    assert 1 == consumer.unassigned


def test_the_last_record_below_the_mark_ends_the_reading(reader: Reader) -> None:
    """Nothing more is waited for once the record before the mark was read."""
    script(reader, messages(0, 0), messages(0, 1))

    assert [(0, 0), (0, 1)] == read(reader, {0: Span(0, 2)})


@pytest.mark.parametrize("behind", [5, 9])
def test_a_gap_up_to_the_mark_ends_the_reading(behind: int, reader: Reader) -> None:
    """Compaction leaves gaps: a record behind the mark says that nothing is left below it."""
    script(reader, messages(0, 0, behind))

    assert [(0, 0)] == read(reader, {0: Span(0, 5)})


def test_the_end_of_a_partition_ends_the_reading(reader: Reader) -> None:
    """The last offset below the mark may be a transaction's marker, which no reader sees."""
    script(reader, [*messages(0, 0), end_of(0, 2)])

    assert [(0, 0)] == read(reader, {0: Span(0, 2)})


def test_an_end_below_the_mark_is_not_the_end(reader: Reader) -> None:
    """An open transaction hides what lies below the mark: the reading goes on."""
    script(reader, [end_of(0, 0)], [], messages(0, 0, 1))

    assert [(0, 0), (0, 1)] == read(reader, {0: Span(0, 2)})


def test_partitions_end_one_by_one(reader: Reader) -> None:
    """Each has its own mark; what comes of one that ended is left out."""
    consumer = script(reader, messages(0, 0, 1), [*messages(0, 2), *messages(1, 5, 6, 7)])

    assert [(0, 0), (1, 5), (1, 6)] == read(reader, {0: Span(0, 1), 1: Span(5, 7), 2: Span(4, 4)})
    assert [(0, 0), (1, 5)] == consumer.assigned
    assert [0, 1] == consumer.released


def test_empty_spans_ask_nobody(reader: Reader) -> None:
    """Where begin is end there is nothing to wait for."""
    consumer = script(reader)

    assert [] == read(reader, {0: Span(4, 4)})
    assert [] == consumer.assigned


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (KafkaError._AUTO_OFFSET_RESET, OutsideError),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, TopicError),
    ],
)
def test_what_will_not_pass_is_raised(code: int, expected: type[Exception], reader: Reader) -> None:
    """Records that retention took, or a topic that went, are no silent gap."""
    consumer = script(reader, [Fetched(0, -1, KafkaError(code, "text"))])

    with pytest.raises(expected):
        read(reader, {0: Span(0, 5)})

    assert 1 == consumer.unassigned


def test_readers_see_committed_messages_only_and_commit_nothing(reader: Reader) -> None:
    """Unless it is asked to read as a careless reader would."""
    consumer: Any = reader._consumer

    assert "read_committed" == consumer.config["isolation.level"]
    assert "error" == consumer.config["auto.offset.reset"]
    assert consumer.config["enable.auto.commit"] is False
