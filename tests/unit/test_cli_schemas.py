# SPDX-License-Identifier: Apache-2.0
"""
``connector schemas``: what it prints, what it changes, and its exit codes.
"""

from __future__ import annotations

import asyncio
import json

import pytest
from click.testing import CliRunner

from connector.cli.schemas import command
from connector.encoding import schemas
from connector.errors import OutsideError, SettingsError, StoppedError
from tests.unit.fake_registry import FakeRegistry

SUBJECTS = {
    "monetago.activity-value": "monetago/activity.avsc",
    "stedi-acme.transactions-value": "stedi/transactions.avsc",
    "feeds.progress-value": "core/progress.avsc",
}


@pytest.fixture
def environ(monkeypatch):
    """
    Settings of a worker, without the credentials that these commands do not need.
    """
    values = {
        "CONNECTOR_NAME": "feeds",
        "CONNECTOR_SOURCES": "monetago,stedi:acme",
        "CONNECTOR_SCHEMA_REGISTRY_URL": "http://127.0.0.1:1",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
async def fake(environ):
    """
    A registry that the settings name.
    """
    registry = FakeRegistry()
    async with registry.running() as url:
        environ.setenv("CONNECTOR_SCHEMA_REGISTRY_URL", url)
        yield registry


async def run(*arguments):
    """
    Run the command in a thread: it has an event loop of its own.
    """
    return await asyncio.to_thread(CliRunner().invoke, command, arguments)


async def test_list_needs_no_settings(monkeypatch):
    """
    Path, full name and fingerprint of each schema.
    """
    for name in ("CONNECTOR_NAME", "CONNECTOR_SOURCES", "CONNECTOR_SCHEMA_REGISTRY_URL"):
        monkeypatch.delenv(name, raising=False)
    result = await run("list", "--output", "json")
    table = await run("list")

    assert result.exit_code == 0
    assert [each["schema"] for each in json.loads(result.output)] == [
        each.path for each in schemas.shipped()
    ]
    assert "connector.monetago.Activity" in table.output


async def test_register_can_be_repeated(fake):
    """
    One subject for each topic, ids and versions printed; the second time all are the same.
    """
    first = await run("register", "--output", "json")
    again = await run("register", "--output", "json")

    assert set(fake.subjects) == set(SUBJECTS)
    assert [each["status"] for each in json.loads(first.output.splitlines()[-1])] == [
        "registered"
    ] * 3
    assert [(each["status"], each["version"]) for each in json.loads(again.output)] == [
        ("same", 1)
    ] * 3


async def test_check_writes_nothing(fake):
    """
    Missing subjects are fine while run may register them.
    """
    result = await run("check", "--output", "json")

    assert result.exit_code == 0
    assert [each["status"] for each in json.loads(result.output)] == ["missing"] * 3
    assert fake.subjects == {}


async def test_check_fails_where_run_would_stop(fake, environ):
    """
    With REGISTER=false a missing schema is a reason to exit with 1.
    """
    environ.setenv("CONNECTOR_SCHEMA_REGISTRY_REGISTER", "false")

    assert (await run("check")).exit_code == 1
    await run("register")
    assert (await run("check")).exit_code == 0


async def test_check_says_why_a_schema_is_incompatible(fake):
    """
    By our comparison and by the registry's; a compatible one is fine.
    """
    for subject, path in SUBJECTS.items():
        fake.subjects[subject] = [schemas.load(path).text.replace("UTC", "utc")]
    old = fake.subjects["monetago.activity-value"]
    old[0] = old[0].replace(',"logicalType":"timestamp-millis"', "")
    fake.rules["feeds.progress-value"] = "NONE-OF-OURS"

    result = await run("check", "--output", "json")
    table = await run("check")

    rows = {each["subject"]: each for each in json.loads(result.output)}
    assert (result.exit_code, table.exit_code) == (1, 1)
    assert {name: row["status"] for name, row in rows.items()} == {
        "monetago.activity-value": "incompatible",
        "stedi-acme.transactions-value": "compatible",
        "feeds.progress-value": "compatible",
    }
    assert rows["monetago.activity-value"]["notes"] == [
        "Version 1: connector.monetago.Activity.event_date_time: logicalType changed."
    ]
    assert rows["feeds.progress-value"]["notes"] == ["the subject's own rule is NONE-OF-OURS"]
    assert "incompatible" in table.output


async def test_register_stops_at_an_incompatible_schema(fake):
    """
    Nothing is written over what cannot be read any more.
    """
    fake.subjects["monetago.activity-value"] = ['{"type":"record","name":"Other","fields":[]}']
    result = await run("register")

    assert isinstance(result.exception, StoppedError)
    assert len(fake.subjects["monetago.activity-value"]) == 1


async def test_without_a_registry_there_is_nothing_to_do(environ):
    """
    Records then carry fingerprints.
    """
    environ.setenv("CONNECTOR_SCHEMA_REGISTRY_URL", "none")

    for name in ("check", "register"):
        result = await run(name)
        assert (result.exit_code, "No registry is used" in result.output) == (0, True)


async def test_errors_are_raised_for_their_exit_codes(environ):
    """
    An absent registry is something outside (3), missing settings are settings (2).
    """
    assert isinstance((await run("check")).exception, OutsideError)
    environ.delenv("CONNECTOR_SOURCES")
    assert isinstance((await run("check")).exception, SettingsError)


@pytest.mark.parametrize("arguments", [(), ("list",), ("check",), ("register",)])
async def test_help_has_examples(arguments):
    """
    Each command shows how it is used.
    """
    result = await run(*arguments, "--help")

    assert f"connector schemas {' '.join(arguments)}".strip() in result.output
    assert "Examples:" in result.output
