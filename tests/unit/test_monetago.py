# SPDX-License-Identifier: Apache-2.0
"""
MonetaGo's activity as a feed: windows, order, errors, what is kept, the second look.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from structlog.testing import capture_logs

from connector.errors import RejectedRecordError, RetryError, StoppedError
from connector.providers.base import Identity
from connector.providers.fields import write_ms
from connector.providers.monetago import PROVIDER
from connector.providers.monetago import recount as second_look
from connector.providers.monetago.api import ActivityFeed
from connector.providers.monetago.counts import HOUR_MS
from connector.providers.monetago.records import identify
from connector.providers.monetago.seen import CHUNK
from connector.providers.monetago.step import Step
from connector.upstream.client import Reply
from tests.unit.monetago_world import (
    DAY,
    HOUR,
    MINUTE,
    NOON,
    Event,
    Reader,
    World,
    event,
    feed,
)


def events(count: int, first: int, step: int) -> list[Event]:
    return [event(f"e{n}", first + n * step) for n in range(count)]


def names(items: list[Any]) -> list[str]:
    return [item["event_identification"] for item in items]


async def test_a_closed_window_and_then_an_open_one() -> None:
    """
    ``before`` is W + slice until that passes now; ``after`` lies 1 ms below W.
    """
    world = World([], tick=0)
    reader = Reader(world, feed(), NOON - 30 * HOUR)
    page = await reader.catch_up()

    assert [
        {
            "after": write_ms(NOON - 30 * HOUR - 1),
            "before": write_ms(NOON - 6 * HOUR),
            "limit": "1000",
            "offset": "0",
        },
        {"after": write_ms(NOON - 6 * HOUR - 1), "limit": "1000", "offset": "0"},
    ] == world.asked
    assert page.caught_up


async def test_the_overlap_is_read_again_once_caught_up() -> None:
    """
    The next ``after`` is the server's clock less the overlap, not the newest event.
    """
    world = World(events(3, NOON - 5 * MINUTE, MINUTE), tick=0)
    reader = Reader(world, feed(), NOON - HOUR)
    await reader.catch_up()
    world.now += 15_000
    page = await reader.catch_up()

    assert world.asked[-1]["after"] == write_ms(NOON - 10 * MINUTE - 1)
    assert ["e0", "e1", "e2"] == reader.ids()
    assert [] == page.items


async def test_a_backlog_is_not_read_twice() -> None:
    """
    What is older than the overlap is final: each event is sent once or twice at an edge.
    """
    world = World(events(500, NOON - 50 * DAY, DAY // 10))
    reader = Reader(world, feed(), NOON - 50 * DAY)
    await reader.catch_up()
    sent = sum(len(world.rows(query)) for query in world.asked)

    assert 500 == len(reader.out)
    assert sent < 520


async def test_our_fast_clock_skips_nothing() -> None:
    """
    Before the first answer our clock may be an hour ahead; the walk believes the answer.
    """
    world = World([event("late", NOON - 5 * MINUTE, NOON + 1_000)], skew=HOUR, tick=1)
    reader = Reader(world, feed(), NOON - DAY - 30 * MINUTE)
    await reader.catch_up()
    world.now += 15_000
    await reader.catch_up()

    assert ["late"] == reader.ids()


async def test_pages_in_ascending_order_commit_one_by_one() -> None:
    """
    A page is written as soon as it shows its order.
    """
    world = World(events(6, NOON - HOUR, MINUTE), cap=2)
    reader = Reader(world, feed(), NOON - 2 * HOUR)
    pages = [await reader.step() for _ in range(4)]

    assert [["e0", "e1"], ["e2", "e3"], ["e4", "e5"], []] == [names(each.items) for each in pages]
    assert [False, False, False, True] == [each.caught_up for each in pages]


async def test_a_descending_walk_is_sorted_and_committed_whole() -> None:
    """
    Also if its pages hold one event each, so that only the second shows the order.
    """
    world = World(events(6, NOON - HOUR, MINUTE), cap=1, order="descending")
    reader = Reader(world, feed(), NOON - 2 * HOUR)
    page = await reader.step()

    assert [f"e{n}" for n in range(6)] == names(page.items)
    assert page.caught_up


async def test_equal_times_are_sorted_by_id() -> None:
    """
    A descending walk is sorted by time, and then by id.
    """
    world = World([event(name, NOON - MINUTE) for name in "cab"], order="descending", cap=2)
    world.events.append(event("d", NOON - 2 * MINUTE))
    reader = Reader(world, feed(), NOON - HOUR)
    page = await reader.step()

    assert ["d", "a", "b", "c"] == names(page.items)


async def test_a_long_descending_walk_is_cut_into_narrower_windows() -> None:
    """
    More than ten pages halve the slice until a window fits; then all is in order.
    """
    world = World(events(200, NOON - DAY, 7 * MINUTE), cap=2, order="descending")
    reader = Reader(world, feed(), NOON - DAY)
    await reader.catch_up()

    assert [f"e{n}" for n in range(200)] == reader.ids()
    assert reader.notes["walk_restarted"] >= 1
    assert not reader.notes["page_order_kept"]


async def test_in_the_smallest_slice_page_order_remains_and_is_counted() -> None:
    """
    Nothing is lost where even the smallest window has more than ten descending pages.
    """
    world = World(events(100, NOON - 5 * MINUTE, 1_000), cap=2, order="descending")
    reader = Reader(world, feed(), NOON - HOUR)
    await reader.catch_up()

    assert sorted(f"e{n}" for n in range(100)) == sorted(reader.ids())
    assert reader.notes["page_order_kept"] == 50


async def test_the_slice_follows_what_a_walk_takes() -> None:
    """
    It doubles below two pages, halves above ten, and never falls below the overlap.
    """
    world = World(events(300, NOON - 10 * DAY, 1_000), cap=20)
    reader = Reader(world, feed(), NOON - 20 * DAY)
    slices = [reader.offset.cursor.slice_ms]
    while not (await reader.step()).caught_up:
        if reader.offset.cursor.walk is None:
            slices.append(reader.offset.cursor.slice_ms)

    assert [1 * DAY, 2 * DAY, 4 * DAY, 8 * DAY, 4 * DAY] == slices[:5]

    busy = Reader(World(events(3_000, NOON - 50 * MINUTE, 1_000), cap=20), feed(), NOON - DAY)
    for _ in range(12):
        await busy.catch_up()
        busy.world.now += 15_000

    assert 10 * MINUTE == busy.offset.cursor.slice_ms


async def test_a_start_of_1970_comes_to_now_in_few_requests() -> None:
    """
    Empty windows double, up to 64 days.
    """
    world = World(events(3, NOON - HOUR, MINUTE))
    reader = Reader(world, feed(), 0)
    await reader.catch_up()

    assert ["e0", "e1", "e2"] == reader.ids()
    assert len(world.asked) < 350


async def test_a_deep_backlog_resumes_inside_a_walk() -> None:
    """
    50,000 events in one window: a crash costs the page under way, not the walk.
    """
    world = World(events(50_000, NOON - DAY + HOUR, 1_500), cap=1000)
    reader = Reader(world, feed(), NOON - DAY + HOUR, check=False)
    for number in range(60):
        await reader.step(lose=number % 7 == 3)
    offsets = [int(query["offset"]) for query in world.asked]

    assert [f"e{n}" for n in range(50_000)] == reader.ids()
    assert 1 == offsets.count(1_000)
    assert len(world.asked) < 65
    # A day of minutes, each with 40 ids, and two days of counts beside the cursor.
    assert reader.most_parts <= 24 * 60 + 4
    assert max(len(json.dumps(value)) for value in reader.parts.values()) < 2_000


async def test_events_that_come_during_a_walk_are_not_lost() -> None:
    """
    New rows before the position shift the pages; the next walk finds what was inserted.
    """
    world = World(events(10, NOON - 9 * MINUTE, 30_000), cap=2)
    reader = Reader(world, feed(), NOON - HOUR)
    await reader.step()
    await reader.step()
    world.events += [event(f"late{n}", NOON - 9 * MINUTE - 1 - n, 0) for n in range(5)]
    await reader.catch_up()
    await reader.catch_up()
    world.now += 15_000
    await reader.catch_up()

    assert sorted(names([each.item for each in world.events])) == sorted(reader.ids())


async def test_a_burst_before_the_position_never_blocks_a_walk() -> None:
    """
    Pages that repeat because hundreds of rows came in are not taken for a broken server
    for ever: the walk starts anew.
    """
    world = World(events(60, NOON - 9 * MINUTE, 1_000), cap=2)
    reader = Reader(world, feed(), NOON - HOUR)
    for _ in range(3):
        await reader.step()
    world.events += [event(f"late{n}", NOON - 9 * MINUTE - 1 - n, 0) for n in range(50)]
    await reader.catch_up()
    world.now += 15_000
    await reader.catch_up()

    assert sorted(names([each.item for each in world.events])) == sorted(reader.ids())


async def test_rows_inserted_among_equal_times_start_the_walk_anew() -> None:
    """
    Seen from the middle of a walk they look like a server that repeats itself, at every
    retry; from its beginning they do not.
    """
    world = World([*events(2, NOON - MINUTE - 2, 1), *events(40, NOON - MINUTE, 0)], cap=2)
    world.events = [event(f"e{n}", each.time) for n, each in enumerate(world.events)]
    reader = Reader(world, feed(), NOON - HOUR)
    for _ in range(3):
        await reader.step()
    world.events[2:2] = [event(f"new{n}", NOON - MINUTE) for n in range(10)]
    reader.crash()
    await reader.catch_up()

    assert sorted(names([each.item for each in world.events])) == sorted(reader.ids())
    assert 1 == reader.notes["walk_restarted"]


async def test_a_walk_that_brought_nothing_is_not_stored() -> None:
    """
    A poll that only reads the overlap again leaves the offsets topic alone.
    """
    world = World(events(4, NOON - 5 * MINUTE, MINUTE), cap=2)
    reader = Reader(world, feed(), NOON - HOUR)
    await reader.catch_up()
    world.now += 1_000
    pages = [await reader.step() for _ in range(3)]

    assert [{}, {}] == [page.writes for page in pages[:2]]
    assert [""] == list(pages[2].writes)
    assert [False, False, False] == [page.durable for page in pages]


async def test_an_event_of_the_future_makes_no_other_late() -> None:
    """
    The position never passes the server's clock.
    """
    world = World([event("future", NOON + HOUR, NOON - 1)])
    reader = Reader(world, feed(), NOON - HOUR)
    await reader.catch_up()
    assert NOON - 1_000 <= reader.offset.cursor.position <= world.now

    world.now += 15_000
    world.events.append(event("present", world.now))
    await reader.catch_up()
    assert ["future", "present"] == reader.ids()
    assert [] == reader.late


class _Stuck(World):
    """
    A server that does not heed ``offset``.
    """

    def rows(self, params: dict[str, str]) -> list[Event]:
        return super().rows({**params, "offset": "0"})


class _Clamping(World):
    """
    A server that sends its last row for ever.
    """

    def rows(self, params: dict[str, str]) -> list[Event]:
        return super().rows(params) or super().rows({**params, "offset": "0"})[-1:]


@pytest.mark.parametrize("kind", [_Stuck, _Clamping])
@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize("step", [0, 1_000], ids=["equal times", "different times"])
async def test_a_server_that_repeats_itself_is_an_error(
    kind: type[World], order: str, step: int
) -> None:
    """
    What it has is written once, and then the task waits visibly.
    """
    world = kind(events(5, NOON - MINUTE, step), order=order)
    reader = Reader(world, feed(), NOON - HOUR)
    causes = []
    for _ in range(20):
        try:
            await reader.step()
        except RetryError as error:
            causes.append(error.cause)
            reader.crash()

    assert len(causes) > 8
    assert {"page_repeated"} == set(causes)
    assert len(reader.ids()) == len(set(reader.ids()))
    assert len(world.asked) < 100


class _Says(World):
    """
    A server that answers one body, whatever is asked.
    """

    body: Any = None

    async def get(self, path: str, params: dict[str, str]) -> Reply:
        return Reply(status=200, body=self.body, polled_at=NOON, server_time=NOON, retry_after=None)


@pytest.mark.parametrize(
    "body",
    [None, [], "busy", {}, {"events": None}, {"events": {}}, {"message": "Internal error"}],
    ids=repr,
)
async def test_an_answer_without_a_list_of_events_is_an_error(body: Any) -> None:
    """
    An error under HTTP 200 is not "no events".
    """
    world = _Says([])
    world.body = body
    with pytest.raises(RetryError) as caught:
        await Reader(world, feed(), NOON).step()

    assert "bad_envelope" == caught.value.cause


@pytest.mark.parametrize(("limit", "most"), [(1, 20_000), (1000, 20_000), (5000, 50_000)])
async def test_a_page_of_far_more_than_was_asked_for_is_an_error(limit: int, most: int) -> None:
    """
    Up to ten times as many, or 20,000, are taken; more are not looked at.
    """
    world = _Says([])
    world.body = {"events": [{}] * most}
    reader = Reader(world, feed(limit=limit), NOON)
    step = Step(reader.feed._rules, reader.offset, NOON)
    step.take(reader.feed._events(world.body), NOON)
    assert most == step.walk.rows

    world.body["events"].append({})
    with pytest.raises(RetryError) as caught:
        await reader.step()

    assert "too_many_items" == caught.value.cause


@pytest.mark.parametrize("order", ["ascending", "descending"])
async def test_a_step_holds_no_more_rows_than_fit_a_unit(order: str) -> None:
    """
    Ten pages of the largest limit are no unit: 20,000 rows end a step, or halve the slice.
    """
    world = World(events(40_000, NOON - 23 * HOUR, 2_000), order=order)
    world.cap = 5_000
    reader = Reader(world, feed(limit=5_000), NOON - 23 * HOUR, check=False)
    most, caught_up = 0, False
    while not caught_up:
        page = await reader.step()
        most, caught_up = max(most, len(page.items)), page.caught_up

    assert [f"e{n}" for n in range(40_000)] == reader.ids()
    assert most < 25_000
    assert (order == "descending") == bool(reader.notes["walk_restarted"])


async def test_page_order_remains_where_the_smallest_slice_has_too_many_rows() -> None:
    """
    Rows are a bound as pages are.
    """
    world = World(events(30_000, NOON - 5 * MINUTE, 10), order="descending", cap=5_000)
    reader = Reader(world, feed(limit=5_000), NOON - HOUR, check=False)
    sizes = []
    while True:
        page = await reader.step()
        sizes.append(len(page.items))
        if page.caught_up:
            break

    assert 30_000 == len(set(reader.ids())) == len(reader.ids())
    assert 20_000 == max(sizes)
    assert 6 == reader.notes["page_order_kept"]


@pytest.mark.parametrize("crashes", [0.0, 0.3])
@pytest.mark.parametrize("order", ["ascending", "descending"])
async def test_any_number_of_events_at_one_moment_fits_the_offset(
    order: str, crashes: float
) -> None:
    """
    60,000 at once come once each, and no stored value outgrows a message.
    """
    dice = random.Random(7)
    world = World(events(60_000, NOON - MINUTE, 0), order=order, cap=4_500)
    world.events.append(event("before", NOON - 2 * MINUTE))
    reader = Reader(world, feed(limit=5_000), NOON - HOUR, check=False)
    largest = polls = steps = 0
    while polls < 2:
        lost = dice.random() < crashes
        page = await reader.step(lose=lost)
        if not lost and dice.random() < crashes:
            reader.crash()
        largest = max([largest, *(len(json.dumps(value)) for value in page.writes.values())])
        polls += page.caught_up and not lost
        steps += 1
        assert steps < 60

    assert 60_001 == len(set(reader.ids())) == len(reader.ids())
    assert 40_000 < largest < 100 * 1024


class _Boundless(_Stuck):
    """
    A server that heeds neither ``offset`` nor ``limit``.
    """

    def rows(self, params: dict[str, str]) -> list[Event]:
        return super().rows({**params, "limit": "50000"})


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize("step", [0, 1], ids=["equal times", "different times"])
async def test_a_server_that_repeats_a_huge_page_is_an_error(order: str, step: int) -> None:
    """
    Too many ids to keep in the cursor do not hide that the same page comes again.
    """
    world = _Boundless(events(21_000, NOON - MINUTE, step), order=order, cap=50_000)
    reader = Reader(world, feed(limit=5_000), NOON - HOUR, check=False)
    causes = []
    for _ in range(12):
        try:
            await reader.step()
        except RetryError as error:
            causes.append(error.cause)
            reader.crash()

    assert "page_repeated" in causes
    assert 21_000 == len(set(reader.ids())) == len(reader.ids())


async def test_a_start_of_1970_asks_for_no_time_before_it() -> None:
    """
    Servers may refuse such a time; nobody has events of it.
    """
    world = World([])
    await Reader(world, feed(), 0).step()

    assert "1970-01-01T00:00:00.000Z" == world.asked[0]["after"]


async def test_late_events_are_measured() -> None:
    """
    By how much an event lies behind the newest one of the walks before.
    """
    world = World([event("a", NOON - MINUTE), event("b", NOON - 5 * MINUTE, NOON + 1_000)])
    reader = Reader(world, feed(), NOON - HOUR)
    await reader.catch_up()
    world.now += 15_000
    await reader.catch_up()

    assert ["a", "b"] == reader.ids()
    assert [240.0] == reader.late


async def test_complete_until_is_the_clock_less_the_overlap_and_never_goes_back() -> None:
    """
    A quiet source moves it too; a walk under way does not promise more.
    """
    world = World(events(2, NOON - 2 * HOUR, MINUTE), tick=0)
    reader = Reader(world, feed(), NOON - 26 * HOUR)
    told = [(await reader.step()).complete_until for _ in range(4)]
    world.now += HOUR
    told.append((await reader.catch_up()).complete_until)
    # The server's clock when it was asked is known to a millisecond at best.
    assert [NOON - 2 * HOUR] * 2 == told[:2]
    assert NOON - 10 * MINUTE - 1_000 <= told[3] <= NOON - 10 * MINUTE
    assert HOUR - 1_000 <= told[4] - told[3] <= HOUR + 1_000
    assert sorted(told) == told


async def test_a_larger_overlap_after_a_restart_repeats_nothing() -> None:
    """
    Ids below ``after`` are forgotten, so it never goes back.
    """
    world = World(events(30, NOON - HOUR, 2 * MINUTE))
    reader = Reader(world, feed(overlap=60.0), NOON - 2 * HOUR)
    await reader.catch_up()
    reader.feed = feed(overlap=3_600.0)
    for _ in range(5):
        world.now += 15_000
        await reader.catch_up()

    assert 30 == len(reader.ids())


async def test_ids_are_kept_by_minute_and_deleted_behind_the_window() -> None:
    """
    Only touched minutes are written; nothing stays of what cannot come again.
    """
    world = World(events(20, NOON - 19 * MINUTE, MINUTE))
    reader = Reader(world, feed(), NOON - HOUR)
    page = await reader.step()
    assert 20 == sum(part.startswith("seen/") for part in page.writes)

    page = await reader.step()
    gone = [part for part, value in page.writes.items() if value is None]
    assert 8 == len(gone)

    world.now += MINUTE
    world.events.append(event("new", NOON + 1_000))
    page = await reader.step()
    assert ["", f"counts/{NOON // DAY}", f"seen/{NOON // MINUTE}"] == sorted(page.writes)


async def test_a_busy_minute_is_stored_in_chunks() -> None:
    """
    No part grows without bound, and a page writes the last chunk alone.
    """
    world = World(events(3 * CHUNK, NOON - MINUTE, 1), cap=CHUNK - 10)
    reader = Reader(world, feed(limit=5_000), NOON - MINUTE)
    await reader.step()
    page = await reader.step()
    minute = (NOON - MINUTE) // MINUTE
    assert [f"seen/{minute}", f"seen/{minute}/1"] == sorted(p for p in page.writes if "seen" in p)
    page = await reader.step()
    assert [f"seen/{minute}/1", f"seen/{minute}/2"] == sorted(p for p in page.writes if "seen" in p)
    reader.crash()
    await reader.catch_up()
    assert 3 * CHUNK == len(set(reader.ids())) == len(reader.ids())

    world.now += HOUR
    world.events.append(event("new", world.now))
    world.now += HOUR
    await reader.catch_up()
    assert [f"seen/{(world.now - HOUR) // MINUTE}"] == [p for p in reader.parts if "seen" in p]


async def test_an_item_without_a_time_is_known_for_as_long_as_it_comes() -> None:
    """
    Ten days of polls, each of which brings it again; it is written once.
    """

    class Undated(World):
        def rows(self, params: dict[str, str]) -> list[Event]:
            extra = Event(0, 0, {"event_identification": "undated", "event_date_time": None})
            found = super().rows({**params, "offset": "0"})
            return [*found, extra, Event(0, 0, "junk")][int(params["offset"]) :]

    world = Undated([event("a", NOON - MINUTE)])
    reader = Reader(world, feed(), NOON - HOUR)
    for _ in range(10 * 24):
        await reader.catch_up()
        world.now += HOUR

    assert 3 == len(reader.out)
    assert 6 >= sum(part.startswith("strays/") for part in reader.parts)


async def test_equal_times_in_changing_order_are_walked_again() -> None:
    """
    An id on two pages says that another may have slipped through.
    """

    class Swapping(World):
        turn = 0

        def rows(self, params: dict[str, str]) -> list[Event]:
            self.turn += 1
            if self.turn == 2:
                self.events.reverse()
            return super().rows(params)

    both = [event("a", NOON - HOUR), event("b", NOON - HOUR)]
    world = Swapping([*both, event("c", NOON - MINUTE)], cap=1)
    reader = Reader(world, feed(), NOON - 2 * HOUR)
    await reader.catch_up()

    assert ["a", "b", "c"] == sorted(reader.ids())
    assert 1 == reader.notes["walk_repeated"]
    assert not reader.notes["walk_incomplete"]


async def test_an_event_that_is_listed_twice_is_written_once() -> None:
    """
    A server that always has it on two pages costs three walks more, and is counted.
    """
    world = World([event("a", NOON - HOUR), event("a", NOON - HOUR), event("b", NOON)], cap=1)
    reader = Reader(world, feed(), NOON - 2 * HOUR)
    await reader.catch_up()

    assert ["a", "b"] == reader.ids()
    assert {"walk_repeated": 3, "walk_incomplete": 1} == dict(reader.notes)


async def test_the_second_look_counts_what_came_beyond_the_overlap() -> None:
    """
    Once each, by hour of event time, and never before the start.
    """
    start = NOON - 5 * HOUR - MINUTE
    world = World(events(100, NOON - 5 * HOUR, 2 * MINUTE), cap=7)
    reader = Reader(world, feed(), start)
    await reader.catch_up()
    world.now += DAY
    await reader.catch_up()
    await reader.catch_up()
    assert await reader.feed.recount(world, reader.offset) is None  # type: ignore[arg-type]

    world.events += [event(f"late{n}", NOON - 4 * HOUR + n) for n in range(3)]
    world.events += [event("too old", start - 1)]
    recount = await reader.feed.recount(world, reader.offset)  # type: ignore[arg-type]
    assert recount is not None
    assert 3 == recount.late
    assert not recount.more
    reader._commit({**reader.pending, **recount.writes})
    assert reader.feed.load(reader.parts) == recount.next_offset
    assert await reader.feed.recount(world, recount.next_offset) is None  # type: ignore[arg-type]
    assert 100 == len(reader.out)


async def test_a_long_second_look_goes_on_after_a_restart() -> None:
    """
    A call reads about a hundred pages; the hour reached is stored.
    """
    world = World(events(400, NOON - 50 * HOUR, 7 * MINUTE), cap=1)
    reader = Reader(world, feed(limit=1), NOON - 50 * HOUR)
    await reader.catch_up()
    reader._commit(reader.pending)
    world.events += [event(f"late{n}", NOON - n * 12 * HOUR - 2 * HOUR) for n in range(5)]
    late, calls = 0, 0
    while True:
        before = len(world.asked)
        recount = await reader.feed.recount(world, reader.offset)  # type: ignore[arg-type]
        calls += 1
        assert len(world.asked) - before < 120
        assert recount is not None
        late += recount.late
        reader._commit(recount.writes)
        reader.crash()
        if not recount.more:
            break

    assert (5, True) == (late, calls > 2)
    assert "recount" not in reader.parts


async def _look_through(reader: Reader) -> tuple[int, list[int]]:
    """
    Call the second look until nothing is left, with a crash between two calls.

    Returns:
        The late events, and the requests of each call.
    """
    late, requests, more = 0, list[int](), True
    while more:
        before = len(reader.world.asked)
        recount = await reader.feed.recount(reader.world, reader.offset)  # type: ignore[arg-type]
        requests.append(len(reader.world.asked) - before)
        if recount is None:
            break
        late, more = late + recount.late, recount.more
        reader._commit(recount.writes)
        reader.crash()
        assert reader.offset == recount.next_offset
        assert len(requests) < 50
    return late, requests


async def test_a_second_look_stops_and_goes_on_inside_an_hour() -> None:
    """
    However many pages one hour has, a call reads a hundred; none is counted twice.
    """
    world = World(events(350, NOON - 3 * HOUR, 1_000), cap=1)
    reader = Reader(world, feed(), NOON - 4 * HOUR)
    await reader.catch_up()
    reader._commit(reader.pending)
    world.events += [event(f"late{n}", NOON - 3 * HOUR + n) for n in range(7)]
    late, requests = await _look_through(reader)

    assert 7 == late
    assert [100, 100, 100] == requests[:3]
    assert 100 == max(requests)
    assert "recount" not in reader.parts


async def test_a_second_look_reads_no_more_rows_than_a_call_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    Full pages end a call sooner than a hundred of them.
    """
    monkeypatch.setattr(second_look, "ROWS", 50)
    world = World(events(350, NOON - 3 * HOUR, 1_000), cap=20)
    reader = Reader(world, feed(), NOON - 4 * HOUR)
    await reader.catch_up()
    reader._commit(reader.pending)
    late, requests = await _look_through(reader)

    assert (0, 3) == (late, max(requests))


