# SPDX-License-Identifier: Apache-2.0
"""
Reads one topic and lets a book judge it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing

from connector.kafka.marks import Span
from connector.kafka.reader import Reader
from connector.kafka.topics import TopicInfo
from connector.verify.book import Book
from connector.verify.run import Retention
from connector.verify.verdict import TopicVerdict

# Given how many messages were read so far, and how many there are at most.
Progress = Callable[[int, int], None]


def verify_topic(
    reader: Reader, info: TopicInfo, *, now_ms: int, progress: Progress
) -> TopicVerdict:
    """
    Read a topic from its beginning to its high watermark of now, and judge it.

    Args:
        reader: Reads as the reader whose view is to be judged.
        info: The topic as it is.
        now_ms: Our clock.
        progress: Told now and then how far this is.

    Raises:
        TopicError: The topic is gone.
        OutsideError: Kafka went away, or a transaction stays open.
    """
    first = reader.spans(info.name, range(info.partitions))
    book = Book(
        info.name,
        compacted="compact" in info.config.get("cleanup.policy", ""),
        retention=_retention(reader, info, first, now_ms),
    )
    with closing(book):
        _read(reader, info.name, first, book, progress)
        if book.begin_second_pass():
            later = {
                partition: Span(first[partition].end, span.end)
                for partition, span in reader.spans(info.name, range(info.partitions)).items()
                if partition in first
            }
            _read(reader, info.name, later, book, progress)
        return book.judge()


def _read(
    reader: Reader, topic: str, spans: Mapping[int, Span], book: Book, progress: Progress
) -> None:
    done = 0
    total = sum(span.end - span.begin for span in spans.values())
    with closing(reader.read(topic, spans)) as batches:
        for batch in batches:
            for record in batch:
                book.add(record.partition, record.offset, record.timestamp, record.headers)
            done += len(batch)
            progress(done, total)


def _retention(
    reader: Reader, info: TopicInfo, spans: Mapping[int, Span], now_ms: int
) -> Retention | None:
    """
    Find out up to when retention may have removed messages.
    """
    cut = {partition: span for partition, span in spans.items() if span.begin > 0}
    if not cut:
        return None
    first = _first_timestamps(reader, info.name, cut)
    edges = list(first.values())
    if len(first) < len(cut):
        edges.append(_emptied(info, now_ms))
    return Retention(cut=frozenset(cut), until=max(edges))


def _first_timestamps(reader: Reader, topic: str, cut: Mapping[int, Span]) -> dict[int, int]:
    """
    Read the first message of each partition; one without any message is left out.
    """
    found: dict[int, int] = {}
    with closing(reader.read(topic, cut)) as batches:
        for batch in batches:
            for record in batch:
                found.setdefault(record.partition, record.timestamp)
            if len(found) == len(cut):
                break
    return found


def _emptied(info: TopicInfo, now_ms: int) -> int:
    """
    Give the edge for a partition of which nothing is left.

    Retention by time alone removes nothing that is younger than its time. By size, it may
    have removed all that was there.
    """
    age = int(info.config.get("retention.ms") or -1)
    size = int(info.config.get("retention.bytes") or -1)
    return now_ms - age if age > 0 and size < 0 else now_ms
