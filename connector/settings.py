# SPDX-License-Identifier: Apache-2.0
"""
The settings of a process, from its environment variables alone.

``load_settings`` reads and checks the parts that a command needs, and reports every
problem at once: by the name of the variable, never with a value.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from connector.config import core, kafka, registry, sources
from connector.config.core import CoreSettings
from connector.config.environment import FILE, Effective, Environment, did_you_mean
from connector.config.fields import settings_of
from connector.config.kafka import KafkaSettings, KafkaVariables
from connector.config.properties import SETTABLE
from connector.config.registry import RegistrySettings
from connector.config.sources import Source
from connector.errors import SettingsError
from connector.providers import PROVIDERS
from connector.providers.base import Provider

# What a command can need: ``name`` is CONNECTOR_NAME, ``sources`` is CONNECTOR_SOURCES
# with all that its sources need. Sources are listed, without their settings, whenever
# CONNECTOR_SOURCES is set.
Part = Literal["name", "kafka", "registry", "sources"]
# They have no default, and yet not every command needs them.
REQUIRED: Final[Mapping[Part, str]] = {"name": "CONNECTOR_NAME", "sources": sources.VARIABLE}
EVERYTHING: Final[frozenset[Part]] = frozenset({"name", "kafka", "registry", "sources"})

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """
    What was read besides the core; None where a command did not ask for it.
    """

    sources: tuple[Source, ...] = ()
    kafka: KafkaSettings | None = None
    registry: RegistrySettings | None = None
    effective: tuple[Effective, ...] = ()
    warnings: tuple[str, ...] = ()


class Settings(CoreSettings):
    """
    All settings, checked. The attributes of ``CoreSettings``, and those below.

    Asking for a part that the command did not name in ``need`` is an error of the
    implementation.
    """

    _parts: Parts

    def __init__(self, parts: Parts, **values: Any) -> None:
        super().__init__(**values)
        self._parts = parts

    @property
    def sources(self) -> tuple[Source, ...]:
        """
        The configured sources, in the order of ``CONNECTOR_SOURCES``.
        """
        return self._parts.sources

    @property
    def kafka(self) -> KafkaSettings:
        """
        What Kafka clients are given.
        """
        return _present(self._parts.kafka)

    @property
    def registry(self) -> RegistrySettings:
        """
        Where schemas are kept.
        """
        return _present(self._parts.registry)

    @property
    def warnings(self) -> tuple[str, ...]:
        """
        What is allowed, and worth a line in the log at each start.
        """
        return self._parts.warnings

    @property
    def effective(self) -> tuple[Effective, ...]:
        """
        Every setting that was read, masked, with its origin.
        """
        return self._parts.effective

    @property
    def group_id(self) -> str:
        """
        The consumer group, and the stem of all names that are ours alone.
        """
        return self.topic_prefix + _present(self.name or None)

    def transactional_id(self, shard: int) -> str:
        """
        The transactional id of a shard: stable for ever (DESIGN section 4).
        """
        return f"{self.group_id}-{shard}"

    @property
    def offsets_topic(self) -> str:
        """
        The compacted topic that holds all state.
        """
        return f"{self.group_id}.offsets"

    @property
    def progress_topic(self) -> str:
        """
        The topic that tells how far each feed is complete.
        """
        return f"{self.group_id}.progress"

    @property
    def dead_letters_topic(self) -> str:
        """
        The dead letter queue.
        """
        return f"{self.group_id}.dead-letters"

    def secrets(self) -> tuple[str, ...]:
        """
        All values that no log line may show; those of files that changed included.
        """
        found = [secret for source in self.sources for secret in source.secrets()]
        if self._parts.kafka is not None:
            found += self._parts.kafka.secrets()
        if self._parts.registry is not None:
            for secret in (self._parts.registry.username, self._parts.registry.password):
                found += secret.known() if secret is not None else ()
        return tuple(found)


def load_settings(
    environ: Mapping[str, str],
    *,
    need: Collection[Part] = EVERYTHING,
    providers: Mapping[str, Provider] = PROVIDERS,
) -> Settings:
    """
    Read the settings that a command needs.

    Args:
        environ: The environment variables.
        need: The parts without which the command cannot work; others are not looked at.
        providers: What ``CONNECTOR_SOURCES`` can name.

    Raises:
        SettingsError: Something is wrong; the text names every problem, and no value.
    """
    environment = Environment.of(environ)
    warnings: list[str] = []
    general = environment.fill(CoreSettings, core.PREFIX)
    for part, variable in REQUIRED.items():
        if part in need and not {variable, variable + FILE} & environment.variables.keys():
            environment.problem(variable, "is required")
    kafka_settings = kafka.load_kafka(environment, warnings) if "kafka" in need else None
    registry_settings = (
        environment.fill(RegistrySettings, registry.PREFIX) if "registry" in need else None
    )
    _report_unknown(environment)
    names = sources.parse_names(environment, providers)
    found = [
        _source(environment, name, providers, general or CoreSettings(), load="sources" in need)
        for name in names
    ]
    if "sources" in need:
        warnings += sources.report_unknown(environment, names, providers)
    if general is None or environment.problems:
        raise _error(environment)
    parts = Parts(
        sources=tuple(found),
        kafka=kafka_settings,
        registry=registry_settings,
        effective=tuple(environment.effective),
        warnings=tuple(warnings),
    )
    return Settings(parts, **general.model_dump(exclude_unset=True))


def _source(
    environment: Environment,
    name: str,
    providers: Mapping[str, Provider],
    general: CoreSettings,
    *,
    load: bool,
) -> Source:
    provider = providers[name.partition(":")[0]]
    loaded = sources.load_source(environment, name, provider) if load else None
    return Source(
        name=name,
        provider=provider,
        topic_prefix=general.topic_prefix,
        errors=(loaded.errors if loaded else None) or general.errors,
        loaded=loaded,
    )


def _report_unknown(environment: Environment) -> None:
    """
    Note the unknown variables of our own; those of Kafka belong to librdkafka.
    """
    for model, prefix in ((KafkaVariables, kafka.PREFIX), (RegistrySettings, registry.PREFIX)):
        for setting in settings_of(model, prefix):
            environment.known |= {setting.variable, setting.variable + FILE}
    properties = {kafka.PREFIX + name.replace(".", "_").upper() for name in SETTABLE}
    for name in environment.unknown(core.PREFIX, besides=[kafka.PREFIX]):
        environment.problem(name, f"is unknown{did_you_mean(name, environment.known | properties)}")


def _error(environment: Environment) -> SettingsError:
    lines = [
        f"  {name.encode('unicode_escape').decode()} {text}"
        for name, text in dict.fromkeys(environment.problems)
    ]
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    return SettingsError("\n".join([f"{count} with the settings:", *lines]))


def _present(value: T | None) -> T:
    if value is None:
        raise RuntimeError("Implementation error: the command did not ask for this part")
    return value
