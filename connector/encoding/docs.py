# SPDX-License-Identifier: Apache-2.0
"""
The tables of fields in ``docs/consuming.md``, made from the schemas that are shipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from connector.encoding.schemas import Schema, shipped
from connector.markdown import table


def tables(schemas: Sequence[Schema] | None = None) -> str:
    """
    Write a section for each schema: its doc, and a line for each field, however deep.

    Args:
        schemas: The schemas; those that are shipped if not given.
    """
    sections = []
    for schema in shipped() if schemas is None else schemas:
        rows = table(("field", "type", "meaning"), _fields(schema.source, ""))
        sections.append(f"### `{schema.name}`\n\n{schema.source['doc']}\n\n{rows}")
    return "\n".join(sections)


def _fields(record: dict[str, Any], above: str) -> Iterator[tuple[str, str, str]]:
    for field in record["fields"]:
        name = f"{above}{field['name']}"
        kind, inner, step = _describe(field["type"])
        yield f"`{name}`", kind, field["doc"]
        if inner is not None:
            yield from _fields(inner, f"{name}{step}.")


def _describe(kind: Any) -> tuple[str, dict[str, Any] | None, str]:
    """
    Say what a type is.

    Returns:
        Words for it, the record inside it if there is one, and what leads there.
    """
    match kind:
        case ["null", other]:
            text, inner, step = _describe(other)
            return f"{text} or null", inner, step
        case {"type": "record"}:
            return "record", kind, ""
        case {"type": "array", "items": items}:
            text, inner, step = _describe(items)
            return f"array of {text}", inner, f"[]{step}"
        case {"type": "map", "values": values}:
            return f"map of {_describe(values)[0]}", None, ""
        case _:
            return _scalar(kind), None, ""


def _scalar(kind: Any) -> str:
    match kind:
        case {"logicalType": "decimal", "precision": precision, "scale": scale}:
            return f"decimal({precision}, {scale})"
        case {"logicalType": str(logical)}:
            return logical
        case str():
            # A name with capitals is a record that was defined above, with its fields.
            return kind if kind.islower() else f"`{kind}`"
        case _:
            raise ValueError("Implementation error: a type that no schema of ours has.")
