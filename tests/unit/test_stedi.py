# SPDX-License-Identifier: Apache-2.0
"""
Stedi's transactions as a feed: tokens, starts, and what the documents leave open.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.errors import RefusedError, RejectedRecordError, RetryError, StoppedError
from connector.providers.base import Identity
from connector.providers.fields import parse_ms, write_ms
from connector.providers.stedi import PROVIDER
from connector.providers.stedi.api import TransactionsFeed
from connector.providers.stedi.offset import RING
from connector.providers.stedi.records import identify
from connector.upstream.client import Reply

# 2026-11-20T12:00:00Z
NOON = 1_795_176_000_000
FEED = TransactionsFeed(base_url="https://example.com/v", page_size=100)


def item(name: str, processed_at: int = NOON - 60_000, mode: str = "test") -> dict[str, Any]:
    return {"transactionId": name, "processedAt": write_ms(processed_at), "mode": mode}


@dataclass
class Script:
    """
    Answers what it is told, in turn; stands where a Client stands.
    """

    bodies: list[Any]
    now: int = NOON
    asked: list[dict[str, str]] = field(default_factory=list)

    def clock(self) -> int:
        return self.now

    async def get(self, path: str, params: dict[str, str]) -> Reply:
        assert path == "/polling/transactions"
        self.asked.append(params)
        body = self.bodies.pop(0)
        if isinstance(body, Exception):
            raise body
        return Reply(
            status=200, body=body, polled_at=self.now + 5, server_time=self.now, retry_after=None
        )


@dataclass
class Server:
    """
    Polling as documented: a token is a place in the stream, another text every time.
    """

    transactions: list[tuple[int, Any]]
    tokens_at_end: bool = True
    name: str = "items"
    now: int = NOON
    asked: int = 0

    def clock(self) -> int:
        return self.now

    async def get(self, path: str, params: dict[str, str]) -> Reply:
        assert ("pageToken" in params) != ("startDateTime" in params)
        self.asked += 1
        self.now += 100
        seen = [each for each in self.transactions if each[0] <= self.now - 15_000]
        if "pageToken" in params:
            start = int(params["pageToken"].split(".")[0])
        else:
            after = parse_ms(params["startDateTime"])
            assert after is not None
            assert after <= self.now - 60_000
            start = sum(each[0] <= after for each in seen)
        found = [each[1] for each in seen[start : start + int(params["pageSize"])]]
        body: dict[str, Any] = {self.name: found}
        if self.tokens_at_end or start + len(found) < len(seen):
            body["nextPageToken"] = f"{start + len(found)}.{self.asked}"
        return Reply(
            status=200, body=body, polled_at=self.now, server_time=self.now, retry_after=None
        )


async def fetch(client: Any, offset: Any) -> Any:
    """
    Take a step, and check that what it stores is the offset it leads to.
    """
    page = await FEED.fetch_page(client, offset)
    parts = stored(offset)
    parts.update(json.loads(json.dumps(dict(page.writes))))
    kept = {name: value for name, value in parts.items() if value is not None}
    assert FEED.load(kept) == page.next_offset
    return page


def stored(offset: Any) -> dict[str, Any]:
    """
    Give all parts of an offset.
    """
    nothing, _ = FEED.first(-1)
    parts = dict(offset.writes(nothing))
    parts[""] = offset.store()
    copied: dict[str, Any] = json.loads(json.dumps(parts))
    return copied


def at(token: str) -> Any:
    return FEED.load({"": {"token": token}})


async def test_the_first_request_asks_from_the_start() -> None:
    """
    The start is exclusive there and inclusive here, so 1 ms less is asked for.
    """
    client = Script([{"items": [item("a")], "nextPageToken": "t1"}])
    page = await fetch(client, FEED.first(NOON - 3_600_000)[0])

    assert [{"pageSize": "100", "startDateTime": "2026-11-20T10:59:59.999Z"}] == client.asked
    assert [item("a")] == page.items
    assert "t1" == page.next_offset.token
    assert not page.caught_up
    assert page.durable


async def test_a_start_of_now_is_90_seconds_ago() -> None:
    """
    Younger than a minute is refused, so the start is clamped by the server's clock.
    """
    client = Script([{"items": [], "nextPageToken": "t1"}])
    await fetch(client, FEED.first(NOON)[0])

    assert "2026-11-20T11:58:30.000Z" == client.asked[0]["startDateTime"]


async def test_a_start_refused_for_our_fast_clock_is_asked_again() -> None:
    """
    The refusal's Date tells the server's clock; the start moves back by that.
    """

    class Learning(Script):
        async def get(self, path: str, params: dict[str, str]) -> Reply:
            try:
                return await super().get(path, params)
            except RefusedError:
                self.now -= 300_000
                raise

    client = Learning([RefusedError("HTTP 400"), {"items": [], "nextPageToken": "t1"}])
    await fetch(client, FEED.first(NOON)[0])

    assert [
        "2026-11-20T11:58:30.000Z",
        "2026-11-20T11:53:30.000Z",
    ] == [each["startDateTime"] for each in client.asked]


async def test_a_start_refused_for_good_stops() -> None:
    """
    If the clock is not to blame, the refusal is passed on.
    """
    with pytest.raises(RefusedError):
        await FEED.fetch_page(Script([RefusedError("HTTP 400")]), FEED.first(NOON)[0])  # type: ignore[arg-type]


async def test_an_empty_page_is_caught_up_and_its_token_a_checkpoint() -> None:
    """
    The newest token is taken, stored now and then, and the stream complete to 15 s ago.
    """
    client = Script([{"items": [], "nextPageToken": "t2"}])
    page = await fetch(client, at("t1"))

    assert page.caught_up
    assert not page.durable
    assert {"": {"token": "t2", "ring": []}} == page.writes
    assert NOON - 15_000 == page.complete_until
    assert NOON + 5 == page.polled_at


async def test_an_empty_page_never_leads_back() -> None:
    """
    A token whose items were written is not taken again.
    """
    client = Script(
        [{"items": [item("a")], "nextPageToken": "t2"}, {"items": [], "nextPageToken": "t1"}]
    )
    page = await fetch(client, at("t1"))
    page = await fetch(client, page.next_offset)

    assert page.caught_up
    assert "t2" == page.next_offset.token
    assert {} == page.writes


async def test_items_without_a_token_are_written_once() -> None:
    """
    Their ids stay beside the token until one comes; known ones are dropped meanwhile.
    """
    client = Script(
        [
            {"items": [item("a"), item("b")]},
            {"items": [item("a"), item("b"), item("c")]},
            {"items": [item("a"), item("b"), item("c")]},
            {"items": [item("b"), item("c"), item("d")], "nextPageToken": "t2"},
        ]
    )
    first = await fetch(client, at("t1"))
    second = await fetch(client, first.next_offset)
    third = await fetch(client, second.next_offset)
    last = await fetch(client, third.next_offset)

    assert [item("a"), item("b")] == first.items
    assert [item("c")] == second.items
    assert [] == third.items
    assert {} == third.writes
    assert [item("d")] == last.items
    assert {
        "known": None,
        "": {"token": "t2", "ring": last.next_offset.store()["ring"]},
    } == last.writes
    assert [True, True, True, False] == [each.caught_up for each in (first, second, third, last)]
    assert ["t1"] * 4 == [each["pageToken"] for each in client.asked]
    assert {"token_missing": 1} == first.notes


@pytest.mark.parametrize(
    "tokens",
    [["t0"], ["t1", "t0"], ["t1", "t2", "t0"], [f"t{n}" for n in range(1, RING)] + ["t0"]],
    ids=["itself", "two", "three", "as many as are remembered"],
)
async def test_a_cycle_of_tokens_with_items_is_an_error(tokens: list[str]) -> None:
    """
    However long it is, up to the ring, also over restarts.
    """
    bodies = [{"items": [item(f"i{n}")], "nextPageToken": token} for n, token in enumerate(tokens)]
    client, offset = Script(bodies), at("t0")
    for _ in tokens[:-1]:
        offset = FEED.load(stored((await fetch(client, offset)).next_offset))
    with pytest.raises(RetryError) as caught:
        await FEED.fetch_page(client, offset)  # type: ignore[arg-type]

    assert "token_cycle" == caught.value.cause


async def test_the_ring_stays_small() -> None:
    """
    Only the latest tokens are remembered.
    """
    bodies = [{"items": [item(f"i{n}")], "nextPageToken": f"t{n}"} for n in range(100)]
    client, offset = Script(bodies), at("first")
    for _ in range(100):
        offset = (await fetch(client, offset)).next_offset

    assert RING == len(offset.ring)


@pytest.mark.parametrize(
    "body",
    [
        {"message": "Internal error"},
        {"nextPageToken": "t2"},
        {"items": None},
        {"items": {}},
        {"item": "a"},
        [],
        None,
        "down for maintenance",
    ],
    ids=repr,
)
async def test_no_list_of_items_is_an_error(body: Any) -> None:
    """
    An error under HTTP 200 is not an empty page.
    """
    with pytest.raises(RetryError) as caught:
        await FEED.fetch_page(Script([body]), at("t1"))  # type: ignore[arg-type]

    assert "bad_envelope" == caught.value.cause


async def test_the_older_name_of_the_list_is_read() -> None:
    """
    ``item`` is taken where ``items`` is missing.
    """
    page = await fetch(Script([{"item": [item("a")], "nextPageToken": "t2"}]), at("t1"))

    assert [item("a")] == page.items


@pytest.mark.parametrize(
    "token",
    ["", "x" * 1025, 7, ["t"], {}, True, "\ud800", "a\n"],
    ids=lambda each: type(each).__name__,
)
async def test_a_token_that_cannot_be_one_is_an_error(token: Any) -> None:
    """
    Only a text of 1 to 1024 printable characters can be stored and sent.
    """
    with pytest.raises(RetryError) as caught:
        await FEED.fetch_page(Script([{"items": [], "nextPageToken": token}]), at("t1"))  # type: ignore[arg-type]

    assert "bad_token" == caught.value.cause


async def test_the_longest_token_is_taken() -> None:
    """
    1024 characters are allowed.
    """
    page = await fetch(Script([{"items": [], "nextPageToken": "x" * 1024}]), at("t1"))

    assert "x" * 1024 == page.next_offset.token


@pytest.mark.parametrize(
    ("modes", "mode"),
    [
        ([], None),
        (["other"], None),
        (["test", "other"], "test"),
        (["production", "production"], "production"),
        (["production", "test"], "mixed"),
        ([7, None, ["test"]], None),
    ],
)
async def test_the_mode_is_seen(modes: list[Any], mode: str | None) -> None:
    """
    ``other`` and what is no text say nothing of the key.
    """
    items = [{"transactionId": f"i{n}", "mode": each} for n, each in enumerate(modes)]
    page = await fetch(Script([{"items": items, "nextPageToken": "t2"}]), at("t1"))

    assert mode == page.mode


async def test_complete_until_is_the_newest_time_of_the_page() -> None:
    """
    Broken times and items that are none do not count, and are passed on.
    """
    items = [item("a", NOON - 70_000), item("b", NOON - 65_000), {"processedAt": "soon"}, "junk"]
    page = await fetch(Script([{"items": items, "nextPageToken": "t2"}]), at("t1"))

    assert NOON - 65_000 == page.complete_until
    assert items == page.items


async def test_too_many_items_without_a_token_are_an_error() -> None:
    """
    No bound cuts silently.
    """
    items = [item(f"i{n}") for n in range(20_000)]
    script = Script([{"items": items}, {"items": [item("more")]}])
    page = await FEED.fetch_page(script, at("t1"))  # type: ignore[arg-type]
    assert 20_000 == len(page.items)
    with pytest.raises(RetryError) as caught:
        await FEED.fetch_page(script, page.next_offset)  # type: ignore[arg-type]

    assert "known_overflow" == caught.value.cause


async def test_a_page_of_far_more_than_was_asked_for_is_an_error() -> None:
    """
    It is not looked at, token or not; nothing moves.
    """
    script = Script([{"items": [{}] * 20_001, "nextPageToken": "t2"}])
    with pytest.raises(RetryError) as caught:
        await FEED.fetch_page(script, at("t1"))  # type: ignore[arg-type]

    assert "too_many_items" == caught.value.cause


def test_unknown_fields_of_a_stored_offset_are_kept() -> None:
    """
    A newer version's fields survive being rewritten by this one.
    """
    cursor = {"token": "t1", "ring": [], "later": {"a": 1}}

    assert cursor == FEED.load({"": cursor}).store()


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"": None},
        {"": {}},
        {"": {"token": "t", "start": 1}},
        {"": {"token": 5}},
        {"": {"start": "now"}},
        {"": {"start": -1}},
        {"": {"start": 2**63}},
        {"": {"token": "a\x1b[0m"}},
        {"": {"token": "t", "ring": 1}},
        {"": {"token": "t"}, "known": "!"},
        {"": {"token": "t"}, "known": 5},
    ],
    ids=repr,
)
def test_a_stored_offset_that_is_none_stops(parts: dict[str, Any]) -> None:
    """
    It waits for a person and says what to do.
    """
    with pytest.raises(StoppedError, match=r"connector offsets"):
        FEED.load(parts)


def test_identity() -> None:
    """
    The id is the key; a broken time is none.
    """
    assert Identity("a", "a", NOON - 60_000) == identify(item("a"))
    assert Identity("a", "a", None) == identify({"transactionId": "a", "processedAt": "soon"})


@pytest.mark.parametrize(
    ("value", "reason"),
    [(None, "missing_id"), ("", "invalid_id"), (5, "invalid_id"), ("\udfff", "invalid_id")],
)
def test_an_item_without_a_usable_id_is_rejected(value: Any, reason: str) -> None:
    """
    It becomes a dead letter.
    """
    with pytest.raises(RejectedRecordError) as caught:
        identify({"transactionId": value})

    assert reason == caught.value.reason


def test_fingerprint_depends_on_the_base_url_alone() -> None:
    """
    Neither key nor page size is in it, nor the URL in clear.
    """
    other = TransactionsFeed(base_url="https://example.com/v", page_size=7)
    elsewhere = TransactionsFeed(base_url="https://example.com/w", page_size=100)

    assert FEED.fingerprint() == other.fingerprint()
    assert FEED.fingerprint() != elsewhere.fingerprint()
    assert "example" not in FEED.fingerprint()


async def test_there_is_no_second_look() -> None:
    """
    Tokens make it needless.
    """
    assert await FEED.recount(Script([]), at("t1")) is None  # type: ignore[arg-type]


def test_the_provider_is_made_from_its_settings() -> None:
    """
    One source has one feed, and a bare key in Authorization by default.
    """
    made = PROVIDER.settings(source="stedi", start="now", api_key="invented")  # type: ignore[call-arg]

    assert [FEED.stream] == [each.stream for each in PROVIDER.feeds(made)]
    assert "ApiKey(header='Authorization')" == repr(PROVIDER.auth(made))


@settings(deadline=None, max_examples=150)
@given(
    ages=st.lists(st.integers(-120_000, 600_000), max_size=40),
    page_size=st.sampled_from([1, 2, 5, 500]),
    tokens_at_end=st.booleans(),
    name=st.sampled_from(["items", "item"]),
    crashes=st.lists(st.booleans(), min_size=1, max_size=50),
)
async def test_every_transaction_is_written_once(
    *, ages: list[int], page_size: int, tokens_at_end: bool, name: str, crashes: list[bool]
) -> None:
    """
    Whatever the page size, the tokens and the crashes, each comes once and in order.
    """
    times = sorted(NOON - age for age in ages)
    everything = [(time, item(f"i{n}", time)) for n, time in enumerate(times)]
    feed = TransactionsFeed(base_url="https://example.com/v", page_size=page_size)
    server = Server(everything, tokens_at_end, name)
    committed, written, step = stored(feed.first(NOON - 700_000)[0]), list[Any](), 0
    offset = feed.load(committed)
    while server.now < NOON + 300_000 or step < len(crashes):
        page = await feed.fetch_page(server, offset)  # type: ignore[arg-type]
        step += 1
        if step <= len(crashes) and crashes[step - 1]:
            offset = feed.load(committed)
        elif page.durable or not page.items:
            written += page.items
            offset = page.next_offset
            committed = stored(offset)
        if page.caught_up:
            server.now += 7_000

    # Without tokens at the end a short page's items past the page size cannot be asked for.
    if tokens_at_end or page_size == 500:
        assert [each[1] for each in everything] == written
    assert max(Counter(map(repr, written)).values(), default=1) == 1
