# SPDX-License-Identifier: Apache-2.0
"""
Stedi's ``GET /polling/transactions`` as a feed (seed 002, DESIGN section 5).

A token stands between pages and is good for ever, so a page and the token behind it are
committed together and nothing else is needed. The rest is care for what the two editions
of the documentation leave open::

    the page has    and nextPageToken    then
    items           new                  write them, go on with it at once
    items           used before          error: a cycle would repeat records for ever
    items           absent               write those not known yet, keep the token, keep
                                         their ids; ask again after the poll interval
    no items        any                  caught up; take it, unless it was used before
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from connector.errors import RefusedError, RetryError
from connector.providers.base import Page, Recount
from connector.providers.digests import of_item, of_text
from connector.providers.fields import parse_ms, read_text, write_ms
from connector.providers.pages import check_count
from connector.providers.stedi.offset import RING, Offset, hash_token, is_token
from connector.providers.stedi.records import ID, MODE, TIME, TRANSACTIONS
from connector.unit import Json

if TYPE_CHECKING:
    from connector.upstream.client import Client, Reply

_PATH = "/polling/transactions"

# A start has to be one minute old; half a minute more for clocks that differ (notes 18).
_START_AGE_MS = 90_000

# What was processed in the last 15 s is held back (seed 002).
_HELD_BACK_MS = 15_000

# Ids kept beside a token that does not move: 40 full pages, 430 KB.
_MAX_KNOWN = 20_000


class TransactionsFeed:
    """
    The processed transactions of an API key; see Feed for the contract.

    Args:
        base_url: The API with its version, for the fingerprint.
        page_size: Transactions to ask for in a page, 1 to 500.
    """

    stream = TRANSACTIONS

    def __init__(self, *, base_url: str, page_size: int) -> None:
        self._fingerprint = sha256(base_url.encode()).hexdigest()
        self._page_size = page_size

    def fingerprint(self) -> str:
        """
        Give the hash of the base URL; the mode is on the pages (notes 17).
        """
        return self._fingerprint

    def first(self, start_ms: int) -> tuple[Offset, Mapping[str, Json]]:
        """
        Begin at a start; transactions of exactly that time are read.
        """
        offset = Offset(start=start_ms, token=None)
        return offset, {"": offset.store()}

    def load(self, parts: Mapping[str, Json]) -> Offset:
        """
        Make the offset from its parts.

        Raises:
            StoppedError: They are none of ours.
        """
        return Offset.load(parts)

    async def fetch_page(self, client: Client, offset: Offset) -> Page[Offset]:
        """
        Read one page.

        Raises:
            RetryError: What the client raises; ``bad_envelope``: no list of items came;
                ``bad_token``: the next token is no text of 1 to 1024 characters;
                ``too_many_items``: far more than were asked for;
                ``token_cycle``: it was used before; ``known_overflow``: more and more
                items came without a token.
        """
        reply = await self._ask(client, offset)
        items = _items(reply.body)
        check_count(items, self._page_size, "Stedi")
        token = _next_token(reply.body)
        new, after, notes = _advance(offset, items, token)
        if len(after.known) > _MAX_KNOWN:
            raise RetryError(
                f"Stedi sent more than {_MAX_KNOWN} transactions without a next page token.",
                cause="known_overflow",
            )
        writes = after.writes(offset)
        return Page(
            items=new,
            next_offset=after,
            writes=writes,
            caught_up=not items or token is None,
            durable=bool(items) and bool(writes),
            polled_at=reply.polled_at,
            complete_until=_newest(items) if items else reply.server_time - _HELD_BACK_MS,
            mode=_mode(items),
            notes=notes,
        )

    async def recount(self, client: Client, offset: Offset) -> Recount | None:  # noqa: ARG002 - the contract
        """
        Nothing: tokens promise that no transaction is missed.
        """
        return None

    async def _ask(self, client: Client, offset: Offset) -> Reply:
        if offset.token is not None:
            return await client.get(_PATH, self._query(pageToken=offset.token))
        start = _clamp(offset, client)
        try:
            return await self._ask_from(client, start)
        except RefusedError:
            # Our clock may be fast, which only this answer's Date told.
            earlier = _clamp(offset, client)
            if earlier >= start:
                raise
            return await self._ask_from(client, earlier)

    async def _ask_from(self, client: Client, start: int) -> Reply:
        return await client.get(_PATH, self._query(startDateTime=write_ms(start)))

    def _query(self, **position: str) -> dict[str, str]:
        return {"pageSize": str(self._page_size), **position}


def _clamp(offset: Offset, client: Client) -> int:
    """
    Give the start to ask for: exclusive, so 1 ms below ours, and old enough.
    """
    return max(0, min((offset.start or 0) - 1, client.clock() - _START_AGE_MS))


def _items(body: Any) -> list[Any]:
    """
    Check the envelope: ``items``, or ``item`` as an older edition calls it.
    """
    items = None
    if isinstance(body, dict):
        items = body["items"] if "items" in body else body.get("item")
    if not isinstance(items, list):
        raise RetryError(
            "Stedi answered without a list of items; this is no page of transactions.",
            cause="bad_envelope",
        )
    return items


def _next_token(body: Mapping[str, Any]) -> str | None:
    token = body.get("nextPageToken")
    if token is not None and not is_token(token):
        raise RetryError(
            "Stedi's next page token is not a text of 1 to 1024 characters.", cause="bad_token"
        )
    return token


def _advance(
    offset: Offset, items: Sequence[Any], token: str | None
) -> tuple[Sequence[Any], Offset, dict[str, int]]:
    """
    Decide by the table above.

    Returns:
        The items to write, the next offset, and what to count.
    """
    if not items:
        if token is None or hash_token(token) in offset.ring or token == offset.token:
            return (), offset, {}
        return (), replace(offset, start=None, token=token, known=frozenset()), {}
    if token is None:
        new, known = _unknown(items, offset.known)
        return new, replace(offset, known=known), {"token_missing": 1}
    ring = offset.ring if offset.token is None else (*offset.ring, hash_token(offset.token))
    if hash_token(token) in ring:
        raise RetryError(
            "Stedi's page tokens go in a circle: a page with items leads to a token that was "
            "used before. Its items are not written while that lasts.",
            cause="token_cycle",
        )
    new = _unknown(items, offset.known)[0] if offset.known else items
    after = replace(offset, start=None, token=token, ring=ring[-RING:], known=frozenset())
    return new, after, {}


def _unknown(
    items: Sequence[Any], known: frozenset[bytes]
) -> tuple[Sequence[Any], frozenset[bytes]]:
    """
    Leave out what was committed under the same token.
    """
    ids, new = set(known), []
    for item in items:
        name = read_text(item, ID) if type(item) is dict else None
        digest = of_item(item) if name is None else of_text(name)
        if digest not in ids:
            ids.add(digest)
            new.append(item)
    return new, frozenset(ids)


def _newest(items: Sequence[Any]) -> int | None:
    times = (parse_ms(item.get(TIME)) for item in items if type(item) is dict)
    return max((time for time in times if time is not None), default=None)


def _mode(items: Sequence[Any]) -> str | None:
    """
    Tell the mode of a page; ``other`` belongs to both kinds of key.
    """
    modes = {item.get(MODE) for item in items if type(item) is dict if type(item.get(MODE)) is str}
    modes &= {"test", "production"}
    return "mixed" if len(modes) > 1 else next(iter(modes), None)


__all__ = ["TransactionsFeed"]
