# SPDX-License-Identifier: Apache-2.0
"""
Writes topics as the connector would, or wrongly on purpose, to test those who judge.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic


def new_topic(
    bootstrap: str, *, name: str | None = None, partitions: int = 3, **config: str
) -> str:
    """
    Create a topic, of a new name if none is given.
    """
    name = name or f"t-{uuid.uuid4().hex[:12]}"
    topic = NewTopic(
        name,
        num_partitions=partitions,
        replication_factor=1,
        config={key.replace("_", "."): value for key, value in config.items()},
    )
    # Kept in a name: a client that is collected takes its futures with it.
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([topic])[name].result(15)
    return name


class Writer:
    """
    One transactional producer that numbers what it writes, as a shard does.

    Attributes:
        shard: Its number.
        epoch: Its epoch.
        number: The last number it gave, for each topic.
    """

    def __init__(self, bootstrap: str, *, shard: int = 0, epoch: int = 1000) -> None:
        self.shard, self.epoch = shard, epoch
        self.number: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "transactional.id": f"writer-{uuid.uuid4()}",
                "transaction.timeout.ms": 60_000,
                "partitioner": "murmur2_random",
                "linger.ms": 0,
            }
        )
        self._producer.init_transactions(30)

    def begin(self) -> None:
        self._producer.begin_transaction()
        self._before = dict(self.number)

    def write(
        self,
        topic: str,
        identifier: str,
        *,
        key: str | None = None,
        event_time: int | None = None,
        value: bytes | None = b"x",
        timestamp: int | None = None,
        skip: int = 0,
        headers: Sequence[tuple[str, bytes]] = (),
        **placed: Any,
    ) -> None:
        """
        Write one message; ``skip`` leaves numbers out (or, below zero, gives them again).
        """
        number = self.number[topic] = self.number.get(topic, 0) + 1 + skip
        named = [
            ("id", identifier.encode()),
            ("seq", f"{self.shard}.{self.epoch}.{number}".encode()),
        ]
        if event_time is not None:
            named.append(("event_time", str(event_time).encode()))
        self._producer.produce(
            topic,
            key=None if key is None else key.encode(),
            value=value,
            headers=[*named, *headers],
            # Retention goes by this: an old one may be deleted while a test runs.
            timestamp=timestamp or time.time_ns() // 1_000_000,
            **placed,
        )

    def flush(self) -> None:
        """
        Bring what was written to the broker, undecided.
        """
        self._producer.flush(30)

    def commit(self) -> None:
        self._producer.commit_transaction(30)

    def abort(self) -> None:
        """
        Abort what already lies on the broker; the numbers are given back.
        """
        self._producer.flush(30)
        self._producer.abort_transaction(30)
        self.number = self._before
