# SPDX-License-Identifier: Apache-2.0
"""
A simulated MonetaGo: the token endpoint and ``GET /v1/activity`` (seeds 000 and 001).

What the pages leave open is a switch: the order, both bounds, the cap on ``limit``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from random import Random

import orjson
from aiohttp import web
from pydantic import Field

from connector.sandbox.simulators import times
from connector.sandbox.simulators.ledger import Order, Timeline
from connector.sandbox.simulators.simulator import Options, Simulator, uuids

CLIENT_ID = "simulated-client-id"
CLIENT_SECRET = "simulated-client-secret"  # noqa: S105 - invented, opens nothing
AUDIENCE = "https://simulated-audience.example.com"

# An event of the sample, to be filled in. One text for all, because a backlog of some
# hundred thousand has to be there quickly.
_EVENT = json.dumps(
    {
        "event_identification": "%(event)s",
        "event_date_time": "%(time)s",
        "pool_identification": "POOL-%(number)04d",
        "submitter_batch_identification": "BATCH-%(number)04d",
        "batch_identification": "%(batch)s",
        "submitter_data_set_identification": "FIN-%(number)04d",
        "data_set_identification": "%(key)s",
        "request_identifications": ["%(first)s", "%(second)s"],
        "event_details": [
            {"service_name": "FING_duplicate_financing_check", "status": "%(request_status)s"},
            {
                "service_name": "DDOC_duplicate_document_check",
                "registered_document_identification": "%(document)s",
                "status": "%(document_status)s",
            },
        ],
    },
    separators=(",", ":"),
)
# Fields that no page names; the number has more digits than a float keeps.
_UNKNOWN = (
    ',"simulated_number":9007199254740993.123456789012345678,'
    '"simulated_object":{"list":[1,null,"\\u00e9"],"nested":{"flag":true}}}'
)
# The sample asks for 1,000 and its links say 20 (seed 000).
_LINK_LIMIT = 20
_LINK = "https://developer.swift.com/api/v1/activity?limit={limit},offset={offset}"
_DOCUMENT_STATUS = ("EXCT", "REDU", "REGU")
_REQUEST_STATUS = ("REGU", "REDU", "DFIN", "FNCD", "CANC", "PNDG")


class MonetagoOptions(Options):
    """
    The switches of MonetaGo.

    Attributes:
        order: How events are ordered; see ``Timeline.page``.
        after_inclusive: Whether an event at exactly ``after`` is in.
        before_inclusive: Whether an event at exactly ``before`` is in.
        cap: The most events of a page, whatever ``limit`` asks for; None caps nothing.
        default_limit: The page size without ``limit``, which no page documents.
        links: Whether there are links, broken as those of the sample.
        expires_in: Seconds that a token says it lives.
        token_lifetime: Seconds that it really lives; None is what it says.
        client_secret: The secret that is taken; changing it is a rotation.
    """

    order: Order = "ascending"
    after_inclusive: bool = False
    before_inclusive: bool = False
    cap: int | None = Field(default=None, ge=1)
    default_limit: int = Field(default=20, ge=1)
    links: bool = True
    expires_in: int = Field(default=43_200, ge=0)
    token_lifetime: float | None = Field(default=None, ge=0)
    client_secret: str = Field(default=CLIENT_SECRET, repr=False)


class _BadRequestError(ValueError):
    """
    A parameter that cannot be read. The pages document no answer for it.
    """


class MonetagoSimulator(Simulator):
    """
    One MonetaGo, with one client.
    """

    name = "monetago"
    prefixes = ("/v1/", "/oauth/")
    data_path = "/v1/activity"
    item_fields = ("events",)
    id_field = "event_identification"
    key_field = "data_set_identification"
    parameters = frozenset({"after", "before", "limit", "offset"})
    options: MonetagoOptions

    def __init__(self, random: Random, options: MonetagoOptions | None = None) -> None:
        super().__init__(random)
        self.options = options or MonetagoOptions()
        self._timeline = Timeline()
        self._tokens: dict[str, int] = {}
        self._data_sets: list[str] = []

    def routes(self) -> Sequence[web.RouteDef]:
        """
        Give the token endpoint and the activity.
        """
        return (
            web.post("/oauth/token", self._token),
            web.get(self.data_path, self._activity, allow_head=False),
        )

    def env(self, origin: str) -> dict[str, str]:
        """
        Give the connector's variables, all but ``MONETAGO_START``.
        """
        return {
            "MONETAGO_BASE_URL": f"{origin}/v1",
            "MONETAGO_TOKEN_URL": f"{origin}/oauth/token",
            "MONETAGO_CLIENT_ID": CLIENT_ID,
            "MONETAGO_CLIENT_SECRET": self.options.client_secret,
            "MONETAGO_AUDIENCE": AUDIENCE,
            "MONETAGO_ALLOW_PRIVATE_ADDRESSES": "true",
        }

    def revoke_tokens(self) -> None:
        """
        Let every token die now, before the end that it was given.
        """
        self._tokens.clear()

    def invent(self, event_time: int, key: str | None) -> tuple[str, str, bytes]:
        """
        Make up one event, about as large as the sample's; keys come back now and then.
        """
        event_id, batch, fresh, first, second, document = uuids(self.random, 6)
        draw = self.random.random
        if key is None and self._data_sets and draw() < 0.3:
            key = self._data_sets[int(draw() * len(self._data_sets))]
        elif key is None:
            key = fresh
            if len(self._data_sets) < 1000:
                self._data_sets.append(fresh)
        number = int(draw() * 10_000)
        text = _EVENT % {
            "event": event_id,
            "time": times.iso(event_time),
            "number": number,
            "batch": batch,
            # A key of the caller's may hold anything.
            "key": json.dumps(key)[1:-1],
            "first": first,
            "second": second,
            "document": document,
            "request_status": _REQUEST_STATUS[number % len(_REQUEST_STATUS)],
            "document_status": _DOCUMENT_STATUS[number % len(_DOCUMENT_STATUS)],
        }
        if self.options.unknown_fields:
            text = text[:-1] + _UNKNOWN
        return event_id, key, text.encode()

    async def _token(self, request: web.Request) -> web.Response:
        """
        Hand out a token for client id, secret and audience, sent as JSON.
        """
        if request.query_string or request.content_type != "application/json":
            return _error(400, "invalid_request")
        try:
            asked = json.loads(await request.read())
        except ValueError:
            return _error(400, "invalid_request")
        if not isinstance(asked, dict) or asked.get("grant_type") != "client_credentials":
            return _error(400, "unsupported_grant_type")
        known = {
            "client_id": CLIENT_ID,
            "client_secret": self.options.client_secret,
            "audience": AUDIENCE,
        }
        if any(asked.get(name) != value for name, value in known.items()):
            return _error(401, "access_denied")
        token = self._sign()
        lifetime = self.options.token_lifetime
        lives = self.options.expires_in if lifetime is None else lifetime
        self._tokens[token] = self.now() + int(lives * 1000)
        answer = {
            "access_token": token,
            "expires_in": self.options.expires_in,
            "token_type": "Bearer",
        }
        return _json(orjson.dumps(answer))

    def _sign(self) -> str:
        """
        Make a text in the form of a JWT; nothing signs it.
        """
        parts = ({"alg": "none", "typ": "JWT"}, {"jti": uuids(self.random, 1)[0]}, {"simulated": 1})
        return ".".join(
            base64.urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=").decode() for part in parts
        )

    async def _activity(self, request: web.Request) -> web.Response:
        """
        Give one page of events.
        """
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or self._tokens.get(token, 0) <= self.now():
            return _error(401, "Unauthorized")
        options = self.options
        if options.grow:
            self.offer(count=options.grow)
        self._timeline.merge(self.ledger.due(self.now()))
        query = request.query
        try:
            limit = _whole(query.get("limit", str(options.default_limit)), least=1)
            offset = _whole(query.get("offset", "0"), least=0)
            span = self._timeline.span(
                _moment(query.get("after")),
                _moment(query.get("before")),
                after_inclusive=options.after_inclusive,
                before_inclusive=options.before_inclusive,
            )
        except _BadRequestError:
            return _error(400, "Bad Request")
        limit = min(limit, options.cap or limit)
        events = self._timeline.page(span, offset, limit, order=options.order, random=self.random)
        body = b'"events":[%s]}' % b",".join([event.body for event in events])
        if options.links:
            total = span[1] - span[0]
            body = b'"links":%s,%s' % (orjson.dumps(_links(offset, total)), body)
        return _json(b"{" + body)


def _links(offset: int, total: int) -> list[dict[str, str]]:
    """
    Make links as broken as the sample's: another host, a comma, no ``after``, limit 20.
    """
    last = max(0, (total - 1) // _LINK_LIMIT * _LINK_LIMIT)
    places: dict[str, int | None] = {
        "self": offset,
        "first": 0,
        "next": offset + _LINK_LIMIT if offset + _LINK_LIMIT < total else None,
        "previous": max(0, offset - _LINK_LIMIT) if offset else None,
        "last": last,
    }
    return [
        {"href": _LINK.format(limit=_LINK_LIMIT, offset=place), "rel": rel, "type": "GET"}
        for rel, place in places.items()
        if place is not None
    ]


def _whole(text: str, *, least: int) -> int:
    """
    Read a whole number that is not below the least.
    """
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise _BadRequestError
    return int(text)


def _moment(text: str | None) -> int | None:
    """
    Read a time, if there is one.
    """
    try:
        return None if text is None else times.parse(text)
    except ValueError as error:
        raise _BadRequestError from error


def _json(body: bytes) -> web.Response:
    """
    Make a good answer.
    """
    return web.Response(body=body, content_type="application/json")


def _error(status: int, error: str) -> web.Response:
    """
    Make an error; the pages document no form of one.
    """
    return web.json_response({"error": error}, status=status)