async def test_a_second_look_leaves_hours_that_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A server without an empty page costs some calls, counts nothing, and is in the log.
    """

    class Endless(World):
        sent = 0

        def rows(self, params: dict[str, str]) -> list[Event]:
            self.sent += 1
            return [event(f"x{self.sent}", NOON - 3 * HOUR)]

    monkeypatch.setattr(second_look, "WINDOW_PAGES", 250)
    quiet = Reader(World(events(3, NOON - 3 * HOUR, HOUR)), feed(), NOON - 4 * HOUR)
    await quiet.catch_up()
    quiet._commit(quiet.pending)
    quiet.world = Endless([])
    with capture_logs() as logs:
        late, requests = await _look_through(quiet)

    assert (0, [100, 100, 50]) == (late, requests)
    assert ["second_look_left_hours"] == [line["event"] for line in logs]


async def test_counts_are_kept_for_seven_days() -> None:
    """
    Older days are deleted, and a backlog older than that is not counted.
    """
    world = World(events(20, NOON - 19 * DAY, DAY))
    reader = Reader(world, feed(), NOON - 20 * DAY)
    await reader.catch_up()
    days = {int(part.split("/")[1]) for part in reader.parts if part.startswith("counts/")}
    assert set(range(NOON // DAY - 7, NOON // DAY + 1)) == days
    assert 1 == reader.offset.counts.get(NOON // HOUR_MS)

    world.now += 9 * DAY
    await reader.catch_up()
    await reader.catch_up()
    assert not [part for part in reader.parts if part.startswith("counts/")]


def test_unknown_fields_of_a_stored_offset_are_kept() -> None:
    """
    A newer version's fields survive being rewritten, in the cursor and in its walk.
    """
    cursor = feed().first(NOON)[1][""]
    walk = {
        **feed().first(NOON)[0].cursor.begin(NOON).store(),
        "later": [1],
    }
    stored = {**cursor, "walk": walk, "newer": {"a": "b"}}

    assert stored == feed().load({"": stored}).cursor.store()


def test_a_position_is_enough_for_an_offset() -> None:
    """
    So that a person can set one.
    """
    assert feed().first(NOON)[0] == feed().load({"": {"position": NOON}})


_LOOK = {"hour": 5, "stop": 7, "pages": 1, "rows": 3, "found": [1, 2]}


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"": None},
        {"": 7},
        {"": {}},
        {"": {"position": "2026-11-20"}},
        {"": {"position": 1.5}},
        {"": {"position": -1}},
        {"": {"position": 99999999999999999999}},
        {"": {"position": NOON, "slice": 0}},
        {"": {"position": NOON, "after": -2}},
        {"": {"position": NOON}, "recount": -1},
        {"": {"position": NOON, "walk": 1}},
        {"": {"position": NOON, "walk": {}}},
        {"": {"position": NOON}, "seen/x": ""},
        {"": {"position": NOON}, "seen/1": "AAAA"},
        {"": {"position": NOON}, "seen/1": 5},
        {"": {"position": NOON}, "counts/1": [0]},
        {"": {"position": NOON}, "recount": "x"},
        {"": {"position": NOON}, "recount": {"hour": 1}},
        {"": {"position": NOON}, "recount": {**_LOOK, "hour": -1}},
        {"": {"position": NOON}, "recount": {**_LOOK, "found": [0]}},
    ],
    ids=repr,
)
def test_a_stored_offset_that_is_none_stops(parts: dict[str, Any]) -> None:
    """
    It waits for a person and says what to do.
    """
    with pytest.raises(StoppedError, match=r"connector offsets"):
        feed().load(parts)


def test_the_key_is_the_data_set_or_else_the_event() -> None:
    """
    Order matters within a data set.
    """
    item = event("e", NOON, data_set_identification="d").item

    assert Identity("d", "e", NOON) == identify(item)
    assert Identity("e", "e", NOON) == identify({**item, "data_set_identification": None})
    assert Identity("e", "e", None) == identify({"event_identification": "e"})


@pytest.mark.parametrize(
    ("value", "reason"),
    [(None, "missing_id"), ("", "invalid_id"), (5, "invalid_id"), ("\ud800", "invalid_id")],
)
def test_an_event_without_a_usable_id_is_rejected(value: Any, reason: str) -> None:
    """
    It becomes a dead letter.
    """
    with pytest.raises(RejectedRecordError) as caught:
        identify({"event_identification": value})

    assert reason == caught.value.reason


def test_the_fingerprint_covers_base_url_and_client() -> None:
    """
    And shows neither.
    """

    def fingerprint(base_url: str, client_id: str) -> str:
        made = ActivityFeed(base_url=base_url, client_id=client_id, overlap=1.0, page_limit=7)
        return made.fingerprint()

    assert feed().fingerprint() == fingerprint("https://example.com/v1", "invented")
    assert 3 == len(
        {
            feed().fingerprint(),
            fingerprint("https://example.com/v2", "invented"),
            fingerprint("https://example.com/v1", "other"),
        }
    )
    assert "invented" not in feed().fingerprint()


def test_the_provider_is_made_from_its_settings() -> None:
    """
    One source has one feed, and OAuth2 client credentials.
    """
    made = PROVIDER.settings(
        source="monetago",
        start="-7d",
        client_id="invented",
        client_secret="invented",  # type: ignore[call-arg]
        audience="invented",
    )

    assert ["activity"] == [each.stream.name for each in PROVIDER.feeds(made)]
    assert "OAuth2ClientCredentials()" == repr(PROVIDER.auth(made))
