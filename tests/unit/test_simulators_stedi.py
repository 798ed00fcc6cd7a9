# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from connector.sandbox.simulators import Simulators, times

BASE = times.parse("2024-05-01T10:00:00.000Z")
START = {"startDateTime": "2024-05-01T00:00:00Z"}


class Api:
    """Calls the simulated Stedi as a client would."""

    def __init__(self, simulators: Simulators, session: aiohttp.ClientSession) -> None:
        self.simulators = simulators
        self.simulator = simulators.stedi
        self.session = session
        self.key = simulators.env()["STEDI_API_KEY"]

    async def raw(self, **query: Any) -> tuple[int, dict[str, Any]]:
        url = self.simulators.env()["STEDI_BASE_URL"] + "/polling/transactions"
        query = {name: str(value) for name, value in query.items()}
        headers = {"Authorization": self.key}
        async with self.session.get(url, params=query, headers=headers) as answer:
            return answer.status, json.loads(await answer.read())

    async def page(self, **query: Any) -> tuple[list[int], str | None]:
        """The ledger numbers of the items of one page, and its token."""
        status, body = await self.raw(**query)
        assert status == 200
        numbers = {event.id: event.seq for event in self.simulator.ledger.events()}
        items = [numbers[item["transactionId"]] for item in body["items"]]
        return items, body.get("nextPageToken")


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with Simulators() as simulators, aiohttp.ClientSession() as session:
        yield Api(simulators, session)


@pytest.mark.parametrize("prefix", ["", "Key "])
async def test_key_is_taken_bare_and_in_the_older_form(api, prefix) -> None:
    """The key stands in Authorization, alone or behind the word Key."""
    api.key = prefix + api.key
    assert (await api.raw(**START))[0] == 200


@pytest.mark.parametrize("key", ["", "wrong", "Bearer simulated-api-key"])
async def test_wrong_key_is_a_403(api, key) -> None:
    """Another key is refused with 403, message and code."""
    api.key = key
    status, body = await api.raw(**START)
    assert (status, set(body)) == (403, {"message", "code"})


async def test_one_of_token_and_start_is_a_must(api) -> None:
    """Neither and both are a 400."""
    _, token = await api.page(**START)
    assert (await api.raw())[0] == 400
    assert (await api.raw(pageToken=token, **START))[0] == 400


async def test_start_has_to_be_a_minute_old(api) -> None:
    """A start younger than a minute, or none at all in its words, is a 400."""
    now = api.simulator.now()
    asked = [times.iso(now - 58_000), times.iso(now + 1000), "yesterday", ""]
    assert [(await api.raw(startDateTime=text))[0] for text in asked] == [400] * 4
    assert (await api.raw(startDateTime=times.iso(now - 61_000)))[0] == 200


async def test_start_is_judged_by_the_simulated_clock(api) -> None:
    """A provider whose clock is behind refuses a start that is old enough for us."""
    api.simulator.configure({"clock_skew": -30})
    assert (await api.raw(startDateTime=times.iso(times.now() - 61_000)))[0] == 400
    assert (await api.raw(startDateTime=times.iso(times.now() - 95_000)))[0] == 200


@pytest.mark.parametrize(("size", "status"), [("1", 200), ("500", 200), ("501", 400), ("0", 400)])
async def test_page_size_goes_from_1_to_500(api, size, status) -> None:
    """A page below 1 or above 500 is refused."""
    assert (await api.raw(pageSize=size, **START))[0] == status


async def test_page_size_is_100_without_a_word(api) -> None:
    """Without a size there are 100 items in a page."""
    api.simulator.offer(count=120, event_time=BASE, spread=60)
    assert len((await api.page(**START))[0]) == 100


async def test_start_is_exclusive_and_order_ascending(api) -> None:
    """Items come by processedAt, and one at exactly the start is left out."""
    for late in (2000, 0, 1000):
        api.simulator.offer(event_time=BASE + late)
    assert (await api.page(startDateTime=times.iso(BASE)))[0] == [3, 1]


async def test_equal_times_on_a_page_edge_are_not_lost_to_tokens(api) -> None:
    """Two items of one time on two pages both come when tokens are followed."""
    api.simulator.offer(count=3, event_time=BASE)
    first, token = await api.page(pageSize=2, **START)
    second, _ = await api.page(pageSize=2, pageToken=token)
    assert (first, second) == ([1, 2], [3])


async def test_new_transactions_are_held_back_for_15_seconds(api) -> None:
    """What was processed in the last 15 s is not shown, by start or by token."""
    now = api.simulator.now()
    (event,) = api.simulator.offer(event_time=now)
    assert event.visible_at == now + 15_000
    items, token = await api.page(**START)
    assert items == []
    api.simulator.configure({"clock_skew": 16})
    assert (await api.page(pageToken=token))[0] == [1]


async def test_hold_back_can_be_shortened(api) -> None:
    """Tests need not wait 15 s."""
    api.simulator.configure({"hold_back": 0})
    api.simulator.offer()
    assert (await api.page(**START))[0] == [1]


async def test_every_answer_has_a_fresh_token_and_old_ones_stay_good(api) -> None:
    """An empty answer brings a new token too, and each one stays a checkpoint."""
    api.simulator.offer(count=2, event_time=BASE, spread=1)
    seen: list[str | None] = []
    _, token = await api.page(pageSize=1, **START)
    for _ in range(4):
        seen.append(token)
        _, token = await api.page(pageSize=1, pageToken=token)
    assert len(set(seen)) == 4
    api.simulator.offer(event_time=BASE + 60_000)
    found = [(await api.page(pageToken=token))[0] for token in seen]
    assert found == [[2, 3], [3], [3], [3]]


