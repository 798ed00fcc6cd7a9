# SPDX-License-Identifier: Apache-2.0
"""
Reading a shard's partition of the offsets topic to its true end.

The goal is the end offset as an uncommitted reader sees it, taken after
``init_transactions``; the reading itself is read_committed, so it waits for every
transaction that was open below the goal (exactly-once R6, R7).
"""

from __future__ import annotations

from connector.kafka.reader import Reader


class OffsetsReader:
    """
    One warm reader for all replays of a worker (notes 4). Belongs to one thread.

    Args:
        reader: Reads as read_committed.
        topic: The offsets topic.
    """

    def __init__(self, reader: Reader, topic: str) -> None:
        self._reader = reader
        self._topic = topic

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
        for batch in self._reader.read(self._topic, self._reader.spans(self._topic, [partition])):
            for record in batch:
                if record.key is None:
                    continue
                if record.value is None:
                    values.pop(record.key.decode(), None)
                else:
                    values[record.key.decode()] = record.value
        return values

    def has_records(self, topic: str, partitions: int) -> bool:
        """
        Tell whether a topic holds at least one committed record.

        Control records and aborted ones do not count: an aborted first transaction leaves
        an end offset above 0 and no record (notes 12).
        """
        spans = self._reader.spans(topic, range(partitions))
        return any(batch for batch in self._reader.read(topic, spans))

    def close(self) -> None:
        """
        Let the reader go.
        """
        self._reader.close()
