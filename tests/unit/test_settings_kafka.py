# SPDX-License-Identifier: Apache-2.0
"""
What becomes of CONNECTOR_KAFKA_… variables.
"""

from __future__ import annotations

import logging

import pytest
from confluent_kafka import Consumer, Producer

from connector.config.properties import CONSUMER_ONLY, PRODUCER_ONLY, RESERVED, SETTABLE, ask
from tests.unit.settings_kit import load, problems

SASL = {
    "CONNECTOR_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "CONNECTOR_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "CONNECTOR_KAFKA_SASL_USERNAME": "invented-user",
    "CONNECTOR_KAFKA_SASL_PASSWORD": "invented-password",
}


def test_properties_go_to_the_clients_that_take_them():
    """
    Common properties go to all, a producer's to producers, a consumer's to consumers.
    """
    kafka = load(
        CONNECTOR_KAFKA_SOCKET_TIMEOUT_MS="9000",
        CONNECTOR_KAFKA_LINGER_MS="5",
        CONNECTOR_KAFKA_SESSION_TIMEOUT_MS="6000",
    ).kafka
    common = {"bootstrap.servers": "kafka.example.com:9092", "socket.timeout.ms": "9000"}

    assert (
        common,
        common,
        {**common, "linger.ms": "5"},
        {**common, "session.timeout.ms": "6000"},
    ) == (kafka.common(), kafka.admin(), kafka.producer(), kafka.consumer())


def test_producer_prefix_wins_for_producers_alone():
    """
    CONNECTOR_KAFKA_PRODUCER_… overrides the general variable, whatever their order.
    """
    kafka = load(
        CONNECTOR_KAFKA_PRODUCER_LINGER_MS="6",
        CONNECTOR_KAFKA_LINGER_MS="5",
        CONNECTOR_KAFKA_PRODUCER_SOCKET_TIMEOUT_MS="8000",
        CONNECTOR_KAFKA_SOCKET_TIMEOUT_MS="9000",
    ).kafka

    assert ("6", "8000", "9000") == (
        kafka.producer()["linger.ms"],
        kafka.producer()["socket.timeout.ms"],
        kafka.consumer()["socket.timeout.ms"],
    )


def test_property_whose_name_ends_in_file_is_no_file_variable():
    """
    A property of librdkafka that ends in "file" is set, not read as the name of a value.
    """
    kafka = load(
        **SASL
        | {
            "CONNECTOR_KAFKA_SASL_MECHANISM": "OAUTHBEARER",
            "CONNECTOR_KAFKA_SASL_OAUTHBEARER_METHOD": "oidc",
            "CONNECTOR_KAFKA_SASL_OAUTHBEARER_ASSERTION_PRIVATE_KEY_FILE": "/invented",
        }
    ).kafka

    assert kafka.common()["sasl.oauthbearer.assertion.private.key.file"] == "/invented"


