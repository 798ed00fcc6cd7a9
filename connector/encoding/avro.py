# SPDX-License-Identifier: Apache-2.0
"""
Avro messages: the framing of a value, and the encoder of a topic.

Two framings, so that a reader finds the schema: Confluent's wire format (a zero byte and
the registry's id, 4 bytes big-endian) and, without a registry, single-object encoding
(``C3 01`` and the schema's fingerprint; Avro specification 1.12). All of this works from
memory: ids are known before an encoder exists (DESIGN, invariant 4; exactly-once P13).
"""

from __future__ import annotations

import io
import struct
from collections import Counter
from typing import Any, Final, NamedTuple

from fastavro import schemaless_writer

from connector.encoding.fit import EXTRAS, Extra, compile_writer
from connector.encoding.schemas import Schema
from connector.errors import RejectedRecordError

NOT_ENCODABLE: Final = "not_encodable"

_MAGIC: Final = b"\x00"
_SINGLE_OBJECT: Final = b"\xc3\x01"
_ID: Final = struct.Struct(">xI")
_FINGERPRINT_SIZE: Final = 8


def prefix(schema: Schema, schema_id: int | None) -> bytes:
    """
    Give the bytes that stand before every value of a schema.

    Args:
        schema: What the values are encoded with.
        schema_id: The registry's id of it, or None for single-object encoding.
    """
    if schema_id is None:
        return _SINGLE_OBJECT + schema.fingerprint
    return _ID.pack(schema_id)


class Framed(NamedTuple):
    """
    A message value taken apart.

    Attributes:
        schema_id: The registry's id, or None.
        fingerprint: The schema's fingerprint, or None.
        body: What is encoded.
    """

    schema_id: int | None
    fingerprint: bytes | None
    body: bytes


def unframe(value: bytes) -> Framed:
    """
    Take a message value apart.

    Raises:
        RejectedRecordError: It has neither framing.
    """
    if value[:1] == _MAGIC and len(value) >= _ID.size:
        return Framed(_ID.unpack_from(value)[0], None, value[_ID.size :])
    start = len(_SINGLE_OBJECT) + _FINGERPRINT_SIZE
    if value[:2] == _SINGLE_OBJECT and len(value) >= start:
        return Framed(None, value[len(_SINGLE_OBJECT) : start], value[start:])
    raise RejectedRecordError(NOT_ENCODABLE, "no Avro framing")


class StreamEncoder:
    """
    Encodes the records of one topic.

    A schema with ``additional_properties`` takes the items of a provider as they came, and
    nothing of them is lost: what its field cannot hold, and what the schema does not
    know, goes there (connector.encoding.fit). A schema without takes records that the
    connector makes itself, such as progress: exactly its fields, times in milliseconds.

    Args:
        schema: The schema of the topic.
        schema_id: The registry's id of it, or None for single-object encoding.

    Attributes:
        schema: The schema of the topic.
        schema_id: The registry's id of it, or None.
        misfits: How many values did not fit their field so far, by field, such as
            ``event_details[].status``: names of the schema, nothing of a provider.
        unknown: How many fields came so far that the schema does not know.
    """

    def __init__(self, schema: Schema, schema_id: int | None) -> None:
        self.schema = schema
        self.schema_id = schema_id
        self.misfits: Counter[str] = Counter()
        self.unknown = 0
        self._prefix = prefix(schema, schema_id)
        takes_items = schema.parsed["fields"][-1]["name"] == EXTRAS
        self._write = (
            compile_writer(schema.parsed, schema.named) if takes_items else self._write_own
        )

    def encode(self, raw: Any) -> bytes:
        """
        Encode one record.

        Args:
            raw: What connector.encoding.json.loads gave for an item; or our own record.

        Returns:
            The message value.

        Raises:
            RejectedRecordError: An item is no object, or lacks its key; a record of our
                own does not match its schema.
        """
        parts = [self._prefix]
        extras = self._write(raw, parts)
        for extra in extras:
            if extra.field is None:
                self.unknown += 1
            else:
                self.misfits[extra.field.removeprefix(".")] += 1
        return b"".join(parts)

    def _write_own(self, datum: Any, out: list[bytes]) -> list[Extra]:
        data = io.BytesIO()
        try:
            schemaless_writer(data, self.schema.parsed, datum, strict=True)
        except (ValueError, TypeError, KeyError, OverflowError, AttributeError):
            raise RejectedRecordError(NOT_ENCODABLE, self.schema.name) from None
        out.append(data.getvalue())
        return []
