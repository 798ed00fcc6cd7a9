# SPDX-License-Identifier: Apache-2.0
"""
The wire: cut, slow, huge and foreign answers become errors in our own words.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import zlib

import pytest
import trustme
from aiohttp import web

from connector.errors import CredentialsError, RateLimitedError, RetryError
from connector.upstream.body import Caps
from tests.unit.upstream_kit import Listener, client_of, serving, talking, told

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def saying(*parts: bytes, hang: bool = False):
    """
    Give a script that writes these bytes, and then closes or hangs.
    """

    async def script(head: bytes, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if hang:
            await asyncio.sleep(30)

    return script


async def failure(
    port: int, host: str = "127.0.0.1", scheme: str = "http", **changes
) -> RetryError:
    """
    Get a page that cannot be had; gives the error.
    """
    listener = Listener()
    async with client_of(f"{scheme}://{host}:{port}", observer=listener, **changes) as client:
        with pytest.raises(RetryError) as caught:
            await client.get("/activity", {"key": "hunter2"})

    assert str(caught.value).startswith("stedi: GET /activity: ")
    assert [("failure", "stedi", caught.value.cause)] == listener.heard
    assert not any(part in told(caught.value) for part in ("hunter2", "127.0.0.1", "invented-key"))
    return caught.value


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (OK + b"Content-Length: 100\r\n\r\n{", "bad_body"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\n[1, 2", "bad_body"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\n[1,2]\r\n", "bad_body"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nhunter2\r\n", "bad_answer"),
        (OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"{}", mtime=0)[:-3], "bad_body"),
        (OK + b"Content-Encoding: br\r\n\r\n{}", "bad_body"),
        (OK + b"Content-Length: 99999999999\r\n\r\n{", "too_large"),
        (OK + b"Content-Length: hunter2\r\n\r\n{", "bad_answer"),
        (OK + b"X-Long: " + b"hunter2" * 3000 + b"\r\n\r\n{}", "bad_answer"),
        (OK + b"X-Many: hunter2\r\n" * 500 + b"\r\n{}", "bad_answer"),
        (b"hunter2\r\n\r\n", "bad_answer"),
        (b"", "connection"),
        (b"HTTP/1.1 200", "connection"),
    ],
)
async def test_broken_answers(answer, cause):
    """
    Cut bodies, broken chunks, foreign encodings, endless headers: tried again, not shown.
    """
    async with talking(saying(answer)) as port:
        assert cause == (await failure(port)).cause


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"HTTP/1.1 200 OK\r\nX-Slow: ",),
        (OK + b"Content-Length: 10\r\n\r\n[1,",),
        (OK + b"Content-Length: 0\r\n",),
    ],
)
async def test_slow_answers(parts):
    """
    The request timeout covers headers and body, wherever the server stops talking.
    """
    async with talking(saying(*parts, hang=True)) as port:
        async with asyncio.timeout(2):
            error = await failure(port, request_timeout=0.05)

    assert "timeout" == error.cause


async def test_a_trickle_ends_too():
    """
    A server that always sends one more byte in time does not keep a request for ever.
    """

    async def trickle(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1\r\n \r\n")
            await writer.drain()
            await asyncio.sleep(0.005)

    async with talking(trickle) as port:
        assert "timeout" == (await failure(port, request_timeout=0.1)).cause


async def test_cancellation_goes_through():
    """
    A stop signal is no timeout.
    """
    async with talking(saying(hang=True)) as port, client_of(f"http://127.0.0.1:{port}") as client:
        task = asyncio.create_task(client.get("/activity"))
        await asyncio.sleep(0.02)
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)]
)
async def test_packed_answers(encoding, pack):
    """
    What was asked for is understood.
    """
    body = pack(b'{"a": 1}')

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": encoding})

    listener = Listener()
    async with serving(handler) as origin, client_of(origin, observer=listener) as client:
        reply = await client.get("/activity")

    assert ({"a": 1}, len(body)) == (reply.body, listener.heard[0][3])


async def test_a_bomb():
    """
    64 KB that would become 64 MiB are refused at the bound.
    """
    bomb = gzip.compress(b" " * (64 << 20))
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with talking(saying(head + bomb)) as port:
        error = await failure(port, caps=Caps(wire_bytes=1 << 20, decoded_bytes=1 << 20))

    assert "too_large" == error.cause


async def test_an_endless_body():
    """
    A body without a length is read no further than its bound.
    """

    async def endless(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"\r\n")
        while True:
            writer.write(b" " * 65536)
            await writer.drain()

    async with talking(endless) as port:
        error = await failure(port, caps=Caps(wire_bytes=1 << 20, decoded_bytes=1 << 20))

    assert "too_large" == error.cause


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (
            b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 100\r\n\r\ncut",
            RateLimitedError,
        ),
        (b"HTTP/1.1 403 No\r\nContent-Encoding: br\r\n\r\n{}", CredentialsError),
    ],
)
async def test_a_refusal_counts_even_if_its_body_is_broken(head, kind):
    """
    The status and the headers of a refusal are heard, whatever follows them.
    """
    async with talking(saying(head)) as port, client_of(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(kind):
            await client.get("/activity")


async def test_a_refusal_with_a_hanging_body_counts():
    """
    A 429 whose body never comes is a 429 when the request timeout is over.
    """
    script = saying(b"HTTP/1.1 429 Slow\r\nContent-Length: 100\r\n\r\n", hang=True)
    async with (
        talking(script) as port,
        client_of(f"http://127.0.0.1:{port}", request_timeout=0.05) as client,
    ):
        with pytest.raises(RateLimitedError):
            await client.get("/activity")


async def test_nobody_listens():
    """
    A refused connection is told by its reason.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = await failure(taken.getsockname()[1])

    assert "connect" == error.cause
    assert "Connection refused" in str(error)


