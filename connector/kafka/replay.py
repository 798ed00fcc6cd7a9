# SPDX-License-Identifier: Apache-2.0
"""
Reading a shard's partition of the offsets topic to its true end.

The goal is the end offset as an uncommitted reader sees it, taken after
``init_transactions``; the reading itself is read_committed, so it waits for every
transaction that was open below the goal (exactly-once R6, R7).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TypeVar

from connector.kafka.marks import Span
from connector.kafka.reader import Reader

T = TypeVar("T")

# How often to look whether somebody's open transaction has ended.
_LOOK_AGAIN_SECONDS = 0.1


class OffsetsReader:
    """
    Reads what is stored for shards. Belongs to one thread.

    Args:
        reader: Reads as read_committed.
        topic: The offsets topic.
    """

    def __init__(self, reader: Reader, topic: str) -> None:
        self._reader = reader
        self._topic = topic

    def replay(self, partition: int, spans: Mapping[int, Span] | None = None) -> dict[str, bytes]:
        """
        Read a partition from its beginning to the high watermark of now, or of before.

        Args:
            partition: The shard.
            spans: What was found of it before; None asks now.

        Returns:
            The last value of each key; deleted keys are absent (R8).

        Raises:
            OutsideError: Kafka did not answer, or a transaction of somebody else is open
                below the mark for longer than the reader's patience (R9).
            TopicError: The topic is gone.
        """
        if spans is None:
            spans = self._reader.spans(self._topic, [partition])
        values: dict[str, bytes] = {}
        for batch in self._reader.read(self._topic, spans):
            for record in batch:
                if record.key is None:
                    continue
                # A key of somebody else need not be text; it is counted, and kept.
                key = record.key.decode(errors="backslashreplace")
                if record.value is None:
                    values.pop(key, None)
                else:
                    values[key] = record.value
        return values

    def close(self) -> None:
        """
        Let the reader go.
        """
        self._reader.close()


class Replays:
    """
    One warm reader for all replays of a worker (notes 4), on a thread of its own.

    Nobody waits on that thread for a transaction of somebody else: one shard that has to
    would keep all others of the worker waiting.

    Args:
        reader: Reads as read_committed; closed with this.
        topic: The offsets topic.
        patience: Seconds to wait for transactions of others.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        reader: Reader,
        topic: str,
        *,
        patience: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._offsets = OffsetsReader(reader, topic)
        self._topic = topic
        self._patience = patience
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="replay")

    async def replay(self, shard: int) -> dict[str, bytes]:
        """
        Read what is stored for a shard; raises as ``OffsetsReader.replay``.
        """
        spans = await self._decided(self._topic, [shard])
        return await self._on_thread(partial(self._offsets.replay, shard, spans))

    async def has_records(self, topic: str, partitions: int) -> bool:
        """
        Tell whether a topic holds at least one committed record.

        Control records and aborted ones do not count: an aborted first transaction leaves
        an end offset above 0 and no record (notes 12).

        Raises:
            OutsideError: As ``replay``.
        """
        spans = await self._decided(topic, list(range(partitions)))
        return await self._on_thread(partial(self._any_record, topic, spans))

    async def close(self) -> None:
        """
        Give up what is being read, and let the reader go.
        """
        self._reader.interrupt()
        await self._on_thread(self._reader.close)
        self._thread.shutdown(wait=False)

    async def _decided(self, topic: str, partitions: list[int]) -> Mapping[int, Span]:
        """
        Take the marks, and wait until no transaction is open below them.
        """
        spans = await self._on_thread(partial(self._reader.spans, topic, partitions))
        deadline = self._clock() + self._patience
        while failure := await self._on_thread(partial(self._reader.undecided, topic, spans)):
            if self._clock() >= deadline:
                raise failure
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        return spans

    def _any_record(self, topic: str, spans: Mapping[int, Span]) -> bool:
        with closing(self._reader.read(topic, spans)) as batches:
            return any(batches)

    async def _on_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
