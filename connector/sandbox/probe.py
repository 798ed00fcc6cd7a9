# SPDX-License-Identifier: Apache-2.0
"""
Asks servers whether they serve.
"""

from __future__ import annotations

import http.client
import logging
import socket
from urllib.parse import urlsplit

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

# Failures are expected while a server starts; librdkafka would print each of them.
_SILENT = logging.getLogger("connector.sandbox.probe.librdkafka")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False

_PROBE = "connector-sandbox-probe"


def accepts(host: str, port: int) -> bool:
    """
    Tell whether somebody listens there.
    """
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def serves(bootstrap_servers: str, *, cluster_id: str, brokers: int) -> bool:
    """
    Tell whether a broker is ours, knows the whole cluster, and groups and transactions work.

    The first success creates Kafka's own topics, with a transactional id and a group
    named ``connector-sandbox-probe`` that commit nothing.

    Args:
        bootstrap_servers: ``host:port`` of the broker.
        cluster_id: The cluster that has to answer, and not another on a port that was taken.
        brokers: How many brokers have to be there.
    """
    host, port = bootstrap_servers.rsplit(":", 1)
    if not accepts(host, int(port)):
        return False
    common = {"bootstrap.servers": bootstrap_servers, "logger": _SILENT}
    try:
        metadata = AdminClient(common).list_topics(timeout=5)
        if metadata.cluster_id != cluster_id or metadata.controller_id < 0:
            return False
        if len(metadata.brokers) < brokers:
            return False
        Producer({**common, "transactional.id": _PROBE}).init_transactions(5)
        consumer = Consumer({**common, "group.id": _PROBE, "enable.auto.commit": False})
        try:
            consumer.committed([TopicPartition(_PROBE, 0)], timeout=5)
        finally:
            consumer.close()
    except KafkaException:
        return False
    return True


def answers(url: str, header: tuple[str, str]) -> bool:
    """
    Tell whether a GET on plain HTTP is answered with 200, by a server of ours.

    Args:
        url: What to ask for.
        header: Name and value of the header that our server puts into each answer.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        connection.request("GET", parts.path)
        response = connection.getresponse()
        return response.status == 200 and response.getheader(header[0]) == header[1]
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
