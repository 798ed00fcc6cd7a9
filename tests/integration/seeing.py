# SPDX-License-Identifier: Apache-2.0
"""
The checker's own eyes: readers of topics, and a decoder, without code of the connector.
"""

from __future__ import annotations

import io
import json
import struct
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import fastavro
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec


@dataclass(frozen=True)
class Seen:
    """
    One message of a topic. ``read_at`` is when a reader got it, seconds since 1970.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: str | None
    value: bytes | None
    headers: Mapping[str, str]
    read_at: float = field(compare=False)

    @property
    def id(self) -> str | None:
        return self.headers.get("id")

    @property
    def place(self) -> str:
        return f"{self.topic}-{self.partition}@{self.offset}"


def _seen(message: Any) -> Seen:
    key = message.key()
    return Seen(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        timestamp=message.timestamp()[1],
        key=None if key is None else key.decode(),
        value=message.value(),
        headers={name: (value or b"").decode() for name, value in message.headers() or ()},
        read_at=time.time(),
    )


def _consumer(bootstrap: str, *, uncommitted: bool = False) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"checker-{uuid.uuid4()}",
            "enable.auto.commit": False,
            "isolation.level": "read_uncommitted" if uncommitted else "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 50,
        }
    )


def marks(bootstrap: str, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    """
    Give the high watermark of every partition of those topics that exist.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap})
    known = admin.list_topics(timeout=15).topics
    places = [
        TopicPartition(topic, partition)
        for topic in topics
        if topic in known
        for partition in known[topic].partitions
    ]
    if not places:
        return {}
    deadline = time.monotonic() + 15
    while True:
        futures = admin.list_offsets(
            {place: OffsetSpec.latest() for place in places},
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
        )
        try:
            return {(p.topic, p.partition): f.result(15).offset for p, f in futures.items()}
        except KafkaException as failure:
            # A topic that was just created has no leader yet.
            if not failure.args[0].retriable() or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def read_all(
    bootstrap: str, *topics: str, timeout: float = 60.0, uncommitted: bool = False
) -> list[Seen]:
    """
    Read topics from their beginning to their end of now, as read_committed.

    The order within a partition is that of its offsets. Topics that do not exist are empty.

    Raises:
        TimeoutError: A transaction stayed open for too long.
    """
    todo = {place: mark for place, mark in marks(bootstrap, topics).items() if mark > 0}
    consumer = _consumer(bootstrap, uncommitted=uncommitted)
    found: list[Seen] = []
    deadline = time.monotonic() + timeout
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in todo])
        while todo:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not read to the end: {sorted(todo)}")
            for message in consumer.consume(1000, timeout=0.1):
                place = (message.topic(), message.partition())
                error = message.error()
                if error is None:
                    if place in todo and message.offset() < todo[place]:
                        found.append(_seen(message))
                elif error.code() != KafkaError._PARTITION_EOF:
                    raise RuntimeError(f"checker: {error}")
                if place in todo and message.offset() + (error is None) >= todo[place]:
                    del todo[place]
    finally:
        consumer.close()
    return found


