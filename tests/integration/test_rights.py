# SPDX-License-Identifier: Apache-2.0
"""
The least rights that docs/operating.md lists are enough, on a broker that checks them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from connector.sandbox import KafkaCluster, Sandbox, free_port
from connector.sandbox.simulators.runner import SimulatorProcess
from tests.integration.workers import Worker, command, eventually, settings

USER, PASSWORD = "least-rights-user", "invented-password"
SOURCES = ("monetago.activity", "stedi.transactions")
TOPIC, GROUP, ID = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID
READ, WRITE = AclOperation.READ, AclOperation.WRITE
DESCRIBE, CONFIGS = AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS
CREATE = AclOperation.CREATE


class Guarded(KafkaCluster):
    """
    A broker with a second listener, whose users have no right that nobody granted.
    """

    def __init__(self) -> None:
        super().__init__(1)
        (address,) = self._addresses
        self.port = free_port()
        login = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="'
        self._properties = {
            "listeners": f"PLAINTEXT://127.0.0.1:{address.port},"
            f"CONTROLLER://127.0.0.1:{address.controller_port},SASL://127.0.0.1:{self.port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{address.port},"
            f"SASL://127.0.0.1:{self.port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
            "SASL:SASL_PLAINTEXT",
            "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl.plain.sasl.jaas.config": f'{login}{PASSWORD}";',
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }

    def grant(self, kind: Any, name: str, *operations: Any, prefixed: bool = False) -> None:
        """
        Allow the worker's user some operations on a resource.
        """
        pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
        acls = [
            AclBinding(kind, name, pattern, f"User:{USER}", "*", operation, AclPermissionType.ALLOW)
            for operation in operations
        ]
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        for future in admin.create_acls(acls).values():
            future.result(10)


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    """Start a broker that checks rights."""
    with Guarded() as cluster:
        yield cluster


def make_variables(
    sandbox: Sandbox, guarded: Guarded, providers: Mapping[str, str]
) -> dict[str, str]:
    """Give the variables of a worker that logs in at the guarded broker."""
    return settings(
        sandbox,
        providers,
        connector_kafka_bootstrap_servers=f"127.0.0.1:{guarded.port}",
        connector_kafka_security_protocol="SASL_PLAINTEXT",
        connector_kafka_sasl_mechanism="PLAIN",
        connector_kafka_sasl_username=USER,
        connector_kafka_sasl_password=PASSWORD,
    )


def test_documented_rights_are_enough(
    sandbox: Sandbox,
    guarded: Guarded,
    simulate: Callable[..., SimulatorProcess],
    worker: Callable[[Mapping[str, str]], Worker],
):
    """
    With the rights of docs/operating.md, and no others, everything works from the first
    start on: check, run, offsets, tail, verify, and run again.
    """
    variables = make_variables(sandbox, guarded, simulate("--backlog=50").env())
    prefix = variables["CONNECTOR_TOPIC_PREFIX"]
    group = f"{prefix}c"
    guarded.grant(ID, f"{group}-", WRITE, DESCRIBE, prefixed=True)
    guarded.grant(GROUP, group, READ, DESCRIBE)
    guarded.grant(TOPIC, f"{group}.offsets", READ, WRITE, DESCRIBE, CONFIGS, CREATE)
    for name in (f"{group}.progress", f"{group}.dead-letters"):
        guarded.grant(TOPIC, name, WRITE, DESCRIBE, CONFIGS, CREATE)
    for name in SOURCES:
        guarded.grant(TOPIC, prefix + name, WRITE, DESCRIBE, CONFIGS, CREATE, READ)

    checked = command(variables, "check")
    assert 0 == checked.returncode, checked.stdout + checked.stderr

    one = worker(variables).start().wait_ready()
    one.wait_until(
        lambda w: {"caught up"} == {feed["state"] for feed in w.status()["feeds"]}, 30, "caught up"
    )
    assert 0 == one.stop()

    for words in (
        ("offsets", "set", "monetago/activity", "-1h"),
        ("offsets", "accept", "stedi/transactions"),
        ("tail", "stedi/transactions", "--no-follow", "--last=1"),
        ("verify", "monetago/activity", "stedi/transactions"),
    ):
        done = command(variables, *words)
        assert 0 == done.returncode, (words, done.stdout, done.stderr)

    # Now there are offsets to read.
    one.start().wait_ready()
    assert 0 == one.stop()


def test_a_missing_right_is_named_and_waited_for(
    sandbox: Sandbox,
    guarded: Guarded,
    simulate: Callable[..., SimulatorProcess],
    worker: Callable[[Mapping[str, str]], Worker],
):
    """
    Without the right to the transactional ids a worker does not end: it says what is
    missing, and goes on once it is granted.
    """
    variables = make_variables(sandbox, guarded, simulate("--backlog=5").env())
    prefix = variables["CONNECTOR_TOPIC_PREFIX"]
    guarded.grant(GROUP, f"{prefix}c", READ)
    guarded.grant(TOPIC, prefix, READ, WRITE, DESCRIBE, CONFIGS, CREATE, prefixed=True)

    one = worker(variables).start()
    said = eventually(lambda: one.events("shard_restarts"), 40, "a shard says what is missing")
    assert "kafka_configuration" == said[0]["cause"]
    assert "TRANSACTIONAL_ID_AUTHORIZATION_FAILED" in said[0]["error"]
    assert not one.ready()

    guarded.grant(ID, f"{prefix}c-", WRITE, DESCRIBE, prefixed=True)
    one.wait_ready(90)
    assert 0 == one.stop()
