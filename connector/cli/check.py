# SPDX-License-Identifier: Apache-2.0
"""
``connector check``: tries everything that ``run`` will need, and writes nothing.

::

    settings ─┬─▶ kafka ──▶ topics
              ├─▶ registry
              └─▶ credentials of each source: one page is read and thrown away

A rung below a broken one is left out, the others are tried nevertheless.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

import click
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata, NewTopic

from connector import logs
from connector.cli import EXIT_OUTSIDE, EXIT_SETTINGS
from connector.cli.compare import SAME, compare, fine, used_schemas
from connector.config.sources import Source
from connector.encoding.registry import open_registry
from connector.errors import (
    ConnectorError,
    CredentialsError,
    RetryError,
    SettingsError,
    StoppedError,
    TopicError,
)
from connector.kafka import topics
from connector.kafka.errors import explain
from connector.runtime import topic_specs
from connector.settings import Settings, load_settings
from connector.upstream.client import Client

_KAFKA_SECONDS: Final = 10.0
_REFUSED: Final = {
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
}


@dataclass(frozen=True, slots=True)
class Rung:
    """
    What one step found.

    Attributes:
        name: What was tried.
        found: What is there, or what is wrong.
        code: The exit code if it is broken, else 0.
        notes: What is worth knowing, or what to do.
    """

    name: str
    found: str
    code: int = 0
    notes: tuple[str, ...] = ()


@click.command()
def command() -> None:
    """
    Try settings, Kafka, topics, the registry and credentials; write nothing.

    Exit codes: 0 all is well; 2 settings are wrong or credentials refused; 3 a broker,
    the registry, a provider or a topic is missing (2 if both).
    """
    try:
        settings = load_settings(os.environ)
    except SettingsError as error:
        _show(Rung("settings", str(error), EXIT_SETTINGS))
        sys.exit(EXIT_SETTINGS)
    # Errors are told below in our words: the log would only say them twice.
    logs.set_up(level="error", log_format=settings.log_format, secrets=settings.secrets)
    given = sum(line.origin != "default" for line in settings.effective)
    count = f"{given} variables set, sources: {', '.join(s.name for s in settings.sources)}"
    _show(Rung("settings", count, notes=settings.warnings))
    rungs = asyncio.run(_climb(settings))
    codes = {rung.code for rung in rungs}
    sys.exit(next((code for code in (EXIT_SETTINGS, EXIT_OUTSIDE) if code in codes), 0))


async def _climb(settings: Settings) -> list[Rung]:
    """
    Try all rungs at the same time, and show them in their order.
    """
    tries = [
        asyncio.ensure_future(step)
        for step in (
            asyncio.to_thread(check_kafka, settings),
            _single(check_registry(settings)),
            *(_single(check_source(settings, source)) for source in settings.sources),
        )
    ]
    rungs = []
    for step in tries:
        for rung in await step:
            _show(rung)
            rungs.append(rung)
    return rungs


async def _single(step: Coroutine[Any, Any, Rung]) -> list[Rung]:
    return [await step]


def check_kafka(settings: Settings) -> list[Rung]:
    """
    Ask for the brokers, then for the topics.
    """
    heard: list[KafkaError] = []
    config = {**settings.kafka.admin(), "error_cb": heard.append}
    admin = AdminClient(config, logger=logs.librdkafka_logger())
    try:
        cluster: ClusterMetadata = admin.list_topics(timeout=_KAFKA_SECONDS)
    except KafkaException as failure:
        admin.poll(0)
        return [_unreachable([*heard, failure.args[0]])]
    count = len(cluster.brokers)
    found = Rung("kafka", "1 broker" if count == 1 else f"{count} brokers")
    return [found, _check_topics(settings, admin, count)]


def _unreachable(errors: list[KafkaError]) -> Rung:
    for error in errors:
        if error.code() in _REFUSED:
            return Rung(
                "kafka",
                f"refuses us: {explain(error)}",
                EXIT_SETTINGS,
                ("Look at CONNECTOR_KAFKA_SASL_…, and at the rights of that user.",),
            )
    return Rung(
        "kafka",
        f"cannot be reached: {explain(errors[0])}",
        EXIT_OUTSIDE,
        (
            "Are the brokers up, and is CONNECTOR_KAFKA_BOOTSTRAP_SERVERS right?",
            "With TLS or SASL, is CONNECTOR_KAFKA_SECURITY_PROTOCOL set?",
        ),
    )


def _check_topics(settings: Settings, admin: AdminClient, brokers: int) -> Rung:
    """
    Compare the topics with what would be created; creation is only tried on paper.
    """
    specs = topic_specs(settings, brokers)
    notes = []
    try:
        infos = topics.describe(admin, [spec.name for spec in specs])
        missing = [spec for spec in specs if spec.name not in infos]
        for spec in specs:
            if spec.name in infos:
                topics.refuse_unusable(spec, infos[spec.name])
                differences = topics.differences(spec, infos[spec.name])
                notes += [f"{spec.name} has {difference}" for difference in differences]
        if missing and not settings.topic_create:
            names = ", ".join(spec.name for spec in missing)
            raise TopicError(
                f"missing: {names}.", remedy="Create them, or set CONNECTOR_TOPIC_CREATE=true."
            )
        _try_creation(admin, missing)
    except ConnectorError as error:
        return Rung("topics", str(error), _code(error), tuple(notes))
    notes += [f"{spec.name} will be created" for spec in missing]
    return Rung("topics", f"{len(infos)} there, {len(missing)} to be created", 0, tuple(notes))


def _try_creation(admin: AdminClient, specs: list[topics.TopicSpec]) -> None:
    """
    Let Kafka say whether it would create topics, without creating one.
    """
    wanted = [
        NewTopic(
            spec.name,
            num_partitions=spec.partitions,
            replication_factor=spec.replication_factor,
            config=dict(spec.config),
        )
        for spec in specs
    ]
    if not wanted:
        return
    for name, future in admin.create_topics(wanted, validate_only=True).items():
        try:
            future.result(_KAFKA_SECONDS)
        except KafkaException as failure:
            raise TopicError(
                f"{name} cannot be created: {explain(failure.args[0]).rstrip('.')}.",
                remedy="Grant that right, create it, or look at CONNECTOR_TOPIC_…",
            ) from None
        except TimeoutError:
            raise TopicError(f"{name} cannot be created: no answer.") from None


async def check_registry(settings: Settings) -> Rung:
    """
    Ask the registry for what ``run`` will write.
    """
    registry = open_registry(settings.registry)
    if registry is None:
        return Rung("registry", "none is used: single-object encoding")
    try:
        async with registry:
            # What answers here is a registry; a wrong path knows no subjects either.
            await registry.subjects()
            found = [await compare(registry, *used) for used in used_schemas(settings)]
    except ConnectorError as error:
        return Rung("registry", str(error), _code(error))
    bad = [row for row in found if row["status"] not in fine(settings)]
    if bad:
        notes = [f"{row['subject']}: {note}" for row in bad for note in row["notes"]]
        text = ", ".join(f"{row['subject']} is {row['status']}" for row in bad)
        return Rung(
            "registry", text, EXIT_SETTINGS, (*notes, "See connector schemas check, register.")
        )
    there = sum(row["status"] == SAME for row in found)
    return Rung("registry", f"{there} schemas there, {len(found) - there} to be registered")


async def check_source(settings: Settings, source: Source) -> Rung:
    """
    Read one page of the first feed of a source, with its credentials.
    """
    name = f"source {source.name}"
    own = source.settings
    try:
        async with Client(
            source=source.name,
            base_url=own.base_url,
            auth=source.provider.auth(own),
            request_timeout=own.request_timeout,
            max_concurrency=1,
            rate_limit=own.rate_limit,
            allow_private_addresses=own.allow_private_addresses,
            trust_env=settings.http_trust_env,
        ) as client:
            for feed in source.provider.feeds(own)[:1]:
                offset, _ = feed.first(client.clock())
                await feed.fetch_page(client, offset)
    except ConnectorError as error:
        found = str(error).removeprefix(f"{source.name}: ")
        return Rung(name, found, _code(error), (f"Its variables begin with {source.prefix}",))
    return Rung(name, "credentials are accepted")


def _code(error: ConnectorError) -> int:
    """
    Tell what a person has to change (2) from what has to come up (3).
    """
    if isinstance(error, CredentialsError | StoppedError):
        return EXIT_SETTINGS
    return EXIT_OUTSIDE if isinstance(error, RetryError) else EXIT_SETTINGS


def _show(rung: Rung) -> None:
    """
    Print a rung: a tick or a cross, what was found, and what to do.
    """
    mark = "✗" if rung.code else "✓"
    try:
        mark.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        mark = "FAILED" if rung.code else "ok"
    click.echo(f"{mark} {rung.name}: {rung.found}")
    for note in rung.notes:
        click.echo(f"    {note}")
