# SPDX-License-Identifier: Apache-2.0
"""
How many events each hour of event time had, for the last seven days.

A second look compares them with what the provider has by then, and so finds the events
that came later than the overlap (DESIGN section 5). One part a day::

    counts/20410    [0, 0, 17, …]    the 24 hours of that day since 1970, UTC
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from connector.unit import Json

HOUR_MS = 3_600_000
HOURS = 24
KEPT_DAYS = 7

_PREFIX = "counts/"
_NOTHING = (0,) * HOURS


def first_day(now_ms: int) -> int:
    """
    Tell the first day (since 1970) whose hours are kept.
    """
    return now_ms // (HOUR_MS * HOURS) - KEPT_DAYS


@dataclass(frozen=True, slots=True)
class Counts:
    """
    Counts by day since 1970, each of 24 hours.
    """

    days: Mapping[int, tuple[int, ...]]

    @classmethod
    def load(cls, parts: Mapping[str, Json]) -> Self:
        """
        Read the parts that the methods below wrote; others are left alone.

        Raises:
            ValueError: A part is none that was written here.
        """
        days: dict[int, tuple[int, ...]] = {}
        for name, hours in parts.items():
            if name.startswith(_PREFIX):
                if not isinstance(hours, list) or len(hours) != HOURS:
                    raise ValueError("not 24 counts")
                days[int(name.removeprefix(_PREFIX))] = tuple(int(count) for count in hours)
        return cls(days)

    def get(self, hour: int) -> int:
        """
        Give the count of an hour since 1970.
        """
        return self.days.get(hour // HOURS, _NOTHING)[hour % HOURS]

    def add(self, hours: Mapping[int, int]) -> tuple[Counts, dict[str, Json]]:
        """
        Add to the counts of hours since 1970.

        Returns:
            The new value, and the parts that changed.
        """
        if not hours:
            return self, {}
        days = dict(self.days)
        for hour, count in hours.items():
            day = list(days.get(hour // HOURS, _NOTHING))
            day[hour % HOURS] += count
            days[hour // HOURS] = tuple(day)
        touched = {hour // HOURS for hour in hours}
        return Counts(days), {f"{_PREFIX}{day}": list(days[day]) for day in touched}

    def forget(self, below: int) -> tuple[Counts, dict[str, None]]:
        """
        Drop all days below one.

        Returns:
            The new value, and the parts to delete.
        """
        gone = [day for day in self.days if day < below]
        if not gone:
            return self, {}
        kept = {day: hours for day, hours in self.days.items() if day >= below}
        return Counts(kept), {f"{_PREFIX}{day}": None for day in gone}
