# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from connector.sandbox.simulators import Simulators, times

BASE = times.parse("2024-05-01T10:00:00.000Z")


class Api:
    """Calls the simulated MonetaGo as a client would."""

    def __init__(self, simulators: Simulators, session: aiohttp.ClientSession) -> None:
        self.simulators = simulators
        self.simulator = simulators.monetago
        self.session = session
        self.bearer = ""

    def credentials(self, **changes: str) -> dict[str, str]:
        env = self.simulators.env()
        return {
            "client_id": env["MONETAGO_CLIENT_ID"],
            "client_secret": env["MONETAGO_CLIENT_SECRET"],
            "audience": env["MONETAGO_AUDIENCE"],
            "grant_type": "client_credentials",
            **changes,
        }

    async def token(self, **words: Any) -> tuple[int, dict[str, Any]]:
        words = words or {"json": self.credentials()}
        url = words.pop("url", self.simulators.env()["MONETAGO_TOKEN_URL"])
        async with self.session.post(url, **words) as answer:
            return answer.status, await answer.json()

    async def raw(self, **query: Any) -> tuple[int, dict[str, Any]]:
        url = self.simulators.env()["MONETAGO_BASE_URL"] + "/activity"
        query = {name: str(value) for name, value in query.items()}
        headers = {"Authorization": self.bearer}
        async with self.session.get(url, params=query, headers=headers) as answer:
            return answer.status, json.loads(await answer.read())

    async def events(self, **query: Any) -> list[int | None]:
        """The ledger numbers of the events of one page."""
        status, body = await self.raw(**query)
        assert status == 200
        numbers = {event.id: event.seq for event in self.simulator.ledger.events()}
        return [numbers[event["event_identification"]] for event in body["events"]]


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with Simulators() as simulators, aiohttp.ClientSession() as session:
        api = Api(simulators, session)
        _, answer = await api.token()
        api.bearer = f"Bearer {answer['access_token']}"
        yield api


async def test_token_reply_has_the_documented_form(api) -> None:
    """Good credentials bring a JWT, its life in seconds and its type."""
    status, answer = await api.token()
    assert status == 200
    assert set(answer) == {"access_token", "expires_in", "token_type"}
    assert (answer["expires_in"], answer["token_type"]) == (43_200, "Bearer")
    assert answer["access_token"].count(".") == 2


@pytest.mark.parametrize("field", ["client_id", "client_secret", "audience"])
async def test_token_refuses_wrong_credentials(api, field) -> None:
    """Each wrong part of the credentials is a 401."""
    status, _ = await api.token(json=api.credentials(**{field: "wrong"}))
    assert status == 401


async def test_token_wants_json_without_url_parameters(api) -> None:
    """A form, a broken body, another grant or URL parameters are a 400."""
    good = api.credentials()
    url = api.simulators.env()["MONETAGO_TOKEN_URL"]
    asked = [
        {"data": good},
        {"data": b"{", "headers": {"Content-Type": "application/json"}},
        {"json": [good]},
        {"json": api.credentials(grant_type="password")},
        {"url": f"{url}?audience=x", "json": good},
    ]
    assert [(await api.token(**words))[0] for words in asked] == [400] * 5


async def test_secret_can_be_rotated(api) -> None:
    """After a rotation only the new secret is taken."""
    old = api.credentials()
    api.simulator.configure({"client_secret": "simulated-second-secret"})
    assert (await api.token(json=old))[0] == 401
    assert (await api.token())[0] == 200


@pytest.mark.parametrize("header", ["", "Bearer wrong", "Basic wrong", "wrong"])
async def test_activity_refuses_other_tokens(api, header) -> None:
    """Without a token of ours there is no activity."""
    api.bearer = header
    assert (await api.raw())[0] == 401


async def test_token_dies_when_its_life_ends(api) -> None:
    """A token is refused once the provider's clock has passed its end."""
    assert (await api.raw())[0] == 200
    api.simulator.configure({"clock_skew": 43_201})
    assert (await api.raw())[0] == 401


