# SPDX-License-Identifier: Apache-2.0
"""
Which shard a source partition belongs to.
"""

from __future__ import annotations

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """
    Hash bytes as Kafka's Java client does (``Utils.murmur2``), as an unsigned 32-bit int.
    """
    length = len(data)
    h = (_SEED ^ length) & _MASK
    end = length - length % 4
    for i in range(0, end, 4):
        k = int.from_bytes(data[i : i + 4], "little")
        k = (k * _M) & _MASK
        k ^= k >> 24
        k = (k * _M) & _MASK
        h = ((h * _M) & _MASK) ^ k
    tail = data[end:]
    if tail:
        h ^= int.from_bytes(tail, "little")
        h = (h * _M) & _MASK
    h ^= h >> 13
    h = (h * _M) & _MASK
    return h ^ (h >> 15)


def shard_of(name: str, shards: int) -> int:
    """
    Give the shard of a source partition, as a Java producer would partition its key.

    Args:
        name: ``<source>/<stream>`` for feeds, the job key for jobs.
        shards: The number of shards, at least 1.
    """
    return (murmur2(name.encode()) & 0x7FFFFFFF) % shards
