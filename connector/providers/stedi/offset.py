# SPDX-License-Identifier: Apache-2.0
"""
The source offset of Stedi's transactions: a start, and from the first token on a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Self

from connector.errors import StoppedError
from connector.providers.digests import pack, unpack
from connector.providers.stored import take_number
from connector.unit import Json

# The part that holds ids beside an unchanged token.
KNOWN = "known"

# Tokens are 1 to 1024 characters (seed 002).
MAX_TOKEN = 1024

# How many tokens with items are remembered, to see a cycle. Longer ones pass.
RING = 32


def hash_token(token: str) -> str:
    """
    Stand for a token in the ring.
    """
    return blake2b(token.encode(), digest_size=8).hexdigest()


def is_token(value: object) -> bool:
    """
    Tell whether something can be a token: a text of 1 to 1024 printable characters.
    """
    return type(value) is str and 0 < len(value) <= MAX_TOKEN and value.isprintable()


@dataclass(frozen=True, slots=True, kw_only=True)
class Offset:
    """
    A value: every page makes the next one.

    Attributes:
        start: Milliseconds since 1970; None from the first token on.
        token: The page token to go on with; None before the first.
        ring: Hashes of the latest tokens whose pages had items, the newest last.
        known: Digests of items that were committed under the unchanged token.
        extra: Fields of a newer version.
    """

    start: int | None
    token: str | None
    ring: tuple[str, ...] = ()
    known: frozenset[bytes] = frozenset()
    extra: Mapping[str, Json] = field(default_factory=dict)

    def store(self) -> dict[str, Json]:
        """
        Write the cursor as JSON.
        """
        position = {"start": self.start} if self.token is None else {"token": self.token}
        return {**self.extra, **position, "ring": list(self.ring)}

    def writes(self, former: Offset) -> dict[str, Json | None]:
        """
        Tell what changed of the stored offset.
        """
        writes: dict[str, Json | None] = {}
        cursor = self.store()
        if cursor != former.store():
            writes[""] = cursor
        if self.known != former.known:
            writes[KNOWN] = pack(sorted(self.known)) if self.known else None
        return writes

    @classmethod
    def load(cls, parts: Mapping[str, Json]) -> Self:
        """
        Read what was stored.

        Raises:
            StoppedError: It is none of ours.
        """
        try:
            return cls._load(parts)
        except (ValueError, TypeError) as error:
            raise StoppedError(
                f"The stored offset of Stedi transactions cannot be read ({error}).",
                remedy="Choose where to go on: connector offsets set|reset <source>/transactions.",
            ) from None

    @classmethod
    def _load(cls, parts: Mapping[str, Json]) -> Self:
        cursor: Any = parts.get("")
        if not isinstance(cursor, dict):
            raise TypeError("the offset is not an object")
        stored = dict(cursor)
        start = take_number(stored, "start", optional=True)
        token, ring = stored.pop("token", None), stored.pop("ring", None)
        if (token is None) == (start is None):
            raise ValueError("it needs either token or start")
        if token is not None and not is_token(token):
            raise ValueError("token is no text of 1 to 1024 printable characters")
        if ring is not None and not isinstance(ring, list):
            raise ValueError("ring is not a list")
        return cls(
            start=start,
            token=token,
            ring=tuple(str(each) for each in ring or ()),
            known=frozenset(unpack(parts.get(KNOWN) or "")),
            extra=stored,
        )
