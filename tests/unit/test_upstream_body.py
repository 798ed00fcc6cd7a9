# SPDX-License-Identifier: Apache-2.0
"""
Bodies stay within their bounds, on the wire and decoded.
"""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.upstream.body import BodyError, Caps, read_body

CAPS = Caps(wire_bytes=100_000, decoded_bytes=200_000)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


class Wire:
    """
    A stream that hands out at most so many bytes at a time.
    """

    def __init__(self, data: bytes, step: int = 1 << 20) -> None:
        self._data = data
        self._step = step
        self.taken = 0

    async def read(self, n: int = -1) -> bytes:
        part = self._data[self.taken : self.taken + min(n, self._step)]
        self.taken += len(part)
        return part


PACKERS = {
    "": bytes,
    "identity": bytes,
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": gzip.compress,
    "deflate": zlib.compress,
    " deflate ": raw_deflate,
}


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
async def test_every_encoding_in_any_pieces(encoding, step):
    """
    What was packed comes out, however the wire cuts it.
    """
    packed = PACKERS[encoding](b'{"a": 1}' * 40)

    body = await read_body(Wire(packed, step), encoding=encoding, length=None, caps=CAPS)

    assert (b'{"a": 1}' * 40, len(packed)) == body


@given(st.binary(max_size=3000), st.integers(1, 500))
async def test_deflate_raw_or_wrapped(data, step):
    """
    Both meanings of deflate are told apart for every body.
    """
    for pack in (zlib.compress, raw_deflate):
        wire = Wire(pack(data), step)

        assert (data, len(pack(data))) == await read_body(
            wire, encoding="deflate", length=None, caps=CAPS
        )


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate"])
async def test_no_body_at_all(encoding):
    """
    An empty body is empty, whatever its headers announce.
    """
    assert (b"", 0) == await read_body(Wire(b""), encoding=encoding, length=None, caps=CAPS)


@pytest.mark.parametrize(
    ("data", "encoding", "length", "cause"),
    [
        (b"x", "", 100_001, "too_large"),
        (b"x" * 100_001, "", None, "too_large"),
        (b"x" * 100_001, "gzip", 100_001, "too_large"),
        (gzip.compress(b"\0" * 200_001, mtime=0), "gzip", None, "too_large"),
        (zlib.compress(b"\0" * 200_001), "deflate", None, "too_large"),
        (gzip.compress(b"whole", mtime=0)[:-9], "gzip", None, "bad_body"),
        (gzip.compress(b"whole", mtime=0)[:-1], "gzip", None, "bad_body"),
        (b"no gzip at all", "gzip", None, "bad_body"),
        (b"\xff no deflate", "deflate", None, "bad_body"),
        (gzip.compress(b"one", mtime=0) + gzip.compress(b"two", mtime=0), "gzip", None, "bad_body"),
        (gzip.compress(b"one", mtime=0) + b"tail", "gzip", None, "bad_body"),
        (b"x", "br", None, "bad_body"),
        (b"x", "gzip, gzip", None, "bad_body"),
    ],
)
async def test_bodies_that_are_refused(data, encoding, length, cause):
    """
    Too large, cut, broken, continued, or in an encoding that nobody asked for.
    """
    with pytest.raises(BodyError) as caught:
        await read_body(Wire(data), encoding=encoding, length=length, caps=CAPS)

    assert cause == caught.value.cause


async def test_exactly_the_bound_is_allowed():
    """
    The bounds are inclusive.
    """
    caps = Caps(wire_bytes=1000, decoded_bytes=1000)

    plain = await read_body(Wire(b"x" * 1000), encoding="", length=1000, caps=caps)
    packed = await read_body(
        Wire(gzip.compress(b"x" * 1000, mtime=0)), encoding="gzip", length=None, caps=caps
    )

    assert b"x" * 1000 == plain[0] == packed[0]


async def test_a_bomb_never_unfolds():
    """
    64 MiB in 64 KB of gzip cost no more memory than the bound allows.
    """
    bomb = gzip.compress(b"\0" * (64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(BodyError, match="decodes to more"):
            await read_body(Wire(bomb), encoding="gzip", length=len(bomb), caps=CAPS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 1 << 20


async def test_reading_stops_at_the_bound():
    """
    Of an endless body no more is taken from the wire than one chunk past the bound.
    """
    wire = Wire(b"x" * 10_000_000)
    with pytest.raises(BodyError):
        await read_body(wire, encoding="", length=None, caps=CAPS)

    assert wire.taken <= CAPS.wire_bytes + (1 << 16)
