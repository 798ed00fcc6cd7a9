# SPDX-License-Identifier: Apache-2.0
"""
Finds ids that occur more than once, in bounded memory.

An id is kept as a digest of 16 bytes with the place where it was seen. Up to a limit all
of it stays in memory; beyond it goes to temporary files, by the first bits of the digest,
so that at the end each file can be sorted on its own. Two different ids of the same
digest would be a false finding; with a hundred million ids its odds are 1 in 10^22.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from hashlib import blake2b
from itertools import groupby
from types import TracebackType
from typing import IO, NamedTuple, Self

_ENTRY = struct.Struct(">16sIIQ")
# Few enough for the 256 open files that some systems allow.
_BUCKETS = 64
# Two million ids before the first byte goes to disk.
MEMORY_LIMIT = 64 * 1024 * 1024


class Occurrence(NamedTuple):
    """
    One place where an id was seen.

    Attributes:
        mark: What the caller gave; below 2**32.
        partition: The partition.
        offset: The offset there.
    """

    mark: int
    partition: int
    offset: int


class Ids:
    """
    All ids of one topic. Close it, or use it as a context, to remove its files.

    Args:
        memory_limit: Bytes to hold in memory before files are used.
    """

    def __init__(self, memory_limit: int = MEMORY_LIMIT) -> None:
        self._limit = memory_limit
        self._buckets = [bytearray() for _ in range(_BUCKETS)]
        self._files: list[IO[bytes]] = []
        self._held = 0
        self.count = 0

    def __enter__(self) -> Self:
        """
        Use it as a context.
        """
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """
        Remove the temporary files.
        """
        self.close()

    def close(self) -> None:
        """
        Remove the temporary files.
        """
        for file in self._files:
            file.close()

    def add(self, identifier: bytes, mark: int, partition: int, offset: int) -> None:
        """
        Take in one occurrence of an id.
        """
        digest = blake2b(identifier, digest_size=16).digest()
        self._buckets[digest[0] % _BUCKETS] += _ENTRY.pack(digest, mark, partition, offset)
        self.count += 1
        self._held += _ENTRY.size
        if self._held >= self._limit:
            self._spill()

    def repeated(self) -> Iterator[list[Occurrence]]:
        """
        Give each id that was seen more than once, as its occurrences, sorted.
        """
        for bucket in range(_BUCKETS):
            data = bytes(self._buckets[bucket])
            if self._files:
                file = self._files[bucket]
                file.seek(0)
                data = file.read() + data
            entries = sorted(data[at : at + _ENTRY.size] for at in range(0, len(data), _ENTRY.size))
            for _, group in groupby(entries, key=_digest):
                same = list(group)
                if len(same) > 1:
                    yield [Occurrence(*_ENTRY.unpack(entry)[1:]) for entry in same]

    @property
    def memory(self) -> int:
        """
        Bytes held in memory.
        """
        return self._held

    @property
    def disk(self) -> int:
        """
        Bytes held in temporary files.
        """
        return self.count * _ENTRY.size - self._held

    def _spill(self) -> None:
        if not self._files:
            for _ in range(_BUCKETS):
                made = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
                self._files.append(made)
        for bucket, file in zip(self._buckets, self._files, strict=True):
            file.write(bucket)
            bucket.clear()
        self._held = 0


def _digest(entry: bytes) -> bytes:
    return entry[:16]
