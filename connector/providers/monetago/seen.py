# SPDX-License-Identifier: Apache-2.0
"""
The ids that were committed and can come again, by minute of event time.

Stored as parts beside the cursor, so that none grows without bound (27,000 ids in one
value exceed 1 MiB) and a page writes only the minutes it touched::

    seen/29394015      the first 2,048 ids of that minute since 1970, 16 bytes each
    seen/29394015/1    the next 2,048, and so on: a busy minute is not written anew
                       with each of its pages

A value: adding and forgetting make a new one, and what neither touched is shared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from connector.providers.digests import pack, unpack
from connector.unit import Json

MINUTE_MS = 60_000

# Ids in one part: 43 KB of text. Half of it is written again with a page on average.
CHUNK = 2048


class Minute(NamedTuple):
    """
    The ids of one minute.

    Attributes:
        ids: To look them up.
        chunks: To store them, in the order in which they came.
    """

    ids: frozenset[bytes]
    chunks: tuple[tuple[bytes, ...], ...]


_EMPTY = Minute(frozenset(), ())


@dataclass(frozen=True, slots=True)
class Seen:
    """
    Known ids by minute (ms since 1970 // 60,000).

    Attributes:
        prefix: What the names of its parts begin with.
        minutes: The ids of each minute that has any.
    """

    prefix: str
    minutes: Mapping[int, Minute]

    @classmethod
    def load(cls, prefix: str, parts: Mapping[str, Json]) -> Self:
        """
        Read the parts that ``add`` and ``forget`` wrote; others are left alone.

        Raises:
            ValueError: A part of that prefix is none that was written here.
        """
        found: dict[int, dict[int, tuple[bytes, ...]]] = {}
        for name, value in parts.items():
            kind, _, rest = name.partition("/")
            if kind == prefix:
                minute, _, index = rest.partition("/")
                found.setdefault(int(minute), {})[int(index or 0)] = tuple(unpack(value))
        return cls(
            prefix,
            {
                minute: Minute(
                    frozenset(digest for chunk in chunks.values() for digest in chunk),
                    tuple(chunks[index] for index in sorted(chunks)),
                )
                for minute, chunks in found.items()
            },
        )

    def ids(self, minute: int) -> frozenset[bytes]:
        """
        Give the ids known in a minute.
        """
        return self.minutes.get(minute, _EMPTY).ids

    def latest(self, digest: bytes) -> int | None:
        """
        Find the latest minute that holds an id; for the few that have no minute of theirs.
        """
        return max(
            (at for at, minute in self.minutes.items() if digest in minute.ids), default=None
        )

    def add(self, found: Mapping[int, Sequence[bytes]]) -> tuple[Seen, dict[str, Json]]:
        """
        Add new ids to their minutes.

        Args:
            found: Ids by minute, none of them known there, none twice.

        Returns:
            The new value, and the parts that changed.
        """
        if not found:
            return self, {}
        minutes = dict(self.minutes)
        writes: dict[str, Json] = {}
        for minute, digests in found.items():
            known = minutes.get(minute, _EMPTY)
            chunks = list(known.chunks)
            rest = list(digests)
            if chunks and len(chunks[-1]) < CHUNK:
                rest = [*chunks.pop(), *rest]
            for start in range(0, len(rest), CHUNK):
                chunk = tuple(rest[start : start + CHUNK])
                writes[self._part(minute, len(chunks))] = pack(chunk)
                chunks.append(chunk)
            minutes[minute] = Minute(known.ids.union(digests), tuple(chunks))
        return Seen(self.prefix, minutes), writes

    def forget(self, below: int) -> tuple[Seen, dict[str, None]]:
        """
        Drop all minutes below one.

        Returns:
            The new value, and the parts to delete.
        """
        gone = [minute for minute in self.minutes if minute < below]
        if not gone:
            return self, {}
        writes = {
            self._part(minute, index): None
            for minute in gone
            for index in range(len(self.minutes[minute].chunks))
        }
        kept = {at: minute for at, minute in self.minutes.items() if at >= below}
        return Seen(self.prefix, kept), writes

    def _part(self, minute: int, index: int) -> str:
        return f"{self.prefix}/{minute}/{index}" if index else f"{self.prefix}/{minute}"
