# SPDX-License-Identifier: Apache-2.0
"""
Sixteen bytes that stand for an item: what is kept to know it again.

An id is hashed, not stored: it takes a fixed place whatever its length, and the offsets
topic holds no id of a provider in clear.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from connector.encoding.json import canonical

SIZE = 16


def of_text(text: str) -> bytes:
    """
    Give the digest of an id.
    """
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=SIZE).digest()


def of_item(item: Any) -> bytes:
    """
    Give the digest of an item without a usable id: of all its content.
    """
    return blake2b(canonical(item), digest_size=SIZE, person=b"item").digest()


def pack(digests: Iterable[bytes]) -> str:
    """
    Write digests as one text for JSON.
    """
    return b64encode(b"".join(digests)).decode("ascii")


def unpack(text: Any) -> list[bytes]:
    """
    Read what pack wrote.

    Raises:
        ValueError: It is something else.
    """
    if type(text) is not str:
        raise ValueError("not a text")
    data = b64decode(text, validate=True)
    if len(data) % SIZE:
        raise ValueError("not whole digests")
    return [data[start : start + SIZE] for start in range(0, len(data), SIZE)]
