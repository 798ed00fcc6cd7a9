# SPDX-License-Identifier: Apache-2.0
"""
``python -m connector.sandbox.simulators``: the simulated providers as a process.

Prints one line of JSON (``url``, ``env``, ``pid``) once it listens. Ends on SIGINT or
SIGTERM, when a pipe on its standard input closes, or when its parent is gone.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys

import click
from pydantic import ValidationError

from connector.sandbox.simulators.generator import Rhythm
from connector.sandbox.simulators.server import SIMULATORS, Simulators

_PROVIDERS = tuple(kind.name for kind in SIMULATORS)


@click.command()
@click.option("--port", default=0, show_default="a free one")
@click.option("--seed", default=1, show_default=True)
@click.option("--rate", default=0.0, help="Events a second at each provider.")
@click.option("--backlog", default=0, help="Events that are there from the start.")
@click.option("--span", default=86_400.0, help="Seconds over which they are spread.")
@click.option(
    "--only", "names", multiple=True, type=click.Choice(_PROVIDERS), help="Who has events."
)
@click.option("--set", "settings", multiple=True, metavar="PROVIDER.OPTION=JSON")
def main(
    *,
    port: int,
    seed: int,
    rate: float,
    backlog: int,
    span: float,
    names: tuple[str, ...],
    settings: tuple[str, ...],
) -> None:
    """
    Serve simulated providers on the loopback interface.
    """
    simulators = Simulators(port=port, seed=seed)
    try:
        for setting in settings:
            _configure(simulators, setting)
    except (ValidationError, KeyError, ValueError) as error:
        raise click.UsageError(f"--set: {error}") from error
    for name in names or _PROVIDERS:
        if backlog:
            simulator = simulators.providers[name]
            # It ends before what a provider still keeps back or takes as too young.
            newest = simulator.now() - 120_000
            simulator.offer(count=backlog, event_time=newest - int(span * 1000), spread=span)
    asyncio.run(_serve(simulators, names or _PROVIDERS, rate))


def _configure(simulators: Simulators, setting: str) -> None:
    """
    Switch one option, given as ``provider.option=value``; bare words count as text.
    """
    where, _, text = setting.partition("=")
    name, _, option = where.partition(".")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    simulators.providers[name].configure({option: value})


async def _serve(simulators: Simulators, names: tuple[str, ...], rate: float) -> None:
    """
    Serve until somebody wants it to end.
    """
    stop, parent = asyncio.Event(), os.getppid()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        loop.add_reader(0, lambda: None if os.read(0, 65_536) else stop.set())
    async with simulators:
        for name in names:
            if rate:
                await simulators.generate(name, Rhythm(rate=rate))
        told = {"url": simulators.url, "env": simulators.env(), "pid": os.getpid()}
        click.echo(json.dumps(told))
        sys.stdout.flush()
        while not stop.is_set() and os.getppid() == parent:
            try:
                await asyncio.wait_for(stop.wait(), 0.5)
            except TimeoutError:
                continue


if __name__ == "__main__":
    main()