async def test_a_name_that_leads_inside():
    """
    A name is judged by where it leads when it is connected to: localhost is not public.
    """
    error = await failure(443, host="localhost", scheme="https", allow_private_addresses=False)

    assert "address_refused" == error.cause
    assert "ALLOW_PRIVATE_ADDRESSES" in str(error)


async def test_a_name_that_is_none():
    """
    A label of 64 letters does not even reach a name server.
    """
    error = await failure(443, host="a" * 64 + ".example.com", scheme="https")

    assert "dns" == error.cause


def server_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_tls_that_is_trusted():
    """
    With the right authority and name, https works.
    """
    authority = trustme.CA()
    body = OK + b"Content-Length: 2\r\n\r\n{}"
    async with (
        talking(saying(body), ssl=server_context(authority, "localhost")) as port,
        client_of(f"https://localhost:{port}", ssl_context=trusting(authority)) as client,
    ):
        assert {} == (await client.get("/activity")).body


async def test_tls_of_an_unknown_authority():
    """
    No request is sent to a server that nobody vouches for.
    """
    asked = []

    async def script(head: bytes, writer: asyncio.StreamWriter) -> None:
        asked.append(head)

    async with talking(script, ssl=server_context(trustme.CA(), "localhost")) as port:
        error = await failure(port, host="localhost", scheme="https")

    assert ("tls", []) == (error.cause, asked)


async def test_tls_of_another_name():
    """
    A certificate for another host is none.
    """
    authority = trustme.CA()
    async with talking(saying(OK), ssl=server_context(authority, "other.example.com")) as port:
        error = await failure(
            port, host="localhost", scheme="https", ssl_context=trusting(authority)
        )

    assert "tls" == error.cause


async def test_the_environment_is_ignored_unless_asked(monkeypatch):
    """
    Proxies of the environment count only with trust_env, and for https only.
    """
    asked = []

    async def proxy(head: bytes, writer: asyncio.StreamWriter) -> None:
        asked.append(head.split(b"\r\n")[0])
        writer.write(b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n")

    async with talking(proxy) as port:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://localhost:{port}")
        monkeypatch.setenv("no_proxy", "")
        untrusting = await failure(1, scheme="https", host="localhost")
        plain = await failure(1, trust_env=True)
        trusted = await failure(1, scheme="https", host="api.example.com", trust_env=True)

    assert ("connect", "connect", "proxy") == (untrusting.cause, plain.cause, trusted.cause)
    assert [b"CONNECT api.example.com:1 HTTP/1.1"] == asked
