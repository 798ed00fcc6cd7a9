# SPDX-License-Identifier: Apache-2.0
"""
``connector sandbox``: a real Kafka, a real registry and simulated providers, to try things.
"""

from __future__ import annotations

import os
import shlex
import signal
import threading
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from connector.cli.ranges import FiniteRange
from connector.sandbox import Sandbox
from connector.sandbox.environment import connector_environment
from connector.sandbox.simulators.runner import SimulatorProcess


def _check_folder(_ctx: click.Context, _param: click.Parameter, path: Path | None) -> Path | None:
    """
    Refuse a file that cannot be made, before anything is started.
    """
    if path is not None and not os.access(path.absolute().parent, os.W_OK | os.X_OK):
        raise click.BadParameter("its folder is not there, or cannot be written to.")
    return path


@click.command(
    short_help="Keep a Kafka, a registry and simulated providers running.",
    epilog="""\b
Examples:
  connector sandbox
  connector sandbox --brokers 3 --rate 50
  connector sandbox --no-providers
  connector sandbox --env-file sandbox.env     # then: . ./sandbox.env; connector run
""",
)
@click.option(
    "--brokers", type=click.IntRange(1, 3), default=1, show_default=True, help="How many brokers."
)
@click.option(
    "--rate",
    type=FiniteRange(0, 100_000),
    default=5.0,
    show_default=True,
    help="New events a second at each simulated provider.",
)
@click.option(
    "--backlog",
    type=click.IntRange(0),
    default=500,
    show_default=True,
    help="Events that each simulated provider has from the start.",
)
@click.option("--providers/--no-providers", default=True, help="Simulate the providers too.")
@click.option(
    "--env-file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=_check_folder,
    help="Write the variables to a file as well.",
)
def command(
    *, brokers: int, rate: float, backlog: int, providers: bool, env_file: Path | None
) -> None:
    """
    Keep a real Kafka, a real schema registry and simulated providers running.

    Stays in the foreground until Ctrl-C and prints the environment variables with which
    every connector command uses it. Needs neither Docker nor Java: both servers run on a
    Java that comes as a Python package, and are downloaded once. All data is invented,
    kept in a temporary folder and removed at the end.
    """
    console = Console(stderr=True)
    done = threading.Event()

    def end(_signum: int, _frame: FrameType | None) -> None:
        done.set()

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, end)
    arguments = [f"--rate={rate}", f"--backlog={backlog}"]
    with Sandbox(brokers=brokers, console=console) as sandbox:
        simulators = SimulatorProcess(*arguments) if providers else None
        try:
            if simulators is not None:
                simulators.start()
            environment = connector_environment(
                sandbox, simulators.env() if simulators else {}, name="sandbox"
            )
            lines = [f"export {key}={shlex.quote(value)}" for key, value in environment.items()]
            text = "\n".join(lines)
            if env_file is not None:
                env_file.write_text(text + "\n")
            click.echo(text)
            console.print("Running until Ctrl-C. Use the variables above in another terminal.")
            done.wait()
        finally:
            if simulators is not None:
                simulators.stop()
    console.print("Stopped, data removed.")
