# SPDX-License-Identifier: Apache-2.0
"""
``connector offsets``: look at and change the stored offsets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import click
import orjson
from rich.table import Table

from connector.cli.tables import wide_console
from connector.config.values import Start
from connector.encoding.json import JsonError, dumps, loads
from connector.errors import SettingsError, StoppedError
from connector.kafka.offsets import Offsets, stored_offset
from connector.kafka.state import ShardState
from connector.logs import librdkafka_logger
from connector.providers.base import Feed
from connector.settings import Settings, load_settings
from connector.unit import Json
from connector.upstream.timing import wall_ms

_OUTPUT = click.option(
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="For people, or for programs.",
)
_DRY_RUN = click.option(
    "--dry-run", is_flag=True, help="Show what is stored and what would be, change nothing."
)


@click.group(
    short_help="Look at and change the stored offsets.",
    epilog="""\b
Examples:
  connector offsets list
  connector offsets get monetago/activity
  connector offsets set monetago/activity -1h
  connector offsets set stedi/transactions 2026-01-31T00:00:00Z
  connector offsets reset stedi:acme/transactions
""",
)
def command() -> None:
    """
    Look at and change the stored offsets.

    A source partition is written <source>/<stream>, such as monetago/activity. Changes are
    refused while workers are members of the group, and fence what was forgotten.
    """


@command.command("list")
@_OUTPUT
def list_offsets(output: str) -> None:
    """
    List all stored offsets.
    """
    rows = []
    with _offsets({"name", "kafka"}) as (_settings, offsets):
        for shard in range(offsets.shards):
            state = offsets.read(shard)
            rows += [_row(state, name) for name in state.source_partitions()]
    rows.sort(key=lambda row: row["source_partition"])
    if output == "json":
        click.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
        return
    table = Table()
    for column in ("source partition", "shard", "committed", "parts", "offset"):
        table.add_column(column, overflow="fold")
    for row in rows:
        offset = "reset" if row["offset"] is None else dumps(row["offset"]).decode()
        table.add_row(
            row["source_partition"],
            str(row["shard"]),
            row["committed_at"],
            str(row["parts"]),
            offset,
        )
    wide_console().print(table if rows else "No offset is stored.")


@command.command("get")
@click.argument("source_partition")
def get_offset(source_partition: str) -> None:
    """
    Print one stored offset as JSON; "set" takes it back.
    """
    with _offsets({"name", "kafka"}) as (_settings, offsets):
        stored = offsets.read(offsets.shard_of(source_partition)).get(source_partition)
        if stored is None:
            raise StoppedError(
                f"No offset is stored for {source_partition}.",
                remedy="See connector offsets list.",
            )
        if stored.get("offset") is None:
            raise StoppedError(
                f"The offset of {source_partition} was reset: the feed begins at its …_START."
            )
        click.echo(dumps(stored["offset"]))


@command.command(
    "set",
    # A start such as -1h is an argument, and no -h in it asks for help.
    context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]},
    epilog="""\b
Examples:
  connector offsets set monetago/activity 2026-01-31T00:00:00Z
  connector offsets set monetago/activity -1h
