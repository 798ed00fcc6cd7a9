# SPDX-License-Identifier: Apache-2.0
"""
The example in CONTRIBUTING.md: its files are made from the page, and work.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import pytest

import connector.providers
import connector.sandbox.simulators
from connector.encoding import evolution, schemas
from connector.encoding.avro import StreamEncoder
from connector.encoding.decoding import Decoder
from connector.errors import RetryError, StoppedError
from connector.polling.records import Limits, RecordMaker
from connector.sandbox.simulators import Fault, Simulators, server
from connector.upstream.client import Client

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"
FILES = dict(
    re.findall(r"^`([\w/.]+)`\n\n```\w+\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
)
EXAMPLE = ("connector.providers.tally", "connector.sandbox.simulators.tally")
NOON = 1_700_000_000_000


@pytest.fixture
def tally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Make the files of the page, import them, and register the simulator."""
    for path, text in FILES.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for package in (connector.providers, connector.sandbox.simulators):
        folder = tmp_path / package.__name__.replace(".", "/")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    importlib.invalidate_caches()
    simulator = importlib.import_module(EXAMPLE[1]).TallySimulator
    monkeypatch.setattr(server, "SIMULATORS", (*server.SIMULATORS, simulator))
    yield importlib.import_module(EXAMPLE[0])
    for name in [each for each in sys.modules if each.startswith(EXAMPLE)]:
        del sys.modules[name]


def make_source(tally: ModuleType, simulators: Simulators) -> tuple[object, Client]:
    """Make the feed of the simulated account, and its client."""
    variables = simulators.providers["tally"].env(simulators.url)
    settings = tally.PROVIDER.settings(
        source="tally",
        allow_private_addresses=True,
        base_url=variables["TALLY_BASE_URL"],
        api_key=variables["TALLY_API_KEY"],
        start="earliest",
    )
    client = Client(
        source="tally",
        base_url=settings.base_url,
        auth=tally.PROVIDER.auth(settings),
        request_timeout=5,
        max_concurrency=1,
        rate_limit=None,
        allow_private_addresses=True,
    )
    return tally.PROVIDER.feeds(settings)[0], client


def test_the_page_has_all_files_of_a_provider():
    """
    Settings, records, API, provider, schema and simulator are there.
    """
    assert 6 == len(FILES)


async def test_every_entry_is_read_once_over_a_restart(tally):
    """
    An offset made anew from what was stored goes on where the last one stood.
    """
    async with Simulators() as simulators:
        simulator = simulators.providers["tally"]
        simulator.offer(count=120, event_time=NOON, spread=60)
        feed, client = make_source(tally, simulators)
        found = []
        async with client:
            _, stored = feed.first(0)
            for _ in range(5):
                page = await feed.fetch_page(client, feed.load(stored))
                stored = {**stored, **page.writes}
                found += [item["id"] for item in page.items]

        assert [event.id for event in simulator.ledger.events()] == found
        assert page.caught_up


async def test_entries_become_records(tally):
    """
    Key, id, event time and the exact amount of an entry are those of the record.
    """
    schema = schemas.parse("tally/entries.avsc", FILES["schemas/tally/entries.avsc"].encode())
    maker = RecordMaker(
        source="tally",
        connector="test",
        stream=tally.PROVIDER.streams[0],
        topic="tally.entries",
        dead_letters="test.dead-letters",
        encoder=StreamEncoder(schema, None),
        limits=Limits(records=10_000, dead_letters=10_000),
        stop_on_rejected=False,
    )
    entry = {
        "id": "e-1",
        "account": "a-1",
        "booked_at": "2026-11-20T12:00:00.000Z",
        "amount": Decimal("0.10"),
        "new": 1,
    }

    (record, letter), reasons, _ = maker.make([entry, {"account": "a-1"}])

    assert (b"a-1", "e-1", 1_795_176_000_000) == (record.key, record.id, record.event_time)
    assert (["missing_id"], "test.dead-letters") == (reasons, letter.topic)
    decoder = Decoder(None)
    decoder._by_fingerprint[schema.fingerprint] = schema
    datum = (await decoder.decode(record.value)).datum
    assert (Decimal("0.10"), {"/new": "1"}) == (datum["amount"], datum["additional_properties"])
    assert [] == evolution.undocumented(schema)


async def test_what_is_no_page_is_an_error(tally):
    """
    An error under HTTP 200, and a stored value of somebody else, are seen.
    """
    async with Simulators() as simulators:
        simulators.providers["tally"].faults.add(Fault(kind="error_envelope"))
        feed, client = make_source(tally, simulators)
        async with client:
            with pytest.raises(RetryError) as caught:
                await feed.fetch_page(client, feed.first(0)[0])

    assert "bad_envelope" == caught.value.cause
    with pytest.raises(StoppedError):
        feed.load({"": {"token": "x"}})
