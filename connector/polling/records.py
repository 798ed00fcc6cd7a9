# SPDX-License-Identifier: Apache-2.0
"""
From items of a provider to messages: a record each, or a dead letter.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from connector.encoding.json import canonical, dumps
from connector.errors import RejectedRecordError, StoppedError
from connector.providers.base import Stream
from connector.unit import Message

# What Kafka adds to a record in a batch of its own: batch header, lengths, the
# headers ``id``, ``seq`` and ``event_time`` (KIP-98 record format, rounded up).
_RECORD_OVERHEAD = 512
# How much of an item a stub shows; enough to recognise it, small beside any limit.
_STUB_BYTES = 2048
_TOO_LARGE = "too_large"


class RecordEncoder(Protocol):
    """
    Encodes one item for one topic; raises RejectedRecordError where it cannot.

    Attributes:
        misfits: How many values did not fit their field so far, by name of the field.
    """

    misfits: Counter[str]

    def encode(self, raw: Any) -> bytes:
        """
        Give the message value.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    The largest message that each topic takes, in bytes.
    """

    records: int
    dead_letters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordMaker:
    """
    Makes the messages of one stream.

    Attributes:
        source: The source's name, the key of a dead letter without one.
        connector: The connector's name, for the headers of dead letters.
        stream: What identifies its items.
        topic: Where its records go.
        dead_letters: Where its dead letters go.
        encoder: Encodes its records.
        limits: What the two topics take.
        stop_on_rejected: Stop the stream at an item that cannot be a record.
    """

    source: str
    connector: str
    stream: Stream
    topic: str
    dead_letters: str
    encoder: RecordEncoder
    limits: Limits
    stop_on_rejected: bool

    def make(self, items: Sequence[Any]) -> tuple[list[Message], list[str], int]:
        """
        Turn items into messages, in order; nothing is left out (invariant 5).

        Returns:
            The messages, the reason of each dead letter among them, and their bytes.

        Raises:
            StoppedError: An item cannot be a record and the source is told to stop then.
        """
        topic, identify, encode = self.topic, self.stream.identify, self.encoder.encode
        largest = self.limits.records - _RECORD_OVERHEAD
        messages: list[Message] = []
        reasons: list[str] = []
        dead: Counter[str] = Counter()
        size = 0
        for item in items:
            key: bytes | None = None
            try:
                if not isinstance(item, dict):
                    raise RejectedRecordError("not_an_object")
                identity = identify(item)
                key, record_id = identity.key.encode(), identity.id.encode()
                value = encode(item)
                if len(value) + len(key) + len(record_id) > largest:
                    raise RejectedRecordError(_TOO_LARGE)
                message = Message(topic, key, value, identity.id, identity.event_time)
            except (RejectedRecordError, UnicodeEncodeError) as rejected:
                message = self._dead_letter(item, key, rejected)
                dead[message.id] += 1
                if dead[message.id] > 1:
                    # Equal items of one answer are several items.
                    message = message._replace(id=f"{message.id}#{dead[message.id]}")
                reasons.append(_reason(rejected))
                value = message.value or b""
            messages.append(message)
            size += len(value) + len(message.key or b"") + len(message.id)
        return messages, reasons, size

    def _dead_letter(
        self, item: Any, key: bytes | None, rejected: RejectedRecordError | UnicodeEncodeError
    ) -> Message:
        reason = _reason(rejected)
        if self.stop_on_rejected:
            raise StoppedError(
                f"{self.source}: an item of {self.stream.name} cannot be a record ({reason}).",
                remedy="Set …_ERRORS=dead-letter to let such items pass to the dead letters.",
            )
        digest = hashlib.sha256(canonical(item)).hexdigest()
        value = dumps(item)
        # The names are Kafka Connect's for its dead letter queue (KIP-298).
        headers = (
            ("__connect.errors.topic", self.topic.encode()),
            ("__connect.errors.connector.name", self.connector.encode()),
            ("__connect.errors.task.id", f"{self.source}/{self.stream.name}".encode()),
            ("__connect.errors.stage", b"VALUE_CONVERTER"),
            ("__connect.errors.exception.class.name", type(rejected).__name__.encode()),
            ("__connect.errors.exception.message", reason.encode()),
        )
        beside = len(key or b"") + sum(len(name) + len(text) for name, text in headers)
        if len(value) + beside > self.limits.dead_letters - 2 * _RECORD_OVERHEAD:
            value = _stub(value, digest)
        return Message(
            self.dead_letters, key or self.source.encode(), value, digest[:32], None, headers
        )


def _reason(rejected: RejectedRecordError | UnicodeEncodeError) -> str:
    # A lone surrogate in a key or an id has no UTF-8.
    return rejected.reason if isinstance(rejected, RejectedRecordError) else "not_utf8"


def _stub(value: bytes, digest: str) -> bytes:
    stub: Mapping[str, Any] = {
        "stub": True,
        "size": len(value),
        "sha256": digest,
        "first": value[:_STUB_BYTES].decode(errors="replace"),
    }
    return orjson.dumps(stub)
