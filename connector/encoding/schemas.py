# SPDX-License-Identifier: Apache-2.0
"""
The Avro schemas that come with the connector: ``schemas/<provider>/<stream>.avsc``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from connector.encoding import json

# In a wheel they lie inside the package, in a checkout beside it (pyproject.toml).
_PACKAGE: Final = Path(__file__).parents[1]
_PLACES: Final = (_PACKAGE / "schemas", _PACKAGE.parent / "schemas")

PROGRESS: Final = "core/progress.avsc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """
    One schema, parsed once.

    Attributes:
        path: Its place below ``schemas/``, such as ``monetago/activity.avsc``; for one
            that came from a registry its id.
        name: Its full name, such as ``connector.monetago.Activity``.
        source: What the file says, docs and defaults included.
        text: The same without white space: what a registry is given.
        parsed: What fastavro works with.
        named: Its named types, by full name.
        fingerprint: CRC-64-AVRO of its parsing canonical form, 8 bytes little-endian, as
            single-object encoding wants it (Avro specification 1.12).
    """

    path: str
    name: str
    source: dict[str, Any]
    text: str
    parsed: dict[str, Any] = field(repr=False)
    named: dict[str, Any] = field(repr=False)
    fingerprint: bytes


def parse(path: str, text: bytes) -> Schema:
    """
    Parse a schema.

    Args:
        path: What it is called in errors.
        text: The schema as JSON.

    Raises:
        ValueError: The text is no Avro record.
    """
    source = json.loads(text)
    named: dict[str, Any] = {}
    parsed = parse_schema(source, named_schemas=named)
    if not isinstance(parsed, dict) or parsed["type"] != "record":
        raise ValueError(f"{path} is no record.")
    canonical = to_parsing_canonical_form(parsed)
    return Schema(
        path=path,
        name=parsed["name"],
        source=source,
        text=json.dumps(source).decode(),
        parsed=parsed,
        named=named,
        fingerprint=bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO")),
    )


def subject(topic: str) -> str:
    """
    Name the registry's subject of a topic's values (Confluent's TopicNameStrategy).
    """
    return f"{topic}-value"


def directory() -> Path:
    """
    Give the folder of the schemas.
    """
    return next(place for place in _PLACES if place.is_dir())


@cache
def load(path: str) -> Schema:
    """
    Load a shipped schema.

    Args:
        path: Below ``schemas/``, such as ``stedi/transactions.avsc``.
    """
    return parse(path, (directory() / path).read_bytes())


@cache
def shipped() -> tuple[Schema, ...]:
    """
    Load all shipped schemas, by path.
    """
    root = directory()
    return tuple(load(each.relative_to(root).as_posix()) for each in sorted(root.glob("*/*.avsc")))
