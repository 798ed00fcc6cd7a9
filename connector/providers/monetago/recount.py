# SPDX-License-Identifier: Apache-2.0
"""
The second look: how many events came after the overlap had passed them.

Once a day the hours of the last seven days that are complete are read again, a few at a
time, and counted. More than was counted before means late events. They are counted, not
written: an operator learns from them how large the overlap has to be.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from connector.providers.base import Recount
from connector.providers.digests import of_item, of_text
from connector.providers.fields import parse_ms, read_text
from connector.providers.monetago.counts import HOUR_MS, HOURS, Counts, first_day
from connector.providers.monetago.offset import RECOUNT, Offset
from connector.providers.monetago.records import ID, TIME
from connector.unit import Json

# Pages of one call; what is left is looked at by the next.
PAGES = 100

# Bounds, not to be passed by a server that never sends an empty page.
_WINDOW_PAGES = 1000

# Asks for one page: after, before, offset.
Ask = Callable[[int, int, int], Awaitable[Sequence[Any]]]


@dataclass(slots=True)
class _Found:
    """
    What a window holds by now.
    """

    hours: dict[int, int]
    pages: int


async def look_again(ask: Ask, offset: Offset, *, page_limit: int, now_ms: int) -> Recount | None:
    """
    Compare the counts of the last days with the provider, for at most some 100 pages.

    Args:
        ask: Fetches one page of a window.
        offset: Where the feed stands. Only hours that it calls complete are read.
        page_limit: Hours are read together up to so many events.
        now_ms: The server's clock.

    Returns:
        The result; None if no hour is complete. Its ``more`` says that hours are left.
    """
    cursor = offset.cursor
    end = cursor.complete // HOUR_MS
    hour = max(first_day(now_ms) * HOURS, cursor.since // HOUR_MS, offset.recount or 0)
    if hour >= end:
        return _result(offset, offset.counts, {}, 0, None)
    counts, writes, late, pages = offset.counts, dict[str, Json](), 0, 0
    while hour < end and pages < PAGES:
        stop = _stop(counts, hour, end, page_limit)
        found = await _read(ask, max(hour * HOUR_MS, cursor.since), stop * HOUR_MS)
        pages += found.pages
        rises = {
            at: count - counts.get(at)
            for at, count in found.hours.items()
            if count > counts.get(at)
        }
        counts, changed = counts.add(rises)
        writes.update(changed)
        late += sum(rises.values())
        hour = stop
    return _result(offset, counts, writes, late, hour if hour < end else None)


def _result(
    offset: Offset, counts: Counts, writes: dict[str, Json], late: int, hour: int | None
) -> Recount | None:
    """
    Make the result, with the hour at which the next call goes on.
    """
    if hour != offset.recount:
        writes = {**writes, RECOUNT: hour}
    if not writes and not late:
        return None
    return Recount(
        writes=writes,
        late=late,
        next_offset=replace(offset, counts=counts, recount=hour),
        more=hour is not None,
    )


def _stop(counts: Counts, hour: int, end: int, page_limit: int) -> int:
    """
    Take as many hours together as a page should hold, one at least.
    """
    stop, expected = hour + 1, counts.get(hour)
    while stop < end and expected + counts.get(stop) <= page_limit:
        expected += counts.get(stop)
        stop += 1
    return stop


async def _read(ask: Ask, low: int, high: int) -> _Found:
    """
    Count the events from one time up to another, in milliseconds since 1970.
    """
    known: set[bytes] = set()
    found = _Found({}, 0)
    rows = stale = 0
    while stale < 2 and found.pages < _WINDOW_PAGES:
        events = await ask(low - 1, high, rows)
        found.pages += 1
        if not events:
            break
        rows += len(events)
        before = len(known)
        for item in events:
            at = parse_ms(item.get(TIME)) if type(item) is dict else None
            if at is not None and low <= at < high:
                name = read_text(item, ID)
                digest = of_item(item) if name is None else of_text(name)
                if digest not in known:
                    known.add(digest)
                    found.hours[at // HOUR_MS] = found.hours.get(at // HOUR_MS, 0) + 1
        stale = stale + 1 if len(known) == before else 0
    return found