async def test_token_can_die_before_the_end_it_was_told(api) -> None:
    """A token can live shorter than it says, or be revoked."""
    api.simulator.revoke_tokens()
    assert (await api.raw())[0] == 401
    api.simulator.configure({"token_lifetime": 60})
    _, answer = await api.token()
    api.bearer = f"Bearer {answer['access_token']}"
    assert answer["expires_in"] == 43_200
    assert (await api.raw())[0] == 200
    api.simulator.configure({"clock_skew": 61})
    assert (await api.raw())[0] == 401


async def test_event_has_the_documented_fields(api) -> None:
    """An event looks like the sample's, with two requests and two details."""
    (offered,) = api.simulator.offer(event_time=BASE + 7)
    _, body = await api.raw()
    (event,) = body["events"]
    assert list(event) == [
        "event_identification",
        "event_date_time",
        "pool_identification",
        "submitter_batch_identification",
        "batch_identification",
        "submitter_data_set_identification",
        "data_set_identification",
        "request_identifications",
        "event_details",
    ]
    assert event["event_identification"] == offered.id
    assert event["data_set_identification"] == offered.key
    assert event["event_date_time"] == "2024-05-01T10:00:00.007Z"
    assert [uuid.UUID(text).version for text in event["request_identifications"]] == [4, 4]
    fing, ddoc = event["event_details"]
    assert list(fing) == ["service_name", "status"]
    assert list(ddoc) == ["service_name", "registered_document_identification", "status"]
    assert 680 <= len(offered.body) <= 700


async def test_same_seed_makes_the_same_events() -> None:
    """The seed alone decides what is invented."""
    first, second, other = (
        [event.body for event in Simulators(seed=seed).monetago.offer(count=5, event_time=BASE)]
        for seed in (7, 7, 8)
    )
    assert first == second
    assert first != other


async def test_keys_come_back(api) -> None:
    """Some events share a data set, so that order within a key can be judged."""
    events = api.simulator.offer(count=200, event_time=BASE, spread=10)
    assert len({event.id for event in events}) == 200
    assert 50 < len({event.key for event in events}) < 200


async def test_links_are_as_broken_as_the_sample(api) -> None:
    """Links name another host, a comma, limit 20, and no after, whatever was asked."""
    api.simulator.offer(count=100, event_time=BASE, spread=1)
    _, body = await api.raw(after=times.iso(BASE - 1), limit=1000, offset=40)
    at = "https://developer.swift.com/api/v1/activity?limit=20,offset="
    assert body["links"] == [
        {"href": f"{at}{place}", "rel": rel, "type": "GET"}
        for rel, place in (("self", 40), ("first", 0), ("next", 60), ("previous", 20), ("last", 80))
    ]
    assert len(body["events"]) == 60


async def test_links_can_be_left_out(api) -> None:
    """Without links there is only the array of events."""
    api.simulator.configure({"links": False})
    assert (await api.raw())[1] == {"events": []}


@pytest.mark.parametrize(
    ("after_inclusive", "before_inclusive", "expected"),
    [(False, False, [2]), (True, False, [1, 2]), (False, True, [2, 3]), (True, True, [1, 2, 3])],
)
async def test_each_bound_can_be_inclusive(api, after_inclusive, before_inclusive, expected):
    """Whether events at exactly after and before are in is a switch for each."""
    api.simulator.offer(count=3, event_time=BASE, spread=0.002)
    api.simulator.configure(
        {"after_inclusive": after_inclusive, "before_inclusive": before_inclusive}
    )
    found = await api.events(after=times.iso(BASE), before=times.iso(BASE + 2))
    assert found == expected


@pytest.mark.parametrize(
    ("order", "expected"), [("ascending", [[1, 2], [3]]), ("descending", [[3, 2], [1]])]
)
async def test_order_is_a_switch(api, order, expected) -> None:
    """Events come oldest first or newest first, and offset counts in that order."""
    api.simulator.offer(count=3, event_time=BASE, spread=1)
    api.simulator.configure({"order": order})
    assert [await api.events(limit=2, offset=offset) for offset in (0, 2)] == expected


async def test_unstable_order_shuffles_equal_times_for_each_request(api) -> None:
    """With equal times two requests for one page may bring different events."""
    api.simulator.offer(count=30, event_time=BASE)
    api.simulator.configure({"order": "unstable"})
    pages = [await api.events(limit=10) for _ in range(4)]
    assert len({tuple(page) for page in pages}) == 4


