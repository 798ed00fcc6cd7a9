# SPDX-License-Identifier: Apache-2.0
"""
Which shard a source partition belongs to.
"""

from __future__ import annotations

import pytest

from connector.kafka.hashing import murmur2, shard_of


@pytest.mark.parametrize(
    ("text", "signed"),
    [
        # From Kafka's own UtilsTest.testMurmur2.
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_murmur2_agrees_with_java(text: str, signed: int) -> None:
    """The hash is Kafka's, so that a Java producer finds the same shard."""
    assert signed % 2**32 == murmur2(text.encode())


def test_a_shard_is_in_range_for_any_count() -> None:
    """Each name falls into one of the shards."""
    names = [f"monetago:a{i}/activity" for i in range(200)]

    for shards in (1, 3, 8):
        assert {shard_of(name, shards) for name in names} == set(range(shards))


@pytest.mark.parametrize(
    ("text", "three", "five", "twelve"),
    [
        # The hashes above by hand: with the sign bit set, Java's toPositive adds 2**31,
        # which is neither the absolute value nor the unsigned one.
        ("21", 0, 0, 0),
        ("foobar", 0, 1, 6),
        ("a-little-bit-long-string", 2, 2, 8),
        ("a-little-bit-longer-string", 2, 4, 11),
        ("abc", 0, 2, 3),
    ],
)
def test_a_negative_hash_falls_where_java_puts_it(
    text: str, three: int, five: int, twelve: int
) -> None:
    """Counts that are no power of two tell Java's way to drop the sign from all others."""
    assert [three, five, twelve] == [shard_of(text, shards) for shards in (3, 5, 12)]
