# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import aiohttp
import pytest
from pydantic import ValidationError

from connector.sandbox.simulators import Fault, Simulators, times
from connector.sandbox.simulators.faults import Faults, parse_faults

BASE = times.parse("2024-05-01T10:00:00.000Z")


class Api:
    """Asks the simulated Stedi for a page, as bytes."""

    def __init__(self, simulators: Simulators, session: aiohttp.ClientSession) -> None:
        self.simulators = simulators
        self.simulator = simulators.stedi
        self.session = session

    async def get(self) -> tuple[int, Any, bytes]:
        env = self.simulators.env()
        url = env["STEDI_BASE_URL"] + "/polling/transactions?startDateTime=2024-05-01T00:00:00Z"
        headers = {"Authorization": env["STEDI_API_KEY"]}
        async with self.session.get(url, headers=headers, allow_redirects=False) as answer:
            return answer.status, answer.headers, await answer.read()

    async def met(self, kind: str, **words: Any) -> tuple[int, Any, bytes]:
        """The answer of a request that meets one fault."""
        self.simulator.faults.add(Fault(kind=kind, **words))
        return await self.get()


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with (
        Simulators() as simulators,
        aiohttp.ClientSession(auto_decompress=False) as session,
    ):
        api = Api(simulators, session)
        api.simulator.offer(count=3, event_time=BASE, spread=1)
        yield api
        # Whatever went wrong, the next request is served as if nothing had been.
        status, _, body = await api.get()
        assert (status, len(json.loads(body)["items"])) == (200, 3)


def test_faults_are_used_up_in_their_order() -> None:
    """Each request meets the first armed fault, as many times as that one has."""
    faults = Faults("/data", Random(1))
    faults.add(Fault(kind="reset", times=2), Fault(kind="delay"))
    met = [faults.take("/data") for _ in range(4)]
    assert [fault and fault.kind for fault in met] == ["reset", "reset", "delay", None]
    assert faults.hits == {"reset": 2, "delay": 1}


def test_faults_wait_for_their_path_and_their_turn() -> None:
    """A fault lets other paths and the first few requests pass."""
    faults = Faults("/data", Random(1))
    faults.add(Fault(kind="reset", skip=1), Fault(kind="delay", path="/oauth/token"))
    paths = ("/oauth/token", "/data", "/data", "/data")
    met = [faults.take(path) for path in paths]
    assert [fault and fault.kind for fault in met] == ["delay", None, "reset", None]


def test_faults_with_a_probability_last_and_repeat_with_the_seed() -> None:
    """A fault for ever hits its share of requests, the same ones for one seed."""
    runs = []
    for _ in range(2):
        faults = Faults("/data", Random(5))
        faults.add(Fault(kind="reset", times=None, probability=0.3))
        runs.append([faults.take("/data") is not None for _ in range(1000)])
    assert runs[0] == runs[1]
    assert 250 < sum(runs[0]) < 350


def test_faults_can_be_disarmed() -> None:
    """After clearing nothing goes wrong."""
    faults = Faults("/data", Random(1))
    faults.add(*parse_faults([{"kind": "reset", "times": None}, {"kind": "delay"}]))
    assert len(faults.armed) == 2
    faults.clear()
    assert faults.take("/data") is None


@pytest.mark.parametrize("wrong", [{"kind": "unheard"}, {"kind": "reset", "tims": 2}, 5])
def test_what_is_no_fault_is_refused(wrong) -> None:
    """A misspelt fault is an error, not a fault that never happens."""
    with pytest.raises(ValidationError):
        parse_faults(wrong)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("seconds", "3"),
        ("date", "Wed, 01 May 2024 10:00:03 GMT"),
        ("past_date", "Wed, 01 May 2024 09:00:00 GMT"),
        ("fraction", "2.100"),
        ("negative", "-5"),
        ("absurd", "31536000000"),
        ("broken", "in a while"),
        ("missing", None),
    ],
)
def test_retry_after_has_every_form(form, expected) -> None:
    """Retry-After comes as seconds, as a date, absurd, broken, or not at all."""
    fault = Fault(kind="rate_limited", retry_after=form, seconds=2.1)
    assert fault.limit_headers(BASE).get("Retry-After") == expected


