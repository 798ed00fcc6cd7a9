# SPDX-License-Identifier: Apache-2.0
"""
What a shard's partition of the offsets topic holds, and how it changes.

Keys are source partitions (``monetago/activity``), parts beside them
(``monetago/activity#seen/…``) and one record of the shard itself (``$shard``): the
number of shards, the epoch, and the counters of ``seq`` (DESIGN section 4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from connector.encoding.json import JsonError, dumps, loads
from connector.errors import StoppedError
from connector.kafka.producer import StateWrite
from connector.unit import Json

VERSION = 1
SHARD_KEY = "$shard"
# Stands between a source partition and the name of a part kept beside its cursor.
PART = "#"


def part_key(source_partition: str, part: str) -> str:
    """
    Give the key of a part of a source offset; the part ``""`` is the cursor itself.
    """
    return f"{source_partition}{PART}{part}" if part else source_partition


def parse_value(key: str, value: bytes) -> dict[str, Any]:
    """
    Read one stored value, every number exact.

    Raises:
        StoppedError: It is no JSON object, or of a later version than ours.
    """
    try:
        parsed = loads(value)
    except JsonError:
        parsed = None
    if not isinstance(parsed, dict):
        raise StoppedError(
            f"The stored offset of {key} is not a JSON object.",
            remedy="Was something else written to the offsets topic? "
            "See connector offsets list, and set or reset it.",
        )
    version = parsed.get("v")
    if not isinstance(version, int) or version > VERSION:
        raise StoppedError(
            f"The stored offset of {key} has version {version!r}, this release reads up to "
            f"{VERSION}.",
            remedy="Run the release that wrote it, or a later one.",
        )
    return parsed


class ShardState:
    """
    The committed state of one shard, as Kafka last confirmed it (invariant 3).

    Only ``apply`` changes it, after a commit. ``number`` and ``encode`` prepare a
    transaction without touching it, so an aborted one gives its numbers back.

    Args:
        shard: Number of the shard.
        values: The replayed values by key.
    """

    def __init__(self, shard: int, values: Mapping[str, bytes]) -> None:
        self.shard = shard
        self._values: dict[str, dict[str, Any]] = {}
        # One value that cannot be read stops whom it belongs to, and nobody else.
        self._unreadable: dict[str, StoppedError] = {}
        self._parts: dict[str, set[str]] = {}
        for key, value in values.items():
            try:
                self._values[key] = parse_value(key, value)
            except StoppedError as failure:
                self._unreadable[key] = failure
            self._index(key)
        self._check_record()

    @property
    def shards(self) -> int | None:
        """
        The number of shards under which this partition was first written, None if never.
        """
        record = self._values.get(SHARD_KEY)
        return int(record["shards"]) if record else None

    @property
    def epoch(self) -> int | None:
        """
        The epoch of ``seq``: ms since 1970 when its counters began; None if never.
        """
        record = self._values.get(SHARD_KEY)
        return int(record["epoch"]) if record else None

    def get(self, key: str) -> dict[str, Any] | None:
        """
        Give the stored value of a key, its envelope included.

        Raises:
            StoppedError: It cannot be read.
        """
        if key in self._unreadable:
            raise self._unreadable[key]
        return self._values.get(key)

    def parts(self, source_partition: str) -> dict[str, Json]:
        """
        Give what is stored beside a cursor, by name of the part, without envelopes.

        Raises:
            StoppedError: A part cannot be read.
        """
        found = {}
        for name in self.part_names(source_partition):
            value = self.get(part_key(source_partition, name)) or {}
            found[name] = value.get("part")
        return found

    def part_names(self, source_partition: str) -> frozenset[str]:
        """
        Name what is stored beside a cursor, whether it can be read or not.
        """
        return frozenset(self._parts.get(source_partition, ()))

    def source_partitions(self) -> list[str]:
        """
        List the source partitions that have an offset here, whether it can be read or not.
        """
        keys = self._values.keys() | self._unreadable.keys()
        return sorted(key for key in keys if key != SHARD_KEY and PART not in key)

    def begin(self, shards: int, now_ms: int) -> dict[str, Json]:
        """
        Make the shard's record for a new epoch: all numbers start at 1 again.
        """
        # A clock that was set back must not begin a former epoch a second time.
        epoch = max(now_ms, (self.epoch or 0) + 1)
        return {"v": VERSION, "shards": shards, "epoch": epoch, "counters": {}}

    def number(self, topics: Iterable[str]) -> tuple[list[bytes], dict[str, Json]]:
        """
        Give the next ``seq`` for each topic in turn, and the shard's record to store.

        Args:
            topics: The topic of each message, in order.

        Returns:
            The header values, and the new value of the shard's record.
        """
        record = self._values[SHARD_KEY]
        prefix = b"%d.%d." % (self.shard, record["epoch"])
        counters = dict(record["counters"])
        numbers = []
        for topic in topics:
            n = counters.get(topic, 0) + 1
            counters[topic] = n
            numbers.append(prefix + b"%d" % n)
        return numbers, {**record, "counters": counters}

    @staticmethod
    def encode(changes: Mapping[str, Json | None]) -> list[StateWrite]:
        """
        Turn changes into messages for the offsets topic; None becomes a tombstone.
        """
        return [
            StateWrite(key.encode(), None if value is None else dumps(value))
            for key, value in changes.items()
        ]

    def apply(self, changes: Mapping[str, Json | None]) -> None:
        """
        Take over what a commit has made true.
        """
        for key, value in changes.items():
            self._unreadable.pop(key, None)
            if value is not None:
                self._values[key] = value
                self._index(key)
                continue
            self._values.pop(key, None)
            if PART in key:
                owner, part = key.split(PART, 1)
                self._parts.get(owner, set()).discard(part)

    def _check_record(self) -> None:
        """
        Refuse a shard's own record that cannot be counted on with.
        """
        record = self.get(SHARD_KEY)
        if record is None:
            return
        counters = record.get("counters")
        if (
            type(record.get("shards")) is not int
            or type(record.get("epoch")) is not int
            or not isinstance(counters, dict)
            or not all(type(count) is int for count in counters.values())
        ):
            raise StoppedError(
                f"The record of shard {self.shard} in the offsets topic is incomplete.",
                remedy="Was something else written to the offsets topic? Restore it.",
            )

    def _index(self, key: str) -> None:
        if PART in key:
            owner, part = key.split(PART, 1)
            self._parts.setdefault(owner, set()).add(part)
