# SPDX-License-Identifier: Apache-2.0
"""
Reading back what a contender wrote: all of it, once each, and the same as the others.
"""

from __future__ import annotations

import io
import json
import time
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition
from fastavro import parse_schema, schemaless_reader

from benchmarks.job import SCHEMA
from benchmarks.measure import PARTITIONS

# The id is the schema's first field: behind the magic byte, the schema's id (4 bytes) and
# the length (1 byte) stand the 36 characters of a uuid.
_ID = slice(6, 42)
# Ids that end so are decoded and compared: one of 256.
_SAMPLED = b"00"


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What a topic holds.

    Attributes:
        messages: How many there are.
        ids: How many different ids they have.
        sample: Key, partition and decoded value of some, by id.
    """

    messages: int
    ids: int
    sample: dict[bytes, tuple[bytes, int, Any]]


def read_back(bootstrap: str, topic: str, *, limit: float = 120.0) -> Outcome:
    """
    Read a topic as read_committed from its beginning to its end.

    Raises:
        RuntimeError: It took too long, or Kafka reported an error.
    """
    schema = parse_schema(json.loads(SCHEMA.read_text()))
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "benchmark",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    ids: set[bytes] = set()
    sample: dict[bytes, tuple[bytes, int, Any]] = {}
    messages = 0
    ended: set[int] = set()
    deadline = time.monotonic() + limit
    try:
        while len(ended) < PARTITIONS:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{topic}: not read back within {limit} s")
            for message in consumer.consume(5000, 0.5):
                error = message.error()
                if error is not None:
                    if error.code() != KafkaError._PARTITION_EOF:
                        raise RuntimeError(f"{topic}: {error}")
                    ended.add(message.partition())
                    continue
                value = message.value()
                event = value[_ID]
                messages += 1
                ids.add(event)
                if event.endswith(_SAMPLED):
                    decoded = schemaless_reader(io.BytesIO(value[5:]), schema, None)
                    sample[event] = (message.key(), message.partition(), decoded)
    finally:
        consumer.close()
    return Outcome(messages, len(ids), sample)


def differences(outcome: Outcome, events: int, reference: Outcome | None) -> list[str]:
    """
    Tell what is wrong with an outcome.

    Args:
        outcome: What was read back.
        events: How many events the backlog has.
        reference: What another contender wrote, or None.
    """
    found = []
    if (outcome.messages, outcome.ids) != (events, events):
        found.append(f"{outcome.messages} messages with {outcome.ids} ids, not {events}")
    if reference is not None and outcome.sample.keys() != reference.sample.keys():
        found.append("other events than the first contender")
    elif reference is not None:
        wrong = sum(
            outcome.sample[one][::2] != reference.sample[one][::2] for one in outcome.sample
        )
        if wrong:
            found.append(f"{wrong} of {len(outcome.sample)} sampled records differ")
    return found