@pytest.mark.parametrize(
    ("unit", "expected"), [("seconds", "1714557603"), ("milliseconds", "1714557602100")]
)
def test_rate_limit_reset_has_both_units(unit, expected) -> None:
    """The reset is told in seconds or in milliseconds, with a budget of zero."""
    fault = Fault(kind="rate_limited", reset=unit, seconds=2.1)
    assert fault.limit_headers(BASE) == {
        "X-RateLimit-Limit": "1000",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": expected,
    }


async def test_rate_limited_is_429_with_its_headers(api) -> None:
    """A limited request is a 429 that says how long to wait."""
    status, headers, _ = await api.met("rate_limited", retry_after="seconds", reset="seconds")
    assert (status, headers["Retry-After"]) == (429, "1")
    assert headers["X-RateLimit-Remaining"] == "0"


@pytest.mark.parametrize("code", [401, 403, 410, 500, 503, 504])
async def test_status_is_answered_in_place_of_the_page(api, code) -> None:
    """Any status can stand in, such as 401 in mid-life or 410 for a token."""
    status, _, body = await api.met("status", status=code, body='{"why":1}')
    assert (status, body) == (code, b'{"why":1}')


async def test_delay_only_delays(api) -> None:
    """A delayed answer is the right one."""
    status, _, body = await api.met("delay", delay=0.01)
    assert (status, len(json.loads(body)["items"])) == (200, 3)


async def test_headers_are_laid_over_the_answer(api) -> None:
    """A good page can carry headers of the fault's choice, such as a wrong Date."""
    wrong = "Thu, 01 Jan 1970 00:00:00 GMT"
    _, headers, body = await api.met("headers", headers={"Date": wrong, "X-RateLimit-Limit": "9"})
    assert (headers.getall("Date"), headers["X-RateLimit-Limit"]) == ([wrong], "9")
    assert len(json.loads(body)["items"]) == 3


@pytest.mark.parametrize(("kind", "processed"), [("reset", 3), ("lost_reply", 4)])
async def test_connection_is_reset_before_or_after_processing(api, kind, processed) -> None:
    """A reset request was not processed, one with a lost reply was."""
    api.simulator.configure({"grow": 1})
    api.simulator.faults.add(Fault(kind=kind))
    port = int(api.simulators.url.rpartition(":")[2])
    # A bare connection: aiohttp's client would ask a second time by itself.
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    key = api.simulators.env()["STEDI_API_KEY"]
    head = f"GET {api.simulator.data_path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {key}"
    writer.write(f"{head}\r\n\r\n".encode())
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    assert len(api.simulator.ledger) == processed
    api.simulator.configure({"grow": 0})


async def test_cut_body_promises_more_than_it_sends(api) -> None:
    """The connection closes before the promised length has come."""
    with pytest.raises(aiohttp.ClientPayloadError):
        await api.met("cut_body")


async def test_cut_json_is_complete_for_http_only(api) -> None:
    """The length is true and the JSON ends in its middle."""
    status, headers, body = await api.met("cut_json")
    assert (status, int(headers["Content-Length"])) == (200, len(body))
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)


async def test_oversized_body_has_the_size_that_was_asked_for(api) -> None:
    """A body can be as large as wanted, and is JSON."""
    _, headers, body = await api.met("oversized", size=5_000_000)
    assert headers["Content-Type"] == "application/json"
    assert len(json.loads(body)["padding"]) == 5 * 2**20


async def test_client_may_leave_an_oversized_body(api) -> None:
    """Whoever stops reading does no harm to the next request."""
    api.simulator.faults.add(Fault(kind="oversized", size=2**30))
    env = api.simulators.env()
    url = env["STEDI_BASE_URL"] + "/polling/transactions"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert len(await answer.content.readexactly(1000)) == 1000


async def test_gzip_bomb_is_small_on_the_wire_and_real(api) -> None:
    """A thousandth of the size is sent, and it unpacks to sound JSON."""
    _, headers, body = await api.met("gzip_bomb", size=64 * 2**20)
    assert headers["Content-Encoding"] == "gzip"
    assert len(body) < 2**17
    assert len(json.loads(gzip.decompress(body))["padding"]) == 64 * 2**20