@pytest.mark.parametrize(
    "name",
    [
        "group.id",
        "group.instance.id",
        "group.protocol",
        "client.id",
        "transactional.id",
        "enable.idempotence",
        "acks",
        "request.required.acks",
        "isolation.level",
        "partition.assignment.strategy",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "auto.offset.reset",
        "partitioner",
        "transaction.timeout.ms",
        "max.in.flight.requests.per.connection",
        "metadata.broker.list",
        "test.mock.num.brokers",
        "delivery.report.only.error",
    ],
)
@pytest.mark.parametrize("prefix", ["CONNECTOR_KAFKA_", "CONNECTOR_KAFKA_PRODUCER_"])
def test_reserved_properties_are_refused_with_the_reason(prefix, name):
    """
    What the protocol fixes cannot be set, with either prefix; the reason is told.
    """
    variable = prefix + name.replace(".", "_").upper()
    found = problems(**{variable: "1"})

    assert [f"{variable} is "] == [line[: len(variable) + 4] for line in found]
    assert found[0].removeprefix(f"{variable} ") in RESERVED.values()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"CONNECTOR_KAFKA_SSAL_PASSWORD": "x"},
            (
                "CONNECTOR_KAFKA_SSAL_PASSWORD is no property of librdkafka: did you mean "
                "CONNECTOR_KAFKA_SASL_PASSWORD?"
            ),
        ),
        (
            {"CONNECTOR_KAFKA_BOOTSTRAP_SERVER": "x"},
            (
                "CONNECTOR_KAFKA_BOOTSTRAP_SERVER is no property of librdkafka: did you mean "
                "CONNECTOR_KAFKA_BOOTSTRAP_SERVERS?"
            ),
        ),
        (
            {"CONNECTOR_KAFKA_PRODUCER_LINGR_MS": "1"},
            (
                "CONNECTOR_KAFKA_PRODUCER_LINGR_MS is no property of librdkafka: did you mean "
                "CONNECTOR_KAFKA_PRODUCER_LINGER_MS?"
            ),
        ),
        ({"CONNECTOR_KAFKA_QQQ": "1"}, "CONNECTOR_KAFKA_QQQ is no property of librdkafka"),
        ({"CONNECTOR_KAFKA_": "1"}, "CONNECTOR_KAFKA_ is no property of librdkafka"),
        (
            {"CONNECTOR_KAFKA_linger_ms": "1"},
            (
                "CONNECTOR_KAFKA_linger_ms is no property of librdkafka: did you mean "
                "CONNECTOR_KAFKA_LINGER_MS?"
            ),
        ),
        (
            {"CONNECTOR_KAFKA_LINGER_MS": "soon"},
            "CONNECTOR_KAFKA_LINGER_MS has a value that librdkafka does not take for this property",
        ),
        (
            {"CONNECTOR_KAFKA_PRODUCER_FETCH_MIN_BYTES": "1"},
            (
                "CONNECTOR_KAFKA_PRODUCER_FETCH_MIN_BYTES is a property of consumers: set "
                "CONNECTOR_KAFKA_FETCH_MIN_BYTES"
            ),
        ),
        *(
            (
                {"CONNECTOR_KAFKA_BOOTSTRAP_SERVERS": servers},
                (
                    "CONNECTOR_KAFKA_BOOTSTRAP_SERVERS is not a list of brokers: "
                    "write host:port,host:port"
                ),
            )
            for servers in ("http://kafka/x", "http://kafka:9092", "a:1,https://[::1]:9092")
        ),
        (
            {"CONNECTOR_KAFKA_SASL_USERNAME": "x"},
            (
                "CONNECTOR_KAFKA_SECURITY_PROTOCOL has to be SASL_SSL (or SASL_PLAINTEXT): "
                "CONNECTOR_KAFKA_SASL_USERNAME is set, and without SASL it would not be used"
            ),
        ),
        (
            SASL | {"CONNECTOR_KAFKA_SECURITY_PROTOCOL": "ssl"},
            (
                "CONNECTOR_KAFKA_SECURITY_PROTOCOL has to be SASL_SSL (or SASL_PLAINTEXT): "
                "CONNECTOR_KAFKA_SASL_MECHANISM is set, and without SASL it would not be used"
            ),
        ),
        (
            {"CONNECTOR_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"},
            (
                "CONNECTOR_KAFKA_SASL_MECHANISM is GSSAPI (the default), which this build of "
                "librdkafka has not: set SCRAM-SHA-512, OAUTHBEARER or PLAIN"
            ),
        ),
        (
            SASL | {"CONNECTOR_KAFKA_SASL_PASSWORD": None},
            (
                "CONNECTOR_KAFKA_* are refused by librdkafka when taken together: Failed to create "
                "producer: sasl.username and sasl.password must be set"
            ),
        ),
        (
            SASL | {"CONNECTOR_KAFKA_SASL_MECHANISM": "HUNTER2"},
            "CONNECTOR_KAFKA_* are refused by librdkafka when taken together",
        ),
        (
            {"CONNECTOR_KAFKA_ENABLE_SSL_CERTIFICATE_VERIFICATION": "false"},
            (
                "CONNECTOR_KAFKA_ENABLE_SSL_CERTIFICATE_VERIFICATION switches the check of "
                "certificates off: CONNECTOR_KAFKA_INSECURE_SKIP_VERIFY=true says that this is "
                "meant"
            ),
        ),
        (
            {"CONNECTOR_KAFKA_SSL_ENDPOINT_IDENTIFICATION_ALGORITHM": "none"},
            (
                "CONNECTOR_KAFKA_SSL_ENDPOINT_IDENTIFICATION_ALGORITHM switches the check of "
                "certificates off: CONNECTOR_KAFKA_INSECURE_SKIP_VERIFY=true says that this is "
                "meant"
            ),
        ),
        (
            {"CONNECTOR_KAFKA_SSL_CA_LOCATION": "/no/such/file"},
            "CONNECTOR_KAFKA_SSL_CA_LOCATION names a file that cannot be read",
        ),
        (
            {"CONNECTOR_KAFKA_SESSION_TIMEOUT_MS": "61000"},
            (
                "CONNECTOR_KAFKA_SESSION_TIMEOUT_MS has to be at most "
                "CONNECTOR_KAFKA_MAX_POLL_INTERVAL_MS (60000 if not set)"
            ),
        ),
    ],
)
def test_each_mistake_is_named(changes, expected):
    """
    One mistake gives exactly this problem.
    """
    assert [expected] == problems(**changes)


