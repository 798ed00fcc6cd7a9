# SPDX-License-Identifier: Apache-2.0
"""
Messages as lines of JSON, for ``connector tail``.

What a record holds is shown on purpose: whoever may read the topic may read this.
"""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, date, datetime
from datetime import time as time_of_day
from decimal import Decimal
from typing import Any, Protocol

from connector.encoding import json
from connector.encoding.avro import unframe
from connector.encoding.decoding import Decoded
from connector.errors import RejectedRecordError
from connector.kafka.marks import Span
from connector.kafka.reader import Reader, Record
from connector.kafka.topics import TopicInfo

# Characters that command a terminal or turn its text around; JSON may escape any.
_COMMANDING = re.compile(r"[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class Decoder(Protocol):
    """
    Reads a value that has one of the two Avro framings.
    """

    async def decode(self, value: bytes) -> Decoded:
        """
        Decode one message value.

        Raises:
            RejectedRecordError: It cannot be read.
        """
        ...


def last_records(
    reader: Reader, info: TopicInfo, count: int
) -> tuple[list[Record], dict[int, int]]:
    """
    Read the newest messages of a topic, by time.

    Args:
        reader: Reads the topic.
        info: The topic as it is.
        count: How many, at least 1.

    Returns:
        The messages, oldest first, and the offset at which each partition goes on.

    Raises:
        OutsideError: Kafka went away, or a transaction stays open.
    """
    whole = reader.spans(info.name, range(info.partitions))
    newest: dict[int, deque[Record]] = {p: deque(maxlen=count) for p in whole}
    # Aborted records and the marks of transactions take offsets too.
    back = 2 * count + 64
    wanted = whole
    while wanted:
        spans = {p: Span(max(span.begin, span.end - back), span.end) for p, span in wanted.items()}
        for partition in wanted:
            newest[partition].clear()
        with closing(reader.read(info.name, spans)) as batches:
            for batch in batches:
                for record in batch:
                    newest[record.partition].append(record)
        wanted = {
            p: span
            for p, span in wanted.items()
            if len(newest[p]) < count and spans[p].begin > span.begin
        }
        back *= 8
    found = sorted(
        (record for records in newest.values() for record in records),
        key=lambda record: (record.timestamp, record.partition, record.offset),
    )
    return found[-count:], {partition: span.end for partition, span in whole.items()}


async def to_line(record: Record, decoder: Decoder) -> str:
    """
    Write a message as one line of JSON.

    A value that cannot be read is shown as base64 under ``undecoded``, with the reason.

    Raises:
        RetryError: The registry cannot be asked.
    """
    shown: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": _time(record.timestamp),
        "key": _text(record.key),
        "headers": _headers(record.headers),
    }
    try:
        shown["value"] = await _value(record.value, decoder)
    except RejectedRecordError as rejected:
        shown["undecoded"] = {
            "reason": str(rejected),
            "base64": _base64(record.value or b""),
        }
    return _COMMANDING.sub(_escape, json.dumps(shown).decode())


async def _value(value: bytes | None, decoder: Decoder) -> Any:
    if value is None:
        return None
    try:
        unframe(value)
    except RejectedRecordError:
        # Dead letters and requests are JSON, with the numbers as they were sent.
        try:
            return json.loads(value)
        except json.JsonError as error:
            raise RejectedRecordError("neither Avro nor JSON", str(error)) from None
    decoded = await decoder.decode(value)
    return _plain(decoded.datum)


def _plain(value: Any) -> Any:
    """
    Turn what Avro knows and JSON does not into texts, without losing a digit.
    """
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return next((write(value) for kind, write in _TEXTS if isinstance(value, kind)), str(value))


def _decimal(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _base64(value: bytes) -> str:
    return b64encode(value).decode()


def _headers(headers: Sequence[tuple[str, bytes | None]]) -> dict[str, Any]:
    """
    Make an object of the headers; a name that comes more than once gets a list.
    """
    found: dict[str, list[Any]] = {}
    for name, value in headers:
        found.setdefault(name, []).append(_text(value))
    return {name: texts[0] if len(texts) == 1 else texts for name, texts in found.items()}


def _text(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": _base64(value)}


def _time(ms: int) -> str | None:
    """
    Write a message's timestamp; None if it has none or an impossible one.
    """
    try:
        return _iso(datetime.fromtimestamp(ms / 1000, UTC)) if ms >= 0 else None
    except (ValueError, OverflowError, OSError):
        return None


def _iso(value: datetime) -> str:
    text = value.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


# datetime before date, which it is a kind of.
_TEXTS: tuple[tuple[type, Callable[[Any], str]], ...] = (
    (Decimal, _decimal),
    (datetime, _iso),
    (date, date.isoformat),
    (time_of_day, time_of_day.isoformat),
    (bytes, _base64),
)


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
