# SPDX-License-Identifier: Apache-2.0
"""
One step of a walk: from an offset and the pages that came, to what is written.

No I/O happens here. A step takes pages until it can tell their order:

- ascending: it ends with the first page that shows it, so that each page is committed
  by itself and a walk resumes inside;
- a page descends: it takes all that is left of the walk, sorts it by (time, id), and the
  whole is committed at once. Where that is more than ten pages the slice halves and the
  walk starts anew; in the smallest slice the pages stay as they came, and are counted;
- no two times yet (one event, or all at one moment): it goes on, because order cannot be
  known before another page.

An id on two pages of a walk says that rows moved meanwhile, or that equal times have no
fixed order: for each such id another can have slipped through. Where the next walk would
not read that time again, the window is walked again until no id repeats, or until three
walks running brought nothing new; then ``walk_incomplete`` is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from connector.errors import RetryError
from connector.providers.digests import of_item, of_text
from connector.providers.fields import parse_ms, read_text
from connector.providers.monetago.counts import HOUR_MS, HOURS, first_day
from connector.providers.monetago.offset import Offset
from connector.providers.monetago.records import ID, TIME
from connector.providers.monetago.seen import MINUTE_MS
from connector.providers.monetago.walk import MAX_PAGES, Cursor, Rules, Walk
from connector.unit import Json

# Walks over one window running that may bring nothing new before it is left.
_FRUITLESS = 3

# Pages running without an id new to the walk: the server does not heed ``offset``.
_STALE = 2


class _Row(NamedTuple):
    """
    A new item.

    Attributes:
        at: Its event time, or what stands for it: where it is sorted in.
        id: Its id, empty if it has none.
        time: Its event time, None if it has none.
        stray: It has no time inside the window.
    """

    at: int
    id: str
    time: int | None
    stray: bool
    digest: bytes
    item: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """
    What a step leads to; the fields are those of Page.
    """

    items: Sequence[Any]
    offset: Offset
    writes: Mapping[str, Json | None]
    caught_up: bool
    late: Sequence[float] = ()
    notes: Mapping[str, int] = field(default_factory=dict)

    @property
    def durable(self) -> bool:
        """
        Whether more than the cursor moves: a walk that brings nothing can be repeated.
        """
        return bool(self.items) or len(self.writes) > 1 or "walk_narrowed" in self.notes


class Step:
    """
    Collects the pages of one step.

    Args:
        rules: The settings.
        offset: Where the feed stands; it stays as it is.
        now_ms: The server's clock.
    """

    def __init__(self, rules: Rules, offset: Offset, now_ms: int) -> None:
        self._rules = rules
        self._offset = offset
        self.walk: Walk = offset.cursor.walk or offset.cursor.begin(now_ms)
        self._rows: list[_Row] = []
        # Each id of this step, and the page that brought it first.
        self._ids: dict[bytes, int] = {}
        self._edge: set[bytes] = set()
        self._last_page: set[bytes] = set()
        self._kept: set[bytes] = set()
        self._pages = 0
        self._oldest = self.walk.newest
        self._descends = False
        self._ended = False
        self._narrowed: Cursor | None = None

    def take(self, events: Sequence[Any], asked_ms: int) -> bool:
        """
        Take one page.

        Args:
            events: Its items, whatever they are.
            asked_ms: The server's clock, at the latest, when the page was asked for.

        Returns:
            Whether the step is done; else the next page is wanted.

        Raises:
            RetryError: A second page running brought no id new to the walk.
        """
        walk = self.walk
        if walk.rows == 0:
            # Our clock may have been ahead until this answer told the server's.
            self.walk = walk = replace(walk, began=min(walk.began, asked_ms))
        if not events:
            self._ended = True
            return True
        self._pages += 1
        newest, repeated, fresh = self._sort_in(events, walk)
        stale = 0 if fresh else walk.stale + 1
        if stale >= _STALE:
            raise RetryError(
                f"MonetaGo sent {_STALE} pages running without an event that is new to the "
                "walk; it does not seem to heed the offset parameter.",
                cause="page_repeated",
            )
        self.walk = replace(
            walk,
            rows=walk.rows + len(events),
            pages=walk.pages + 1,
            newest=newest,
            stale=stale,
            repeated=repeated,
        )
        return self._is_done()

    def _sort_in(self, events: Sequence[Any], walk: Walk) -> tuple[int | None, int | None, bool]:
        """
        Sort the items of a page into known and new, and watch their order.

        Returns:
            The walk's newest time, its lowest repeated time, whether an id was new to it.
        """
        seen, strays, ids = self._offset.seen, self._offset.strays, self._ids
        page, newest, oldest, repeated = self._pages, walk.newest, self._oldest, walk.repeated
        lowest_minute = walk.after // MINUTE_MS
        edge, here = walk.edge, self._last_page
        here.clear()
        fresh = False
        for item in events:
            name = at = None
            if type(item) is dict:
                name = read_text(item, ID)
                at = parse_ms(item.get(TIME))
            digest = of_item(item) if name is None else of_text(name)
            here.add(digest)
            came = ids.get(digest)
            if came is not None or digest in edge:
                if came != page:
                    when = walk.after if at is None else at
                    repeated = when if repeated is None else min(when, repeated)
                    ids.setdefault(digest, page)
                continue
            fresh = True
            ids[digest] = page
            if at is not None:
                if newest is None or at > newest:
                    newest = at
                    self._edge.clear()
                elif at < newest:
                    self._descends = True
                if at == newest:
                    self._edge.add(digest)
                if oldest is None or at < oldest:
                    oldest = at
                minute = at // MINUTE_MS
                if digest in seen.ids(minute):
                    continue
                if minute >= lowest_minute:
                    self._rows.append(_Row(at, name or "", at, False, digest, item))
                    continue
            self._stray(at, name or "", digest, item, strays.latest(digest))
        self._oldest = oldest
        return newest, repeated, fresh

    def _stray(
        self, at: int | None, name: str, digest: bytes, item: Any, known: int | None
    ) -> None:
        """
        Keep an item without a usable time known for as long as it comes.

        Its window's end stands for its time. Known ones move up before they would be
        forgotten.
        """
        walk = self.walk
        end = walk.began if walk.before is None else walk.before
        if known is None:
            self._rows.append(_Row(end if at is None else at, name, at, True, digest, item))
        elif known < min(end - 1, walk.began - self._rules.overlap_ms) // MINUTE_MS:
            self._kept.add(digest)

    def _is_done(self) -> bool:
        walk = self.walk
        if walk.loose:
            return True
        if not self._descends:
            return self._oldest != walk.newest or self._pages >= MAX_PAGES
        if self._pages < MAX_PAGES:
            return False
        self._narrowed = self._offset.cursor.narrowed(walk, self._rules)
        if self._narrowed is None:
            self.walk = replace(walk, loose=True)
        return True

    def outcome(self) -> Outcome:
        """
        Tell what the step leads to, once ``take`` said that it is done.
        """
        if self._narrowed is not None:
            return Outcome(
                items=(),
                offset=replace(self._offset, cursor=self._narrowed),
                writes={"": self._narrowed.store()},
                caught_up=False,
                notes={"walk_narrowed": 1},
            )
        rows, notes = self._rows, dict[str, int]()
        if self.walk.loose:
            notes["page_order_kept"] = self._pages
        elif self._descends:
            rows.sort(key=lambda row: (row.at, row.id))
        notes["outside_window"] = sum(row.stray and row.time is not None for row in rows)
        cursor = self._close(notes) if self._ended else self._pause()
        offset, writes = self._remember(cursor)
        behind = self._offset.cursor.position - 1
        return Outcome(
            items=[row.item for row in rows],
            offset=offset,
            writes={"": cursor.store(), **writes},
            caught_up=self._ended and self.walk.before is None and "walk_repeated" not in notes,
            late=[
                (behind + 1 - row.time) / 1000
                for row in rows
                if row.time is not None and row.time < behind and not row.stray
            ],
            notes={note: count for note, count in notes.items() if count},
        )

    def _pause(self) -> Cursor:
        """
        Stay inside the walk.
        """
        walk, former = self.walk, self._offset.cursor.walk
        edge = self._last_page
        if walk.newest is not None and not walk.loose:
            edge = self._edge
            if former is not None and former.newest == walk.newest:
                edge = edge | former.edge
        brought = walk.brought or bool(self._rows)
        walk = replace(walk, edge=frozenset(edge), brought=brought)
        return replace(self._offset.cursor, walk=walk)

    def _close(self, notes: dict[str, int]) -> Cursor:
        """
        Move behind the walk, or walk its window again.
        """
        walk, cursor = self.walk, self._offset.cursor
        moved = cursor.after_walk(walk, self._rules)
        if walk.repeated is None or walk.repeated > moved.after:
            return moved
        again = 1 if walk.brought or self._rows else cursor.again + 1
        if again > _FRUITLESS:
            notes["walk_incomplete"] = 1
            return moved
        notes["walk_repeated"] = 1
        return replace(cursor, walk=None, again=again)

    def _remember(self, cursor: Cursor) -> tuple[Offset, dict[str, Json | None]]:
        """
        Bring the parts beside the cursor up to date.
        """
        walk = self.walk
        day = first_day(walk.began)
        minutes: dict[int, list[bytes]] = {}
        hours: dict[int, int] = {}
        strays = list(self._kept)
        for row in self._rows:
            if row.stray:
                strays.append(row.digest)
            else:
                minutes.setdefault(row.at // MINUTE_MS, []).append(row.digest)
            if row.time is not None and row.time // (HOUR_MS * HOURS) >= day:
                hour = row.time // HOUR_MS
                hours[hour] = hours.get(hour, 0) + 1
        end = (walk.began if walk.before is None else walk.before) // MINUTE_MS
        return self._offset.move(
            cursor, seen=minutes, strays={end: strays} if strays else {}, hours=hours, day=day
        )
