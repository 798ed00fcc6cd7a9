# SPDX-License-Identifier: Apache-2.0
"""
MonetaGo's ``GET /activity`` as a feed (seed 000, DESIGN section 5).

Read every event exactly once, although the order of events, whether ``after`` and
``before`` include their bounds, and the largest ``limit`` are not documented. How, and
within which limits: ``walk`` and ``step``, and docs/decisions/0005-feeds.md.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from connector.errors import RetryError
from connector.providers.base import Page, Recount
from connector.providers.fields import write_ms
from connector.providers.monetago.offset import Offset
from connector.providers.monetago.records import ACTIVITY
from connector.providers.monetago.recount import look_again
from connector.providers.monetago.rules import Rules
from connector.providers.monetago.step import Step
from connector.providers.pages import check_count
from connector.unit import Json

if TYPE_CHECKING:
    from connector.upstream.client import Client

_PATH = "/activity"


class ActivityFeed:
    """
    The activity of one client of MonetaGo; see Feed for the contract.

    Args:
        base_url: The API with its version, for the fingerprint.
        client_id: The OAuth2 client, for the fingerprint: it sees its own events only.
        overlap: Seconds after its event time within which an event appears.
        page_limit: Events to ask for in a page; the server may send fewer.
    """

    stream = ACTIVITY

    def __init__(self, *, base_url: str, client_id: str, overlap: float, page_limit: int) -> None:
        self._fingerprint = sha256(f"{base_url}\n{client_id}".encode()).hexdigest()
        self._rules = Rules(overlap_ms=round(overlap * 1000), page_limit=page_limit)

    def fingerprint(self) -> str:
        """
        Give the hash of base URL and client id.
        """
        return self._fingerprint

    def first(self, start_ms: int) -> tuple[Offset, Mapping[str, Json]]:
        """
        Begin at a start; events of exactly that time are read.
        """
        offset = Offset.first(start_ms)
        return offset, {"": offset.cursor.store()}

    def load(self, parts: Mapping[str, Json]) -> Offset:
        """
        Make the offset from its parts.

        Raises:
            StoppedError: They are none of ours.
        """
        return Offset.load(parts)

    async def fetch_page(self, client: Client, offset: Offset) -> Page[Offset]:
        """
        Read pages until some can be committed, or the walk ends.

        Raises:
            RetryError: What the client raises; ``bad_envelope``: no ``events`` came;
                ``too_many_items``: far more than were asked for; ``page_repeated``: the
                server repeats itself.
        """
        step = Step(self._rules, offset, client.clock())
        while True:
            walk = step.walk
            clock, asked = client.clock(), time.monotonic()
            reply = await client.get(_PATH, self._query(walk.after, walk.before, walk.rows))
            # The server's clock when it was asked, never later: both may err upwards, the
            # first before any Date was seen, the second if the answer took long.
            took_ms = int((time.monotonic() - asked) * 1000) + 1
            if step.take(self._events(reply.body), min(clock, reply.server_time - took_ms)):
                break
        outcome = step.outcome()
        return Page(
            items=outcome.items,
            next_offset=outcome.offset,
            writes=outcome.writes,
            caught_up=outcome.caught_up,
            durable=outcome.durable,
            polled_at=reply.polled_at,
            complete_until=outcome.offset.cursor.complete,
            late=outcome.late,
            notes=outcome.notes,
        )

    async def recount(self, client: Client, offset: Offset) -> Recount | None:
        """
        Count again the hours that the overlap has passed; see ``recount``.

        Raises:
            RetryError: As in fetch_page.
        """

        async def ask(after: int, before: int, rows: int) -> list[Any]:
            return self._events((await client.get(_PATH, self._query(after, before, rows))).body)

        return await look_again(
            ask, offset, page_limit=self._rules.page_limit, now_ms=client.clock()
        )

    def _query(self, after: int, before: int | None, rows: int) -> dict[str, str]:
        query = {
            # A start of 1970 would ask for a time before it, which servers may refuse.
            "after": write_ms(max(0, after)),
            "limit": str(self._rules.page_limit),
            "offset": str(rows),
        }
        if before is not None:
            query["before"] = write_ms(before)
        return query

    def _events(self, body: Any) -> list[Any]:
        """
        Check the envelope: an error under HTTP 200 is not "no events" (exactly-once R38).
        """
        events = body.get("events") if isinstance(body, dict) else None
        if not isinstance(events, list):
            raise RetryError(
                "MonetaGo answered without a list of events; this is no activity page.",
                cause="bad_envelope",
            )
        check_count(events, self._rules.page_limit, "MonetaGo")
        return events


__all__ = ["ActivityFeed"]
