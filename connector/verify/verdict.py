# SPDX-License-Identifier: Apache-2.0
"""
What ``connector verify`` found on a topic: values, without any way to print them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple


class Place(NamedTuple):
    """
    Where a message lies within its topic.
    """

    partition: int
    offset: int


class Gap(NamedTuple):
    """
    Numbers that are missing, both ends included.
    """

    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunVerdict:
    """
    The judgement on one run: what one shard wrote in one epoch.

    Attributes:
        shard: Number of the shard.
        epoch: Milliseconds since 1970 at which its numbering began.
        first: The lowest number that is judged; None if retention left none to judge.
        last: The highest number.
        records: How many messages were read, judged or not.
        missing: How many numbers are missing from ``first`` to ``last``; None where that
            cannot be told.
        gaps: The first of the missing ranges.
        twice: How many messages repeat a number.
        twice_at: Where the first of them are.
        ids_twice: How many ids were written more than once.
        ids_twice_at: Where all messages of the first of these ids are.
        out_of_order: How many messages lie behind one of a higher number in a partition.
        out_of_order_at: Where the first of them are.
    """

    shard: int
    epoch: int
    first: int | None
    last: int
    records: int
    missing: int | None
    gaps: tuple[Gap, ...]
    twice: int
    twice_at: tuple[Place, ...]
    ids_twice: int
    ids_twice_at: tuple[tuple[Place, ...], ...]
    out_of_order: int
    out_of_order_at: tuple[Place, ...]

    @property
    def clean(self) -> bool:
        """
        Tell whether nothing was found.
        """
        return not (self.missing or self.twice or self.ids_twice or self.out_of_order)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicVerdict:
    """
    The judgement on one topic.

    Attributes:
        topic: Its full name.
        records: How many messages were read.
        runs: One for each shard and epoch, in this order.
        foreign: How many messages have no usable ``seq`` or no ``id``.
        foreign_at: Where the first of them are.
        read_again: How many ids recur in a later epoch or a backfill.
        read_again_at: Where all messages of the first of these ids are.
        judged_from: Milliseconds since 1970 after which numbers are judged, because
            retention has removed messages up to there; None if nothing was removed.
        cut: The partitions whose beginning was removed.
        unseen: What this check cannot see here, as sentences.
        memory: Bytes held in memory for it, at the end.
        disk: Bytes held in temporary files for it.
    """

    topic: str
    records: int
    runs: tuple[RunVerdict, ...]
    foreign: int
    foreign_at: tuple[Place, ...]
    read_again: int
    read_again_at: tuple[tuple[Place, ...], ...]
    judged_from: int | None
    cut: tuple[int, ...]
    unseen: tuple[str, ...]
    memory: int
    disk: int

    @property
    def clean(self) -> bool:
        """
        Tell whether nothing was found.
        """
        return not self.foreign and all(run.clean for run in self.runs)

    def as_json(self) -> dict[str, Any]:
        """
        Give all of it as JSON-able values.
        """
        fields: dict[str, Any] = _plain(asdict(self))
        for run, shown in zip(self.runs, fields["runs"], strict=True):
            shown["clean"] = run.clean
        return {**fields, "clean": self.clean}


def _plain(value: Any) -> Any:
    """
    Turn named tuples into objects, other tuples into lists.
    """
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, Place):
        return {"partition": value.partition, "offset": value.offset}
    if isinstance(value, Gap):
        return {"first": value.first, "last": value.last}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value
