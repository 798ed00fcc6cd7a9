# SPDX-License-Identifier: Apache-2.0
"""
A simulated Stedi: ``GET /2023-08-01/polling/transactions`` (seed 002).

Its stream is the order in which transactions became visible; a page token is a place in
it. So an old token stays good for ever, and whoever follows tokens misses nothing.
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Sequence
from random import Random
from typing import Literal

import orjson
from aiohttp import web
from pydantic import Field

from connector.sandbox.simulators import times
from connector.sandbox.simulators.ledger import Event
from connector.sandbox.simulators.simulator import Options, Simulator
from connector.sandbox.simulators.stedi_items import make_item

API_KEY = "simulated-api-key"

_MAX_PAGE = 500
_YOUNGEST_START = 60_000


class StediOptions(Options):
    """
    The switches of Stedi.

    Attributes:
        hold_back: Seconds for which a new transaction is kept back; 15 in the documents.
        items_field: The name of the array: one half of the page says ``item``.
        paging: Which ``nextPageToken`` comes. ``fresh`` is a new one on every answer, as
            documented; ``absent`` leaves it out when nothing more is there, items or
            not; ``same_when_empty`` hands back the one that was sent when there are no
            items; ``cycle`` hands out the same few over and over, with items.
        cycle: How many tokens a cycle has.
        mode: The mode of items made from now on.
        edifact: The share of items, from 0 to 1, that are EDIFACT and so have no ``x12``.
        api_key: The key that is taken; changing it is a rotation.
    """

    hold_back: float = Field(default=15.0, ge=0)
    items_field: Literal["items", "item"] = "items"
    paging: Literal["fresh", "absent", "same_when_empty", "cycle"] = "fresh"
    cycle: int = Field(default=2, ge=1)
    mode: Literal["test", "production", "mixed"] = "test"
    edifact: float = Field(default=0.1, ge=0, le=1)
    api_key: str = Field(default=API_KEY, repr=False)


class _BadRequestError(ValueError):
    """
    The request breaks a rule of the page; its status is not documented, 400 here.
    """


class StediSimulator(Simulator):
    """
    One Stedi account.
    """

    name = "stedi"
    prefixes = ("/2023-08-01/",)
    data_path = "/2023-08-01/polling/transactions"
    item_fields = ("items", "item")
    id_field = "transactionId"
    key_field = "transactionId"
    parameters = frozenset({"startDateTime", "pageToken", "pageSize"})
    options: StediOptions

    def __init__(self, random: Random, options: StediOptions | None = None) -> None:
        super().__init__(random)
        self.options = options or StediOptions()
        self._stream: list[Event] = []
        # The newest time up to each place: ascending even where an event came late.
        self._newest: list[int] = []
        self._cycle: list[int] = []
        self._turns = 0

    def routes(self) -> Sequence[web.RouteDef]:
        """
        Give the polling of transactions.
        """
        return (web.get(self.data_path, self._transactions, allow_head=False),)

    def env(self, origin: str) -> dict[str, str]:
        """
        Give the connector's variables, all but ``STEDI_START``.
        """
        return {
            "STEDI_BASE_URL": f"{origin}/2023-08-01",
            "STEDI_API_KEY": self.options.api_key,
            "STEDI_ALLOW_PRIVATE_ADDRESSES": "true",
        }

    def hold_back(self) -> int:
        """
        Tell for how many milliseconds new transactions are kept back.
        """
        return int(self.options.hold_back * 1000)

    def invent(self, event_time: int, key: str | None) -> tuple[str, str, bytes]:
        """
        Make up one transaction; its id is its key.
        """
        options = self.options
        mode = (
            self.random.choice(("test", "production")) if options.mode == "mixed" else options.mode
        )
        item = make_item(
            self.random,
            event_time,
            transaction_id=key,
            mode=mode,
            edifact=self.random.random() < options.edifact,
            unknown_fields=options.unknown_fields,
        )
        transaction_id: str = item["transactionId"]
        return transaction_id, transaction_id, orjson.dumps(item)

    async def _transactions(self, request: web.Request) -> web.Response:
        """
        Give one page of transactions.
        """
        options = self.options
        key = request.headers.get("Authorization", "").removeprefix("Key ")
        if key != options.api_key:
            return _error(403, "Forbidden", "access_denied")
        if options.grow:
            self.offer(count=options.grow)
        self._take_in(self.ledger.due(self.now()))
        query = request.query
        try:
            size = _page_size(query.get("pageSize", "100"))
            place, start = self._begin(query.get("startDateTime"), query.get("pageToken"))
        except _BadRequestError as error:
            return _error(400, str(error), "bad_request")
        end = min(len(self._stream), place + size)
        bodies = [
            event.body
            for event in self._stream[place:end]
            # What came late behind the start lies here by its place, not by its time.
            if start is None or event.event_time > start
        ]
        token = self._next_token(end, query.get("pageToken"), empty=not bodies)
        head = b'{"%s":[%s]' % (options.items_field.encode(), b",".join(bodies))
        tail = b"}" if token is None else b',"nextPageToken":%s}' % orjson.dumps(token)
        return web.Response(body=head + tail, content_type="application/json")

    def _take_in(self, events: list[Event]) -> None:
        """
        Append what became visible to the stream.
        """
        newest = self._newest[-1] if self._newest else 0
        for event in events:
            newest = max(newest, event.event_time)
            self._newest.append(newest)
        self._stream.extend(events)

    def _begin(self, start: str | None, token: str | None) -> tuple[int, int | None]:
        """
        Find the place where a page begins, and the time that its items have to be after.
        """
        if (start is None) == (token is None):
            raise _BadRequestError("Exactly one of startDateTime and pageToken is required.")
        if token is not None:
            return self._place(token), None
        try:
            after = times.parse(start or "")
        except ValueError as error:
            raise _BadRequestError("startDateTime is not an ISO 8601 time.") from error
        if after > self.now() - _YOUNGEST_START:
            raise _BadRequestError("startDateTime must be at least 1 minute in the past.")
        return bisect_right(self._newest, after), after

    def _place(self, token: str) -> int:
        """
        Read the place out of a token of ours.
        """
        try:
            place = int(base64.urlsafe_b64decode(token).decode().split(".")[0])
        except (ValueError, binascii.Error) as error:
            raise _BadRequestError("pageToken is not valid.") from error
        if len(token) > 1024 or not 0 <= place <= len(self._stream):
            raise _BadRequestError("pageToken is not valid.")
        return place

    def _next_token(self, place: int, sent: str | None, *, empty: bool) -> str | None:
        """
        Make the token of an answer that ends at a place in the stream.
        """
        way = self.options.paging
        if way == "absent" and place == len(self._stream):
            return None
        if way == "same_when_empty" and empty and sent is not None:
            return sent
        if way != "cycle":
            self._cycle, self._turns = [], 0
            return _token(place, f"{self.random.getrandbits(64):016x}")
        if len(self._cycle) < self.options.cycle:
            self._cycle.append(place)
        turn = self._cycle[self._turns % len(self._cycle)]
        self._turns += 1
        return _token(turn, "cycle")


def _token(place: int, salt: str) -> str:
    """
    Write a place as an opaque text; the salt makes each one another.
    """
    return base64.urlsafe_b64encode(f"{place}.{salt}".encode()).decode()


def _page_size(text: str) -> int:
    """
    Read the page size.
    """
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MAX_PAGE:
        raise _BadRequestError(f"pageSize must be a number from 1 to {_MAX_PAGE}.")
    return int(text)


def _error(status: int, message: str, code: str) -> web.Response:
    """
    Make an error in the form that the OpenAPI document gives.
    """
    return web.json_response({"message": message, "code": code}, status=status)
