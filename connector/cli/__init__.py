# SPDX-License-Identifier: Apache-2.0
"""
The command line: one module for each command, loaded when it is called.

A command is a module of this package with a click command named ``command``, and one
line in ``COMMANDS``. The line holds what ``connector --help`` says about it, so that
help loads no command (aiohttp alone takes a fifth of a second).
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any, Final

import click

from connector import __version__
from connector.errors import (
    ConnectorError,
    CredentialsError,
    OutsideError,
    SettingsError,
    TopicError,
)

COMMANDS: Final[Mapping[str, str]] = {
    "run": "Run one worker.",
    "check": "Try settings, Kafka, topics, registry and credentials; write nothing.",
    "demo": "See it work: a real Kafka, simulated providers, a kill -9.",
    "sandbox": "Keep a Kafka, a registry and simulated providers running.",
    "config": "Show the effective settings, masked, with their origin.",
    "offsets": "Look at and change the stored offsets.",
    "tail": "Show records as JSON lines, keys and headers too.",
    "verify": "Prove on the topics that nothing is missing and nothing is twice.",
    "schemas": "List, check and register the Avro schemas.",
}

EXIT_FAILED: Final = 1
EXIT_SETTINGS: Final = 2
EXIT_OUTSIDE: Final = 3
# A full disk under standard output, or under the temporary files.
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})

_STANDARD_OUTPUT: Final = 1

# 128 and the number of SIGINT, as shells count.
EXIT_INTERRUPTED: Final = 130


def exit_code(error: ConnectorError) -> int:
    """
    Give the exit code for an error that ends a command (DESIGN section 9).
    """
    # A topic that cannot be worked with is a wrong setting too, of the cluster; and so are
    # refused credentials, for which no command but run waits.
    if isinstance(error, SettingsError | TopicError | CredentialsError):
        return EXIT_SETTINGS
    return EXIT_OUTSIDE if isinstance(error, OutsideError) else EXIT_FAILED


class CommandFailed(click.ClickException):
    """
    Ends a command with an exit code and a text for people, without a traceback.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        vars(self)["exit_code"] = code


class Commands(click.Group):
    """
    The group ``connector``: loads a command when it is called, maps errors to exit codes.
    """

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """
        List the commands in the order of the table.
        """
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """
        Load one command.
        """
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"connector.cli.{name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """
        Write the table without loading what it names.
        """
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """
        Run a command; what it raises on purpose becomes a text and an exit code.
        """
        try:
            return super().invoke(ctx)
        except ConnectorError as error:
            raise CommandFailed(str(error), exit_code(error)) from None
        except KeyboardInterrupt:
            ctx.exit(EXIT_INTERRUPTED)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="connector")
def connector() -> None:
    """
    Poll the APIs of finance providers into Kafka as Avro, exactly once.

    Settings come from environment variables (docs/configuration.md).
    Exit codes: 0 done, 1 failed while running, 2 wrong settings or usage, 3 something
    outside is missing (broker, registry, provider).
    """


def main() -> None:
    """
    Run the command line of this process, and exit.
    """
    try:
        connector(prog_name="connector")
    except OSError as failure:
        if failure.errno not in _NO_ROOM:
            raise
        # What is left in the buffer cannot be written either, which Python would tell at
        # its end with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STANDARD_OUTPUT)
        click.echo(f"Error: Cannot write: {os.strerror(failure.errno)}.", err=True)
        sys.exit(EXIT_FAILED)
