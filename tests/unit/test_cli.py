# SPDX-License-Identifier: Apache-2.0
"""
The frame of the command line: help, exit codes, what is printed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import connector as package
from connector import cli
from connector.errors import (
    CredentialsError,
    OutsideError,
    RefusedError,
    RetryError,
    SettingsError,
    TopicError,
)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("CONNECTOR_", "STEDI_", "MONETAGO_")):
            monkeypatch.delenv(name)


def run(*arguments: str, **environ: str) -> click.testing.Result:
    return CliRunner().invoke(cli.connector, arguments, env=environ)


def failing(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("x"), 2),
        (OutsideError("x"), 3),
        (RetryError("x"), 1),
        (CredentialsError("x"), 2),
        (RefusedError("x"), 1),
        (TopicError("x"), 2),
    ],
)
def test_errors_become_exit_codes_and_plain_text(monkeypatch, error, code):
    """
    What a command raises on purpose ends as one line on standard error and its exit code.
    """
    monkeypatch.setattr(cli.Commands, "get_command", lambda *_: failing(error))
    result = run("anything")

    assert (code, "Error: x\n", "") == (result.exit_code, result.stderr, result.stdout)


def test_interrupt_ends_with_130(monkeypatch):
    """
    Ctrl-C is no failure with a traceback: 130, as shells count.
    """
    monkeypatch.setattr(cli.Commands, "get_command", lambda *_: failing(KeyboardInterrupt()))

    assert 130 == run("anything").exit_code


@pytest.mark.parametrize("arguments", [["nonsense"], ["config", "--nonsense"], ["config", "x"]])
def test_wrong_usage_is_2(arguments):
    """
    A command or option that does not exist is wrong usage.
    """
    assert 2 == run(*arguments).exit_code


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_lists_the_commands_in_their_order(option):
    """
    Help names every command of the table, in the order of the table.
    """
    result = run(option)
    places = [result.stdout.index(f"\n  {name} ") for name in cli.COMMANDS]

    assert (0, sorted(places)) == (result.exit_code, places)


def test_every_command_loads_and_has_help():
    """
    Each line of the table has a module with a command that can explain itself.
    """
    assert dict.fromkeys(cli.COMMANDS, 0) == {
        name: run(name, "--help").exit_code for name in cli.COMMANDS
    }


def test_help_loads_no_command():
    """
    Help is quick because nothing behind it is imported: no aiohttp, no Kafka client.
    """
    code = (
        "import sys\n"
        "from connector.cli import connector\n"
        "connector(['--help'], standalone_mode=False)\n"
        "print(sorted({'aiohttp', 'confluent_kafka', 'pydantic'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    assert b"[]" == result.stdout.splitlines()[-1]


def test_version_is_that_of_the_package():
    """
    --version prints the one version there is.
    """
    assert f"connector, version {package.__version__}\n" == run("--version").stdout


def test_config_lists_all_problems_at_once():
    """
    Wrong settings: exit code 2, every problem by name, on standard error, no value.
    """
    result = run("config", CONNECTOR_SHARDS="hunter2", CONNECTOR_NAM="hunter2")

    assert (2, "") == (result.exit_code, result.stdout)
    assert [
        "Error: 6 problems with the settings:",
        "  CONNECTOR_SHARDS is not a whole number",
        "  CONNECTOR_NAME is required",
        "  CONNECTOR_SOURCES is required",
        "  CONNECTOR_KAFKA_BOOTSTRAP_SERVERS is required",
        "  CONNECTOR_SCHEMA_REGISTRY_URL is required",
        "  CONNECTOR_NAM is unknown: did you mean CONNECTOR_NAME?",
    ] == result.stderr.splitlines()


STEDI = {
    "CONNECTOR_NAME": "ledger",
    "CONNECTOR_SOURCES": "stedi",
    "CONNECTOR_KAFKA_BOOTSTRAP_SERVERS": "kafka.example.com:9092",
    "CONNECTOR_SCHEMA_REGISTRY_URL": "none",
    "STEDI_API_KEY": "invented-key",
    "STEDI_START": "-7d",
    "MONETAGO_START": "now",
}


def test_config_as_json():
    """
    The effective settings with their origin, machine-readable and masked; warnings apart.
    """
    result = run("config", "--output", "json", **STEDI)
    lines = {line.pop("variable"): line for line in json.loads(result.stdout)}

    assert (0, "Warning: MONETAGO_START: not used, CONNECTOR_SOURCES does not name monetago\n") == (
        result.exit_code,
        result.stderr,
    )
    assert {
        "STEDI_API_KEY": {"value": "***", "origin": "environment"},
        "STEDI_START": {"value": "-7d", "origin": "environment"},
        "STEDI_PAGE_SIZE": {"value": "100", "origin": "default"},
        "STEDI_RATE_LIMIT": {"value": None, "origin": "default"},
    }.items() <= lines.items()


def test_config_as_text():
    """
    One line a setting: variable, origin, value as it could be written.
    """
    result = run("config", **STEDI)
    lines = [line.split(maxsplit=2) for line in result.stdout.splitlines()]

    assert ["STEDI_START", "environment", '"-7d"'] in lines
    assert ["STEDI_RATE_LIMIT", "default", "(not set)"] in lines
    assert "invented-key" not in result.output


def test_real_process_ends_with_2_and_no_traceback():
    """
    ``python -m connector`` with nothing set ends with 2 and a text for people.
    """
    result = subprocess.run(
        [sys.executable, "-m", "connector", "config"], capture_output=True, env={}, check=False
    )

    assert (2, b"", b"Error: 4 problems with the settings:") == (
        result.returncode,
        result.stdout,
        result.stderr.splitlines()[0],
    )
    assert b"Traceback" not in result.stderr


def test_table_and_modules_agree():
    """
    Every command of the table has a module in this package.
    """
    folder = Path(cli.__file__).parent

    assert [] == [
        name for name in cli.COMMANDS if not (folder / f"{name.replace('-', '_')}.py").exists()
    ]


@pytest.mark.parametrize("arguments", [["--help"], ["schemas", "list"], ["verify", "--help"]])
def test_full_disk_is_told_without_a_traceback(arguments):
    """
    Output that finds no room ends with 1 and one line, and nothing more at Python's end.
    """
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [sys.executable, "-m", "connector", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )

    assert (1, b"Error: Cannot write: No space left on device.\n") == (
        result.returncode,
        result.stderr,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["tail", "x", "--last", str(10**21)],
        ["sandbox", "--rate", "nan"],
        ["sandbox", "--rate", "inf"],
        ["sandbox", "--env-file", "/no/such/folder/x"],
        ["verify", "x", "--patience", "nan"],
        ["verify", "x", "--patience", "1e300"],
    ],
)
def test_impossible_options_are_wrong_usage(arguments):
    """
    A number or a path that cannot work is refused before anything starts.
    """
    result = run(*arguments)

    assert (2, True) == (result.exit_code, f"Invalid value for '{arguments[-2]}'" in result.stderr)


def test_tables_are_wide_where_there_is_no_terminal(monkeypatch):
    """
    A pipe gets every column whole, whatever the terminal's width is said to be.
    """
    monkeypatch.setenv("COLUMNS", "20")

    assert "fingerprint" in run("schemas", "list").stdout.splitlines()[0]
