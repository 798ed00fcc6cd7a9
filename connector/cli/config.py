# SPDX-License-Identifier: Apache-2.0
"""
``connector config``: the effective settings, masked, with their origin.
"""

from __future__ import annotations

import json
import os

import click

from connector.settings import load_settings


@click.command()
@click.option(
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to write them.",
)
def command(output: str) -> None:
    """
    Show the effective settings, masked, with their origin.

    The origin is the environment, a file (named by X_FILE), or the default.
    """
    settings = load_settings(os.environ)
    for warning in settings.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if output == "json":
        lines = [
            {"variable": line.variable, "value": line.value, "origin": line.origin}
            for line in settings.effective
        ]
        click.echo(json.dumps(lines, indent=2))
        return
    width = max(len(line.variable) for line in settings.effective)
    for line in settings.effective:
        value = "(not set)" if line.value is None else json.dumps(line.value, ensure_ascii=False)
        click.echo(f"{line.variable:<{width}}  {line.origin:<11}  {value}")
