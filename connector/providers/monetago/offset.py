# SPDX-License-Identifier: Apache-2.0
"""
The source offset of the activity feed, whole: the cursor and the parts beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from connector.errors import StoppedError
from connector.providers.monetago.counts import Counts
from connector.providers.monetago.look import Look
from connector.providers.monetago.seen import MINUTE_MS, Seen
from connector.providers.monetago.walk import Cursor
from connector.unit import Json

RECOUNT = "recount"

# How much longer an item without a usable time stays known than its window needs: what
# stands for its time can be wrong by as much as our clock was, or as it is ahead.
_STRAY_MS = 24 * 3_600_000


def lowest_stray(after_ms: int) -> int:
    """
    Tell the lowest minute of strays that is kept while walks begin at a time.
    """
    return (after_ms - _STRAY_MS) // MINUTE_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Offset:
    """
    A value: every step makes the next one.

    Attributes:
        cursor: The position, part ``""``.
        seen: Ids by the minute of their event time, parts ``seen/…``.
        strays: Ids of items without a time, or with one below the window that brought
            them, by the minute at which that window ended, parts ``strays/…``.
        counts: Events by hour, parts ``counts/…``.
        recount: Where a second look goes on, part ``recount``.
    """

    cursor: Cursor
    seen: Seen
    strays: Seen
    counts: Counts
    recount: Look | None = None

    @property
    def extra(self) -> Mapping[str, Json]:
        """
        Fields of a newer version, of the cursor and of its walk.
        """
        walk = self.cursor.walk
        return {**self.cursor.extra, **(walk.extra if walk else {})}

    @classmethod
    def first(cls, start_ms: int) -> Self:
        """
        Stand at a start, in milliseconds since 1970.
        """
        return cls(
            cursor=Cursor.first(start_ms),
            seen=Seen("seen", {}),
            strays=Seen("strays", {}),
            counts=Counts({}),
        )

    @classmethod
    def load(cls, parts: Mapping[str, Json]) -> Self:
        """
        Read what was stored.

        Raises:
            StoppedError: It is none of ours.
        """
        try:
            return cls(
                cursor=Cursor.load(parts.get("")),
                seen=Seen.load("seen", parts),
                strays=Seen.load("strays", parts),
                counts=Counts.load(parts),
                recount=None if parts.get(RECOUNT) is None else Look.load(parts[RECOUNT]),
            )
        except (ValueError, TypeError) as error:
            raise StoppedError(
                f"The stored offset of MonetaGo activity cannot be read ({error}).",
                remedy="Choose where to go on: connector offsets set|reset <source>/activity.",
            ) from None

    def move(
        self,
        cursor: Cursor,
        *,
        seen: Mapping[int, Sequence[bytes]],
        strays: Mapping[int, Sequence[bytes]],
        hours: Mapping[int, int],
        day: int,
    ) -> tuple[Offset, dict[str, Json | None]]:
        """
        Make the offset with another cursor and with what was read on the way to it.

        Args:
            cursor: The cursor; ids of minutes below its ``after`` are forgotten, and new
                ones there are not kept. Strays stay for a day more.
            seen: New ids by minute.
            strays: Likewise.
            hours: New events by hour since 1970.
            day: The first day since 1970 whose counts are kept.

        Returns:
            The offset, and the parts that changed, its cursor left out.
        """
        lowest = cursor.after // MINUTE_MS
        kept = {minute: digests for minute, digests in seen.items() if minute >= lowest}
        old_seen, seen_gone = self.seen.forget(lowest)
        new_seen, seen_new = old_seen.add(kept)
        old_strays, strays_gone = self.strays.forget(lowest_stray(cursor.after))
        new_strays, strays_new = old_strays.add(strays)
        old_counts, counts_gone = self.counts.forget(day)
        new_counts, counts_new = old_counts.add(hours)
        offset = replace(self, cursor=cursor, seen=new_seen, strays=new_strays, counts=new_counts)
        writes: dict[str, Json | None] = {}
        for changed in (seen_gone, seen_new, strays_gone, strays_new, counts_gone, counts_new):
            writes.update(changed)
        return offset, writes
