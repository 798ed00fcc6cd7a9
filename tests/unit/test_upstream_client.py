# SPDX-License-Identifier: Apache-2.0
"""
The client: one attempt, sorted by what the caller does next, hints obeyed.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from email.utils import formatdate

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from connector.errors import (
    CredentialsError,
    RateLimitedError,
    RefusedError,
    RetryError,
    SettingsError,
)
from connector.upstream.auth import ApiKey, OAuth2ClientCredentials
from connector.upstream.client import Reply
from connector.upstream.timing import wall_ms
from tests.unit.upstream_kit import Hands, Listener, client_of, serving, told


def answering(*responses: web.Response):
    """
    Give a handler that answers these in turn and remembers the requests.
    """
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        await request.read()
        seen.append(request)
        chosen = responses[min(len(seen), len(responses)) - 1]
        return web.Response(status=chosen.status, body=chosen.body, headers=chosen.headers)

    return handler, seen


def document(text: str = "{}", **headers: str) -> web.Response:
    return web.Response(
        text=text, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


async def test_a_page():
    """
    Path, query, credentials and headers go out; every digit of the body comes in.
    """
    handler, seen = answering(document('{"amount": 12345678901234567890.10}'))
    before = wall_ms()
    async with serving(handler) as origin, client_of(origin) as client:
        reply = await client.get(
            "/polling/transactions", {"pageToken": "a+b/c= &é", "pageSize": "5"}
        )
    after = wall_ms()

    assert {"amount": Decimal("12345678901234567890.10")} == reply.body
    assert (200, None) == (reply.status, reply.retry_after)
    assert before <= reply.polled_at <= after
    assert before - 1000 <= reply.server_time <= after
    assert "/v1/polling/transactions" == seen[0].path
    assert {"pageToken": "a+b/c= &é", "pageSize": "5"} == dict(seen[0].query)
    assert "invented-key" == seen[0].headers["Authorization"]
    assert "gzip, deflate" == seen[0].headers["Accept-Encoding"]
    assert seen[0].headers["User-Agent"].startswith("finance-kafka-connector/")


async def test_a_reply_does_not_show_its_body():
    """
    What providers send is personal: it is in no repr.
    """
    assert "secret" not in repr(
        Reply(status=200, body={"a": "secret"}, polled_at=0, server_time=0, retry_after=None)
    )


@pytest.mark.parametrize(
    ("status", "kind", "cause"),
    [
        (401, CredentialsError, "http_401"),
        (403, CredentialsError, "http_403"),
        (408, RetryError, "http_408"),
        (429, RateLimitedError, "http_429"),
        (500, RetryError, "http_5xx"),
        (503, RetryError, "http_5xx"),
        (599, RetryError, "http_5xx"),
    ],
)
async def test_statuses_that_are_tried_again(status, kind, cause):
    """
    Each is sorted by what the engine does next; the text names the place, not the answer.
    """
    handler, seen = answering(web.Response(status=status, text='{"message": "hunter2"}'))
    async with serving(handler) as origin, client_of(origin) as client:
        with pytest.raises(RetryError) as caught:
            await client.get("/activity", {"after": "hunter2"})

    assert (kind, cause, 1) == (type(caught.value), caught.value.cause, len(seen))
    assert str(caught.value).startswith(f"stedi: GET /activity: HTTP {status}")
    assert "hunter2" not in told(caught.value)


@pytest.mark.parametrize(
    "status", [301, 302, 304, 307, 308, 400, 404, 405, 409, 410, 418, 422, 451]
)
async def test_statuses_that_wait_for_a_person(status):
    """
    Other refusals, and redirects, are final, with a remedy.
    """
    handler, _ = answering(
        web.Response(
            status=status, text="{}" if status != 304 else None, headers={"Location": "/x"}
        )
    )
    async with serving(handler) as origin, client_of(origin) as client:
        with pytest.raises(RefusedError, match=rf"stedi: GET /activity: HTTP {status}.*Check"):
            await client.get("/activity")


async def test_redirects_are_not_followed():
    """
    No key goes where a redirect points, and the error says so.
    """
    handler, seen = answering(web.Response(status=302, headers={"Location": "/v1/elsewhere"}))
    async with serving(handler) as origin, client_of(origin) as client:
        with pytest.raises(RefusedError, match="redirects are not followed"):
            await client.get("/activity")

    assert ["/v1/activity"] == [each.path for each in seen]


async def test_cookies_are_not_kept():
    """
    A client has no memory but its cursor.
    """
    handler, seen = answering(document(Set_Cookie="a=b"))
    async with serving(handler) as origin, client_of(origin) as client:
        await client.get("/activity")
        await client.get("/activity")

    assert "Cookie" not in seen[1].headers


@pytest.mark.parametrize("path", ["//evil.example.com/", "https://evil.example.com/", "/../x"])
async def test_no_path_leads_elsewhere(path):
    """
    Nothing is sent for a path that is not below the base URL.
    """
    handler, seen = answering(document())
    async with serving(handler) as origin, client_of(origin) as client:
        with pytest.raises(RefusedError):
            await client.get(path)

    assert [] == seen


async def test_identifiers_stay_out_of_errors():
    """
    A placeholder's value is sent, and only its name is told.
    """
    handler, seen = answering(web.Response(status=500))
    async with serving(handler) as origin, client_of(origin) as client:
        with pytest.raises(RetryError) as caught:
            await client.get(
                "/status/{request_identification}", fill={"request_identification": "id-7"}
            )

    assert "/v1/status/id-7" == seen[0].path
    assert "stedi: GET /status/{request_identification}: HTTP 500." == str(caught.value)


async def test_a_new_key_after_a_401():
    """
    The key is read again, and a new one is tried once.
    """
    keys = ["old", "new"]
    handler, seen = answering(web.Response(status=401), document("[1]"))
    async with (
        serving(handler) as origin,
        client_of(origin, auth=ApiKey(key=lambda: keys.pop(0))) as client,
    ):
        reply = await client.get("/activity")

    assert [1] == reply.body
    assert ["old", "new"] == [each.headers["Authorization"] for each in seen]


async def test_a_second_401_is_final_for_this_call():
    """
    One renewal is all: the second refusal is the caller's, and drops those credentials too.
    """
    keys = ["a", "b", "c"]
    handler, seen = answering(web.Response(status=401))
    async with (
        serving(handler) as origin,
        client_of(origin, auth=ApiKey(key=lambda: keys.pop(0))) as client,
    ):
        with pytest.raises(CredentialsError):
            await client.get("/activity")

    assert (["a", "b"], 2) == ([each.headers["Authorization"] for each in seen], len(seen))
    assert {"Authorization": "c"} == await client._auth.headers(client._transport)


async def test_the_same_key_is_not_tried_twice():
    """
    A key that did not change would only count as one more failed login.
    """
    handler, seen = answering(web.Response(status=401))
    async with serving(handler) as origin, client_of(origin) as client:
        with pytest.raises(CredentialsError):
            await client.get("/activity")

    assert 1 == len(seen)


async def test_a_token_that_dies_under_many_requests_is_renewed_once():
    """
    Eight requests refused at once with the same token cost one token request, and succeed.
    """
    tokens = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal tokens
        if request.path == "/oauth/token":
            tokens += 1
            return web.json_response({"access_token": f"token-{tokens}", "expires_in": 43200})
        refused = request.headers["Authorization"] == "Bearer token-1"
        return web.Response(status=401) if refused else web.json_response([])

    async with serving(handler) as origin:
        auth = OAuth2ClientCredentials(
            token_url=f"{origin}/oauth/token",
            client_id="invented-client",
            client_secret=lambda: "invented-secret",
            audience="https://api.example.com",
        )
        async with client_of(origin, auth=auth, max_concurrency=8) as client:
            replies = await asyncio.gather(*(client.get("/activity") for _ in range(8)))

    assert ([200] * 8, 2) == ([each.status for each in replies], tokens)


async def test_retry_after_pauses_the_whole_source():
    """
    After a 429 no other request of this source goes out until the time has passed.
    """
    hands = Hands()
    handler, seen = answering(web.Response(status=429, headers={"Retry-After": "120"}), document())
    async with serving(handler) as origin, client_of(origin, timing=hands.timing) as client:
        with pytest.raises(RateLimitedError) as first:
            await client.get("/activity")
        with pytest.raises(RateLimitedError) as second:
            await client.get("/status")
        assert 1 == len(seen)

        hands.seconds += 121
        await client.get("/status")

    assert (120.0, 120.0) == (first.value.retry_after, second.value.retry_after)


async def test_retry_after_as_a_date_counts_from_the_servers_clock():
    """
    A server whose clock is an hour ahead still asks for its 90 s only.
    """
    there = wall_ms() // 1000 + 3600
    handler, _ = answering(
        web.Response(
            status=503,
            headers={
                "Date": formatdate(there, usegmt=True),
                "Retry-After": formatdate(there + 90, usegmt=True),
            },
        )
    )
    async with serving(handler) as origin, client_of(origin) as client:
        with pytest.raises(RetryError) as caught:
            await client.get("/activity")

    assert 90.0 == caught.value.retry_after


async def test_an_absurd_retry_after_is_capped_and_shown():
    """
    A day becomes an hour, and the log says what was asked.
    """
    listener = Listener()
    handler, _ = answering(web.Response(status=429, headers={"Retry-After": "86400"}))
    with capture_logs() as logs:
        async with serving(handler) as origin, client_of(origin, observer=listener) as client:
            with pytest.raises(RateLimitedError) as caught:
                await client.get("/activity")

    assert 3600.0 == caught.value.retry_after
    assert [(86400.0, 3600.0)] == [(log["asked_seconds"], log["obeyed_seconds"]) for log in logs]
    assert ("rate_limited", "stedi", 3600.0) in listener.heard


async def test_a_broken_retry_after_is_counted():
    """
    What makes no sense asks for nothing.
    """
    listener = Listener()
    handler, _ = answering(web.Response(status=429, headers={"Retry-After": "-1"}))
    async with serving(handler) as origin, client_of(origin, observer=listener) as client:
        with pytest.raises(RateLimitedError) as caught:
            await client.get("/activity")

    assert caught.value.retry_after is None
    assert ("ignored", "stedi", "Retry-After") in listener.heard


async def test_an_exhausted_budget_pauses():
    """
    With nothing left the page is still delivered, and the next request waits for Reset.
    """
    hands = Hands()
    handler, _ = answering(
        document("[1]", X_RateLimit_Remaining="0", X_RateLimit_Reset="5"), document("[2]")
    )
    async with serving(handler) as origin, client_of(origin, timing=hands.timing) as client:
        first = await client.get("/activity")
        second = await client.get("/activity")

    assert ([1], 5.0, [2]) == (first.body, first.retry_after, second.body)
    assert 5.0 == sum(hands.slept)


async def test_the_budget_covers_the_second_attempt():
    """
    The attempt after a renewal is a request like any other.
    """
    hands, keys = Hands(), ["old", "new"]
    handler, _ = answering(web.Response(status=401), document())
    async with (
        serving(handler) as origin,
        client_of(
            origin,
            auth=ApiKey(key=lambda: keys.pop(0)),
            rate_limit=(1, 60.0),
            timing=hands.timing,
        ) as client,
    ):
        await client.get("/activity")

    assert sum(hands.slept) == pytest.approx(60.0)


async def test_concurrency():
    """
    No more requests are under way than allowed.
    """
    under_way, most = 0, 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.005)
        under_way -= 1
        return document()

    async with serving(handler) as origin, client_of(origin, max_concurrency=3) as client:
        await asyncio.gather(*(client.get("/activity") for _ in range(12)))

    assert 3 == most


async def test_the_servers_clock():
    """
    A server half an hour behind is known after one answer, and told to the observer.
    """
    listener = Listener()
    there = wall_ms() // 1000 - 1800
    handler, _ = answering(document(Date=formatdate(there, usegmt=True)))
    async with serving(handler) as origin, client_of(origin, observer=listener) as client:
        assert abs(client.clock() - wall_ms()) < 100

        reply = await client.get("/activity")
        behind = wall_ms() - client.clock()

    assert there * 1000 == reply.server_time
    assert 1_790_000 < behind < 1_802_000
    assert 1 == sum(each[0] == "skew" for each in listener.heard)


async def test_an_absurd_date_is_not_believed():
    """
    The server's time is then our clock, and the header is counted.
    """
    listener = Listener()
    handler, _ = answering(document(Date="Thu, 01 Jan 1970 00:00:00 GMT"))
    async with serving(handler) as origin, client_of(origin, observer=listener) as client:
        reply = await client.get("/activity")

    assert abs(reply.server_time - wall_ms()) < 1000
    assert ("ignored", "stedi", "Date") in listener.heard


@pytest.mark.parametrize("text", ["<html>", "{", '{"a": NaN}', "[" * 70 + "]" * 70])
async def test_what_is_no_json_is_tried_again(text):
    """
    The content type is a hint only; the body itself decides, and is not shown.
    """
    handler, _ = answering(web.Response(text=text, content_type="application/json"))
    async with serving(handler) as origin, client_of(origin) as client:
        with pytest.raises(
            RetryError, match="stedi: GET /activity: the answer is not JSON"
        ) as caught:
            await client.get("/activity")

    assert "bad_body" == caught.value.cause
    assert "<html>" not in str(caught.value)


async def test_no_content():
    """
    An answer without a body has none.
    """
    handler, _ = answering(web.Response(status=204))
    async with serving(handler) as origin, client_of(origin) as client:
        assert (await client.get("/activity")).body is None


async def test_request_returns_every_status():
    """
    A provider with codes of its own reads the body of a refusal; one that is no JSON is None.
    """
    handler, seen = answering(
        web.json_response({"FlinksCode": "TOO_MANY_REQUESTS"}, status=401),
        web.Response(status=502, text="<html>"),
        web.Response(status=302, headers={"Location": "/x"}),
    )
    async with serving(handler) as origin, client_of(origin) as client:
        replies = [
            await client.request("POST", "/authorize", json={"n": Decimal("1.10")})
            for _ in range(3)
        ]

    assert [(401, {"FlinksCode": "TOO_MANY_REQUESTS"}), (502, None), (302, None)] == [
        (each.status, each.body) for each in replies
    ]
    assert (b'{"n":1.10}', "application/json") == (await seen[0].read(), seen[0].content_type)


async def test_what_is_measured():
    """
    Every answer is heard of with its class and its bytes.
    """
    listener = Listener()
    handler, _ = answering(document("[1]"), web.Response(status=429), web.Response(status=500))
    async with serving(handler) as origin, client_of(origin, observer=listener) as client:
        for _ in range(3):
            try:
                await client.get("/activity")
            except RetryError:
                continue

    assert [
        ("response", "stedi", "2xx", 3),
        ("response", "stedi", "429", 0),
        ("response", "stedi", "5xx", 0),
    ] == listener.heard


def test_a_base_url_that_may_not_be_reached():
    """
    The client is not even made.
    """
    with pytest.raises(SettingsError, match="base URL of source stedi"):
        client_of("http://api.example.com", allow_private_addresses=False)


async def test_a_closed_client_stays_closed():
    """
    Using it again is a mistake of ours, not a leak.
    """
    client = client_of("http://127.0.0.1:1")
    await client.aclose()

    with pytest.raises(RuntimeError):
        await client.get("/activity")