@pytest.mark.parametrize(("cap", "expected"), [(None, 30), (20, 20)])
async def test_limit_can_be_capped_in_silence(api, cap, expected) -> None:
    """A cap shortens pages without a word."""
    api.simulator.offer(count=30, event_time=BASE, spread=1)
    api.simulator.configure({"cap": cap})
    assert len(await api.events(limit=1000)) == expected


async def test_a_late_event_appears_after_its_event_time(api) -> None:
    """An event can become visible later than it says it happened."""
    now = api.simulator.now()
    (event,) = api.simulator.offer(event_time=now, late=30)
    assert event.visible_at == now + 30_000
    assert await api.events() == []
    api.simulator.configure({"clock_skew": 31})
    assert await api.events(after=times.iso(now - 1)) == [1]
    assert await api.events(after=times.iso(now)) == []


async def test_an_event_can_come_from_the_future(api) -> None:
    """An event can be seen although its event time has not come."""
    now = api.simulator.now()
    (event,) = api.simulator.offer(event_time=now + 3_600_000, visible_at=now)
    assert event.visible_at == now
    assert await api.events() == [1]


async def test_events_can_appear_while_a_walk_is_under_way(api) -> None:
    """With growth each request meets events that the one before did not."""
    api.simulator.offer(count=2, event_time=BASE, spread=1)
    api.simulator.configure({"grow": 1, "order": "descending"})
    assert await api.events(limit=2) == [3, 2]
    # One more came in front, so the next page repeats what the first one had last.
    assert await api.events(limit=2, offset=2) == [2, 1]


async def test_unknown_fields_come_on_request(api) -> None:
    """Events can carry fields that no page names, with numbers no float holds."""
    api.simulator.configure({"unknown_fields": True})
    (event,) = api.simulator.offer()
    assert b'"simulated_number":9007199254740993.123456789012345678' in event.body
    assert json.loads(event.body)["simulated_object"]["list"] == [1, None, "é"]


@pytest.mark.parametrize(
    "query",
    [
        {"after": "yesterday"},
        {"before": "2024-05-01T10:00:00"},
        {"limit": "0"},
        {"limit": "x"},
        {"offset": "-1"},
    ],
)
async def test_unreadable_parameters_are_refused(api, query) -> None:
    """A parameter that cannot be read is a 400."""
    assert (await api.raw(**query))[0] == 400


async def test_any_key_makes_valid_json(api) -> None:
    """A key with quotes and signs of formats arrives as it is."""
    (event,) = api.simulator.offer(key='a"b\\c %s é')
    assert json.loads(event.body)["data_set_identification"] == 'a"b\\c %s é'
    assert await api.events() == [1]


async def test_items_can_be_damaged_when_they_are_offered(api) -> None:
    """Fields can be changed, taken out, or the whole item replaced; the ledger knows."""
    changed, without, replaced, null = (
        api.simulator.offer(event_time=BASE + index, **words)[0]
        for index, words in enumerate(
            [
                {"changes": {"event_details": 5}},
                {"without": ["event_identification"]},
                {"body": '{"event_identification":"x","n":1.10}'},
                {"body": "null"},
            ]
        )
    )
    assert json.loads(changed.body)["event_details"] == 5
    assert (without.id, without.key is None) == (None, False)
    assert (replaced.id, replaced.key, replaced.body[-9:]) == ("x", "x", b'"n":1.10}')
    assert (null.id, null.key) == (None, None)
    _, body = await api.raw()
    assert body["events"][3] is None


async def test_date_header_follows_the_simulated_clock(api) -> None:
    """A skewed provider says so in its Date header."""
    api.simulator.configure({"clock_skew": 3600})
    url = api.simulators.env()["MONETAGO_BASE_URL"] + "/activity"
    async with api.session.get(url) as answer:
        shown = answer.headers.getall("Date")
    expected = {times.http_date(api.simulator.now() - back) for back in (0, 1000, 2000)}
    assert len(shown) == 1
    assert shown[0] in expected