async def test_gzip_is_a_good_compressed_page(api) -> None:
    """Compression alone is no fault."""
    _, headers, body = await api.met("gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(body))["items"]) == 3


async def test_wrong_encoding_names_gzip_over_plain_json(api) -> None:
    """The header says gzip, the body is none."""
    _, headers, body = await api.met("wrong_encoding")
    assert headers["Content-Encoding"] == "gzip"
    with pytest.raises((zlib.error, gzip.BadGzipFile)):
        gzip.decompress(body)


async def test_not_json_is_a_page_for_people(api) -> None:
    """An HTML page comes under 200."""
    status, headers, body = await api.met("not_json")
    assert (status, headers["Content-Type"], body[:6]) == (200, "text/html", b"<html>")


async def test_error_envelope_comes_under_200(api) -> None:
    """An error can hide behind a good status."""
    status, _, body = await api.met("error_envelope")
    assert (status, set(json.loads(body))) == (200, {"error", "message"})


@pytest.mark.parametrize("field", ["items", "item"])
async def test_page_can_come_without_its_items(api, field) -> None:
    """Only the token is left of a page."""
    api.simulator.configure({"items_field": field})
    _, _, body = await api.met("without_items")
    assert set(json.loads(body)) == {"nextPageToken"}
    api.simulator.configure({"items_field": "items"})


async def test_an_item_can_lose_its_id(api) -> None:
    """The first item of the page has no id, the others do."""
    _, _, body = await api.met("missing_id")
    assert ["transactionId" in item for item in json.loads(body)["items"]] == [False, True, True]


async def test_fields_can_have_wrong_types(api) -> None:
    """The first item keeps its ids, and nothing else has its type."""
    _, _, good = await api.get()
    _, _, body = await api.met("wrong_types")
    was, now = (json.loads(text)["items"] for text in (good, body))
    assert was[1:] == now[1:]
    assert was[0]["transactionId"] == now[0]["transactionId"]
    assert type(now[0]["processedAt"]) is dict
    assert type(now[0]["artifacts"]) is str


async def test_redirect_points_elsewhere(api) -> None:
    """A redirect names a host that must never get our credentials."""
    status, headers, _ = await api.met("redirect", status=307, location="https://b.example.com/")
    assert (status, headers["Location"]) == (307, "https://b.example.com/")


async def test_slow_body_comes_whole_in_the_end(api) -> None:
    """A slow body is right, and in pieces."""
    _, _, body = await api.met("slow_body", seconds=0.02)
    assert len(json.loads(body)["items"]) == 3


async def test_faults_leave_other_statuses_alone(api) -> None:
    """An answer that is an error already is not damaged further."""
    api.simulator.faults.add(Fault(kind="cut_json"))
    url = api.simulators.env()["STEDI_BASE_URL"] + "/polling/transactions"
    async with api.session.get(url) as answer:
        assert (answer.status, set(await answer.json())) == (403, {"message", "code"})


async def test_token_requests_do_not_use_up_faults_of_the_data(api) -> None:
    """A fault without a path waits for the data; one with the token's path hits that."""
    monetago = api.simulators.monetago
    monetago.faults.add(Fault(kind="status", status=503))
    url = api.simulators.env()["MONETAGO_TOKEN_URL"]
    async with api.session.post(url, json={}) as answer:
        assert answer.status == 400
    monetago.faults.add(Fault(kind="status", status=502, path="/oauth/token"))
    async with api.session.post(url, json={}) as answer:
        assert answer.status == 502


async def test_damage_fits_monetago_too(api) -> None:
    """A page of events loses its array or an id as one of items does."""
    monetago = api.simulators.monetago
    monetago.offer(event_time=BASE)
    env = api.simulators.env()
    asked = {
        "client_id": env["MONETAGO_CLIENT_ID"],
        "client_secret": env["MONETAGO_CLIENT_SECRET"],
        "audience": env["MONETAGO_AUDIENCE"],
        "grant_type": "client_credentials",
    }
    async with api.session.post(env["MONETAGO_TOKEN_URL"], json=asked) as answer:
        headers = {"Authorization": "Bearer " + (await answer.json())["access_token"]}
    monetago.faults.add(Fault(kind="without_items"), Fault(kind="missing_id"))
    pages = []
    for _ in range(2):
        async with api.session.get(env["MONETAGO_BASE_URL"] + "/activity", headers=headers) as page:
            pages.append(await page.json())
    assert set(pages[0]) == {"links"}
    assert "event_identification" not in pages[1]["events"][0]
