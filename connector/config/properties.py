# SPDX-License-Identifier: Apache-2.0
"""
What we know of librdkafka's properties: which are ours, whose they are, which are secret.

Which properties exist, and which values they take, librdkafka itself is asked.
"""

from __future__ import annotations

import difflib
import fnmatch
from typing import Final, Literal

from confluent_kafka import KafkaException, Producer

# The properties whose meaning the protocol fixes (notes 7), with the reason. Patterns
# as in a shell; the first that fits counts.
RESERVED: Final = {
    "bootstrap.servers": "is set without the prefix of a producer",
    "metadata.broker.list": "is an old name: use CONNECTOR_KAFKA_BOOTSTRAP_SERVERS",
    "group.*": "is reserved: the group is named after CONNECTOR_NAME, with the classic protocol",
    "client.id": "is reserved: it tells the shards of a worker apart",
    "transactional.id": "is reserved: it is what fences a shard's former owner",
    "transaction.timeout.ms": "is reserved: it bounds what a frozen worker does to readers",
    "enable.idempotence": "is reserved: transactions need it",
    "enable.gapless.guarantee": "is reserved: transactions make it needless",
    "acks": "is reserved: transactions need all",
    "request.required.acks": "is reserved: transactions need all",
    "max.in.flight*": "is reserved: it keeps the order of records",
    "isolation.level": "is reserved: offsets are only read committed",
    "partition.assignment.strategy": "is reserved: shards move one by one (cooperative-sticky)",
    "enable.auto.*": "is reserved: offsets are committed with the records",
    "auto.commit.*": "is reserved: offsets are committed with the records",
    "auto.offset.reset": "is reserved: a lost offset never starts over silently",
    "offset.store.*": "is reserved: offsets are committed with the records",
    "enable.partition.eof": "is reserved: it marks the end of a replay",
    "partitioner": "is reserved: keys are spread as by Java's producer (murmur2_random)",
    "partitioner.*": "is reserved: keys are spread as by Java's producer (murmur2_random)",
    "allow.auto.create.topics": "is reserved: see CONNECTOR_TOPIC_CREATE",
    "delivery.report.only.error": "is reserved: only failures are reported",
    "log.queue": "is reserved: librdkafka's log is part of ours",
    "plugin.library.paths": "is reserved: no code is loaded by a setting",
    "test.*": "is reserved: a mock cluster fences nobody",
}

# For a property that only one of the two kinds of clients takes; the other would warn
# about it at each start. A test asks librdkafka whether these lists are right.
PRODUCER_ONLY: Final = frozenset(
    {
        "batch.num.messages",
        "batch.size",
        "compression.codec",
        "compression.level",
        "compression.type",
        "delivery.timeout.ms",
        "linger.ms",
        "message.send.max.retries",
        "message.timeout.ms",
        "produce.offset.report",
        "queue.buffering.backpressure.threshold",
        "queue.buffering.max.kbytes",
        "queue.buffering.max.messages",
        "queue.buffering.max.ms",
        "queuing.strategy",
        "request.timeout.ms",
        "retries",
        "sticky.partitioning.linger.ms",
    }
)
CONSUMER_ONLY: Final = frozenset(
    {
        "check.crcs",
        "coordinator.query.interval.ms",
        "fetch.error.backoff.ms",
        "fetch.max.bytes",
        "fetch.message.max.bytes",
        "fetch.min.bytes",
        "fetch.queue.backoff.ms",
        "fetch.wait.max.ms",
        "heartbeat.interval.ms",
        "max.partition.fetch.bytes",
        "max.poll.interval.ms",
        "queued.max.messages.kbytes",
        "queued.min.messages",
        "session.timeout.ms",
    }
)

# What people set, besides the two lists above: for "did you mean" only.
_COMMON: Final = frozenset(
    {
        "broker.address.family",
        "broker.address.ttl",
        "client.dns.lookup",
        "client.rack",
        "connections.max.idle.ms",
        "debug",
        "enable.ssl.certificate.verification",
        "https.ca.location",
        "https.ca.pem",
        "message.max.bytes",
        "metadata.max.age.ms",
        "reconnect.backoff.max.ms",
        "reconnect.backoff.ms",
        "retry.backoff.max.ms",
        "retry.backoff.ms",
        "sasl.mechanism",
        "sasl.oauthbearer.client.id",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.extensions",
        "sasl.oauthbearer.method",
        "sasl.oauthbearer.scope",
        "sasl.oauthbearer.token.endpoint.url",
        "sasl.password",
        "sasl.username",
        "security.protocol",
        "socket.connection.setup.timeout.ms",
        "socket.keepalive.enable",
        "socket.nagle.disable",
        "socket.timeout.ms",
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.certificate.pem",
        "ssl.cipher.suites",
        "ssl.endpoint.identification.algorithm",
        "ssl.key.location",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.location",
        "ssl.keystore.password",
        "statistics.interval.ms",
    }
)

SETTABLE: Final = PRODUCER_ONLY | CONSUMER_ONLY | _COMMON | {"bootstrap.servers"}

# librdkafka's own list of sensitive properties (rd_kafka_conf.c, _RK_SENSITIVE), widened.
_SENSITIVE: Final = (
    "*.pem",
    "*passphrase*",
    "*password*",
    "*secret*",
    "sasl.oauthbearer.assertion.private.key.*",
    "sasl.oauthbearer.config",
    "sasl.username",
    "ssl.key.location",
)

# Stands behind the property in question, so that no client is ever made by asking.
_END: Final = "connector.end.of.question"

Verdict = Literal["good", "unknown", "invalid"]


def ask(name: str, value: str) -> Verdict:
    """
    Ask librdkafka whether a property exists and takes a value, without making a client.
    """
    try:
        Producer({name: value, _END: ""})
    except KafkaException as failure:
        text = failure.args[0].str()
        if text.startswith(f'No such configuration property: "{_END}"'):
            return "good"
        return "unknown" if text.startswith("No such configuration property") else "invalid"
    except (TypeError, ValueError):
        # Some properties are Python values in this client, and text has no null character.
        return "invalid"
    raise AssertionError("librdkafka took a property that does not exist")


def reserved(name: str) -> str | None:
    """
    Tell why a property cannot be set, or None if it can.
    """
    for pattern, reason in RESERVED.items():
        if fnmatch.fnmatchcase(name, pattern):
            return reason
    return None


def is_sensitive(name: str) -> bool:
    """
    Tell whether the value of a property has to be masked.
    """
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _SENSITIVE)


def nearest(name: str) -> str | None:
    """
    Find the property that was probably meant.
    """
    return next(iter(difflib.get_close_matches(name, sorted(SETTABLE), n=1, cutoff=0.8)), None)
