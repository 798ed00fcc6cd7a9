# SPDX-License-Identifier: Apache-2.0
"""
Credentials: fetched once for all, renewed in time, refused slowly, never shown.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

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
from connector.upstream.transport import Transport
from tests.unit.upstream_kit import Hands, serving

SECRET = "invented-secret"


class TokenServer:
    """
    Gives ``token-1``, ``token-2`` … and answers otherwise when told to.
    """

    def __init__(self) -> None:
        self.asked: list[dict] = []
        self.next: list[web.Response] = []
        self.life: object = 43200
        self.hold = asyncio.Event()
        self.hold.set()
        self.reached = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        self.reached.set()
        await self.hold.wait()
        if self.next:
            return self.next.pop(0)
        answer = {"access_token": f"token-{len(self.asked)}", "token_type": "Bearer"}
        if self.life is not None:
            answer["expires_in"] = self.life
        return web.json_response(answer)


@asynccontextmanager
async def oauth(server: TokenServer, hands: Hands, secret=lambda: SECRET):
    async with serving(server) as origin:
        transport = Transport(
            source="monetago",
            request_timeout=5.0,
            allow_private_addresses=True,
            timing=hands.timing,
        )
        auth = OAuth2ClientCredentials(
            token_url=f"{origin}/oauth/token",
            client_id="invented-client",
            client_secret=secret,
            audience="https://api.example.com",
            timing=hands.timing,
        )
        try:
            yield auth, transport
        finally:
            await transport.aclose()


def bearer(number: int) -> dict[str, str]:
    return {"Authorization": f"Bearer token-{number}"}


async def test_the_token_request():
    """
    The body is JSON with the four fields of the provider's page, and the token is kept.
    """
    server = TokenServer()
    async with oauth(server, Hands()) as (auth, transport):
        first = await auth.headers(transport)
        second = await auth.headers(transport)

    assert (bearer(1), bearer(1)) == (first, second)
    assert [
        {
            "client_id": "invented-client",
            "client_secret": SECRET,
            "audience": "https://api.example.com",
            "grant_type": "client_credentials",
        }
    ] == server.asked


async def test_single_flight():
    """
    However many ask at once, one token request goes out and all get its token.
    """
    server = TokenServer()
    async with oauth(server, Hands()) as (auth, transport):
        found = await asyncio.gather(*(auth.headers(transport) for _ in range(20)))

    assert ([bearer(1)] * 20, 1) == (found, len(server.asked))


async def test_a_failed_flight_fails_for_all_who_wait():
    """
    Twenty waiters of a failing token server cost it one request.
    """
    server = TokenServer()
    server.next = [web.Response(status=503)]
    async with oauth(server, Hands()) as (auth, transport):
        found = await asyncio.gather(
            *(auth.headers(transport) for _ in range(20)), return_exceptions=True
        )

    assert {RetryError} == {type(each) for each in found}
    assert 1 == len(server.asked)


async def test_a_cancelled_leader_leaves_the_others_going():
    """
    When the caller that fetches is stopped, one of the waiting ones fetches.
    """
    server = TokenServer()
    server.hold.clear()
    async with oauth(server, Hands()) as (auth, transport):
        leader, *others = (asyncio.create_task(auth.headers(transport)) for _ in range(4))
        await server.reached.wait()
        leader.cancel()
        others[0].cancel()
        server.hold.set()
        found = await asyncio.gather(*others, return_exceptions=True)

    assert [bearer(2), bearer(2)] == found[1:]
    assert leader.cancelled()
    assert isinstance(found[0], asyncio.CancelledError)


@pytest.mark.parametrize(
    ("life", "jitter", "keeps_until"),
    [
        (43200, 0.0, 43200 - 60),
        (43200, 1.0, 43200 - 90),
        (100, 0.0, 90),
        (100, 1.0, 85),
        ("43200", 0.0, 43200 - 60),
        (None, 0.0, 270),
        (0, 0.0, 270),
        (-5, 0.0, 270),
        (True, 0.0, 270),
        ("soon", 0.0, 270),
        ([], 0.0, 270),
        (10**12, 0.0, 86400 - 60),
    ],
)
async def test_renewed_before_its_end(life, jitter, keeps_until):
    """
    A token is renewed a margin before its end; a life without sense counts as 5 min, one
    without end as a day.
    """
    server, hands = TokenServer(), Hands(jitter=jitter)
    server.life = life
    async with oauth(server, hands) as (auth, transport):
        await auth.headers(transport)
        hands.seconds += keeps_until - 0.5
        kept = await auth.headers(transport)
        hands.seconds += 1.0
        renewed = await auth.headers(transport)

    assert (bearer(1), bearer(2)) == (kept, renewed)


async def test_a_good_token_outlives_a_failed_renewal():
    """
    While the old token is good, an outage of the token server is no error, and is asked
    about every 5 s at most; when the token ends, it is one.
    """
    server, hands = TokenServer(), Hands()
    async with oauth(server, hands) as (auth, transport):
        await auth.headers(transport)
        server.next = [web.Response(status=503) for _ in range(3)]
        hands.seconds += 43200 - 30
        used_on = [await auth.headers(transport) for _ in range(3)]
        hands.seconds += 40

        with pytest.raises(RetryError):
            await auth.headers(transport)

    assert ([bearer(1)] * 3, 3) == (used_on, len(server.asked))


async def test_a_refused_token_is_replaced_at_once():
    """
    The first 401 renews; those that come later for the old token change nothing.
    """
    server = TokenServer()
    async with oauth(server, Hands()) as (auth, transport):
        old = await auth.headers(transport)
        auth.invalidate(old)
        new = await auth.headers(transport)
        auth.invalidate(old)
        kept = await auth.headers(transport)

    assert (bearer(2), bearer(2)) == (new, kept)


async def test_refused_replacements_bar_the_token_server():
    """
    A fresh replacement that is refused too bars for 30 s and more, growing, and every
    caller learns the time left without a request.
    """
    server, hands = TokenServer(), Hands(jitter=1.0)
    waits = []
    async with oauth(server, hands) as (auth, transport):
        auth.invalidate(await auth.headers(transport))
        for _ in range(3):
            auth.invalidate(await auth.headers(transport))
            with pytest.raises(CredentialsError) as caught:
                await auth.headers(transport)
            waits.append(caught.value.retry_after)
            hands.seconds += waits[-1]
        assert 4 == len(server.asked)

        hands.seconds += 1.0
        good = await auth.headers(transport)

    assert ([60.0, 120.0, 240.0], bearer(5)) == (waits, good)


async def test_tokens_that_die_after_a_while_are_replaced_for_ever():
    """
    A token that worked for more than a minute says nothing against the credentials.
    """
    server, hands = TokenServer(), Hands()
    async with oauth(server, hands) as (auth, transport):
        for _ in range(10):
            auth.invalidate(await auth.headers(transport))
            hands.seconds += 0.1
            await auth.headers(transport)
            hands.seconds += 61

    assert 11 == len(server.asked)


async def test_a_token_that_worked_begins_the_waits_anew():
    """
    What was refused long ago does not lengthen the wait of today.
    """
    server, hands = TokenServer(), Hands(jitter=1.0)
    waits = []
    async with oauth(server, hands) as (auth, transport):
        for _ in range(3):
            hands.seconds += 3600
            auth.invalidate(await auth.headers(transport))
            auth.invalidate(await auth.headers(transport))
            with pytest.raises(CredentialsError) as caught:
                await auth.headers(transport)
            waits.append(caught.value.retry_after)
            hands.seconds += 61
            await auth.headers(transport)

    assert [60.0] * 3 == waits


async def test_a_token_given_begins_the_waits_anew():
    """
    Two refusals with a token between them each wait as a first one.
    """
    server, hands = TokenServer(), Hands(jitter=1.0)
    waits = []
    async with oauth(server, hands) as (auth, transport):
        for _ in range(2):
            server.next = [web.Response(status=401)]
            with pytest.raises(CredentialsError) as caught:
                await auth.headers(transport)
            waits.append(caught.value.retry_after)
            hands.seconds += 60
            await auth.headers(transport)
            hands.seconds += 43200

    assert [60.0, 60.0] == waits


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_refused_credentials(status):
    """
    A refusal bars the token server, and the secret is read again before the next request.
    """
    server, hands = TokenServer(), Hands()
    server.next = [web.Response(status=status, text=SECRET)]
    secrets = [SECRET, "the-new-one"]
    async with oauth(server, hands, secret=lambda: secrets.pop(0)) as (auth, transport):
        with pytest.raises(CredentialsError) as caught:
            await auth.headers(transport)
        with pytest.raises(CredentialsError, match="no token is asked for yet"):
            await auth.headers(transport)
        hands.seconds += 30.0
        good = await auth.headers(transport)

    assert (30.0, bearer(2)) == (caught.value.retry_after, good)
    assert [SECRET, "the-new-one"] == [each["client_secret"] for each in server.asked]
    assert f"monetago: token request: HTTP {status}: client id, secret or audience is refused." == (
        str(caught.value)
    )


@pytest.mark.parametrize(
    ("response", "kind", "cause", "retry_after"),
    [
        (web.Response(status=503, headers={"Retry-After": "7"}), RetryError, "token_server", 7.0),
        (web.Response(status=408), RetryError, "token_server", None),
        (web.Response(status=429, headers={"Retry-After": "7"}), RateLimitedError, "http_429", 7.0),
        (web.Response(status=429, headers={"Retry-After": "90000"}), RateLimitedError, None, 3600),
        (web.Response(status=500), RetryError, "token_server", None),
        (web.json_response({"error": "invented"}), RetryError, "bad_token", None),
        (web.json_response([]), RetryError, "bad_token", None),
        (web.Response(text="<html>"), RetryError, "bad_token", None),
        (web.Response(), RetryError, "bad_token", None),
        (web.json_response({"access_token": 5}), RetryError, "bad_token", None),
        (web.json_response({"access_token": "a\r\nb"}), RetryError, "bad_token", None),
        (web.json_response({"access_token": ""}), RetryError, "bad_token", None),
        (
            web.json_response({"access_token": "a", "token_type": "mac"}),
            RetryError,
            "bad_token",
            None,
        ),
        (web.Response(text=" " * 70_000), RetryError, "too_large", None),
    ],
    ids=lambda value: "" if isinstance(value, web.Response) else str(value),
)
async def test_token_answers_that_are_tried_again(response, kind, cause, retry_after):
    """
    Outages, throttling and answers without a token are retried, as asked.
    """
    server = TokenServer()
    server.next = [response]
    async with oauth(server, Hands()) as (auth, transport):
        with pytest.raises(RetryError) as caught:
            await auth.headers(transport)

    assert (kind, retry_after) == (type(caught.value), caught.value.retry_after)
    assert cause in (None, caught.value.cause)


@pytest.mark.parametrize("status", [302, 404])
async def test_a_wrong_token_url(status):
    """
    A token URL that is none waits for a person; a redirect is never followed.
    """
    server = TokenServer()
    server.next = [web.Response(status=status, headers={"Location": "/elsewhere"})]
    async with oauth(server, Hands()) as (auth, transport):
        with pytest.raises(RefusedError, match="TOKEN_URL"):
            await auth.headers(transport)

    assert 1 == len(server.asked)


async def test_the_token_url_obeys_the_guards():
    """
    Credentials are not sent over plain http where private addresses are not allowed.
    """
    transport = Transport(source="monetago", request_timeout=1.0, allow_private_addresses=False)
    auth = OAuth2ClientCredentials(
        token_url="http://auth.example.com/oauth/token",
        client_id="c",
        client_secret=lambda: SECRET,
        audience="a",
    )

    with pytest.raises(SettingsError, match="token URL of source monetago is not https"):
        await auth.headers(transport)


async def test_nothing_secret_is_shown():
    """
    Neither reprs nor logs hold a secret or a token.
    """
    server, hands = TokenServer(), Hands()
    server.life = None
    with capture_logs() as logs:
        async with oauth(server, hands) as (auth, transport):
            await auth.headers(transport)
            server.next = [web.Response(status=401, text=SECRET)]
            hands.seconds += 280
            await auth.headers(transport)
            shown = json.dumps(logs) + repr(auth) + repr(auth._token) + repr(vars(transport))
    key = ApiKey(key=lambda: SECRET, header="X-Api-Key")
    await key.headers(transport)
    shown += repr(key)

    assert 2 == len(logs)
    assert not any(secret in shown for secret in (SECRET, "token-1", "invented-client"))


@pytest.mark.parametrize(
    ("prefix", "header", "expected"),
    [
        ("", "Authorization", {"Authorization": "abc"}),
        ("Key", "Authorization", {"Authorization": "Key abc"}),
        ("", "flinks-auth-key", {"flinks-auth-key": "abc"}),
    ],
)
async def test_api_key(prefix, header, expected):
    """
    A key stands bare or behind its prefix, in the header that the provider wants.
    """
    transport = Transport(source="stedi", request_timeout=1.0, allow_private_addresses=False)

    assert expected == await ApiKey(key=lambda: "abc", header=header, prefix=prefix).headers(
        transport
    )


async def test_api_key_is_read_again_after_a_401_only():
    """
    A key from a file is kept until it is refused.
    """
    keys = ["old", "new"]
    transport = Transport(source="stedi", request_timeout=1.0, allow_private_addresses=False)
    auth = ApiKey(key=lambda: keys.pop(0))
    old = await auth.headers(transport)
    assert old == await auth.headers(transport)

    auth.invalidate(old)
    new = await auth.headers(transport)
    auth.invalidate(old)

    assert {"Authorization": "new"} == new == await auth.headers(transport)


@pytest.mark.parametrize(
    "key",
    ["", "hunter2\r\nX: y", "hunter2\n", "hunter2\0", "hunter2\u20ac", " hunter2", "hunter2\x7f"],
)
async def test_keys_that_cannot_be_sent(key):
    """
    A key that no header may hold is refused without being shown.
    """
    transport = Transport(source="stedi", request_timeout=1.0, allow_private_addresses=False)
    with pytest.raises(CredentialsError, match="stedi: the API key") as caught:
        await ApiKey(key=lambda: key).headers(transport)

    assert "hunter2" not in str(caught.value)
