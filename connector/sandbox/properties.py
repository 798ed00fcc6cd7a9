# SPDX-License-Identifier: Apache-2.0
"""
The settings of a sandbox's brokers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LOGGING = """\
appender.stdout.type=Console
appender.stdout.name=stdout
appender.stdout.layout.type=PatternLayout
appender.stdout.layout.pattern=%d{ISO8601} %p %m (%c)%n
rootLogger.level=INFO
rootLogger.appenderRef.stdout.ref=stdout
"""


@dataclass(frozen=True, slots=True)
class Address:
    """
    Where one broker listens on 127.0.0.1.

    Attributes:
        node: The broker's id, from 1.
        port: Its port for clients.
        controller_port: Its port for the other controllers.
    """

    node: int
    port: int
    controller_port: int


def server_properties(
    address: Address, cluster: Sequence[Address], data: Path, extra: Mapping[str, str]
) -> dict[str, str]:
    """
    Choose the server properties of one broker, which is a controller too.

    Args:
        address: The broker.
        cluster: All brokers, it included.
        data: Where it keeps its data.
        extra: Properties that come on top, or replace ours.
    """
    replicas = min(3, len(cluster))
    return {
        "process.roles": "broker,controller",
        "node.id": str(address.node),
        "controller.quorum.voters": ",".join(
            f"{one.node}@127.0.0.1:{one.controller_port}" for one in cluster
        ),
        "listeners": (
            f"PLAINTEXT://127.0.0.1:{address.port},CONTROLLER://127.0.0.1:{address.controller_port}"
        ),
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{address.port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(data),
        "default.replication.factor": str(replicas),
        "offsets.topic.replication.factor": str(replicas),
        "transaction.state.log.replication.factor": str(replicas),
        "transaction.state.log.min.isr": str(max(1, replicas - 1)),
        # Fewer than Kafka's 50: the first client waits until they are made.
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.num.partitions": "8",
        # A topic that was deleted stays away until somebody creates it.
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        # A killed broker cannot register again before its old session ends.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        # Kafka's 128 MiB would be a quarter of the heap.
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
        **extra,
    }


def render(properties: Mapping[str, str]) -> str:
    """
    Write a ``.properties`` file as Java reads it.
    """
    return "".join(f"{key}={value}\n".replace("\\", "\\\\") for key, value in properties.items())
