# SPDX-License-Identifier: Apache-2.0
"""
The sandbox itself: real servers that start, fail, come back, and leave nothing behind.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from connector.errors import OutsideError
from connector.sandbox import KafkaCluster, Registry, Sandbox, free_port
from connector.sandbox.properties import Address


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """
    One broker and a registry for all tests of this module that leave them running.
    """
    with Sandbox() as sandbox:
        yield sandbox


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    """
    Wait until a condition holds; tell whether it did.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def new_topic(kafka: str, replicas: int = 1) -> str:
    """
    Create a topic of one partition under a new name.
    """
    topic = f"test-{uuid.uuid4()}"
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(topic, 1, replicas)])[topic].result(30)
    return topic


def commit(kafka: str, topic: str, value: str) -> None:
    """
    Write one record in a transaction of its own, with a new transactional id.
    """
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": f"test-{uuid.uuid4()}"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, value.encode())
    producer.commit_transaction(30)


def committed(kafka: str, topic: str, count: int, **settings: object) -> list[str]:
    """
    Read the first committed records of a topic as a member of a new group.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": f"test-{uuid.uuid4()}",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            **settings,
        }
    )
    consumer.subscribe([topic])
    values: list[str] = []
    deadline = time.monotonic() + 30
    try:
        while len(values) < count and time.monotonic() < deadline:
            message = consumer.poll(1)
            if message is not None and message.error() is None:
                values.append(message.value().decode())
    finally:
        consumer.close()
    return values


def register(url: str, subject: str, schema: object) -> int:
    """
    Register an Avro schema by Confluent's API and give its id.
    """
    request = urllib.request.Request(
        f"{url}/subjects/{subject}/versions",
        json.dumps({"schema": json.dumps(schema)}).encode(),
        {"Content-Type": "application/vnd.schemaregistry.v1+json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["id"]


def schema(url: str, number: int) -> object:
    with urllib.request.urlopen(f"{url}/schemas/ids/{number}", timeout=30) as answer:
        return json.loads(json.load(answer)["schema"])


def test_transactions_and_short_sessions_work(sandbox):
    """
    A transaction commits, and a group member with a session of one second reads it.
    """
    kafka = sandbox.bootstrap_servers
    topic = new_topic(kafka)
    commit(kafka, topic, "one")
    sessions = {"session.timeout.ms": 1000, "heartbeat.interval.ms": 300}
    assert committed(kafka, topic, 1, **sessions) == ["one"]


def test_topics_do_not_come_by_themselves(sandbox):
    """
    Writing to a topic that nobody created fails.
    """
    producer = Producer(
        {
            "bootstrap.servers": sandbox.bootstrap_servers,
            "topic.metadata.propagation.max.ms": 500,
        }
    )
    errors: list[KafkaError | None] = []
    producer.produce(
        f"test-{uuid.uuid4()}", b"one", on_delivery=lambda error, _: errors.append(error)
    )
    assert producer.flush(30) == 0
    assert [error.code() for error in errors] == [KafkaError.UNKNOWN_TOPIC_OR_PART]


def test_a_broker_comes_back_with_its_address_and_its_data(sandbox):
    """
    A clean restart and a kill keep port and records, and it serves when `start` returns.
    """
    kafka = sandbox.bootstrap_servers
    (broker,) = sandbox.kafka.brokers
    topic = new_topic(kafka)
    commit(kafka, topic, "before")
    broker.restart()
    commit(kafka, topic, "restarted")
    broker.kill()
    assert not broker.running
    broker.start()
    commit(kafka, topic, "killed")
    assert sandbox.bootstrap_servers == kafka
    assert committed(kafka, topic, 3) == ["before", "restarted", "killed"]


def test_a_paused_broker_answers_nobody_until_it_goes_on(sandbox):
    """
    While it is frozen nothing is answered, though it runs; afterwards it serves again.
    """
    kafka = sandbox.bootstrap_servers
    (broker,) = sandbox.kafka.brokers
    topic = new_topic(kafka)
    broker.pause()
    try:
        assert broker.running
        with pytest.raises(KafkaException):
            AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=1)
    finally:
        broker.resume()
    broker.wait()
    commit(kafka, topic, "one")
    assert committed(kafka, topic, 1) == ["one"]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_registry_keeps_its_ids(sandbox, end):
    """
    After a stop and after a kill a new start finds what was registered, under the same id.
    """
    registry = sandbox.registry
    first = {"type": "fixed", "name": f"first_{end}", "size": 4}
    second = {"type": "fixed", "name": f"second_{end}", "size": 4}
    number = register(sandbox.registry_url, f"first-{end}", first)
    getattr(registry.server, end)()
    with pytest.raises(OSError, match="refused"):
        schema(sandbox.registry_url, number)
    registry.start()
    assert schema(sandbox.registry_url, number) == first
    assert register(sandbox.registry_url, f"first-{end}", first) == number
    assert register(sandbox.registry_url, f"second-{end}", second) != number


def test_three_brokers_survive_the_loss_of_one():
    """
    With one of three killed, committed records are there and new ones can be committed.
    """
    with KafkaCluster(3) as kafka:
        servers = kafka.bootstrap_servers
        assert len(AdminClient({"bootstrap.servers": servers}).list_topics().brokers) == 3
        topic = new_topic(servers, replicas=3)
        commit(servers, topic, "three")
        kafka.brokers[0].kill()
        commit(servers, topic, "two")
        assert committed(servers, topic, 2) == ["three", "two"]


def test_nothing_outlives_a_program_that_is_killed():
    """
    After kill -9 of the program neither Java nor the data folder is left.
    """
    code = (
        "import time\n"
        "from connector.sandbox import Sandbox\n"
        "sandbox = Sandbox()\n"
        "sandbox.registry.server.launch()\n"
        "sandbox.kafka.launch()\n"
        "(broker,) = sandbox.kafka.brokers\n"
        "print(broker.pid, sandbox.registry.server.pid, broker.log.parent, flush=True)\n"
        "time.sleep(600)\n"
    )
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    broker, registry, folder = program.stdout.readline().split()
    assert alive(int(broker))
    assert alive(int(registry))
    program.send_signal(signal.SIGKILL)
    program.wait()
    program.stdout.close()
    assert eventually(lambda: not alive(int(broker)))
    assert eventually(lambda: not alive(int(registry)))
    assert eventually(lambda: not Path(folder).exists())


def test_a_broker_that_cannot_start_tells_why():
    """
    A setting that Kafka refuses ends the start at once, with Kafka's own words.
    """
    kafka = KafkaCluster(properties={"log.retention.hours": "many"})
    folder = kafka._guard.folder
    with pytest.raises(OutsideError, match=r"(?s)log\.retention\.hours"), kafka:
        pass
    assert not folder.exists()


def test_a_registry_whose_port_is_taken_tells_why(sandbox):
    """
    Another registry that answers on our port is not taken for ours.
    """
    registry = Registry()
    registry._port = sandbox.registry._port
    with pytest.raises(OutsideError, match="in use"), registry:
        pass


def test_a_broker_whose_port_is_taken_tells_why(sandbox):
    """
    Another cluster that answers on our port is not taken for ours.
    """
    kafka = KafkaCluster()
    kafka._addresses = (Address(1, sandbox.kafka._addresses[0].port, free_port()),)
    with pytest.raises(OutsideError, match="in use"), kafka:
        pass
