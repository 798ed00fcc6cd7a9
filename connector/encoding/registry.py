# SPDX-License-Identifier: Apache-2.0
"""
Schemas in the registry, and encoders whose ids were resolved before any transaction.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from connector.encoding import evolution, schemas
from connector.encoding.avro import StreamEncoder
from connector.encoding.registry_api import Registry
from connector.encoding.registry_http import RefusedSchemaError
from connector.encoding.schemas import Schema
from connector.errors import OutsideError, StoppedError

if TYPE_CHECKING:
    from connector.config.registry import RegistrySettings

log = structlog.get_logger()

# Workers that start together meet at one subject; each loses at most once to each other.
_ATTEMPTS: Final = 8
_PAUSE: Final = 0.25  # seconds, the longest first pause after a 409


class Registered(NamedTuple):
    """
    A schema that the registry has.

    Attributes:
        schema_id: Its id.
        version: Its version within the subject.
        created: It was not there before.
    """

    schema_id: int
    version: int
    created: bool


async def ensure(registry: Registry, topic: str, schema: Schema) -> Registered:
    """
    Register the schema of a topic's values, unless the registry has it.

    The subject gets the rule FULL_TRANSITIVE if it has none of its own. Done twice, or by
    several workers at once, the outcome is the same.

    Raises:
        StoppedError: It may not follow the versions that are there, or is refused.
        RetryError: As the methods of Registry.
    """
    subject = schemas.subject(topic)
    created = False
    for attempt in range(_ATTEMPTS):
        try:
            found = await registry.lookup(subject, schema.text)
            if found is not None:
                if await registry.compatibility(subject) is None:
                    await registry.set_compatibility(subject, evolution.LEVEL)
                return Registered(found.schema_id, found.version, created)
            await _refuse_incompatible(registry, subject, schema)
            await registry.register(subject, schema.text)
            created = True
            log.info("schema_registered", subject=subject, schema=schema.name)
        except RefusedSchemaError as error:
            # Apicurio says 409 as well when two write one subject at once (notes 26).
            if error.status != 409 or not (await registry.check(subject, schema.text)).compatible:
                raise
            await asyncio.sleep(random.uniform(0, _PAUSE * (attempt + 1)))  # noqa: S311 - jitter
    raise OutsideError(
        f"Subject {subject}: the registry does not keep what it was given.",
        cause="registry_conflict",
    )


async def _refuse_incompatible(registry: Registry, subject: str, schema: Schema) -> None:
    reasons = await incompatibilities(registry, subject, schema)
    if reasons:
        raise StoppedError(
            f"Subject {subject}: {schema.name} may not follow what is registered: "
            + " ".join(reasons),
            remedy="Use new topics (CONNECTOR_TOPIC_PREFIX), or the version of the connector "
            "that wrote these.",
        )


async def incompatibilities(registry: Registry, subject: str, schema: Schema) -> list[str]:
    """
    Say why a schema may not follow any of the versions of a subject.

    Raises:
        StoppedError: A version is not Avro: somebody else's subject.
        RetryError: As the methods of Registry.
    """
    found = []
    for number in await registry.versions(subject):
        old = await registry.version(subject, number)
        if old is None:
            continue
        try:
            parsed = schemas.parse(f"version {number}", old.text.encode())
        except Exception:  # noqa: BLE001 - whatever fastavro raises, it is not ours
            raise StoppedError(
                f"Subject {subject}: version {number} is no Avro record.",
                remedy="Use another CONNECTOR_TOPIC_PREFIX.",
            ) from None
        found += [f"Version {number}: {each}" for each in evolution.compare(parsed, schema)]
    return found


class Encoding:
    """
    Makes encoders; one for the whole process.

    Args:
        registry: The registry, or None for single-object encoding.
        register: Register what is missing; otherwise only look up.
    """

    def __init__(self, registry: Registry | None, *, register: bool = True) -> None:
        self._registry = registry
        self._register = register
        self._ids: dict[tuple[str, str], int] = {}

    async def aclose(self) -> None:
        """
        Close the connections to the registry.
        """
        if self._registry is not None:
            await self._registry.aclose()

    async def prepare(self, topic: str, schema_path: str) -> StreamEncoder:
        """
        Make the encoder of a topic.

        Args:
            topic: The full topic name.
            schema_path: Below ``schemas/``, such as ``monetago/activity.avsc``.

        Raises:
            OutsideError: The registry is not reachable or not ready.
            CredentialsError: It refuses our credentials.
            StoppedError: The schema is not registered and we only look up, or it may not
                follow what is registered; the text names the remedy.
        """
        schema = schemas.load(schema_path)
        return StreamEncoder(schema, await self._schema_id(topic, schema))

    async def _schema_id(self, topic: str, schema: Schema) -> int | None:
        if self._registry is None:
            return None
        known = self._ids.get((topic, schema.path))
        if known is not None:
            return known
        if self._register:
            schema_id = (await ensure(self._registry, topic, schema)).schema_id
        else:
            subject = schemas.subject(topic)
            found = await self._registry.lookup(subject, schema.text)
            if found is None:
                raise StoppedError(
                    f"Subject {subject}: {schema.name} is not registered, and "
                    "CONNECTOR_SCHEMA_REGISTRY_REGISTER is false.",
                    remedy="Run `connector schemas register` with the right to write.",
                )
            schema_id = found.schema_id
        self._ids[topic, schema.path] = schema_id
        return schema_id


def open_registry(settings: RegistrySettings) -> Registry | None:
    """
    Make the registry's client from the settings; None for ``none``.
    """
    if settings.url is None:
        return None
    return Registry(
        str(settings.url),
        username=settings.username.read if settings.username else None,
        password=settings.password.read if settings.password else None,
        ca=settings.ca,
    )


async def open_encoding(settings: RegistrySettings) -> Encoding:
    """
    Make what makes encoders, from the settings of the registry, within the running loop.
    """
    return Encoding(open_registry(settings), register=settings.register_schemas)


__all__ = [
    "Encoding",
    "Registered",
    "Registry",
    "ensure",
    "incompatibilities",
    "open_encoding",
    "open_registry",
]