class RunningReader(threading.Thread):
    """
    Reads topics as read_committed all the time, while the connector suffers.

    What it saw, and in which order, has to be what a late reader sees: a record that was
    visible once must never vanish or move. Topics may appear after the start.
    """

    def __init__(self, bootstrap: str, *topics: str) -> None:
        super().__init__(name="running-reader", daemon=True)
        self._servers = bootstrap
        self._topics = topics
        self._seen: list[Seen] = []
        self._position: dict[tuple[str, int], int] = {}
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._failure: Exception | None = None

    def run(self) -> None:
        consumer = _consumer(self._servers)
        try:
            while not self._ended.is_set():
                if not self._all_assigned() and not self._assign(consumer):
                    self._ended.wait(0.3)
                    continue
                self._take(consumer.consume(1000, timeout=0.1))
        except Exception as failure:  # noqa: BLE001 - told by stop()
            self._failure = failure
        finally:
            consumer.close()

    def seen(self) -> list[Seen]:
        """
        List what was seen so far.
        """
        with self._changed:
            return list(self._seen)

    def wait_for(self, condition: Callable[[Sequence[Seen]], bool], timeout: float) -> None:
        """
        Wait until what was seen fulfils a condition.

        Raises:
            TimeoutError: It did not in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self._seen), timeout):
                raise TimeoutError(f"after {timeout:g} s: {len(self._seen)} messages were seen")

    def stop(self, timeout: float = 60.0) -> list[Seen]:
        """
        Read on to the end of now, then end.

        Returns:
            All that was seen, in the order in which it was.
        """
        goals = marks(self._servers, self._topics)
        with self._changed:
            reached = self._changed.wait_for(
                lambda: (
                    all(self._position.get(p, 0) >= mark for p, mark in goals.items())
                    or self._failure is not None
                ),
                timeout,
            )
        self.end()
        if self._failure is not None:
            raise RuntimeError("the running reader failed") from self._failure
        if not reached:
            raise TimeoutError(f"the running reader did not come to the end: {goals}")
        return self._seen

    def end(self) -> None:
        """
        End at once, wherever it is.
        """
        self._ended.set()
        if self.is_alive():
            self.join(15)

    def close(self) -> None:
        """
        End at once, wherever it is.
        """
        self._ended.set()
        self.join(15)

    def _all_assigned(self) -> bool:
        return {topic for topic, _ in self._position} == set(self._topics)

    def _assign(self, consumer: Consumer) -> bool:
        """
        Take up topics that are there by now; False if there is none at all.
        """
        try:
            known = marks(self._servers, self._topics)
        except KafkaException:
            # The broker is away, as some tests want it to be.
            known = {}
        new = dict.fromkeys(known.keys() - self._position.keys(), 0)
        if new:
            consumer.incremental_assign([TopicPartition(*place, 0) for place in new])
            with self._changed:
                self._position |= new
        return bool(self._position)

    def _take(self, messages: Sequence[Any]) -> None:
        with self._changed:
            for message in messages:
                error = message.error()
                place = (message.topic(), message.partition())
                if error is None:
                    self._seen.append(_seen(message))
                    self._position[place] = message.offset() + 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._position[place] = max(self._position[place], message.offset())
                elif error.fatal() or error.code() == KafkaError._AUTO_OFFSET_RESET:
                    raise RuntimeError(f"running reader: {error}")
            self._changed.notify_all()


def differences(running: Sequence[Seen], late: Sequence[Seen]) -> list[str]:
    """
    Say where a reader that ran all the time and a late one disagree.
    """
    found = []
    for partition in sorted({(s.topic, s.partition) for s in [*running, *late]}):
        one = [s for s in running if (s.topic, s.partition) == partition]
        two = [s for s in late if (s.topic, s.partition) == partition]
        if one != two:
            only_one = sorted({s.place for s in one} - {s.place for s in two})
            only_two = sorted({s.place for s in two} - {s.place for s in one})
            found.append(
                f"{partition[0]}-{partition[1]}: only the running reader saw {only_one[:5]}, "
                f"only the late one {only_two[:5]}"
            )
    return found


class Decoder:
    """
    Decodes Confluent's wire format with schemas of a registry, asked by plain HTTP.
    """

    def __init__(self, registry_url: str) -> None:
        self._url = registry_url.rstrip("/")
        self._schemas: dict[int, Any] = {}

    def decode(self, value: bytes) -> Any:
        """
        Decode one value.

        Raises:
            ValueError: It is not framed, or bytes are left over.
        """
        if value[:1] != b"\0":
            raise ValueError("not in Confluent's wire format")
        (schema_id,) = struct.unpack(">I", value[1:5])
        if schema_id not in self._schemas:
            with urllib.request.urlopen(f"{self._url}/schemas/ids/{schema_id}", timeout=15) as got:
                self._schemas[schema_id] = fastavro.parse_schema(
                    json.loads(json.load(got)["schema"])
                )
        body = io.BytesIO(value[5:])
        decoded = fastavro.schemaless_reader(body, self._schemas[schema_id], None)
        if body.read():
            raise ValueError("bytes are left over")
        return decoded


def read_offsets(bootstrap: str, topic: str) -> dict[str, Any]:
    """
    Read the compacted offsets topic: the newest JSON value of each key.
    """
    newest: dict[str, Any] = {}
    for seen in read_all(bootstrap, topic):
        if seen.key is not None:
            newest[seen.key] = None if seen.value is None else json.loads(seen.value)
    return {key: value for key, value in newest.items() if value is not None}
