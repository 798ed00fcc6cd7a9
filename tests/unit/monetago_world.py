# SPDX-License-Identifier: Apache-2.0
"""
MonetaGo's activity as a small pure world: every variant of what is not documented, a
clock that moves with each request, and a reader that commits, loses and crashes.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from connector.providers.fields import parse_ms, write_ms
from connector.providers.monetago.api import ActivityFeed
from connector.upstream.client import Reply

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
# 2026-11-20T12:00:00Z
NOON = 1_795_176_000_000


@dataclass(frozen=True)
class Event:
    """
    An item, when its provider thinks that it happened, and when it can be seen.
    """

    time: int
    visible: int
    item: Any


def event(name: str, time: int, visible: int | None = None, **more: Any) -> Event:
    item = {"event_identification": name, "event_date_time": write_ms(time), **more}
    return Event(time, time if visible is None else visible, item)


@dataclass
class World:
    """
    The server and both clocks; stands where a Client stands.
    """

    events: list[Event]
    now: int = NOON
    order: str = "ascending"
    after_inclusive: bool = False
    before_inclusive: bool = False
    cap: int = 1000
    skew: int = 0
    tick: int = 50
    whole_seconds: bool = True
    seed: int = 0
    asked: list[dict[str, str]] = field(default_factory=list)
    learnt: bool = False

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def clock(self) -> int:
        return self.now if self.learnt else self.now + self.skew

    async def get(self, path: str, params: dict[str, str]) -> Reply:
        assert path == "/activity"
        self.asked.append(params)
        self.now += self.tick
        rows = self.rows(params)
        self.now += self.tick
        self.learnt = True
        date = self.now // 1000 * 1000 if self.whole_seconds else self.now
        return Reply(
            status=200,
            body={"links": [], "events": [row.item for row in rows]},
            polled_at=self.now + self.skew,
            server_time=date,
            retry_after=None,
        )

    def rows(self, params: dict[str, str]) -> list[Event]:
        after, before = parse_ms(params["after"]), parse_ms(params.get("before"))
        assert after is not None
        found = [
            each
            for each in self.events
            if each.visible <= self.now
            and (each.time > after or (self.after_inclusive and each.time == after))
            and (
                before is None
                or each.time < before
                or (self.before_inclusive and each.time == before)
            )
        ]
        if self.order == "unstable":
            self._dice.shuffle(found)
        if self.order == "random":
            random.Random(self.seed).shuffle(found)
        else:
            found.sort(key=lambda each: each.time, reverse=self.order == "descending")
        start = int(params["offset"])
        return found[start : start + min(int(params["limit"]), self.cap)]


@dataclass
class Reader:
    """
    What the engine does with a feed: commit items and offset together, or lose both.
    """

    world: World
    feed: ActivityFeed
    start: int
    out: list[Any] = field(default_factory=list)
    parts: dict[str, Any] = field(default_factory=dict)
    pending: dict[str, Any] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    late: list[float] = field(default_factory=list)
    most_parts: int = 0
    check: bool = True

    def __post_init__(self) -> None:
        self.offset, writes = self.feed.first(self.start)
        self._commit(writes)

    def _commit(self, writes: Any) -> None:
        for part, value in json.loads(json.dumps(dict(writes))).items():
            if value is None:
                self.parts.pop(part, None)
            else:
                self.parts[part] = value
        self.most_parts = max(self.most_parts, len(self.parts))

    def crash(self) -> None:
        """
        Lose the memory.
        """
        self.pending = {}
        self.offset = self.feed.load(self.parts)

    async def step(self, *, lose: bool = False) -> Any:
        """
        Take one step; with ``lose`` the process dies before it commits.
        """
        page = await self.feed.fetch_page(self.world, self.offset)  # type: ignore[arg-type]
        if lose:
            self.crash()
            return page
        self.pending.update(page.writes)
        if page.durable:
            self._commit(self.pending)
            self.pending = {}
            self.out += page.items
            assert not self.check or self.feed.load(self.parts) == page.next_offset
        else:
            assert page.items == []
        self.offset = page.next_offset
        self.notes.update(page.notes)
        self.late += page.late
        return page

    async def catch_up(self) -> Any:
        """
        Step until nothing more is waiting.
        """
        while True:
            page = await self.step()
            if page.caught_up:
                return page

    def ids(self) -> list[str]:
        return [item["event_identification"] for item in self.out]


def feed(overlap: float = 600.0, limit: int = 1000) -> ActivityFeed:
    return ActivityFeed(
        base_url="https://example.com/v1", client_id="invented", overlap=overlap, page_limit=limit
    )
