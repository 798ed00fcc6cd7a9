# SPDX-License-Identifier: Apache-2.0
"""
``connector tail``: show records as JSON.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

from connector.cli.topics import choose, load, quiet_logger, reader_group
from connector.encoding.decoding import Decoder
from connector.encoding.registry import open_registry
from connector.errors import TopicError
from connector.kafka.reader import Reader, Record
from connector.tail import last_records, to_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from connector.settings import Settings

# How often topics are looked for that were not there at the start.
_LOOK_AGAIN_SECONDS = 2.0
_PATIENCE_SECONDS = 30.0


class _Enough(Exception):  # noqa: N818 - no error: as many records were shown as asked for
    """
    The count is reached.
    """


class _Printer:
    """
    Decodes and prints records: coloured on a terminal, plain lines elsewhere.
    """

    def __init__(self, settings: Settings, count: int | None) -> None:
        self._runner = asyncio.Runner()
        self._registry = open_registry(settings.registry)
        self._decoder = Decoder(self._registry)
        self._left = count
        self._console = Console()
        self._highlight = JSONHighlighter()

    def print(self, records: Sequence[Record]) -> None:
        """
        Print records, in their order.

        Raises:
            _Enough: This was the last that was asked for.
        """
        if self._left is not None:
            records = records[: self._left]
            self._left -= len(records)
        if records:
            lines = self._runner.run(self._lines(records))
            if self._console.is_terminal:
                for line in lines:
                    text = Text(line)
                    self._highlight.highlight(text)
                    self._console.print(text, soft_wrap=True)
            else:
                click.echo("\n".join(lines).encode())
        if self._left == 0:
            raise _Enough

    async def _lines(self, records: Sequence[Record]) -> list[str]:
        return [await to_line(record, self._decoder) for record in records]

    def close(self) -> None:
        """
        Close the connections to the registry.
        """
        with closing(self._runner):
            if self._registry is not None:
                self._runner.run(self._registry.aclose())


@click.command(
    short_help="Show records as JSON.",
    epilog="""\b
Examples:
  connector tail
  connector tail stedi/transactions --from-beginning --no-follow | jq .value
  connector tail dead-letters --last 3 --no-follow
  connector tail --source monetago --count 100
""",
)
@click.argument("names", metavar="[TOPIC]...", nargs=-1)
@click.option("--source", help="Only the topics of this source, such as stedi:acme.")
@click.option("--from-beginning", is_flag=True, help="Begin with the oldest record.")
@click.option(
    "--last",
    # They are held in memory.
    type=click.IntRange(min=0, max=1_000_000),
    default=10,
    show_default=True,
    help="Begin with so many of the newest records of each topic.",
)
@click.option(
    "--follow/--no-follow",
    default=True,
    show_default=True,
    help="Wait for new records, or end when those that are there are shown.",
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many records.")
@click.option("--as-uncommitted", is_flag=True, help="Show aborted and undecided records too.")
def command(
    names: tuple[str, ...],
    *,
    source: str | None,
    from_beginning: bool,
    last: int,
    follow: bool,
    count: int | None,
    as_uncommitted: bool,
) -> None:
    """
    Show records as JSON, one a line.

    TOPIC is a topic's full name, <source>/<stream> such as stedi/transactions, dead-letters
    or progress. Without one: all topics of the sources in CONNECTOR_SOURCES, with dead
    letters and progress.

    A line has topic, partition, offset, timestamp (of the poll), key, headers and value.
    Decimals are texts with all their digits. A value that cannot be read is shown as base64
    under "undecoded", with the reason. Read is as read_committed; nothing is written.

    Records hold what the providers sent: financial and personal data. This command shows
    them, that is its purpose. Mind where its output goes.
    """
    settings = load(names, also=("registry",))
    wanted = choose(settings, names, source)
    with (
        Reader(
            settings.kafka.consumer(),
            group_id=reader_group(settings, "tail"),
            logger=quiet_logger(),
            uncommitted=as_uncommitted,
            patience=_PATIENCE_SECONDS,
        ) as reader,
        closing(_Printer(settings, count)) as printer,
        _until_enough(),
    ):
        infos = reader.describe(wanted)
        absent = [name for name in wanted if name not in infos]
        if absent and not follow and (names or not infos):
            raise TopicError(f"There is no topic {', '.join(absent)}.")
        places: dict[tuple[str, int], int] = {}
        for name, info in infos.items():
            if from_beginning or not last:
                spans = reader.spans(info.name, range(info.partitions))
                ends = {p: span.end for p, span in spans.items()}
                if from_beginning and follow:
                    ends = {p: span.begin for p, span in spans.items()}
                elif from_beginning:
                    with closing(reader.read(name, spans)) as batches:
                        for batch in batches:
                            printer.print(batch)
            else:
                records, ends = last_records(reader, info, last)
                printer.print(records)
            places |= {(name, partition): end for partition, end in ends.items()}
        if follow and absent:
            click.echo(f"There is no topic {', '.join(absent)} yet; waiting.", err=True)
        if follow:
            _follow(reader, printer, places, absent)


@contextmanager
def _until_enough() -> Iterator[None]:
    """
    End without an error when the count is reached or Ctrl-C is pressed.
    """
    try:
        yield
    except (_Enough, KeyboardInterrupt):
        return


def _follow(
    reader: Reader, printer: _Printer, places: dict[tuple[str, int], int], absent: list[str]
) -> None:
    """
    Print what comes, for ever; topics that appear meanwhile from their beginning.
    """
    while True:
        look_again = time.monotonic() + _LOOK_AGAIN_SECONDS
        with closing(reader.follow(places)) as batches:
            for batch in batches:
                printer.print(batch)
                for record in batch:
                    places[record.topic, record.partition] = record.offset + 1
                if absent and time.monotonic() >= look_again:
                    break
        for name, info in reader.describe(absent).items():
            absent.remove(name)
            places |= {(name, partition): 0 for partition in range(info.partitions)}
