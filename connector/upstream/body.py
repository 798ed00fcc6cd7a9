# SPDX-License-Identifier: Apache-2.0
"""
Bodies with bounds: on the wire, and after decoding (invariant 8).

aiohttp's own decoding is off, because 65 KB of gzip became 64 MiB in one ``read()``
(measured). Here no step makes more than the bound plus one byte.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Protocol

# What one read takes at most, so that a bound is noticed early.
CHUNK_BYTES = 64 * 1024

_GZIP_WBITS = 31
_ZLIB_WBITS = 15
_RAW_DEFLATE_WBITS = -15
# The lower half of a zlib stream's first byte is its method, 8; a raw deflate stream
# that began so would be a block type that no encoder emits first.
_ZLIB_METHOD = 0x08

ACCEPT_ENCODING = "gzip, deflate"


@dataclass(frozen=True, slots=True)
class Caps:
    """
    The bounds of one body.

    Attributes:
        wire_bytes: As it comes over the wire.
        decoded_bytes: After decoding.
    """

    wire_bytes: int
    decoded_bytes: int


# Far above a page of 1,000 events (700 KB) and a statement of FinPro, far below memory.
BODY_CAPS = Caps(wire_bytes=32 * 1024 * 1024, decoded_bytes=64 * 1024 * 1024)


class BodyError(Exception):
    """
    A body that is of no use.

    Args:
        cause: The label for metrics: ``too_large`` or ``bad_body``.
        text: What is wrong, for an operator. Nothing of the body.
    """

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(text)
        self.cause = cause


class Stream(Protocol):
    """
    What is read from: the content of an aiohttp response.
    """

    async def read(self, n: int = -1) -> bytes:
        """
        Give up to n bytes; none at the end.
        """
        ...


async def read_body(
    stream: Stream, *, encoding: str, length: int | None, caps: Caps
) -> tuple[bytes, int]:
    """
    Read a body to its end and decode it.

    Args:
        stream: Where it comes from.
        encoding: The Content-Encoding header, ``""`` without one.
        length: The Content-Length header, None without one.
        caps: The bounds.

    Returns:
        The decoded body, and the number of bytes that came over the wire.

    Raises:
        BodyError: Too large, cut, not what its encoding says, or an unknown encoding.
    """
    if length is not None and length > caps.wire_bytes:
        raise BodyError("too_large", f"it is larger than {caps.wire_bytes} bytes")
    decoder = _decoder(encoding, caps.decoded_bytes)
    parts: list[bytes] = []
    wire = 0
    while chunk := await stream.read(CHUNK_BYTES):
        wire += len(chunk)
        if wire > caps.wire_bytes:
            raise BodyError("too_large", f"it is larger than {caps.wire_bytes} bytes")
        parts.append(decoder.decode(chunk))
    decoder.finish(anything=wire > 0)
    return b"".join(parts), wire


def _decoder(encoding: str, room: int) -> _Plain | _Deflate:
    match encoding.strip().lower():
        case "" | "identity":
            return _Plain(room)
        case "gzip" | "x-gzip":
            return _Deflate(room, _GZIP_WBITS)
        case "deflate":
            return _Deflate(room, None)
        case _:
            # Not named in the text: the header is the server's to fill.
            raise BodyError("bad_body", "its Content-Encoding is none that was asked for")


class _Plain:
    def __init__(self, room: int) -> None:
        self._room = room

    def decode(self, chunk: bytes) -> bytes:
        self._room -= len(chunk)
        if self._room < 0:
            raise BodyError("too_large", "it is larger than its bound")
        return chunk

    def finish(self, *, anything: bool) -> None:
        """
        A cut is known by aiohttp, from Content-Length or the chunks.
        """


class _Deflate:
    """
    One gzip or deflate stream, and nothing behind it.

    Concatenated gzip members are refused: thousands of tiny ones in a chunk would cost
    the square of their number.
    """

    def __init__(self, room: int, wbits: int | None) -> None:
        self._room = room
        self._stream = zlib.decompressobj(wbits) if wbits is not None else None

    def decode(self, chunk: bytes) -> bytes:
        if self._stream is None:
            # "deflate" means zlib, but some servers send it raw: the first byte tells.
            wrapped = chunk[0] & 0x0F == _ZLIB_METHOD
            self._stream = zlib.decompressobj(_ZLIB_WBITS if wrapped else _RAW_DEFLATE_WBITS)
        try:
            # One byte more than there is room for: never 0, which means unbounded.
            decoded = self._stream.decompress(chunk, self._room + 1)
        except zlib.error:
            raise BodyError("bad_body", "it is not what its Content-Encoding says") from None
        self._room -= len(decoded)
        if self._room < 0:
            raise BodyError("too_large", "it decodes to more than its bound")
        if self._stream.unused_data:
            raise BodyError("bad_body", "something follows its compressed data")
        return decoded

    def finish(self, *, anything: bool) -> None:
        if anything and not (self._stream is not None and self._stream.eof):
            raise BodyError("bad_body", "its compressed data is cut")
