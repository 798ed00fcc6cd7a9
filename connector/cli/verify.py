# SPDX-License-Identifier: Apache-2.0
"""
``connector verify``: prove that a topic holds every record exactly once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from connector.cli import EXIT_FAILED
from connector.cli.ranges import FiniteRange
from connector.cli.tables import wide_console
from connector.cli.topics import choose, load, quiet_logger, reader_group, refuse_state
from connector.errors import TopicError
from connector.kafka.reader import Reader
from connector.kafka.topics import TopicInfo
from connector.upstream.timing import wall_ms
from connector.verify import topic as verifying
from connector.verify.verdict import Place, RunVerdict, TopicVerdict

_COLUMNS = ("first", "last", "missing", "twice", "ids twice")


@click.command(
    short_help="Prove that topics hold every record exactly once.",
    epilog="""\b
Examples:
  connector verify
  connector verify stedi/transactions monetago.activity
  connector verify --as-uncommitted --output json | jq .clean
""",
)
@click.argument("names", metavar="[TOPIC]...", nargs=-1)
@click.option(
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="For people, or for programs.",
)
@click.option(
    "--as-uncommitted",
    is_flag=True,
    help="Show what a reader without isolation.level=read_committed sees: aborted and "
    "undecided records too.",
)
@click.option(
    "--patience",
    # A day: no client waits longer for one batch.
    type=FiniteRange(min=1, max=86_400),
    default=60,
    show_default=True,
    help="Seconds to wait for open transactions to end.",
)
def command(names: tuple[str, ...], *, output: str, as_uncommitted: bool, patience: float) -> None:
    """
    Prove that topics hold every record exactly once.

    TOPIC is a topic's full name, <source>/<stream> such as stedi/transactions, dead-letters
    or progress. Without one: all topics of the sources in CONNECTOR_SOURCES, with dead
    letters and progress.

    Every message carries a number (header "seq": shard, epoch, number) and an id. Each
    topic is read from its beginning to its end of now, as read_committed; nothing is
    written. Proven is, for each shard and epoch, that no number is missing from the
    lowest to the highest, that none is there twice, and that no id is there twice. An id
    that recurs in a later epoch or a backfill is listed as read again. Messages that are
    not numbered are findings too: a data topic belongs to one connector.

    It cannot see what was lost before it got a number, what was lost behind the highest
    number, and what retention or compaction has removed; it says so.

    Exit codes: 0 clean, 1 findings or the check failed, 2 wrong settings or usage,
    3 Kafka cannot be reached or cannot be read to its end.
    """
    settings = load(names)
    wanted = choose(settings, names)
    refuse_state(wanted)
    with Reader(
        settings.kafka.consumer(),
        group_id=reader_group(settings, "verify"),
        logger=quiet_logger(),
        uncommitted=as_uncommitted,
        patience=patience,
    ) as reader:
        infos = reader.describe(wanted)
        absent = [name for name in wanted if name not in infos]
        if absent and (names or not infos):
            raise TopicError(f"There is no topic {', '.join(absent)}.")
        verdicts = [_verify(reader, infos[name]) for name in wanted if name in infos]
    clean = all(verdict.clean for verdict in verdicts)
    if output == "json":
        shown = {
            "clean": clean,
            "isolation_level": "read_uncommitted" if as_uncommitted else "read_committed",
            "absent": absent,
            "topics": [verdict.as_json() for verdict in verdicts],
        }
        click.echo(json.dumps(shown, indent=2))
    else:
        _print(verdicts, absent, as_uncommitted=as_uncommitted)
    if not clean:
        raise SystemExit(EXIT_FAILED)


def _verify(reader: Reader, info: TopicInfo) -> TopicVerdict:
    with _progress(info.name) as progress:
        return verifying.verify_topic(reader, info, now_ms=wall_ms(), progress=progress)


@contextmanager
def _progress(topic: str) -> Iterator[verifying.Progress]:
    """
    Show a bar on the terminal while a topic is read; nothing where there is none.
    """
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not Console(stderr=True).is_terminal,
    ) as bar:
        task = bar.add_task(topic)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield tell


def _print(
    verdicts: Sequence[TopicVerdict], absent: Sequence[str], *, as_uncommitted: bool
) -> None:
    console = wide_console()
    console.print(_table(verdicts))
    lines = [line for verdict in verdicts for line in _notes(verdict)]
    lines += _unseen(verdicts)
    lines += [f"{name}: does not exist yet." for name in absent]
    if as_uncommitted:
        lines.append(
            "Read as uncommitted: aborted and undecided records count, as they should not."
        )
    findings = [line for verdict in verdicts for line in _findings(verdict)]
    records = sum(verdict.records for verdict in verdicts)
    memory = max((verdict.memory for verdict in verdicts), default=0) / 2**20
    disk = max((verdict.disk for verdict in verdicts), default=0) / 2**20
    lines.append(f"{records:,} messages read; {memory:.1f} MiB of memory, {disk:.1f} MiB of files.")
    for line in lines:
        console.print(line, markup=False, highlight=False, style="dim")
    for line in findings:
        console.print(line, markup=False, highlight=False, style="red")
    if findings:
        console.print("Findings: see above.", style="bold red")
    else:
        console.print(
            "Clean: no number missing, none twice, no id twice within an epoch.", style="bold green"
        )


def _table(verdicts: Sequence[TopicVerdict]) -> Table:
    table = Table("topic", "shard", "epoch", *_COLUMNS)
    for column in (1, *range(3, 3 + len(_COLUMNS))):
        table.columns[column].justify = "right"
    for verdict in verdicts:
        name = verdict.topic
        for run in verdict.runs:
            table.add_row(name, str(run.shard), _time(run.epoch), *_cells(run))
            name = ""
        if not verdict.runs:
            table.add_row(name, *["-"] * (2 + len(_COLUMNS)))
        table.add_section()
    return table


def _cells(run: RunVerdict) -> tuple[str, ...]:
    return (
        "-" if run.first is None else str(run.first),
        str(run.last),
        "-" if run.missing is None else str(run.missing),
        str(run.twice),
        str(run.ids_twice),
    )


def _notes(verdict: TopicVerdict) -> Iterator[str]:
    """
    Say what is no finding, and worth knowing.
    """
    name = verdict.topic
    if verdict.judged_from is not None:
        yield (
            f"{name}: retention has cut partitions {', '.join(map(str, verdict.cut))}; numbers are "
            f"judged from {_time(verdict.judged_from)} on."
        )
    if verdict.read_again:
        yield (
            f"{name}: {verdict.read_again} ids were read again in a later epoch or a backfill, "
            f"such as at {_places(verdict.read_again_at[0])}."
        )


def _unseen(verdicts: Sequence[TopicVerdict]) -> Iterator[str]:
    """
    Say once what this check is blind to, with the topics if it is not all of them.
    """
    for text in dict.fromkeys(text for verdict in verdicts for text in verdict.unseen):
        names = [verdict.topic for verdict in verdicts if text in verdict.unseen]
        where = "" if len(names) == len(verdicts) else f" on {', '.join(names)}"
        yield f"Not seen{where}: {text}."


def _findings(verdict: TopicVerdict) -> Iterator[str]:
    if verdict.foreign:
        yield (
            f"{verdict.topic}: {verdict.foreign} messages are foreign, without a usable seq or id, "
            f"at {_places(verdict.foreign_at)}."
        )
    for run in verdict.runs:
        who = f"{verdict.topic}, shard {run.shard}, epoch {run.epoch}"
        if run.missing:
            ranges = ", ".join(
                str(gap.first) if gap.first == gap.last else f"{gap.first}-{gap.last}"
                for gap in run.gaps
            )
            yield f"{who}: {run.missing} numbers are missing: {ranges}."
        if run.twice:
            yield f"{who}: {run.twice} messages repeat a number, at {_places(run.twice_at)}."
        for places in run.ids_twice_at:
            yield f"{who}: one id is there {len(places)} times, at {_places(places)}."
        if run.out_of_order:
            yield (
                f"{who}: {run.out_of_order} messages lie behind a higher number, "
                f"at {_places(run.out_of_order_at)}."
            )


def _places(places: Sequence[Place]) -> str:
    return ", ".join(f"partition {place.partition} offset {place.offset}" for place in places)


def _time(ms: int) -> str:
    """
    Write a time for people; a foreign epoch may be no time at all.
    """
    try:
        return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}.{ms % 1000:03}Z"
    except (ValueError, OverflowError, OSError):
        return str(ms)
