# SPDX-License-Identifier: Apache-2.0
"""
Reading messages again, for ``tail`` and ``verify``.
"""

from __future__ import annotations

import io
from typing import Any, Final, NamedTuple

from fastavro import schemaless_reader

from connector.encoding import schemas
from connector.encoding.avro import unframe
from connector.encoding.registry_api import Registry
from connector.encoding.schemas import Schema
from connector.errors import RejectedRecordError

UNKNOWN_SCHEMA: Final = "unknown_schema"
NOT_DECODABLE: Final = "not_decodable"


class Decoded(NamedTuple):
    """
    What a message value says.

    Attributes:
        name: The full name of the schema that it was written with.
        datum: Its fields: times are datetime in UTC, decimals Decimal.
    """

    name: str
    datum: dict[str, Any]


class Decoder:
    """
    Decodes values of either framing, with the schema that each was written with.

    Args:
        registry: Where ids are looked up; without one only values in single-object
            encoding can be read, by the schemas that we ship.
    """

    def __init__(self, registry: Registry | None) -> None:
        self._registry = registry
        self._by_id: dict[int, Schema] = {}
        self._by_fingerprint = {each.fingerprint: each for each in schemas.shipped()}

    async def decode(self, value: bytes) -> Decoded:
        """
        Decode one message value.

        Raises:
            RejectedRecordError: It is not Avro, its schema is known to nobody, or it does
                not match it to the last byte.
            RetryError: The registry cannot be asked.
        """
        schema_id, fingerprint, body = unframe(value)
        if schema_id is not None:
            schema = await self._registered(schema_id)
        else:
            schema = self._by_fingerprint.get(fingerprint or b"")
        if schema is None:
            raise RejectedRecordError(UNKNOWN_SCHEMA)
        data = io.BytesIO(body)
        try:
            datum = schemaless_reader(data, schema.parsed, None)
        except Exception:  # noqa: BLE001 - fastavro lets through whatever it met
            raise RejectedRecordError(NOT_DECODABLE, schema.name) from None
        if data.tell() != len(body) or not isinstance(datum, dict):
            raise RejectedRecordError(NOT_DECODABLE, schema.name)
        return Decoded(schema.name, datum)

    async def _registered(self, schema_id: int) -> Schema | None:
        if schema_id in self._by_id or self._registry is None:
            return self._by_id.get(schema_id)
        text = await self._registry.schema(schema_id)
        if text is None:
            return None
        try:
            schema = schemas.parse(f"id {schema_id}", text.encode())
        except Exception:  # noqa: BLE001 - somebody else's schema: any kind of nonsense
            raise RejectedRecordError(UNKNOWN_SCHEMA, f"id {schema_id}") from None
        self._by_id[schema_id] = schema
        return schema
