# SPDX-License-Identifier: Apache-2.0
"""
Where the activity feed stands: the cursor, and the walk it may be in the middle of.

A walk reads one window of event time, from its first row to the empty page behind its
last. Nothing of the windows is documented, so each bound is right whichever way the
server takes it: ``after`` lies 1 ms below what is wanted, and what comes twice is known::

                after                      position             before    now
    time ─────────┼───────────────────────────┼────────────────────┼───────┼──▶
    query         (──── read again, known ────|──── new ───────────)            closed
                  (──── read again, known ────|──── new ───────────────────▶    open
    seen          [──── ids kept, by minute ───────────────────────────────▶

- closed: ``before = position + slice`` is not past the clock. Afterwards the position
  is ``before``, even if nothing came.
- open: no ``before``. Afterwards the position is the newest event time, never past
  the clock, and the feed is caught up.

``after`` of the next walk is 1 ms below the new position, or the server's clock when
this one began less the overlap, whichever is earlier: what is older than the overlap is
final. It never goes back, since ids below it are forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from connector.providers.digests import pack, unpack
from connector.providers.monetago.rules import FIRST_SLICE_MS, MAX_PAGES, MAX_SLICE_MS, Rules
from connector.providers.stored import MAX_MS, take_number
from connector.unit import Json

# A start of 0 is asked for with the millisecond before it; no window is empty; and a
# provider may send times before 1970.
_LEAST = {"after": -1, "slice": 1, "newest": -MAX_MS, "repeated": -MAX_MS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """
    A walk under way: all that is needed to go on inside it after a restart.

    Times are ms since 1970.

    Attributes:
        after: Lower bound, fixed for the walk.
        before: Upper bound, None if the window is open.
        began: The server's clock before the first page was asked for.
        rows: How many rows came: ``offset`` of the next page.
        pages: How many pages came.
        newest: The highest event time so far.
        edge: What the next page may bring again: the ids of this walk at ``newest``;
            where there is no order, those of the last page. Too many of them are not
            kept, but one digest of the whole last page: see ``Sieve.edge``.
        stale: Pages running that brought no id new to the walk.
        repeated: The lowest event time of an id that came on two pages.
        brought: Something of it was committed. Before that the walk is not stored.
        loose: Pages are committed as they come, because they are out of order in the
            smallest slice.
        extra: Fields of a newer version.
    """

    after: int
    before: int | None
    began: int
    rows: int = 0
    pages: int = 0
    newest: int | None = None
    edge: frozenset[bytes] = frozenset()
    stale: int = 0
    repeated: int | None = None
    brought: bool = False
    loose: bool = False
    extra: Mapping[str, Json] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """
        Where the window ends: at ``before``, or at the moment when the walk began.
        """
        return self.began if self.before is None else self.before

    def store(self) -> dict[str, Json]:
        """
        Write it as JSON.
        """
        return {
            **self.extra,
            "after": self.after,
            "before": self.before,
            "began": self.began,
            "rows": self.rows,
            "pages": self.pages,
            "newest": self.newest,
            "edge": pack(sorted(self.edge)),
            "stale": self.stale,
            "repeated": self.repeated,
            "brought": self.brought,
            "loose": self.loose,
        }

    @classmethod
    def load(cls, value: Json) -> Self:
        """
        Read what ``store`` wrote.

        Raises:
            TypeError, ValueError: It is something else.
        """
        if not isinstance(value, dict):
            raise TypeError("walk is not an object")
        stored = dict(value)
        return cls(
            after=take_number(stored, "after", least=_LEAST["after"]),
            before=take_number(stored, "before", optional=True),
            began=take_number(stored, "began"),
            rows=take_number(stored, "rows"),
            pages=take_number(stored, "pages"),
            newest=take_number(stored, "newest", least=_LEAST["newest"], optional=True),
            edge=frozenset(unpack(stored.pop("edge", None))),
            stale=take_number(stored, "stale"),
            repeated=take_number(stored, "repeated", least=_LEAST["repeated"], optional=True),
            brought=stored.pop("brought", None) is True,
            loose=stored.pop("loose", None) is True,
            extra=stored,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """
    The position between walks, and the walk under way.

    Attributes:
        position: W: everything below it was read once.
        since: The start; what is older was never asked for.
        after: Lower bound of the next walk; ids of events at or above it are kept.
        complete: Event time up to which the stream is complete; it never goes back.
        slice_ms: Width of the next window.
        again: How many times running this window was walked without anything new.
        walk: The walk under way.
        extra: Fields of a newer version.
    """

    position: int
    since: int
    after: int
    complete: int
    slice_ms: int
    again: int = 0
    walk: Walk | None = None
    extra: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def first(cls, start_ms: int) -> Self:
        """
        Stand at a start: events of exactly that time are wanted.
        """
        return cls(
            position=start_ms,
            since=start_ms,
            after=start_ms - 1,
            complete=start_ms,
            slice_ms=FIRST_SLICE_MS,
        )

    def store(self) -> dict[str, Json]:
        """
        Write it as JSON.
        """
        return {
            **self.extra,
            "position": self.position,
            "since": self.since,
            "after": self.after,
            "complete": self.complete,
            "slice": self.slice_ms,
            "again": self.again,
            "walk": None if self.walk is None else self.walk.store(),
        }

    @classmethod
    def load(cls, value: Json) -> Self:
        """
        Read what ``store`` wrote; fields that are missing are as at a start.

        Raises:
            TypeError, ValueError: It is something else.
        """
        if not isinstance(value, dict):
            raise TypeError("the offset is not an object")
        stored = dict(value)
        cursor = cls.first(take_number(stored, "position"))
        walk = stored.pop("walk", None)
        names = {"slice_ms": "slice", **{n: n for n in ("since", "after", "complete", "again")}}
        given = {
            name: take_number(stored, key, least=_LEAST.get(key, 0), optional=True)
            for name, key in names.items()
        }
        return replace(
            cursor,
            **{name: number for name, number in given.items() if number is not None},
            walk=None if walk is None else Walk.load(walk),
            extra=stored,
        )

    @property
    def brought(self) -> bool:
        """
        Whether the walk under way brought something.
        """
        return self.walk is not None and self.walk.brought

    def begin(self, now_ms: int) -> Walk:
        """
        Plan the next walk.

        Args:
            now_ms: The server's clock.
        """
        before = self.position + self.slice_ms
        return Walk(after=self.after, before=before if before <= now_ms else None, began=now_ms)

    def narrowed(self, walk: Walk, rules: Rules) -> Cursor | None:
        """
        Halve the slice until it gives the walk another window.

        Returns:
            The cursor to walk anew from; None if there is no smaller window.
        """
        width = self.slice_ms
        while width > rules.floor_ms:
            width = max(rules.floor_ms, width // 2)
            cursor = replace(self, slice_ms=width, walk=None)
            if cursor.begin(walk.began).before != walk.before:
                return cursor
        return None

    def after_walk(self, walk: Walk, rules: Rules) -> Cursor:
        """
        Move behind a walk that was read to its end.
        """
        horizon = walk.began - rules.overlap_ms
        reached = walk.newest if walk.before is None else walk.before
        position = self.position
        if reached is not None:
            position = max(position, min(reached, walk.began))
        return replace(
            self,
            position=position,
            after=max(self.after, min(position - 1, horizon)),
            complete=max(
                self.complete, horizon if walk.before is None else min(walk.before, horizon)
            ),
            slice_ms=self._next_slice(walk, rules),
            again=0,
            walk=None,
        )

    def _next_slice(self, walk: Walk, rules: Rules) -> int:
        width = self.slice_ms
        if walk.pages > MAX_PAGES:
            width //= 2
        # How little an open window held says nothing of a whole slice.
        elif walk.pages < 2 and walk.before is not None:
            width = min(width * 2, max(MAX_SLICE_MS, rules.floor_ms))
        return max(width, rules.floor_ms)