@pytest.mark.parametrize(
    "servers", ["kafka", "kafka:9092", "a:1,b:2", " a:1 , b:2 ", "[::1]:9092", "SSL://kafka:9093"]
)
def test_lists_of_brokers(servers):
    """
    Everything that librdkafka reads as a list of brokers passes, without its blanks.
    """
    kafka = load(CONNECTOR_KAFKA_BOOTSTRAP_SERVERS=servers).kafka

    assert servers.replace(" ", "") == kafka.bootstrap_servers


def test_certificates_unchecked_warn():
    """
    INSECURE_SKIP_VERIFY switches the check off, in all clients, and each start warns.
    """
    settings = load(
        CONNECTOR_KAFKA_INSECURE_SKIP_VERIFY="true", CONNECTOR_KAFKA_SECURITY_PROTOCOL="ssl"
    )

    assert (
        "false",
        ("CONNECTOR_KAFKA_INSECURE_SKIP_VERIFY is set: the brokers' certificates are not checked",),
    ) == (settings.kafka.admin()["enable.ssl.certificate.verification"], settings.warnings)


def test_credentials_in_clear_text_warn():
    """
    SASL without encryption is allowed, and warned about.
    """
    settings = load(**SASL | {"CONNECTOR_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"})

    assert (
        "CONNECTOR_KAFKA_SECURITY_PROTOCOL is SASL_PLAINTEXT: nothing on the way is encrypted",
    ) == settings.warnings


def test_sensitive_properties_are_masked():
    """
    The effective settings mask what librdkafka calls sensitive, user names included.
    """
    settings = load(**SASL, CONNECTOR_KAFKA_SSL_KEY_PASSWORD="invented")
    shown = {line.variable: line.value for line in settings.effective}

    assert ("***", "***", "***", "SCRAM-SHA-512") == (
        shown["CONNECTOR_KAFKA_SASL_USERNAME"],
        shown["CONNECTOR_KAFKA_SASL_PASSWORD"],
        shown["CONNECTOR_KAFKA_SSL_KEY_PASSWORD"],
        shown["CONNECTOR_KAFKA_SASL_MECHANISM"],
    )


# A value that librdkafka takes, for those that take no number.
_TAKEN = {
    "compression.codec": "lz4",
    "compression.type": "lz4",
    "queuing.strategy": "fifo",
    "queue.buffering.max.ms": "7",
    "linger.ms": "7",
    "session.timeout.ms": "7000",
    "max.poll.interval.ms": "70000",
    "fetch.max.bytes": "70000000",
}


def _complaints(kind, config: dict[str, str]) -> list[str]:
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("test.librdkafka")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.handlers = [handler]
    client = kind(config, logger=logger)
    client.poll(0)
    if kind is Consumer:
        client.close()
    return [text for text in heard if "will be ignored" in text]


@pytest.mark.parametrize("name", sorted(PRODUCER_ONLY))
def test_producer_properties_are_librdkafkas(name):
    """
    A consumer of librdkafka itself says that it ignores each of our producer's.
    """
    value = _TAKEN.get(name) or next(v for v in ("7", "true") if ask(name, v) == "good")

    assert _complaints(Consumer, {"group.id": "test", name: value})


@pytest.mark.parametrize("name", sorted(CONSUMER_ONLY))
def test_consumer_properties_are_librdkafkas(name):
    """
    A producer of librdkafka itself says that it ignores each of our consumer's.
    """
    value = _TAKEN.get(name) or next(v for v in ("7", "7000", "true") if ask(name, v) == "good")

    assert _complaints(Producer, {name: value})


def test_suggestions_exist():
    """
    Every property that "did you mean" can suggest is one of librdkafka's.
    """
    assert [] == [name for name in SETTABLE if ask(name, "?") == "unknown"]
