# SPDX-License-Identifier: Apache-2.0
"""
What a provider offered, and which order of it is promised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Offered:
    """
    One event of a provider's ledger.

    Attributes:
        position: Its number in the order of offering.
        id: The provider's id; None where the event was made to lack one.
        key: The message key that it has to have; None where it was made to lack one.
        event_time: Milliseconds since 1970.
        visible_at: Milliseconds since 1970 from when requests could see it.
        body: The item as it was sent.
        bad: It cannot be a record: it has to be a dead letter.
    """

    position: int
    id: str | None
    key: str | None = None
    event_time: int | None = None
    visible_at: int = 0
    body: Any = None
    bad: bool = False


def from_ledger(lines: Iterable[Mapping[str, Any]]) -> list[Offered]:
    """
    Read a ledger as the simulators give it; what lacks its id has to be a dead letter.
    """
    return [
        Offered(
            position=line["seq"],
            id=line["id"],
            key=line["key"],
            event_time=line["event_time"],
            visible_at=line["visible_at"],
            body=line.get("body"),
            bad=line["id"] is None,
        )
        for line in lines
    ]


class Order(Protocol):
    """
    Which order is promised within a key or a partition.
    """

    def rank(self, offered: Offered) -> int:
        """
        Give what has to ascend.
        """

    def excused(self, first: Offered, second: Offered) -> bool:
        """
        Tell whether ``first`` may stand before ``second`` although it ranks higher.
        """


class AsOffered:
    """
    The order of offering, without an excuse (Stedi: by the time of processing).
    """

    def rank(self, offered: Offered) -> int:
        return offered.position

    def excused(self, first: Offered, second: Offered) -> bool:
        return False


@dataclass(frozen=True)
class ByEventTime:
    """
    The order of event times, unless an event came too late for it (MonetaGo).

    An event is written behind a later one only if it became visible after that one, or so
    shortly before that a walk that had begun could miss it.

    Attributes:
        started_ms: When the first poll was; what was visible before has no excuse.
        walk_ms: The longest that one walk over the pages takes.
    """

    started_ms: int
    walk_ms: int = 0

    def rank(self, offered: Offered) -> int:
        return offered.event_time or 0

    def excused(self, first: Offered, second: Offered) -> bool:
        if second.visible_at <= self.started_ms:
            return False
        return second.visible_at + self.walk_ms > first.visible_at
