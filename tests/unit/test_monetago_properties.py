# SPDX-License-Identifier: Apache-2.0
"""
Whatever the provider and the crashes do, every event is written exactly once.
"""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from connector.errors import RetryError
from tests.unit.monetago_world import DAY, HOUR, MINUTE, NOON, Event, Reader, World, event, feed

OVERLAP = 10 * MINUTE

# The Date of an answer is cut to seconds; what a request takes comes on top.
SLACK = 2_000

# Polls that may fail before a provider counts as broken, visibly so.
_HOPELESS = 1_000


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """
    Events old and new, at equal times, late within the overlap, some of the future.
    """
    grid = draw(st.sampled_from([1, 1_000, 30_000]))
    spans = st.sampled_from([2_000, MINUTE, 30 * MINUTE, 30 * HOUR, 20 * DAY])
    times = draw(st.lists(spans.flatmap(lambda span: st.integers(-span, span // 20)), max_size=60))
    late = st.sampled_from([0, 0, 0, 1_500, 3 * MINUTE, OVERLAP - SLACK])
    early = st.sampled_from([0, 0, 5_000, HOUR])
    found = []
    for number, time in enumerate(times):
        at = NOON + time // grid * grid
        visible = at + draw(late) - draw(early)
        found.append(event(f"e{number}", at, visible))
    return found


@st.composite
def worlds(draw: st.DrawFn, orders: tuple[str, ...] = ("ascending", "descending")) -> World:
    return World(
        draw(histories()),
        now=NOON - draw(st.sampled_from([0, MINUTE, HOUR])),
        order=draw(st.sampled_from(orders)),
        after_inclusive=draw(st.booleans()),
        before_inclusive=draw(st.booleans()),
        cap=draw(st.sampled_from([1, 2, 3, 7, 1000])),
        skew=draw(st.sampled_from([0, 0, -40 * MINUTE, 40 * MINUTE])),
        tick=draw(st.sampled_from([1, 50, 700])),
        seed=draw(st.integers(0, 99)),
    )


async def _drive(world: World, reader: Reader, seed: int, crashes: float) -> int:
    """
    Poll until long after the last event; tell how many polls failed.
    """
    dice = random.Random(seed)
    end = max([each.visible for each in world.events] + [NOON]) + 4 * OVERLAP
    steps = clean = failed = 0
    # The first clean walk may be the end of one that began long before.
    while world.now < end or clean < 2:
        # A crash at every third request for ever would leave no walk its end.
        crashes = crashes if steps < 300 else 0.0
        try:
            lost = dice.random() < crashes
            page = await reader.step(lose=lost)
        except RetryError:
            # Rows that come in before the position make pages repeat, for a moment.
            reader.crash()
            world.now += 5_000
            failed += 1
            if failed > _HOPELESS:
                break
            continue
        if lost or dice.random() < crashes:
            reader.crash()
            clean = 0
        if page.caught_up:
            clean += world.now >= end
            world.now += dice.choice([5_000, 15_000, 7 * MINUTE])
        steps += 1
        assert steps < 20_000
    return failed


def _verdict(world: World, reader: Reader) -> tuple[list[str], list[str]]:
    counted = Counter(reader.ids())
    offered = {each.item["event_identification"] for each in world.events}
    return sorted(offered - set(counted)), sorted(name for name in counted if counted[name] > 1)


@settings(deadline=None, max_examples=150)
@given(
    worlds(), st.integers(0, 2**16), st.sampled_from([0.0, 0.1, 0.4]), st.sampled_from([2, 5, 1000])
)
async def test_every_event_is_written_once(
    world: World, seed: int, crashes: float, limit: int
) -> None:
    """
    Order, bounds, caps, ties, late and future events, skew and crashes change nothing.
    """
    oldest = min([each.time for each in world.events] + [NOON])
    reader = Reader(world, feed(limit=limit), oldest - 3 * DAY)
    failed = await _drive(world, reader, seed, crashes)

    assert failed <= _HOPELESS
    assert ([], []) == _verdict(world, reader)


@settings(deadline=None, max_examples=100)
@given(worlds(("unstable", "random")), st.integers(0, 2**16))
async def test_without_order_nothing_is_lost_silently(world: World, seed: int) -> None:
    """
    Equal times in an order that changes with each request, or no order at all: nothing
    comes twice, and what may be missing was counted.
    """
    oldest = min([each.time for each in world.events] + [NOON])
    reader = Reader(world, feed(), oldest - DAY)
    failed = await _drive(world, reader, seed, 0.1)
    missing, twice = _verdict(world, reader)

    assert [] == twice
    # Pages of one event in an order of its own each time look like a server that repeats
    # itself: an error that goes on, and no silence either.
    assert missing == [] or reader.notes["walk_incomplete"] or failed > _HOPELESS


@settings(deadline=None, max_examples=60)
@given(worlds(), st.integers(0, 2**16), st.sampled_from(["time", "id", "both", "text"]))
async def test_broken_items_come_once(world: World, seed: int, broken: str) -> None:
    """
    Items without a usable time, an id, both, or that are no objects, are passed on once.
    """
    for number, each in enumerate(world.events):
        if number % 3 == 0:
            item = dict(each.item, number=number)
            if broken in ("time", "both"):
                item["event_date_time"] = "soon"
            if broken in ("id", "both"):
                del item["event_identification"]
            world.events[number] = Event(
                each.time, each.visible, f"item {number}" if broken == "text" else item
            )
    oldest = min([each.time for each in world.events] + [NOON])
    reader = Reader(world, feed(), oldest - DAY)
    await _drive(world, reader, seed, 0.1)

    assert Counter(map(repr, (each.item for each in world.events))) == Counter(
        map(repr, reader.out)
    )


@settings(deadline=None, max_examples=60)
@given(worlds(("ascending", "descending")), st.integers(0, 2**16))
async def test_a_backlog_comes_in_order(world: World, seed: int) -> None:
    """
    What nothing changes meanwhile is written in order of event time.
    """
    world.events = [Event(each.time, 0, each.item) for each in world.events if each.time < NOON]
    world.now = NOON
    oldest = min([each.time for each in world.events] + [NOON])
    reader = Reader(world, feed(), oldest - DAY)
    await reader.catch_up()
    times = {each.item["event_identification"]: each.time for each in world.events}
    written = [times[name] for name in reader.ids()]

    assert reader.notes["page_order_kept"] or sorted(written) == written


@settings(deadline=None, max_examples=60)
@given(worlds(), st.integers(0, 2**16))
async def test_memory_holds_no_more_than_can_come_again(world: World, seed: int) -> None:
    """
    Long after the last event nothing is kept but the minute of the position.
    """
    reader = Reader(world, feed(), NOON - 30 * DAY)
    await _drive(world, reader, seed, 0.1)
    world.now += 40 * DAY
    for _ in range(100):
        await reader.catch_up()
        world.now += MINUTE

    kept = sum(len(minute.ids) for minute in reader.offset.seen.minutes.values())
    lowest = reader.offset.cursor.after // MINUTE
    assert all(int(part.split("/")[1]) >= lowest for part in reader.parts if "seen/" in part)
    assert kept == 0 or reader.offset.cursor.position < NOON + 2 * DAY
