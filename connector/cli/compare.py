# SPDX-License-Identifier: Apache-2.0
"""
What the registry has of the schemas that ``run`` will write. No command of its own.
"""

from __future__ import annotations

from typing import Any, Final

from connector.encoding import evolution, schemas
from connector.encoding.registry import Registry, incompatibilities
from connector.encoding.schemas import Schema
from connector.settings import Settings

# What is said of a subject; `run` stops at the last, and at the two before it where
# CONNECTOR_SCHEMA_REGISTRY_REGISTER is false.
SAME: Final = "same"
MISSING: Final = "missing"
COMPATIBLE: Final = "compatible"
INCOMPATIBLE: Final = "incompatible"


def used_schemas(settings: Settings) -> list[tuple[str, Schema]]:
    """
    List the topics that these settings write as Avro, with their schemas.
    """
    found = [
        (source.topic(stream.name), schemas.load(stream.schema))
        for source in settings.sources
        for stream in source.provider.streams
    ]
    return [*found, (settings.progress_topic, schemas.load(schemas.PROGRESS))]


async def compare(registry: Registry, topic: str, schema: Schema) -> dict[str, Any]:
    """
    Compare the schema of a topic with the registry.

    Returns:
        ``subject``, ``schema``, ``status``, ``id``, ``version`` and ``notes``.

    Raises:
        ConnectorError: As the methods of Registry.
    """
    subject = schemas.subject(topic)
    found = await registry.lookup(subject, schema.text)
    reasons: list[str] = []
    rule = await registry.compatibility(subject)
    if found is not None:
        status = SAME
    elif not await registry.versions(subject):
        status = MISSING
    else:
        reasons = await incompatibilities(registry, subject, schema)
        verdict = await registry.check(subject, schema.text)
        reasons += () if verdict.compatible else verdict.messages or ("the registry says so",)
        status = INCOMPATIBLE if reasons else COMPATIBLE
    if rule not in (None, evolution.LEVEL):
        reasons.append(f"the subject's own rule is {rule}")
    return {
        "subject": subject,
        "schema": schema.name,
        "status": status,
        "id": found.schema_id if found else None,
        "version": found.version if found else None,
        "notes": reasons,
    }


def fine(settings: Settings) -> frozenset[str]:
    """
    Tell which of those words let ``run`` go on.
    """
    if settings.registry.register_schemas:
        return frozenset({SAME, MISSING, COMPATIBLE})
    return frozenset({SAME})
