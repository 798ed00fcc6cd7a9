# SPDX-License-Identifier: Apache-2.0
"""
What all simulated providers have in common: a ledger, faults, a log, and a clock.
"""

from __future__ import annotations

import asyncio
import json
import threading
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from connector.sandbox.simulators import damage, times
from connector.sandbox.simulators.faults import Faults
from connector.sandbox.simulators.ledger import Event, Ledger


class Options(BaseModel):
    """
    What can be switched on any simulated provider while it runs.

    Attributes:
        clock_skew: Seconds by which the provider's clock is ahead of ours.
        unknown_fields: Items made from now on carry fields that no document names.
        grow: Events that appear at each request for data, just before its answer.
        latency: Seconds that every answer takes.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    clock_skew: float = 0.0
    unknown_fields: bool = False
    grow: int = Field(default=0, ge=0)
    latency: float = Field(default=0.0, ge=0)


class Offer(BaseModel):
    """
    Events to be made, in words that tests and ``POST /_events`` share.

    Attributes:
        count: How many.
        event_time: Milliseconds since 1970 of the first; None is the provider's now.
        spread: Seconds from the first event time to the last; 0 makes all equal.
        late: Seconds after its event time from when on an event can be seen.
        visible_at: Milliseconds since 1970 from when on they can be seen, in place of
            ``late``; below ``event_time`` it makes events from the future.
        key: The message key of all of them; None invents some, a part of them shared.
        changes: Fields to lay over each invented item, such as a wrong type.
        without: Fields to take out of each invented item.
        body: The exact JSON text to send in place of an invented item. Its id and key
            are read from it where they are text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int = Field(default=1, ge=1)
    event_time: int | None = None
    spread: float = Field(default=0.0, ge=0)
    late: float = Field(default=0.0, ge=0)
    visible_at: int | None = None
    key: str | None = None
    changes: dict[str, Any] = {}
    without: frozenset[str] = frozenset()
    body: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """
    One request that came in, without its headers and its body.

    Attributes:
        at: Milliseconds since 1970 when it was answered, by this computer's clock.
        method: Its method.
        path: Its path.
        query: Its parameters; of those that the provider does not know, only the name.
        status: The status of the answer; 499 where the connection was dropped.
        fault: The kind of the fault that it met.
    """

    at: int
    method: str
    path: str
    query: Mapping[str, str]
    status: int
    fault: str | None