async def test_tokens_miss_nothing_that_comes_late(api) -> None:
    """An item with an older time that appears later still comes by the token."""
    api.simulator.offer(event_time=BASE + 5000)
    _, token = await api.page(**START)
    api.simulator.offer(event_time=BASE)
    assert (await api.page(pageToken=token))[0] == [2]
    assert (await api.page(startDateTime=times.iso(BASE + 1)))[0] == [1]


@pytest.mark.parametrize("token", ["nonsense", "", "MTAwLg==", "x" * 2000])
async def test_unknown_tokens_are_refused(api, token) -> None:
    """A token that was never given is a 400."""
    assert (await api.raw(pageToken=token))[0] == 400


async def test_array_can_be_called_item(api) -> None:
    """The older half of the page calls the array item."""
    api.simulator.offer(event_time=BASE)
    api.simulator.configure({"items_field": "item"})
    _, body = await api.raw(**START)
    assert list(body) == ["item", "nextPageToken"]


async def test_token_can_be_absent_at_the_end(api) -> None:
    """On request the last page has items and no token."""
    api.simulator.offer(count=2, event_time=BASE, spread=1)
    api.simulator.configure({"paging": "absent"})
    items, token = await api.page(pageSize=1, **START)
    assert (items, token is None) == ([1], False)
    assert await api.page(pageSize=1, pageToken=token) == ([2], None)


async def test_an_empty_page_can_repeat_the_token_sent(api) -> None:
    """On request a page without items hands back the token that asked for it."""
    api.simulator.configure({"paging": "same_when_empty"})
    _, token = await api.page(**START)
    assert await api.page(pageToken=token) == ([], token)
    api.simulator.offer(event_time=BASE)
    assert (await api.page(pageToken=token))[1] != token


@pytest.mark.parametrize("length", [1, 2, 3])
async def test_tokens_can_go_round_with_items(api, length) -> None:
    """On request the same few tokens come over and over, with items each time."""
    api.simulator.offer(count=20, event_time=BASE, spread=1)
    api.simulator.configure({"paging": "cycle", "cycle": length})
    items, token = await api.page(pageSize=2, **START)
    tokens = [token]
    for _ in range(2 * length):
        items, token = await api.page(pageSize=2, pageToken=token)
        assert len(items) == 2
        tokens.append(token)
    assert len(set(tokens)) == length
    assert tokens[:length] == tokens[length : 2 * length]


async def test_item_has_the_required_fields(api) -> None:
    """An item has every field that the OpenAPI document requires, and no links."""
    api.simulator.configure({"edifact": 0})
    api.simulator.offer(count=100, event_time=BASE, spread=1)
    _, body = await api.raw(**START)
    required = {
        "transactionId",
        "fileExecutionId",
        "status",
        "direction",
        "mode",
        "processedAt",
        "artifacts",
        "partnership",
        "businessIdentifiers",
        "x12",
    }
    optional = {"fragments", "translationErrors"}
    for item in body["items"]:
        assert required <= set(item) <= required | optional
    assert {field for item in body["items"] for field in item} >= {"fragments"}
    assert body["items"][0]["processedAt"] == "2024-05-01T10:00:00.000Z"
    metadata = body["items"][0]["x12"]["metadata"]
    assert isinstance(metadata["transaction"]["controlNumber"], str)
    assert isinstance(metadata["interchange"]["controlNumber"], int)


async def test_edifact_items_have_no_x12(api) -> None:
    """An EDIFACT transaction lacks x12 and says so in its partnership."""
    api.simulator.configure({"edifact": 1})
    (event,) = api.simulator.offer(event_time=BASE)
    item = json.loads(event.body)
    assert "x12" not in item
    assert item["partnership"]["partnershipType"] == "edifact"


async def test_numbers_pass_32_bits(api) -> None:
    """Some sizes need more than 32 bits, some more than a float counts exactly."""
    events = api.simulator.offer(count=50, event_time=BASE)
    sizes = {json.loads(event.body)["artifacts"][0]["sizeBytes"] for event in events}
    assert {2**31, 2**53 + 1} <= sizes


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("test", {"test"}), ("production", {"production"}), ("mixed", {"test", "production"})],
)
async def test_mode_is_a_switch(api, mode, expected) -> None:
    """Items are of the mode that the key stands for, or of both."""
    api.simulator.configure({"mode": mode})
    events = api.simulator.offer(count=30, event_time=BASE)
    assert {json.loads(event.body)["mode"] for event in events} == expected


async def test_unknown_fields_come_on_request(api) -> None:
    """Items can carry fields that no document names, with numbers no float holds."""
    api.simulator.configure({"unknown_fields": True})
    (event,) = api.simulator.offer(event_time=BASE)
    assert b'"simulatedNumber":9007199254740993.123456789012345678' in event.body


async def test_id_is_the_key(api) -> None:
    """The message key of a transaction is its id, given or invented."""
    invented, given = api.simulator.offer(event_time=BASE) + api.simulator.offer(key="mine")
    assert invented.key == invented.id
    assert (given.id, json.loads(given.body)["transactionId"]) == ("mine", "mine")
