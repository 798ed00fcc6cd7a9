# SPDX-License-Identifier: Apache-2.0
"""
``python -m benchmarks``: all contenders, interleaved, in one run on one broker.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import requests
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks import latency, report
from benchmarks.contenders import (
    CEILING,
    CONTENDERS,
    OURS,
    Contender,
    Ground,
    running,
    state_topic_of,
    topic_of,
)
from benchmarks.measure import PARTITIONS, Timing, await_leaders, judge, watch
from benchmarks.outcome import Outcome, differences, read_back
from connector.sandbox import Sandbox
from connector.sandbox.java import THROUGHPUT
from connector.sandbox.simulators.runner import SimulatorProcess

DAYS = 30.0
_NAMES = [contender.name for contender in CONTENDERS]


class Race:
    """
    The runs on one sandbox.

    Args:
        ground: What all contenders stand on.
        simulator: The provider.
        events: Size of the backlog.
    """

    def __init__(self, ground: Ground, simulator: SimulatorProcess, events: int) -> None:
        self._ground = ground
        self._simulator = simulator
        self._events = events
        self._bootstrap = ground.sandbox.bootstrap_servers
        # Silent: the broker goes before this client does.
        self._admin = AdminClient({"bootstrap.servers": self._bootstrap, "log_level": 2})
        self._reference: Outcome | None = None

    def run(self, contender: Contender, prefix: str) -> Timing:
        """
        Let one contender bring the backlog over, and look at what it wrote.

        Raises:
            click.ClickException: The topic does not hold each event exactly once.
        """
        topic, state = topic_of(prefix), state_topic_of(prefix)
        config = {"cleanup.policy": "compact"}
        made = [NewTopic(topic, PARTITIONS), NewTopic(state, 1, config=config)]
        for future in self._admin.create_topics(made).values():
            future.result(30)
        await_leaders(self._admin, topic)
        started = time.time()
        broker = self._ground.sandbox.kafka.brokers[0].pid
        with running(contender, self._ground, prefix) as process:
            samples, memory = watch(
                self._admin,
                topic,
                records=self._events,
                pids=(process.pid, broker, self._simulator.pid),
                alive=lambda: process.poll() in {None, 0},
            )
        timing = judge(samples, memory, began=self._first_page(started), records=self._events)
        outcome = read_back(self._bootstrap, topic)
        wrong = differences(outcome, self._events, self._reference)
        if wrong:
            raise click.ClickException(f"{contender.name}: {'; '.join(wrong)}")
        self._reference = self._reference or outcome
        for future in self._admin.delete_topics([topic, state]).values():
            future.result(30)
        return timing

    def _first_page(self, since: float) -> float:
        """
        Tell when the first page after a moment was answered, seconds since 1970.
        """
        recent = self._simulator.requests("monetago")["recent"]
        pages: list[float] = [one["at"] / 1000 for one in recent if one["path"] == "/v1/activity"]
        return min(at for at in pages if at >= since)


@click.command()
@click.option("--events", default=300_000, show_default=True, help="Size of the backlog.")
@click.option("--rounds", default=3, show_default=True, help="Runs of each contender.")
@click.option("--only", multiple=True, type=click.Choice(_NAMES), help="Leave others out.")
@click.option("--latency-seconds", default=30.0, show_default=True, help="0 leaves it out.")
@click.option("--write/--no-write", default=None, help="Into README.md; default: a full run.")
def main(
    *, events: int, rounds: int, only: tuple[str, ...], latency_seconds: float, write: bool | None
) -> None:
    """
    Measure the connector beside a hand-written script and the parts alone.

    Starts its own Kafka, registry and provider. Linux only: it reads /proc.
    """
    contenders = [one for one in CONTENDERS if (one.name in only if only else one.usual)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        click.echo("Starting Kafka, the registry and the provider ...")
        sandbox = stack.enter_context(Sandbox(jvm=THROUGHPUT))
        after = datetime.now(UTC) - timedelta(days=DAYS, hours=1)
        simulator = stack.enter_context(
            SimulatorProcess(
                "--only=monetago", f"--backlog={events}", f"--span={DAYS * 86_400:.0f}"
            )
        )
        ground = Ground(
            sandbox=sandbox,
            provider=_monetago(simulator),
            after=f"{after:%Y-%m-%dT%H:%M:%S}.000Z",
            folder=folder,
        )
        alone = _simulator_alone(ground, events)
        click.echo(f"The provider alone serves {alone:,.0f} records/s.")
        race = Race(ground, simulator, events)
        results = _rounds(race, contenders, rounds)
        click.echo(report.table(results))
        waits = None
        if latency_seconds and OURS in results:
            click.echo(f"Latency, {latency_seconds:g} s ...")
            quiet = stack.enter_context(SimulatorProcess("--only=monetago"))
            slow = replace(ground, provider=_monetago(quiet))
            waits = latency.measure(slow, quiet, "latency.", seconds=latency_seconds)
            click.echo(f"p50 {waits.p50:.0f} ms, p99 {waits.p99:.0f} ms")
        if write or (write is None and not only and rounds >= 3):
            text = report.section(results, events=events, days=DAYS, alone=alone, latency=waits)
            report.write(text)
            click.echo(f"Written to {report.README.name}.")


def _rounds(race: Race, contenders: Sequence[Contender], rounds: int) -> dict[str, list[Timing]]:
    """
    Run all contenders in turn, each round beginning with another one.
    """
    results: dict[str, list[Timing]] = {one.name: [] for one in contenders}
    # Java compiles what it runs often: the first run is for that, and does not count.
    warm_up = next(one for one in CONTENDERS if one.name == CEILING)
    click.echo(f"warm-up     {race.run(warm_up, 'warm-up.').rate:10,.0f} records/s")
    for number in range(rounds):
        turn = number % len(contenders)
        for contender in [*contenders[turn:], *contenders[:turn]]:
            timing = race.run(contender, f"round-{number + 1}.{contender.name}.")
            results[contender.name].append(timing)
            click.echo(
                f"round {number + 1}/{rounds}   {contender.name:10} {timing.rate:10,.0f} records/s "
                f"{timing.cpu_per_million:6.1f} CPU s/M   load {timing.load:.1f}"
            )
    return results


def _monetago(simulator: SimulatorProcess) -> dict[str, str]:
    return {key: one for key, one in simulator.env().items() if key.startswith("MONETAGO_")}


def _simulator_alone(ground: Ground, events: int) -> float:
    """
    Measure how many records a second the provider serves to one that only reads.
    """
    provider, http = ground.provider, requests.Session()
    body = {
        "grant_type": "client_credentials",
        "client_id": provider["MONETAGO_CLIENT_ID"],
        "client_secret": provider["MONETAGO_CLIENT_SECRET"],
        "audience": provider["MONETAGO_AUDIENCE"],
    }
    token = http.post(provider["MONETAGO_TOKEN_URL"], json=body, timeout=30).json()
    http.headers["Authorization"] = f"Bearer {token['access_token']}"
    began = time.monotonic()
    for offset in range(0, events, 1000):
        query = {"after": ground.after, "limit": "1000", "offset": str(offset)}
        http.get(f"{provider['MONETAGO_BASE_URL']}/activity", params=query, timeout=30)
    return events / (time.monotonic() - began)


if __name__ == "__main__":
    main()