class Simulator(ABC):
    """
    One simulated provider.

    Args:
        random: The only source of chance; a seed makes a run repeatable.
    """

    name: ClassVar[str]
    prefixes: ClassVar[tuple[str, ...]]
    data_path: ClassVar[str]
    item_fields: ClassVar[tuple[str, ...]]
    id_field: ClassVar[str]
    key_field: ClassVar[str]
    parameters: ClassVar[frozenset[str]]
    options: Options

    def __init__(self, random: Random) -> None:
        self.random = random
        self.ledger = Ledger()
        self.faults = Faults(self.data_path, Random(random.random()))
        self.counts: Counter[str] = Counter()
        self.recent: deque[Request] = deque(maxlen=10_000)
        self.in_flight = 0
        self.max_in_flight = 0
        self._lock = threading.RLock()

    @abstractmethod
    def routes(self) -> Sequence[web.RouteDef]:
        """
        Give the provider's own paths.
        """

    @abstractmethod
    def env(self, origin: str) -> dict[str, str]:
        """
        Give the connector's variables for this provider, all but ``…_START``.
        """

    @abstractmethod
    def invent(self, event_time: int, key: str | None) -> tuple[str, str, bytes]:
        """
        Make up one item: its id, its message key, its JSON.
        """

    def hold_back(self) -> int:
        """
        Tell for how many milliseconds new events are kept back.
        """
        return 0

    def now(self) -> int:
        """
        Tell the provider's time, milliseconds since 1970.
        """
        return times.now() + int(self.options.clock_skew * 1000)

    def date(self) -> dict[str, str]:
        """
        Give the header that shows this clock.
        """
        return {"Date": times.http_date(self.now())}

    def configure(self, changes: Mapping[str, Any]) -> None:
        """
        Switch options; all of them or, where one is wrong, none.

        Raises:
            pydantic.ValidationError: A name or a value does not fit.
        """
        checked = type(self.options).model_validate({**self.options.model_dump(), **changes})
        self.options = checked

    def offer(self, offer: Offer | None = None, /, **words: Any) -> list[Event]:
        """
        Add events, given as an ``Offer`` or in its words. Any thread may do so.
        """
        wanted = offer or Offer(**words)
        now = self.now()
        first = now if wanted.event_time is None else wanted.event_time
        step = wanted.spread * 1000 / max(1, wanted.count - 1)
        with self._lock:
            return [
                self._offer_one(wanted, first + int(index * step), now)
                for index in range(wanted.count)
            ]

    def _offer_one(self, wanted: Offer, event_time: int, now: int) -> Event:
        """
        Write one event into the ledger.
        """
        visible_at = wanted.visible_at
        if visible_at is None:
            visible_at = max(now, event_time + int(wanted.late * 1000))
        if hold_back := self.hold_back():
            visible_at = max(visible_at, event_time + hold_back)
        item_id, key, body = self._make(wanted, event_time)
        return self.ledger.add(
            item_id=item_id, key=key, event_time=event_time, visible_at=visible_at, body=body
        )

    def _make(self, wanted: Offer, event_time: int) -> tuple[str | None, str | None, bytes]:
        """
        Make one item: its id, its message key, its JSON.
        """
        if wanted.body is None:
            item_id, key, body = self.invent(event_time, wanted.key)
            if not wanted.changes and not wanted.without:
                return item_id, key, body
            invented = {**orjson.loads(body), **wanted.changes}
            item = {name: v for name, v in invented.items() if name not in wanted.without}
            body = json.dumps(item).encode()
        else:
            item, body = json.loads(wanted.body), wanted.body.encode()
        found = _text(item, self.id_field)
        return found, _text(item, self.key_field) or found, body

    async def answer(self, request: web.Request, handler: damage.Handler) -> web.StreamResponse:
        """
        Answer one request, with its fault if one is due, and log it.
        """
        fault = self.faults.take(request.path)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        status = 499
        try:
            if self.options.latency:
                await asyncio.sleep(self.options.latency)
            if fault is None:
                answer: web.StreamResponse = await handler(request)
            else:
                answer = await damage.apply(self, fault, request, handler)
            status = answer.status
        finally:
            self.in_flight -= 1
            self._log(request, status, fault.kind if fault else None)
        if not answer.prepared:
            for name, value in self.date().items():
                answer.headers.setdefault(name, value)
        return answer

    def _log(self, request: web.Request, status: int, fault: str | None) -> None:
        """
        Keep what a test may ask about a request, and nothing that could be a secret.
        """
        self.counts[f"{request.method} {request.path} {status}"] += 1
        query = {
            name: value if name in self.parameters else "…" for name, value in request.query.items()
        }
        self.recent.append(Request(times.now(), request.method, request.path, query, status, fault))


def _text(item: Any, field: str) -> str | None:
    """
    Read a text out of an item that may be anything.
    """
    value = item.get(field) if isinstance(item, dict) else None
    return value if isinstance(value, str) else None


def uuids(random: Random, count: int) -> list[str]:
    """
    Make random UUIDs (version 4) in one go: a backlog needs many.
    """
    text = random.randbytes(16 * count).hex()
    return [
        f"{one[:8]}-{one[8:12]}-4{one[13:16]}-a{one[17:20]}-{one[20:]}"
        for one in (text[start : start + 32] for start in range(0, 32 * count, 32))
    ]
