# SPDX-License-Identifier: Apache-2.0
"""
Which items of a step's pages are new, and what order the pages are in.

Every event passes here, so the loop is written for speed (1.5 µs an event, half of it
for its time and the digest of its id).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from connector.providers.digests import SIZE, of_item, of_text
from connector.providers.fields import parse_ms, read_text
from connector.providers.monetago.counts import HOUR_MS
from connector.providers.monetago.offset import Offset, lowest_stray
from connector.providers.monetago.records import ID, TIME
from connector.providers.monetago.seen import MINUTE_MS
from connector.providers.monetago.walk import Walk

# Ids in the stored edge: 87 KB of text.
MAX_EDGE = 4096

_HOUR_MINUTES = HOUR_MS // MINUTE_MS


class Sieve:
    """
    Collects over the pages of one step.

    Args:
        offset: Where the feed stands; it stays as it is.
        overlap_ms: The overlap.

    Attributes:
        rows: New items as they came: their time (or what stands for it), their id (or
            an empty text), the item.
        newest: The highest event time of the walk.
        descends: A time was lower than one before it.
        repeated: The lowest time of an id that came on two pages of the walk.
        late: Seconds behind the position, for the items that are.
        outside: New items whose time lies below the window.
        strays: Ids of new and of known items without a time inside the window.
    """

    def __init__(self, offset: Offset, overlap_ms: int) -> None:
        walk = offset.cursor.walk
        self._offset = offset
        self._overlap_ms = overlap_ms
        self._page = 0
        # Each id of this step, and the last page that brought it first.
        self._ids: dict[bytes, int] = {}
        self._at_newest: list[bytes] = []
        self._former_edge = frozenset[bytes]() if walk is None else walk.edge
        self._former_newest = None if walk is None else walk.newest
        self._minutes: dict[int, list[bytes]] = {}
        self._stray_hours: list[int] = []
        self.rows: list[tuple[int, str, Any]] = []
        self.newest = self._former_newest
        self._steps_up = 0 if walk is None or walk.newest is None else 1
        self.descends = False
        self.repeated = None if walk is None else walk.repeated
        self.late: list[float] = []
        self.outside = 0
        self.strays: list[bytes] = []

    @property
    def tells_order(self) -> bool:
        """
        Whether two different times came, without which there is no order.
        """
        return self.descends or self._steps_up > 1

    @property
    def brought(self) -> bool:
        """
        Whether there is anything to store.
        """
        return bool(self.rows or self.strays)

    def take(self, events: Sequence[Any], walk: Walk) -> bool:
        """
        Sort the items of one page into known and new.

        Returns:
            Whether an id was new to the walk.
        """
        self._page = page = self._page + 1
        ids, edge, seen, rows = self._ids, self._former_edge, self._offset.seen, self.rows
        newest = self.newest
        lowest = walk.after // MINUTE_MS
        behind = self._offset.cursor.position - 1
        minute, known, bucket = None, frozenset[bytes](), list[bytes]()
        fresh = False
        for item in events:
            name = at = None
            if type(item) is dict:
                name = read_text(item, ID)
                at = parse_ms(item.get(TIME))
            digest = of_item(item) if name is None else of_text(name)
            if digest in ids or digest in edge:
                self._repeat(digest, walk.after if at is None else at)
                continue
            fresh = True
            ids[digest] = page
            if at is None:
                self._stray(None, name, digest, item, walk)
                continue
            if newest is None or at > newest:
                newest = at
                self._steps_up += 1
                self._at_newest = [digest]
            elif at == newest:
                self._at_newest.append(digest)
            else:
                self.descends = True
            if at // MINUTE_MS != minute:
                minute = at // MINUTE_MS
                known = seen.ids(minute)
                bucket = self._minutes.get(minute, [])
            if digest in known:
                continue
            if minute < lowest:
                self._stray(at, name, digest, item, walk)
                continue
            rows.append((at, name or "", item))
            if not bucket:
                self._minutes[minute] = bucket
            bucket.append(digest)
            if at < behind:
                self.late.append((behind + 1 - at) / 1000)
        self.newest = newest
        return fresh and not self._is_last_page_again()

    def _repeat(self, digest: bytes, at: int) -> None:
        """
        Note an id that the walk had before, unless it was on the same page.
        """
        if self._ids.get(digest) != self._page:
            self.repeated = at if self.repeated is None else min(at, self.repeated)
            self._ids.setdefault(digest, self._page)

    def _stray(
        self, at: int | None, name: str | None, digest: bytes, item: Any, walk: Walk
    ) -> None:
        """
        Keep an item without a usable time known for as long as it comes.

        The end of its window stands for its time. Known ones move up before they would
        be forgotten.
        """
        known = self._offset.strays.latest(digest)
        if known is None:
            self.rows.append((walk.end if at is None else at, name or "", item))
            self.strays.append(digest)
            if at is not None:
                self.outside += 1
                self._stray_hours.append(at // HOUR_MS)
        elif known < lowest_stray(min(walk.end - 1, walk.began - self._overlap_ms)):
            self.strays.append(digest)

    def edge(self, *, loose: bool) -> frozenset[bytes]:
        """
        Tell what the next page may bring again; see Walk.

        It is stored with the cursor, in one value, so it has a bound. Beyond that one
        digest stands for the last page: the same page again is known, so that a server
        that repeats itself is seen, but not a single id of it.
        """
        if loose or self.newest is None:
            edge = frozenset(digest for digest, page in self._ids.items() if page == self._page)
        else:
            edge = frozenset(self._at_newest)
            if self.newest == self._former_newest:
                edge |= self._former_edge
        return edge if len(edge) <= MAX_EDGE else frozenset((self._whole(),))

    def _is_last_page_again(self) -> bool:
        return self._page == 1 and not self.brought and self._whole() in self._former_edge

    def _whole(self) -> bytes:
        """
        Give one digest of all ids of the last page, in whatever order they came.
        """
        ids = sorted(digest for digest, page in self._ids.items() if page == self._page)
        return blake2b(b"".join(ids), digest_size=SIZE, person=b"page").digest()

    def minutes(self) -> dict[int, list[bytes]]:
        """
        Give the new ids by minute of event time.
        """
        return self._minutes

    def hours(self, day: int) -> dict[int, int]:
        """
        Count the new items by hour since 1970, from a day on.
        """
        hours: dict[int, int] = {}
        for minute, digests in self._minutes.items():
            hour = minute // _HOUR_MINUTES
            hours[hour] = hours.get(hour, 0) + len(digests)
        for hour in self._stray_hours:
            hours[hour] = hours.get(hour, 0) + 1
        return {hour: count for hour, count in hours.items() if hour // 24 >= day}
