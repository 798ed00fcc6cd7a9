# SPDX-License-Identifier: Apache-2.0
"""
The smallest resumable step: what stands or falls together in one transaction.

A polling task makes units, a shard commits them. Everything in a unit is ready to
be sent: encoded, checked for size, its schema ids known (DESIGN, invariant 4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# What an offset record may hold: JSON, with numbers of a provider as strings.
Json = Any


class Message(NamedTuple):
    """
    One Kafka message, but for the ``seq`` header that only the shard can give.

    Attributes:
        topic: The full topic name, prefix included.
        key: The message key; None lets the partitioner choose.
        value: The encoded value; None is a tombstone.
        id: The record's own id (header ``id``).
        event_time: Milliseconds since 1970 (header ``event_time``), or None where
            the provider gives none.
        headers: Further headers that concern this message only.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    id: str
    event_time: int | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """
    Messages and state changes of one source partition, to be committed together.

    Attributes:
        source_partition: ``<source>/<stream>`` or ``<source>/<job key>``.
        messages: Records and dead letters, in order.
        state: What changes in the offsets topic, by full key; None deletes.
        timestamp: Milliseconds since 1970 of the poll: the message timestamp.
        caught_up: Nothing more is waiting at the provider: commit at once.
        size: Bytes of all keys and values, for the bounds of a transaction.
    """

    source_partition: str
    messages: Sequence[Message] = ()
    state: Mapping[str, Json | None] = field(default_factory=dict)
    timestamp: int
    caught_up: bool = True
    size: int = 0
