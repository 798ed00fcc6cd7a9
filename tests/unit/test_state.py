# SPDX-License-Identifier: Apache-2.0
"""
What a shard stores, and the numbers it gives.
"""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from connector.errors import StoppedError
from connector.kafka.state import SHARD_KEY, ShardState


def numbered() -> ShardState:
    """Make a state whose shard has numbered two records of topic a."""
    record = {"v": 1, "shards": 8, "epoch": 1700, "counters": {"a": 2}}
    return ShardState(3, {SHARD_KEY: json.dumps(record).encode()})


def test_numbers_go_on_for_each_topic() -> None:
    """Each topic counts from 1 without a gap, under one epoch."""
    numbers, record = numbered().number(["a", "b", "a"])

    assert [b"3.1700.3", b"3.1700.1", b"3.1700.4"] == numbers
    assert {"a": 4, "b": 1} == record["counters"]


def test_an_abort_gives_the_numbers_back() -> None:
    """Numbers that were not applied are given again."""
    state = numbered()
    first, _ = state.number(["a"])
    again, record = state.number(["a"])
    state.apply({SHARD_KEY: record})
    after, _ = state.number(["a"])

    assert first == again == [b"3.1700.3"]
    assert [b"3.1700.4"] == after


def test_parts_belong_to_their_source_partition() -> None:
    """Parts are found by their owner, and forgotten when they are deleted."""
    state = ShardState(0, {})
    state.apply(
        {
            "m/activity": {"v": 1, "offset": {"w": 1}},
            "m/activity#seen/1": {"v": 1, "part": "x"},
            "m/activity#seen/2": {"v": 1, "part": "y"},
            "s/transactions#seen/1": {"v": 1, "part": "z"},
        }
    )
    state.apply({"m/activity#seen/1": None, "m/activity#unknown": None})

    assert {"seen/2": "y"} == state.parts("m/activity")
    assert ["m/activity"] == state.source_partitions()


def test_a_replay_finds_the_parts_again() -> None:
    """What was stored and what is replayed give the same parts."""
    changes = {"m/a#seen/1": {"v": 1, "part": {"n": 1}}, "m/a": {"v": 1, "offset": None}}
    written = ShardState.encode(changes)
    state = ShardState(0, {w.key.decode(): w.value for w in written if w.value})

    assert {"seen/1": {"n": 1}} == state.parts("m/a")
    assert {"v": 1, "offset": None} == state.get("m/a")


@pytest.mark.parametrize("value", [b"{", b"[]", b'"x"', b"{}", b'{"v": 2}', b'{"v": "1"}'])
def test_what_cannot_be_read_is_refused_by_key(value: bytes) -> None:
    """A broken value, or one of a later release, stops its owner and nobody else."""
    state = ShardState(0, {"m/activity": value, "s/t": b'{"v": 1, "offset": 5}'})

    with pytest.raises(StoppedError, match="m/activity"):
        state.get("m/activity")

    assert {"v": 1, "offset": 5} == state.get("s/t")
    assert ["m/activity", "s/t"] == state.source_partitions()


def test_a_broken_value_can_be_overwritten() -> None:
    """What offsets set and reset store takes the place of what cannot be read."""
    state = ShardState(0, {"m/a": b"{", "m/a#seen/1": b"{"})
    assert {"seen/1"} == state.part_names("m/a")

    state.apply({"m/a": {"v": 1, "offset": None}, "m/a#seen/1": None})

    assert {"v": 1, "offset": None} == state.get("m/a")
    assert {} == state.parts("m/a")


def test_a_broken_part_stops_its_owner() -> None:
    """Ids that cannot be read must not be taken for none."""
    state = ShardState(0, {"m/a": b'{"v": 1, "offset": {}}', "m/a#seen/1": b"{"})

    with pytest.raises(StoppedError, match="seen/1"):
        state.parts("m/a")


@pytest.mark.parametrize(
    "record",
    [
        b"{",
        b'{"v": 1}',
        b'{"v": 1, "shards": 8, "epoch": "x", "counters": {}}',
        b'{"v": 1, "shards": 8, "epoch": 1, "counters": {"t": "1"}}',
    ],
)
def test_a_shard_without_its_numbers_is_refused(record: bytes) -> None:
    """The shard's own record has to be whole: its numbers must go on."""
    with pytest.raises(StoppedError):
        ShardState(0, {SHARD_KEY: record})


def test_unknown_fields_of_a_value_are_kept() -> None:
    """A field that a later release wrote survives in memory."""
    state = ShardState(0, {"a/b": b'{"v": 1, "offset": {}, "later": 7}'})

    assert {"v": 1, "offset": {}, "later": 7} == state.get("a/b")


def test_a_clock_that_was_set_back_begins_no_former_epoch() -> None:
    """Epochs ascend, or numbers of two of them would look like repetitions."""
    state = numbered()

    assert 1701 == state.begin(8, 1500)["epoch"]
    assert 9999 == state.begin(8, 9999)["epoch"]
    assert 1500 == ShardState(3, {}).begin(8, 1500)["epoch"]


def test_numbers_are_read_back_exactly() -> None:
    """An integer above 64 bits and a fraction keep all their digits."""
    value = b'{"v":1,"offset":{"a":99999999999999999999,"b":0.10000000000000000001}}'
    stored = ShardState(0, {"m/activity": value}).get("m/activity")

    assert stored is not None
    assert {"a": 99999999999999999999, "b": Decimal("0.10000000000000000001")} == stored["offset"]