""",
)
@click.argument("source_partition")
@click.argument("offset")
@_DRY_RUN
def set_offset(source_partition: str, offset: str, *, dry_run: bool) -> None:
    """
    Store another offset: JSON as "get" prints it, or a start such as -1h or a time.

    What lies between the old and the new offset is read again, or left out.
    """
    with _offsets({"name", "kafka", "sources"}) as (settings, offsets):
        parts = parse_offset(_feed(settings, source_partition), offset)
        _change(offsets, source_partition, parts, dry_run=dry_run)


@command.command("reset")
@click.argument("source_partition")
@_DRY_RUN
def reset_offset(source_partition: str, *, dry_run: bool) -> None:
    """
    Forget an offset: the feed begins at its …_START, as for the first time.
    """
    with _offsets({"name", "kafka", "sources"}) as (settings, offsets):
        _feed(settings, source_partition)
        _change(offsets, source_partition, None, dry_run=dry_run)


@command.command("accept")
@click.argument("source_partition")
def accept_offset(source_partition: str) -> None:
    """
    Keep an offset although the settings now describe another stream of records.
    """
    with _offsets({"name", "kafka"}) as (_settings, offsets):
        shard = offsets.shard_of(source_partition)
        offsets.change(shard, offsets.accept(source_partition))
        click.echo(f"{source_partition}: accepted, shard {shard}.")


def _change(
    offsets: Offsets, source_partition: str, parts: Mapping[str, Json] | None, *, dry_run: bool
) -> None:
    shard = offsets.shard_of(source_partition)
    click.echo(f"{source_partition}, shard {shard}")
    if dry_run:
        _compare(offsets.read(shard), source_partition, parts)
        click.echo("Nothing was changed (--dry-run).")
        return
    replace = offsets.replace(source_partition, parts)

    # Read after the fence: what somebody forgotten has left open is decided by then.
    def plan(state: ShardState) -> Mapping[str, Json | None]:
        _compare(state, source_partition, parts)
        return replace(state)

    if offsets.change(shard, plan):
        click.echo("Stored. The numbering of records (seq) begins a new epoch.")
    else:
        click.echo("It is stored already; nothing was changed.")


def _compare(state: ShardState, source_partition: str, parts: Mapping[str, Json] | None) -> None:
    click.echo(f"  before: {_before(state, source_partition)}")
    click.echo(f"  after:  {_show(parts[''] if parts else None)}")


def _before(state: ShardState, source_partition: str) -> str:
    try:
        state.get(source_partition)
    except StoppedError as failure:
        return f"unreadable: {failure.message}"
    return _show(stored_offset(state, source_partition))


def _show(offset: Json | None) -> str:
    return "none: the configured start" if offset is None else dumps(offset).decode()


def parse_offset(feed: Feed[Any], text: str) -> Mapping[str, Json]:
    """
    Read an offset as an operator writes it; refuse what the feed could not start from.

    Args:
        feed: Whose offset it is to be.
        text: JSON as ``get`` prints it, or a start.

    Returns:
        The parts to store, ``""`` the cursor.

    Raises:
        SettingsError: It is neither of the two.
    """
    if not text.lstrip().startswith("{"):
        return feed.first(_parse_start(text))[1]
    try:
        parts = {"": loads(text.encode())}
    except JsonError as failure:
        raise SettingsError(f"OFFSET is not JSON: {failure}.") from None
    try:
        offset = feed.load(parts)
    except StoppedError as failure:
        raise SettingsError(f"OFFSET is none of this feed: {failure.message}") from None
    # What is kept for a newer release is a typing error when a person writes it.
    unknown = getattr(offset, "extra", None)
    if unknown:
        raise SettingsError(
            f"OFFSET has fields that this feed does not know: {', '.join(sorted(unknown))}.",
            remedy="Write it as connector offsets get prints it.",
        )
    return parts


def _parse_start(text: str) -> int:
    """
    Read a start as an operator writes it, as milliseconds since 1970.
    """
    now = wall_ms()
    try:
        start = Start.parse(text)
    except ValueError as failure:
        with suppress(JsonError):
            loads(text.encode())
            raise SettingsError(
                "OFFSET is JSON, but no object: write it as connector offsets get prints it."
            ) from None
        raise SettingsError(f"OFFSET is neither JSON nor a start: it {failure}.") from None
    if start.at is not None and start.at > now:
        raise SettingsError("OFFSET lies in the future: write now, or a time that has passed.")
    return start.resolve(now)


def _feed(settings: Settings, source_partition: str) -> Feed[Any]:
    known = {
        f"{source.name}/{feed.stream.name}": feed
        for source in settings.sources
        for feed in source.provider.feeds(source.settings)
    }
    if source_partition not in known:
        raise SettingsError(
            f"{source_partition} is no feed of these settings; there are: {', '.join(known)}."
        )
    return known[source_partition]


def _row(state: ShardState, name: str) -> dict[str, Any]:
    try:
        stored = state.get(name) or {}
    except StoppedError as failure:
        # It is shown, so that set or reset can put another in its place.
        stored = {"offset": {"unreadable": failure.message}}
    committed = stored.get("committed_at")
    return {
        "source_partition": name,
        "shard": state.shard,
        "offset": stored.get("offset"),
        "parts": len(state.part_names(name)),
        "committed_at": datetime.fromtimestamp(committed / 1000, UTC).isoformat(
            timespec="milliseconds"
        )
        if isinstance(committed, int)
        else "",
    }


@contextmanager
def _offsets(need: set[Any]) -> Iterator[tuple[Settings, Offsets]]:
    settings = load_settings(os.environ, need=need)
    offsets = Offsets(
        admin=settings.kafka.admin(),
        consumer=settings.kafka.consumer(),
        producer=settings.kafka.producer(),
        topic=settings.offsets_topic,
        group_id=settings.group_id,
        logger=librdkafka_logger(),
        clock_ms=wall_ms,
    )
    try:
        yield settings, offsets
    finally:
        offsets.close()
