# SPDX-License-Identifier: Apache-2.0
"""
The rungs of ``connector check``, on real sockets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner

from connector import cli
from connector.cli import check
from connector.providers.base import Identity, Page, Provider, Stream
from connector.settings import load_settings
from connector.upstream.auth import ApiKey
from tests.unit.fake_registry import FakeRegistry
from tests.unit.settings_kit import GOOD, BankSettings

STREAM = Stream(
    name="events", schema="stedi/transactions.avsc", identify=lambda _: Identity("k", "i", None)
)


class BankFeed:
    """
    A feed of one page at ``/events``.
    """

    stream = STREAM

    def first(self, start_ms: int) -> tuple[int, Mapping[str, Any]]:
        return start_ms, {"": start_ms}

    async def fetch_page(self, client: Any, offset: int) -> Page[int]:
        reply = await client.get("/events", {"after": str(offset)})
        return Page(
            items=reply.body, next_offset=offset, writes={}, caught_up=True, polled_at=offset
        )


PROVIDERS = {
    "bank": Provider(
        name="bank",
        settings=BankSettings,
        streams=(STREAM,),
        auth=lambda own: ApiKey(key=own.api_key.read),
        feeds=lambda _: [BankFeed()],
    )
}


def settings(**changes: str):
    environ = {**GOOD, "BANK_ALLOW_PRIVATE_ADDRESSES": "true", **changes}
    return load_settings(environ, providers=PROVIDERS)


@pytest.fixture
async def serve():
    servers = []

    async def start(status: int, body: Any) -> str:
        async def answer(_request: web.Request) -> web.Response:
            return web.json_response(body, status=status)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        server = TestServer(app)
        servers.append(server)
        await server.start_server()
        return str(server.make_url("")).rstrip("/")

    yield start
    for server in servers:
        await server.close()


@pytest.mark.parametrize(
    ("status", "code"),
    [(200, 0), (401, 2), (403, 2), (400, 2), (404, 2), (429, 3), (500, 3), (503, 3)],
)
async def test_source_rung(serve, status, code):
    """
    Refused credentials and requests are for a person (2), an outage is outside (3).
    """
    loaded = settings(BANK_BASE_URL=await serve(status, []))

    assert code == (await check.check_source(loaded, loaded.sources[0])).code


async def test_source_that_cannot_be_reached():
    """
    Nobody listens: outside, and the text names the source and its variables.
    """
    loaded = settings(BANK_BASE_URL="http://127.0.0.1:1")
    rung = await check.check_source(loaded, loaded.sources[0])

    assert ("source bank", 3, ("Its variables begin with BANK_",)) == (
        rung.name,
        rung.code,
        rung.notes,
    )


async def test_lost_secret_file_is_for_a_person(tmp_path, serve):
    """
    A secret file that is gone is credentials refused: 2, by the name of its variable.
    """
    key = tmp_path / "key"
    key.write_text("invented")
    environ = {name: value for name, value in GOOD.items() if name != "BANK_API_KEY"}
    environ |= {"BANK_API_KEY_FILE": str(key), "BANK_BASE_URL": "https://api.example.com"}
    loaded = load_settings(environ, providers=PROVIDERS)
    key.unlink()
    rung = await check.check_source(loaded, loaded.sources[0])

    assert (2, True) == (rung.code, "BANK_API_KEY_FILE" in rung.found)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (200, ["a", "b"], 3),
        (200, [1, 2], 3),
        (401, {"error_code": 401}, 2),
        (404, {}, 3),
        (200, {"no": "registry"}, 3),
        (500, {}, 3),
    ],
)
async def test_registry_rung(serve, status, body, code):
    """
    A registry that refuses us is for a person (2); what gives such answers is no registry
    yet (3).
    """
    loaded = settings(CONNECTOR_SCHEMA_REGISTRY_URL=await serve(status, body))

    assert code == (await check.check_registry(loaded)).code


async def test_registry_that_would_take_our_schemas():
    """
    What is not registered yet will be, if we may; if not, a person has to do it.
    """
    async with FakeRegistry().running() as url:
        may = await check.check_registry(settings(CONNECTOR_SCHEMA_REGISTRY_URL=url))
        only_reads = await check.check_registry(
            settings(CONNECTOR_SCHEMA_REGISTRY_URL=url, CONNECTOR_SCHEMA_REGISTRY_REGISTER="false")
        )

    assert (0, "0 schemas there, 2 to be registered") == (may.code, may.found)
    assert 2 == only_reads.code


async def test_registry_with_somebody_elses_schema():
    """
    Where run would stop, check says so.
    """
    registry = FakeRegistry()
    theirs = {"type": "record", "name": "Foreign", "fields": [{"name": "x", "type": "int"}]}
    registry.subjects["bank.events-value"] = [json.dumps(theirs)]
    async with registry.running() as url:
        rung = await check.check_registry(settings(CONNECTOR_SCHEMA_REGISTRY_URL=url))

    assert (2, "bank.events-value is incompatible") == (rung.code, rung.found)


async def test_registry_that_cannot_be_reached():
    """
    Nobody listens: outside, and the variable to look at.
    """
    loaded = settings(CONNECTOR_SCHEMA_REGISTRY_URL="http://127.0.0.1:1")
    rung = await check.check_registry(loaded)

    assert (3, True) == (rung.code, "CONNECTOR_SCHEMA_REGISTRY_URL" in rung.found)


async def test_no_registry_is_fine():
    """
    ``none`` is not asked.
    """
    assert 0 == (await check.check_registry(settings())).code


def test_kafka_that_cannot_be_reached(monkeypatch):
    """
    Without brokers there is one rung, and it says which variables to look at.
    """
    monkeypatch.setattr(check, "_KAFKA_SECONDS", 0.2)
    loaded = settings(CONNECTOR_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    rungs = check.check_kafka(loaded)

    assert [("kafka", 3)] == [(rung.name, rung.code) for rung in rungs]
    assert "CONNECTOR_KAFKA_BOOTSTRAP_SERVERS" in " ".join(rungs[0].notes)


def test_wrong_settings_end_the_check_with_2():
    """
    With wrong settings nothing is tried; all problems are printed.
    """
    result = CliRunner().invoke(cli.connector, ["check"], env={"CONNECTOR_SHARDS": "x"})

    assert 2 == result.exit_code
    assert "settings: " in result.stdout
    assert "CONNECTOR_SHARDS is not a whole number" in result.stdout


@pytest.mark.parametrize(("codes", "expected"), [((), 0), ((3,), 3), ((2, 3), 2), ((0, 3, 0), 3)])
def test_exit_code_of_several_rungs(monkeypatch, codes, expected):
    """
    What a person has to change comes before what has to come up.
    """

    async def climb(_settings: Any) -> list[check.Rung]:
        return [check.Rung("x", "y", code) for code in codes]

    monkeypatch.setattr(check, "_climb", climb)
    monkeypatch.setattr(check, "load_settings", lambda _: settings())

    assert expected == CliRunner().invoke(cli.connector, ["check"]).exit_code


def test_marks_fit_the_terminal(monkeypatch, capsys):
    """
    A terminal that has no tick gets a word.
    """
    check._show(check.Rung("kafka", "here"))
    check._show(check.Rung("kafka", "gone", 3, ("Start it.",)))

    assert "✓ kafka: here\n✗ kafka: gone\n    Start it.\n" == capsys.readouterr().out
