# SPDX-License-Identifier: Apache-2.0
"""
``connector demo``: see it work in under a minute.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click
from rich.console import Console

from connector.sandbox import Sandbox
from connector.sandbox.demo import demonstrate
from connector.sandbox.environment import connector_environment
from connector.sandbox.simulators.runner import SimulatorProcess


@click.command(
    short_help="See it work: a real Kafka, simulated providers, a kill -9.",
    epilog="""\b
Examples:
  connector demo
  connector demo --backlog 5000
  connector demo --quiet
""",
)
@click.option(
    "--backlog",
    type=click.IntRange(0, 100_000),
    default=300,
    show_default=True,
    help="Events that each simulated provider has from the start.",
)
@click.option("--quiet", is_flag=True, help="Do not show the records.")
def command(*, backlog: int, quiet: bool) -> None:
    """
    Show in under a minute what the connector does, with a real Kafka and registry.

    Starts both on this computer (downloaded once), simulates MonetaGo and Stedi, runs a
    worker, shows the records as JSON, kills the worker with -9 in the middle, starts
    another one, and proves with "connector verify" and the providers' own ledger that
    no record is missing and none is there twice. All data is invented.
    """
    began = time.monotonic()
    console = Console()
    with (
        tempfile.TemporaryDirectory(prefix="connector-demo-") as folder,
        Sandbox(console=console) as sandbox,
        SimulatorProcess(f"--backlog={backlog}") as simulators,
    ):
        environment = connector_environment(sandbox, simulators.env(), name="demo")
        log = Path(folder) / "worker.log"
        demonstrate(environment, simulators, console=console, show_records=not quiet, log=log)
    console.print(f"Done in {time.monotonic() - began:.0f} s.")
