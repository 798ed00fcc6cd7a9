# SPDX-License-Identifier: Apache-2.0
"""
The topics that the connector writes: what they have to be, and what they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from connector.errors import OutsideError, TopicError
from connector.kafka.errors import explain, kafka_error

_TIMEOUT = 15.0
_MEBIBYTE = 1024 * 1024
# Dead letters hold raw items of any provider, some of which are large (notes 15).
DEAD_LETTER_BYTES = 8 * _MEBIBYTE
_FOURTEEN_DAYS_MS = 14 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """
    A topic as the connector would create it.

    Attributes:
        name: The full name.
        partitions: How many partitions; -1 for the broker's default.
        replication_factor: -1 for the broker's default.
        config: What is set at creation; the rest is the broker's.
        required: Settings without which the topic is refused.
    """

    name: str
    partitions: int
    replication_factor: int
    config: Mapping[str, str] = field(default_factory=dict)
    required: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicInfo:
    """
    A topic as it is.

    Attributes:
        name: The full name.
        topic_id: Its id; a topic that was deleted and made anew has another one.
        partitions: The number of its partitions.
        config: Its effective settings.
    """

    name: str
    topic_id: str
    partitions: int
    config: Mapping[str, str]

    @property
    def max_message_bytes(self) -> int:
        """
        The largest batch that its brokers take.
        """
        return int(self.config["max.message.bytes"])


def offsets_spec(name: str, shards: int, replication_factor: int, brokers: int) -> TopicSpec:
    """
    Describe the offsets topic: compacted only, durable (exactly-once R24).

    Args:
        name: The full name.
        shards: The number of partitions it gets when it is created.
        replication_factor: The configured one; -1 for the broker's default.
        brokers: How many brokers there are: with one replica ``min.insync.replicas``
            can only be 1.
    """
    replicas = replication_factor if replication_factor > 0 else min(3, brokers)
    return TopicSpec(
        name=name,
        partitions=shards,
        replication_factor=replicas,
        config={
            "cleanup.policy": "compact",
            "segment.bytes": str(64 * _MEBIBYTE),
            "segment.ms": str(3600 * 1000),
            "min.cleanable.dirty.ratio": "0.1",
            "max.compaction.lag.ms": str(24 * 3600 * 1000),
            "min.insync.replicas": "2" if replicas > 1 else "1",
            "unclean.leader.election.enable": "false",
        },
        required={"cleanup.policy": "compact"},
    )


def log_spec(name: str, partitions: int, replication_factor: int) -> TopicSpec:
    """
    Describe a topic that is a log: it keeps the broker's retention.
    """
    return TopicSpec(name=name, partitions=partitions, replication_factor=replication_factor)


def dead_letters_spec(name: str, partitions: int, replication_factor: int) -> TopicSpec:
    """
    Describe the dead letter queue: 14 days, and room for large items.
    """
    return TopicSpec(
        name=name,
        partitions=partitions,
        replication_factor=replication_factor,
        config={
            "retention.ms": str(_FOURTEEN_DAYS_MS),
            "max.message.bytes": str(DEAD_LETTER_BYTES),
        },
    )


def describe(admin: AdminClient, names: Iterable[str]) -> dict[str, TopicInfo]:
    """
    Look up topics; those that do not exist are absent from the result.

    Raises:
        OutsideError: Kafka did not answer.
    """
    wanted = list(names)
    found: dict[str, Any] = {}
    for name, future in admin.describe_topics(TopicCollection(wanted)).items():
        try:
            found[name] = future.result(_TIMEOUT)
        except KafkaException as failure:
            error = kafka_error(failure)
            if error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise _outside(f"topic {name} cannot be described", error) from None
        except TimeoutError:
            raise _silent() from None
    if not found:
        return {}
    resources = {ConfigResource(ResourceType.TOPIC, name): name for name in found}
    infos = {}
    for resource, future in admin.describe_configs(list(resources)).items():
        name = resources[resource]
        config = _result(future, f"the settings of topic {name} cannot be read")
        infos[name] = TopicInfo(
            name=name,
            topic_id=str(found[name].topic_id),
            partitions=len(found[name].partitions),
            config={entry.name: entry.value for entry in config.values()},
        )
    return infos


def brokers(admin: AdminClient) -> int:
    """
    Count the brokers of the cluster.

    Raises:
        OutsideError: Kafka did not answer.
    """
    return len(_result(admin.describe_cluster(), "the cluster cannot be described").nodes)


def create(admin: AdminClient, specs: Iterable[TopicSpec]) -> list[str]:
    """
    Create topics; one that appears meanwhile is no error.

    Returns:
        The names of those that this call created.

    Raises:
        OutsideError: Kafka refused or did not answer.
    """
    topics = [
        NewTopic(
            spec.name,
            num_partitions=spec.partitions,
            replication_factor=spec.replication_factor,
            config=dict(spec.config),
        )
        for spec in specs
    ]
    if not topics:
        return []
    created = []
    for name, future in admin.create_topics(topics).items():
        try:
            future.result(_TIMEOUT)
            created.append(name)
        except KafkaException as failure:
            error = kafka_error(failure)
            if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise _outside(f"topic {name} cannot be created", error) from None
        except TimeoutError:
            raise _silent() from None
    return created


def differences(spec: TopicSpec, info: TopicInfo) -> list[str]:
    """
    Name each way in which a topic differs from what would have been created.
    """
    found = []
    if spec.partitions not in {-1, info.partitions}:
        found.append(f"{info.partitions} partitions instead of {spec.partitions}")
    for key, wanted in spec.config.items():
        actual = info.config.get(key)
        if actual != wanted:
            found.append(f"{key}={actual} instead of {wanted}")
    return found


def refuse_unusable(spec: TopicSpec, info: TopicInfo) -> None:
    """
    Refuse a topic that the connector cannot work with.

    Raises:
        TopicError: A required setting is another one.
    """
    for key, wanted in spec.required.items():
        if info.config.get(key) != wanted:
            raise TopicError(
                f"Topic {info.name} has {key}={info.config.get(key)}, it must be {wanted}.",
                remedy=f"Set it: kafka-configs.sh --alter --topic {info.name} "
                f"--add-config {key}={wanted}",
            )


def ensure(
    admin: AdminClient, specs: Iterable[TopicSpec], *, may_create: bool
) -> dict[str, TopicInfo]:
    """
    Make sure that all topics exist and can be worked with.

    Raises:
        TopicError: One is missing and may not be created, or cannot be worked with.
        OutsideError: Kafka did not answer, or not yet with what was just created.
    """
    wanted = {spec.name: spec for spec in specs}
    infos = describe(admin, wanted)
    missing = [wanted[name] for name in wanted if name not in infos]
    if missing and not may_create:
        raise TopicError(
            f"Topics are missing: {', '.join(spec.name for spec in missing)}.",
            remedy="Create them, or set CONNECTOR_TOPIC_CREATE=true.",
        )
    if missing:
        create(admin, missing)
        infos = describe(admin, wanted)
        absent = [name for name in wanted if name not in infos]
        if absent:
            raise OutsideError(
                f"Kafka: topics are not visible yet: {', '.join(absent)}.", cause="kafka"
            )
    for name, spec in wanted.items():
        refuse_unusable(spec, infos[name])
    return infos


def _result(future: Future[Any], what: str) -> Any:
    try:
        return future.result(_TIMEOUT)
    except KafkaException as failure:
        raise _outside(what, kafka_error(failure)) from None
    except TimeoutError:
        raise _silent() from None


def _outside(what: str, error: KafkaError) -> OutsideError:
    return OutsideError(f"Kafka: {what} ({explain(error)}).", cause="kafka")


def _silent() -> OutsideError:
    return OutsideError(
        f"Kafka: no answer within {_TIMEOUT:g} s. Is CONNECTOR_KAFKA_BOOTSTRAP_SERVERS right, "
        "and are the brokers up?",
        cause="kafka",
    )
