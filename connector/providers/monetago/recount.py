# SPDX-License-Identifier: Apache-2.0
"""
The second look: how many events came after the overlap had passed them.

Once a day the hours of the last seven days that are complete are read again, a few at a
time, and counted. More than was counted before means late events. They are counted, not
written: an operator learns from them how large the overlap has to be.

A call reads some pages only, since no event is read meanwhile. Where that ends inside a
window the rows so far are stored, not their ids: rows that move between two calls may be
counted twice, as many as were moved past and not counted at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from connector.providers.base import Recount
from connector.providers.digests import of_item, of_text
from connector.providers.fields import parse_ms, read_text
from connector.providers.monetago.counts import HOUR_MS, HOURS, Counts, first_day
from connector.providers.monetago.look import Look
from connector.providers.monetago.offset import RECOUNT, Offset
from connector.providers.monetago.records import ID, TIME
from connector.unit import Json

log = structlog.get_logger()

# What one call reads; what is left is looked at by the next.
PAGES = 100
ROWS = 100_000

# A window of more pages is left: some servers never send an empty one.
WINDOW_PAGES = 1000

# Pages running without a new id: the server does not heed ``offset``.
_STALE = 2

# Asks for one page: after, before, offset.
Ask = Callable[[int, int, int], Awaitable[Sequence[Any]]]


@dataclass(slots=True)
class _Budget:
    """
    What is left of a call.
    """

    pages: int
    rows: int

    @property
    def is_left(self) -> bool:
        return self.pages > 0 and self.rows > 0


async def look_again(ask: Ask, offset: Offset, *, page_limit: int, now_ms: int) -> Recount | None:
    """
    Compare the counts of the last days with the provider, for at most 100 pages.

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
    first = max(first_day(now_ms) * HOURS, cursor.since // HOUR_MS)
    look = offset.recount
    if look is None or look.hour < first:
        look = Look(hour=first)
    counts, writes, late, budget = offset.counts, dict[str, Json](), 0, _Budget(PAGES, ROWS)
    while look.hour < end and budget.is_left:
        if look.stop is None:
            stop = _stop(counts, look.hour, end, page_limit)
            look = replace(look, stop=stop, found=(0,) * (stop - look.hour))
        look, is_read = await _read(ask, look, cursor.since, budget)
        if is_read:
            rises = _rises(counts, look)
            counts, changed = counts.add(rises)
            writes.update(changed)
            late += sum(rises.values())
        elif look.pages < WINDOW_PAGES:
            break
        else:
            log.warning("second_look_left_hours", hours=len(look.found), pages=look.pages)
        look = Look(hour=look.hour + len(look.found))
    return _result(offset, counts, writes, late, look if look.hour < end else None)


def _result(
    offset: Offset, counts: Counts, writes: dict[str, Json], late: int, look: Look | None
) -> Recount | None:
    """
    Make the result, with the place at which the next call goes on.
    """
    if look != offset.recount:
        writes = {**writes, RECOUNT: None if look is None else look.store()}
    if not writes and not late:
        return None
    return Recount(
        writes=writes,
        late=late,
        next_offset=replace(offset, counts=counts, recount=look),
        more=look is not None,
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


def _rises(counts: Counts, look: Look) -> dict[int, int]:
    """
    Tell by how much each hour of a window has more than was counted before.
    """
    more = {at: count - counts.get(at) for at, count in enumerate(look.found, look.hour)}
    return {at: count for at, count in more.items() if count > 0}


async def _read(ask: Ask, look: Look, since: int, budget: _Budget) -> tuple[Look, bool]:
    """
    Count the events of a window, for as long as the budget and its own bound allow.

    Returns:
        How far it came, and whether that is the end of the window.
    """
    low, high = max(look.hour * HOUR_MS, since), (look.hour + len(look.found)) * HOUR_MS
    known: set[bytes] = set()
    found = list(look.found)
    pages, rows, stale, is_read = look.pages, look.rows, 0, False
    while not is_read and budget.is_left and pages < WINDOW_PAGES:
        events = await ask(low - 1, high, rows)
        pages += 1
        rows += len(events)
        budget.pages -= 1
        budget.rows -= len(events)
        before = len(known)
        for item in events:
            at = parse_ms(item.get(TIME)) if type(item) is dict else None
            if at is not None and low <= at < high:
                name = read_text(item, ID)
                digest = of_item(item) if name is None else of_text(name)
                if digest not in known:
                    known.add(digest)
                    found[at // HOUR_MS - look.hour] += 1
        stale = stale + 1 if len(known) == before else 0
        is_read = not events or stale >= _STALE
    return replace(look, pages=pages, rows=rows, found=tuple(found)), is_read
