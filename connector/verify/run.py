# SPDX-License-Identifier: Apache-2.0
"""
What was seen of one run: the messages that one shard wrote in one epoch.

Retention cuts each partition elsewhere. What was removed from a partition was polled no
later than its first remaining message; so nothing that was polled later than the latest
of these first messages can have been removed, and numbers are judged above the highest
one that was polled up to that point.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from connector.verify.numbers import Numbers
from connector.verify.verdict import Gap, Place, RunVerdict

# How many places, ids or ranges of each kind a verdict names; all of them are counted.
SHOWN = 20

_T = TypeVar("_T")


class RunKey(NamedTuple):
    """
    Whose numbers they are.
    """

    shard: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """
    What retention has removed from a topic.

    Attributes:
        cut: The partitions whose beginning was removed.
        until: Milliseconds since 1970: what was polled later is all there.
    """

    cut: frozenset[int]
    until: int


def note(places: list[_T], place: _T) -> None:
    """
    Keep a place if it is one of the first.
    """
    if len(places) < SHOWN:
        places.append(place)


@dataclass(slots=True)
class Run:
    """
    The numbers, places and findings of one run.

    Attributes:
        index: Its number among the runs of the topic, in the order of appearance.
        key: Whose it is.
        retention: What was removed from the topic, if anything.
        top: The highest number of the first pass; none above it counts in the second.
        ids_twice: How many ids were written more than once.
        ids_twice_at: All places of the first of these ids.
    """

    index: int
    key: RunKey
    retention: Retention | None
    numbers: Numbers = field(default_factory=Numbers)
    top: int = 0
    ids_twice: int = 0
    ids_twice_at: list[tuple[Place, ...]] = field(default_factory=list)
    _records: int = 0
    # The highest number that was polled while retention may still have removed others.
    _doubtful: int = 0
    # By partition: the first and last offset, the first and the highest number.
    _span: dict[int, tuple[int, int]] = field(default_factory=dict)
    _first: dict[int, int] = field(default_factory=dict)
    _newest: dict[int, int] = field(default_factory=dict)
    _twice: int = 0
    _twice_at: list[Place] = field(default_factory=list)
    _out_of_order: int = 0
    _out_of_order_at: list[Place] = field(default_factory=list)

    def take(self, number: int, place: Place, timestamp: int) -> None:
        """
        Take in the number of one message.

        Args:
            number: At least 1.
            place: Where the message lies; ascending within a partition.
            timestamp: When it was polled, ms since 1970.
        """
        partition, offset = place
        self._records += 1
        if partition in self._span:
            self._span[partition] = (self._span[partition][0], offset)
        else:
            self._span[partition] = (offset, offset)
            self._first[partition] = number
        newest = self._newest.get(partition, 0)
        if not self.numbers.add(number):
            self._twice += 1
            note(self._twice_at, place)
        elif number < newest:
            self._out_of_order += 1
            note(self._out_of_order_at, place)
        self._newest[partition] = max(number, newest)
        if self.retention and timestamp <= self.retention.until:
            self._doubtful = max(self._doubtful, number)

    def has_gap(self) -> bool:
        """
        Tell whether a number is missing among those that are judged.
        """
        return next(self.numbers.gaps(self._floor(), self.numbers.highest), None) is not None

    def side_by_side(self, other: Run) -> bool:
        """
        Tell whether two runs were written during the same time: a partition's order knows.
        """
        return any(
            self._span[partition][0] < other._span[partition][1]
            and other._span[partition][0] < self._span[partition][1]
            for partition in self._span.keys() & other._span.keys()
        )

    def judge(self, *, compacted: bool) -> RunVerdict:
        """
        Say what was found.

        Args:
            compacted: Whether numbers go missing on purpose.
        """
        floor, last = self._floor(), self.numbers.highest
        judged = floor <= last
        missing: int | None = None
        gaps: list[Gap] = []
        if judged and not compacted:
            missing = 0
            for gap in self.numbers.gaps(floor, last):
                missing += gap[1] - gap[0] + 1
                note(gaps, Gap(*gap))
        first = max(floor, self.numbers.lowest)
        return RunVerdict(
            shard=self.key.shard,
            epoch=self.key.epoch,
            first=first if judged else None,
            last=last,
            records=self._records,
            missing=missing,
            gaps=tuple(gaps),
            twice=self._twice,
            twice_at=tuple(self._twice_at),
            ids_twice=self.ids_twice,
            ids_twice_at=tuple(self.ids_twice_at),
            out_of_order=self._out_of_order,
            out_of_order_at=tuple(self._out_of_order_at),
        )

    def _floor(self) -> int:
        """
        Give the lowest number that is judged.

        Without retention it is 1: numbers begin there. With it, it is the lowest number
        seen above the doubtful ones; equal and unordered poll times at the edge are
        covered by the first number that each cut partition still has of a run that began
        before the edge: from there on that partition is whole.
        """
        if self.retention is None:
            return 1
        floor = self._doubtful + 1
        if self.key.epoch <= self.retention.until:
            whole = (n for partition, n in self._first.items() if partition in self.retention.cut)
            floor = max(floor, *whole, floor)
        gap = next(self.numbers.gaps(floor, self.numbers.highest), None)
        return gap[1] + 1 if gap and gap[0] == floor else floor
