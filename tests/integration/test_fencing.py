# SPDX-License-Identifier: Apache-2.0
"""
A producer that is fenced at any moment.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter

from confluent_kafka import Producer

from connector.errors import ConnectorError, FencedError
from connector.kafka.producer import (
    StateWrite,
    Transaction,
    TransactionalProducer,
    transactional_config,
)
from connector.logs import librdkafka_logger
from connector.unit import Message
from tests.integration.conftest import Cluster
from tests.integration.seeing import read_all
from tests.integration.writing import new_topic

RECORDS = 7


def make(cluster: Cluster, name: str, offsets: str) -> TransactionalProducer:
    config = transactional_config(
        {"bootstrap.servers": cluster.bootstrap_servers},
        transactional_id=name,
        smallest_limit=1_000_000,
        largest_limit=1_000_000,
    )
    return TransactionalProducer(
        config,
        offsets_topic=offsets,
        shard=0,
        logger=librdkafka_logger(),
        stop=threading.Event(),
    )


def test_a_fence_at_any_moment_is_definite(cluster: Cluster) -> None:
    """
    Somebody initialises the same id again and again. Each transaction that was told to be
    committed is there once, each other one as a whole or not at all, and nothing but our
    own errors comes out of the producer.
    """
    topic, offsets = (new_topic(cluster.bootstrap_servers, partitions=2) for _ in range(2))
    name = f"fenced-{uuid.uuid4()}"
    ended = threading.Event()

    def fence() -> None:
        while not ended.wait(random.uniform(0.05, 0.4)):
            other = Producer(
                {"bootstrap.servers": cluster.bootstrap_servers, "transactional.id": name},
                logger=librdkafka_logger(),
            )
            other.init_transactions(15)

    committed, fences, number = [], 0, 0
    fencing = threading.Thread(target=fence)
    fencing.start()
    until = time.monotonic() + 8.0
    while time.monotonic() < until:
        producer = make(cluster, name, offsets)
        try:
            producer.init()
            while time.monotonic() < until:
                number += 1
                messages = [
                    (
                        Message(topic, b"%d" % key, b"v", str(number)),
                        b"0.1.1",
                        time.time_ns() // 1_000_000,
                    )
                    for key in range(RECORDS)
                ]
                producer.send(Transaction(messages, [StateWrite(b"a/b", b"%d" % number)]))
                committed.append(str(number))
        except FencedError:
            fences += 1
        except ConnectorError:
            # Its init met the other's: from the top again.
            pass
        finally:
            producer.drop()
    ended.set()
    fencing.join()

    found = Counter(seen.id for seen in read_all(cluster.bootstrap_servers, topic))
    stored = [seen.value for seen in read_all(cluster.bootstrap_servers, offsets)]
    assert fences >= 5
    assert {RECORDS} == set(found.values())
    assert set(committed) <= set(found)
    assert sorted(found, key=lambda n: int(n or 0)) == [
        value.decode() for value in stored if value is not None
    ]
