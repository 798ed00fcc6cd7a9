# SPDX-License-Identifier: Apache-2.0
"""
What a simulated provider ever offered, and how it lies in time.

The ledger is the truth that a checker compares the topics with. A provider shows an
event only once its time to become visible has come; what it has not shown yet waits here.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from operator import attrgetter
from random import Random
from typing import Literal, NamedTuple

import orjson

Order = Literal["ascending", "descending", "unstable"]

# Above this many new events one sort is cheaper than placing each by itself.
_PLACE_SINGLY = 64


class Event(NamedTuple):
    """
    One event, offered once.

    Attributes:
        seq: Its number in the ledger, from 1 without a gap.
        id: The provider's id of it; None where the body was made to lack one.
        key: What the connector has to use as the message key; None as for ``id``.
        event_time: Milliseconds since 1970.
        visible_at: Milliseconds since 1970 from when on requests can see it.
        body: The item as it is sent, JSON.
    """

    seq: int
    id: str | None
    key: str | None
    event_time: int
    visible_at: int
    body: bytes

    def head(self) -> dict[str, int | str | None]:
        """
        Give all but the body.
        """
        return {
            "seq": self.seq,
            "id": self.id,
            "key": self.key,
            "event_time": self.event_time,
            "visible_at": self.visible_at,
        }

    def line(self, *, body: bool) -> bytes:
        """
        Write it as one line of JSON; the body keeps its exact text.
        """
        head = orjson.dumps(self.head())
        return b'%s,"body":%s}\n' % (head[:-1], self.body) if body else head + b"\n"


_time = attrgetter("event_time")


def _place(event: Event) -> tuple[int, int]:
    """
    Give the place of an event among others: by time, then as offered.
    """
    return event.event_time, event.seq


class Ledger:
    """
    Every event that a provider ever offered. Safe to read from other threads.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._waiting: list[Event] = []
        self._soonest: float = float("inf")
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """
        Count what was offered, visible or not.
        """
        return len(self._events)

    def add(
        self, *, item_id: str | None, key: str | None, event_time: int, visible_at: int, body: bytes
    ) -> Event:
        """
        Write down one event; it becomes due at ``visible_at``.
        """
        with self._lock:
            event = Event(len(self._events) + 1, item_id, key, event_time, visible_at, body)
            self._events.append(event)
            self._waiting.append(event)
            self._soonest = min(self._soonest, visible_at)
        return event

    def due(self, now: int) -> list[Event]:
        """
        Hand over, once, what became visible until ``now``, ordered by time.
        """
        if now < self._soonest:
            return []
        with self._lock:
            ready = [event for event in self._waiting if event.visible_at <= now]
            self._waiting = [event for event in self._waiting if event.visible_at > now]
            self._soonest = min((event.visible_at for event in self._waiting), default=float("inf"))
        ready.sort(key=_place)
        return ready

    def events(self, since: int = 0) -> list[Event]:
        """
        List what was offered after the ``since``-th event, in the order of offering.
        """
        return self._events[since:]


class Timeline:
    """
    Events by time, found by binary search: a page costs its own length, not the backlog's.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []

    def merge(self, events: list[Event]) -> None:
        """
        Take in events that are ordered by time themselves.
        """
        if len(events) <= _PLACE_SINGLY:
            for event in events:
                insort(self._events, event, key=_place)
        else:
            self._events.extend(events)
            self._events.sort(key=_place)

    def span(
        self,
        after: int | None,
        before: int | None,
        *,
        after_inclusive: bool,
        before_inclusive: bool,
    ) -> tuple[int, int]:
        """
        Find the part of the line between two times, as first index and end index.
        """
        first, end = 0, len(self._events)
        if after is not None:
            search = bisect_left if after_inclusive else bisect_right
            first = search(self._events, after, key=_time)
        if before is not None:
            search = bisect_right if before_inclusive else bisect_left
            end = search(self._events, before, key=_time)
        return first, max(first, end)

    def page(
        self, span: tuple[int, int], offset: int, limit: int, *, order: Order, random: Random
    ) -> Iterable[Event]:
        """
        Cut one page out of a part of the line.

        Args:
            span: What ``span`` found.
            offset: How many events of it to leave out, in the asked order.
            limit: How many events to give at most.
            order: ``unstable`` is ascending with events of equal time shuffled anew.
            random: Where that shuffling takes its chance from.
        """
        first, end = span
        if order == "descending":
            stop = max(first, end - offset)
            return reversed(self._events[max(first, stop - limit) : stop])
        start = min(end, first + offset)
        stop = min(end, start + limit)
        if order == "ascending" or start == stop:
            return self._events[start:stop]
        # Groups of equal time that reach over the edges of the page are shuffled whole.
        low = max(first, bisect_left(self._events, self._events[start].event_time, key=_time))
        high = min(end, bisect_right(self._events, self._events[stop - 1].event_time, key=_time))
        drawn = sorted(self._events[low:high], key=lambda e: (e.event_time, random.random()))
        return drawn[start - low : stop - low]
