# SPDX-License-Identifier: Apache-2.0
"""
A set of sequence numbers that arrive in any order, at one bit each.
"""

from __future__ import annotations

from collections.abc import Iterator

# Numbers per chunk. A lone number costs one chunk (1 KiB); a full run one bit each.
_CHUNK = 8192


class Numbers:
    """
    The numbers seen of one run; a hundred million of them take 12 MiB.
    """

    def __init__(self) -> None:
        self._chunks: dict[int, bytearray] = {}
        self.lowest = 0
        self.highest = 0

    def add(self, number: int) -> bool:
        """
        Take a number in.

        Args:
            number: At least 1.

        Returns:
            False if it was there already.
        """
        index, bit = divmod(number, _CHUNK)
        chunk = self._chunks.get(index)
        if chunk is None:
            chunk = self._chunks[index] = bytearray(_CHUNK // 8)
        at, mask = bit >> 3, 1 << (bit & 7)
        if chunk[at] & mask:
            return False
        chunk[at] |= mask
        self.highest = max(self.highest, number)
        if number < self.lowest or not self.lowest:
            self.lowest = number
        return True

    def gaps(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """
        Give the ranges [first, last] between two bounds, both included, that were not seen.
        """
        expected = low
        for first, last in self._runs():
            if last < expected:
                continue
            if first > high:
                break
            if first > expected:
                yield expected, first - 1
            expected = last + 1
        if expected <= high:
            yield expected, high

    @property
    def size(self) -> int:
        """
        Bytes of memory, roughly.
        """
        return len(self._chunks) * (_CHUNK // 8 + 150)

    def _runs(self) -> Iterator[tuple[int, int]]:
        """
        Give the ranges that were seen, ascending; neighbours across chunks stay apart.
        """
        for index in sorted(self._chunks):
            at = index * _CHUNK
            bits = int.from_bytes(self._chunks[index], "little")
            while bits:
                zeros = (bits & -bits).bit_length() - 1
                bits >>= zeros
                ones = (~bits & (bits + 1)).bit_length() - 1
                yield at + zeros, at + zeros + ones - 1
                bits >>= ones
                at += zeros + ones
