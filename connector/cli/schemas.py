# SPDX-License-Identifier: Apache-2.0
"""
``connector schemas``: the Avro schemas that come with the connector, and the registry.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.table import Table

from connector.cli import EXIT_FAILED
from connector.cli.compare import SAME, compare, fine, used_schemas
from connector.cli.tables import wide_console
from connector.encoding import json, schemas
from connector.encoding.registry import Registry, ensure, open_registry
from connector.encoding.schemas import Schema
from connector.errors import SettingsError
from connector.settings import Settings, load_settings

_OUTPUT = click.option(
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="For people, or for programs.",
)


@click.group(
    short_help="List the Avro schemas, compare them with the registry, register them.",
    epilog="""\b
Examples:
  connector schemas list
  connector schemas check
  connector schemas register --output json
""",
)
def command() -> None:
    """
    List the Avro schemas, compare them with the registry, register them.

    Each topic has one subject, <topic>-value, with the rule FULL_TRANSITIVE.
    """


@command.command(
    "list",
    epilog="""\b
Examples:
  connector schemas list
  connector schemas list --output json
""",
)
@_OUTPUT
def list_(output: str) -> None:
    """
    List the schemas that come with the connector. Needs no settings.

    The fingerprint is what single-object encoding writes before a record.
    """
    rows = [
        {"schema": each.path, "name": each.name, "fingerprint": each.fingerprint.hex()}
        for each in schemas.shipped()
    ]
    _write(rows, output)


@command.command(
    epilog="""\b
Examples:
  connector schemas check
  connector schemas check --output json
""",
)
@_OUTPUT
@click.pass_context
def check(ctx: click.Context, output: str) -> None:
    """
    Compare the schemas with the registry; change nothing.

    For each topic: same (registered), missing (no such subject), compatible (it can be
    registered) or incompatible (and why). Exits 1 if `connector run` would stop at one:
    at an incompatible one, and if CONNECTOR_SCHEMA_REGISTRY_REGISTER is false at all that
    are not registered. Exits 3 if the registry is not there.
    """
    settings = _settings()
    registry = open_registry(settings.registry)
    if registry is None:
        _say_none()
        return
    rows = asyncio.run(_check(registry, used_schemas(settings)))
    _write(rows, output)
    if any(row["status"] not in fine(settings) for row in rows):
        ctx.exit(EXIT_FAILED)


@command.command(
    epilog="""\b
Examples:
  connector schemas register
  connector schemas register --output json
""",
)
@_OUTPUT
def register(output: str) -> None:
    """
    Register what the registry does not have; can be repeated without harm.

    Prints the id and the version of each schema. Stops at the first one that may not
    follow what is registered.
    """
    settings = _settings()
    registry = open_registry(settings.registry)
    if registry is None:
        _say_none()
        return
    _write(asyncio.run(_register(registry, used_schemas(settings))), output)


def _settings() -> Settings:
    settings = load_settings(os.environ, need={"name", "registry"})
    if not settings.sources:
        raise SettingsError("CONNECTOR_SOURCES is required.")
    return settings


async def _check(registry: Registry, topics: Sequence[tuple[str, Schema]]) -> list[dict[str, Any]]:
    async with registry:
        return [await compare(registry, topic, schema) for topic, schema in topics]


async def _register(
    registry: Registry, topics: Sequence[tuple[str, Schema]]
) -> list[dict[str, Any]]:
    rows = []
    async with registry:
        for topic, schema in topics:
            done = await ensure(registry, topic, schema)
            rows.append(
                {
                    "subject": schemas.subject(topic),
                    "schema": schema.name,
                    "status": "registered" if done.created else SAME,
                    "id": done.schema_id,
                    "version": done.version,
                }
            )
    return rows


def _say_none() -> None:
    click.echo("No registry is used (CONNECTOR_SCHEMA_REGISTRY_URL is none).", err=True)


def _write(rows: Sequence[Mapping[str, Any]], output: str) -> None:
    if output == "json":
        click.echo(json.dumps(rows).decode())
        return
    table = Table(box=None, pad_edge=False)
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(each) for each in row.values()))
    wide_console().print(table)


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(value)
    return "" if value is None else str(value)
