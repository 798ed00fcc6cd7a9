# SPDX-License-Identifier: Apache-2.0
"""
The settings of the Kafka clients: ``CONNECTOR_KAFKA_<LIBRDKAFKA_PROPERTY>``.

Everything that librdkafka would refuse, or do differently from what was meant, is
found here, before a client connects.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final

from confluent_kafka import KafkaException, Producer
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from connector.config.environment import FILE, Effective, Environment
from connector.config.fields import MASK
from connector.config.properties import (
    CONSUMER_ONLY,
    PRODUCER_ONLY,
    ask,
    is_sensitive,
    nearest,
    reserved,
)

PREFIX: Final = "CONNECTOR_KAFKA_"
PRODUCER_PREFIX: Final = "CONNECTOR_KAFKA_PRODUCER_"
_PROTOCOL: Final = PREFIX + "SECURITY_PROTOCOL"
_INSECURE: Final = PREFIX + "INSECURE_SKIP_VERIFY"

_SERVER: Final = re.compile(
    r"((SASL_)?(PLAINTEXT|SSL)://)?([^\s,/:]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?", re.IGNORECASE
)
# The connector's own values, where the user sets only one of the two (DESIGN section 4).
_SESSION_TIMEOUT_MS: Final = 10_000
_MAX_POLL_INTERVAL_MS: Final = 60_000


def _check_servers(text: str) -> str:
    servers = [server.strip() for server in text.split(",")]
    if not all(_SERVER.fullmatch(server) for server in servers):
        raise ValueError("is not a list of brokers: write host:port,host:port")
    return ",".join(servers)


class KafkaVariables(BaseModel):
    """
    The variables that are no properties of librdkafka, or have a rule of their own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    bootstrap_servers: Annotated[str, AfterValidator(_check_servers)] = Field(
        description="The brokers to begin with: `host:port,host:port`."
    )
    insecure_skip_verify: bool = Field(
        default=False,
        description="Do not check the brokers' certificates. Whoever sits between can read "
        "and change everything; each start warns about it.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """
    What Kafka clients are given, by kind; the representation shows no property.

    Attributes:
        bootstrap_servers: The brokers to begin with.
        insecure: Certificates are not checked.
    """

    bootstrap_servers: str
    insecure: bool = False
    _common: Mapping[str, str] = field(default_factory=dict, repr=False)
    _producer: Mapping[str, str] = field(default_factory=dict, repr=False)
    _consumer: Mapping[str, str] = field(default_factory=dict, repr=False)

    def common(self) -> dict[str, str]:
        """
        Properties for a client of any kind: servers, security, sockets.
        """
        return {"bootstrap.servers": self.bootstrap_servers, **self._common}

    def admin(self) -> dict[str, str]:
        """
        Properties for an admin client.
        """
        return self.common()

    def producer(self) -> dict[str, str]:
        """
        Properties for a producer; ``CONNECTOR_KAFKA_PRODUCER_…`` wins over the common ones.
        """
        return {**self.common(), **self._producer}

    def consumer(self) -> dict[str, str]:
        """
        Properties for a consumer.
        """
        return {**self.common(), **self._consumer}

    def secrets(self) -> tuple[str, ...]:
        """
        The values that no log line may show.
        """
        everything = [*self._common.items(), *self._producer.items(), *self._consumer.items()]
        return tuple(value for name, value in everything if is_sensitive(name))


@dataclass
class _Given:
    """
    The properties as the variables gave them, with the variable of each.
    """

    common: dict[str, str] = field(default_factory=dict)
    producer: dict[str, str] = field(default_factory=dict)
    consumer: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)


def load_kafka(environment: Environment, warnings: list[str]) -> KafkaSettings | None:
    """
    Read and check all that concerns Kafka; None if there were problems.
    """
    before = len(environment.problems)
    variables = environment.fill(KafkaVariables, PREFIX)
    given = _Given()
    names = [name for name in environment.variables if name.startswith(PREFIX)]
    # A producer's own variable comes after the general one, and replaces it.
    for name in sorted(names, key=lambda name: (name.startswith(PRODUCER_PREFIX), name)):
        if name not in environment.known:
            _read_property(environment, name, given)
    insecure = (
        variables.insecure_skip_verify
        if variables
        else bool({_INSECURE, _INSECURE + FILE} & environment.variables.keys())
    )
    _check_security(environment, given, warnings, insecure=insecure)
    _check_files(environment, given)
    _check_times(environment, given)
    if variables is None or len(environment.problems) > before:
        return None
    if insecure:
        given.common["enable.ssl.certificate.verification"] = "false"
        warnings.append(f"{_INSECURE} is set: the brokers' certificates are not checked")
    problem = _try(given.common | given.producer)
    if problem is not None:
        environment.problem(PREFIX + "*", problem)
        return None
    return KafkaSettings(
        bootstrap_servers=variables.bootstrap_servers,
        insecure=insecure,
        _common=given.common,
        _producer=given.producer,
        _consumer=given.consumer,
    )


def _read_property(environment: Environment, name: str, given: _Given) -> None:
    variable, prop = name, _property(name)
    if name.endswith(FILE) and ask(prop, "") == "unknown":
        # Not a property whose own name ends in "file", so it names one.
        variable = name.removesuffix(FILE)
        prop = _property(variable)
        if variable in environment.known:
            return
    value = environment.read(variable)
    if value is None:
        return
    reason = reserved(prop) or _unusable(prop, value.text, variable)
    if reason is not None:
        environment.problem(variable, reason)
        return
    given.variables[prop] = variable
    if variable.startswith(PRODUCER_PREFIX) or prop in PRODUCER_ONLY:
        given.producer[prop] = value.text
    elif prop in CONSUMER_ONLY:
        given.consumer[prop] = value.text
    else:
        given.common[prop] = value.text
    shown = MASK if is_sensitive(prop) else value.text
    environment.effective.append(Effective(variable, shown, value.origin))


def _property(variable: str) -> str:
    prefix = PRODUCER_PREFIX if variable.startswith(PRODUCER_PREFIX) else PREFIX
    return variable.removeprefix(prefix).replace("_", ".").lower()


def _unusable(prop: str, value: str, variable: str) -> str | None:
    verdict = ask(prop, value)
    if verdict == "unknown" or variable != variable.upper():
        near = nearest(prop)
        prefix = PRODUCER_PREFIX if variable.startswith(PRODUCER_PREFIX) else PREFIX
        hint = f": did you mean {prefix}{near.replace('.', '_').upper()}?" if near else ""
        return f"is no property of librdkafka{hint}"
    if verdict == "invalid":
        return "has a value that librdkafka does not take for this property"
    if variable.startswith(PRODUCER_PREFIX) and prop in CONSUMER_ONLY:
        return f"is a property of consumers: set {variable.replace(PRODUCER_PREFIX, PREFIX)}"
    return None


def _check_security(
    environment: Environment, given: _Given, warnings: list[str], *, insecure: bool
) -> None:
    """
    Refuse every silent downgrade: unused credentials, certificates not looked at.
    """
    everything = given.common | given.producer
    protocol = everything.get("security.protocol", "plaintext").lower()
    sasl = sorted(name for name in everything if name.startswith("sasl."))
    if sasl and not protocol.startswith("sasl_"):
        environment.problem(
            _PROTOCOL,
            f"has to be SASL_SSL (or SASL_PLAINTEXT): {given.variables[sasl[0]]} is set, and "
            "without SASL it would not be used",
        )
    if protocol.startswith("sasl_"):
        mechanism = everything.get("sasl.mechanism", everything.get("sasl.mechanisms", "GSSAPI"))
        if mechanism.upper() == "GSSAPI":
            environment.problem(
                PREFIX + "SASL_MECHANISM",
                "is GSSAPI (the default), which this build of librdkafka has not: "
                "set SCRAM-SHA-512, OAUTHBEARER or PLAIN",
            )
    if protocol == "sasl_plaintext":
        warnings.append(f"{_PROTOCOL} is SASL_PLAINTEXT: nothing on the way is encrypted")
    off = {
        "enable.ssl.certificate.verification": ("false", "f", "0"),
        "ssl.endpoint.identification.algorithm": ("none",),
    }
    for prop, values in off.items():
        if everything.get(prop, "").lower() in values and not insecure:
            environment.problem(
                given.variables[prop],
                f"switches the check of certificates off: {_INSECURE}=true says that this is meant",
            )


def _check_files(environment: Environment, given: _Given) -> None:
    for prop, value in (given.common | given.producer).items():
        if not prop.endswith(".location") or value == "probe" or prop == "ssl.engine.location":
            continue
        if not os.access(value, os.R_OK):
            environment.problem(given.variables[prop], "names a file that cannot be read")


def _check_times(environment: Environment, given: _Given) -> None:
    session = int(given.consumer.get("session.timeout.ms", _SESSION_TIMEOUT_MS))
    interval = int(given.consumer.get("max.poll.interval.ms", _MAX_POLL_INTERVAL_MS))
    if session > interval:
        environment.problem(
            PREFIX + "SESSION_TIMEOUT_MS",
            f"has to be at most {PREFIX}MAX_POLL_INTERVAL_MS ({_MAX_POLL_INTERVAL_MS} if not set)",
        )


def _try(properties: Mapping[str, str]) -> str | None:
    """
    Let librdkafka judge the properties together, with a producer that has no servers.
    """
    if properties.get("sasl.oauthbearer.method", "").lower() == "oidc":
        # Such a client asks for a token at once, and reading settings speaks to nobody.
        return None
    silent = logging.getLogger("connector.settings.silent")
    silent.setLevel(logging.CRITICAL + 1)
    try:
        Producer(
            {
                **properties,
                "transactional.id": "settings",
                "transaction.timeout.ms": 15_000,
                "enable.idempotence": True,
            },
            logger=silent,
        )
    except KafkaException as failure:
        text = " ".join(failure.args[0].str().split())
        if any(len(value) >= 3 and value in text for value in properties.values()):
            return "are refused by librdkafka when taken together"
        return f"are refused by librdkafka when taken together: {text}"
    return None
