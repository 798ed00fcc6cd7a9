# SPDX-License-Identifier: Apache-2.0
"""
One step of a walk: from an offset and the pages that came, to what is written.

No I/O happens here. A step takes pages until it can tell their order:

- ascending: it ends with the first page that shows it, so that each page is committed
  by itself and a walk resumes inside;
- a page descends: it takes all that is left of the walk, sorts it by (time, id), and the
  whole is committed at once. Where that is too much for a step the slice halves and the
  walk starts anew; in the smallest slice the pages stay as they came, and are counted;
- no two times yet (one event, or all at one moment): it goes on, because order cannot be
  known before another page.

A step is full with ten pages or 20,000 rows, since it becomes one unit.

An id on two pages of a walk says that rows moved meanwhile, or that equal times have no
fixed order: for each such id another can have slipped through. Where the next walk would
not read that time again, the window is walked again until no id repeats, or until three
walks running brought nothing new; then ``walk_incomplete`` is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from connector.errors import RetryError
from connector.providers.monetago.counts import first_day
from connector.providers.monetago.offset import Offset
from connector.providers.monetago.rules import MAX_PAGES, MAX_ROWS, Rules
from connector.providers.monetago.seen import MINUTE_MS
from connector.providers.monetago.sieve import Sieve
from connector.providers.monetago.walk import Cursor, Walk
from connector.unit import Json

# Walks over one window running that may bring nothing new before it is left.
_FRUITLESS = 3

# Pages running without an id new to the walk: the server does not heed ``offset``.
_STALE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """
    What a step leads to; the fields are those of Page.
    """

    items: Sequence[Any]
    offset: Offset
    writes: Mapping[str, Json | None]
    caught_up: bool
    durable: bool = True
    late: Sequence[float] = ()
    notes: Mapping[str, int] = field(default_factory=dict)


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
        self._sieve = Sieve(offset, rules.overlap_ms)
        self._pages = self._rows = 0
        self._ended = False
        self._anew: Cursor | None = None

    def take(self, events: Sequence[Any], asked_ms: int) -> bool:
        """
        Take one page.

        Args:
            events: Its items, whatever they are.
            asked_ms: The server's clock, at the latest, when the page was asked for.

        Returns:
            Whether the step is done; else the next page is wanted.

        Raises:
            RetryError: A second page running brought no id new to the walk, which itself
                brought nothing so far. Else the walk starts anew: rows that were
                inserted before its position look the same.
        """
        walk = self.walk
        if walk.rows == 0:
            # Our clock may have been ahead until this answer told the server's.
            self.walk = walk = replace(walk, began=min(walk.began, asked_ms))
        if not events:
            self._ended = True
            return True
        self._pages += 1
        self._rows += len(events)
        stale = 0 if self._sieve.take(events, walk) else walk.stale + 1
        if stale >= _STALE and walk.brought:
            self._anew = replace(self._offset.cursor, walk=None)
            return True
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
            newest=self._sieve.newest,
            stale=stale,
            repeated=self._sieve.repeated,
        )
        return self._is_done()

    def _is_done(self) -> bool:
        walk = self.walk
        if walk.loose:
            return True
        full = self._pages >= MAX_PAGES or self._rows >= MAX_ROWS
        if not self._sieve.descends:
            return self._sieve.tells_order or full
        if not full:
            return False
        self._anew = self._offset.cursor.narrowed(walk, self._rules)
        if self._anew is None:
            self.walk = replace(walk, loose=True)
        return True

    def outcome(self) -> Outcome:
        """
        Tell what the step leads to, once ``take`` said that it is done.
        """
        if self._anew is not None:
            return Outcome(
                items=(),
                offset=replace(self._offset, cursor=self._anew),
                writes={"": self._anew.store()},
                caught_up=False,
                notes={"walk_restarted": 1},
            )
        sieve, notes = self._sieve, {"outside_window": self._sieve.outside}
        if self.walk.loose:
            notes["page_order_kept"] = self._pages
        elif sieve.descends:
            sieve.rows.sort(key=lambda row: row[:2])
        cursor = self._close(notes) if self._ended else self._pause()
        offset, writes = self._remember(cursor)
        # A walk that brought nothing is not worth resuming, and must not be: see take.
        moves = self._ended or cursor.brought
        return Outcome(
            items=[item for _, _, item in sieve.rows],
            offset=offset,
            writes={"": cursor.store(), **writes} if moves else {},
            durable=bool(sieve.rows or writes) or self._offset.cursor.brought,
            caught_up=self._ended and self.walk.before is None and "walk_repeated" not in notes,
            late=sieve.late,
            notes={note: count for note, count in notes.items() if count},
        )

    def _pause(self) -> Cursor:
        """
        Stay inside the walk.
        """
        walk, sieve = self.walk, self._sieve
        walk = replace(
            walk, edge=sieve.edge(loose=walk.loose), brought=walk.brought or sieve.brought
        )
        return replace(self._offset.cursor, walk=walk)

    def _close(self, notes: dict[str, int]) -> Cursor:
        """
        Move behind the walk, or walk its window again.
        """
        walk, cursor = self.walk, self._offset.cursor
        moved = cursor.after_walk(walk, self._rules)
        if walk.repeated is None or walk.repeated > moved.after:
            return moved
        again = 1 if walk.brought or self._sieve.rows else cursor.again + 1
        if again > _FRUITLESS:
            notes["walk_incomplete"] = 1
            return moved
        notes["walk_repeated"] = 1
        return replace(cursor, walk=None, again=again)

    def _remember(self, cursor: Cursor) -> tuple[Offset, dict[str, Json | None]]:
        """
        Bring the parts beside the cursor up to date.
        """
        day = first_day(self.walk.began)
        strays = self._sieve.strays
        return self._offset.move(
            cursor,
            seen=self._sieve.minutes(),
            strays={self.walk.end // MINUTE_MS: strays} if strays else {},
            hours=self._sieve.hours(day),
            day=day,
        )
