# SPDX-License-Identifier: Apache-2.0
"""
Does to one request what its fault says. Real bytes on real sockets.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from aiohttp import web

from connector.sandbox.simulators.faults import Fault

if TYPE_CHECKING:
    from connector.sandbox.simulators.simulator import Simulator

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_BLOCK = b" " * (1024 * 1024)
_PADDING = (b'{"padding":"', b'"}')
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
_JSON = {"Content-Type": "application/json"}


async def apply(
    simulator: Simulator, fault: Fault, request: web.Request, handler: Handler
) -> web.StreamResponse:
    """
    Answer a request as its fault wants it.
    """
    await asyncio.sleep(fault.delay)
    if fault.kind == "reset":
        return _drop(request)
    if fault.kind in ("oversized", "gzip_bomb"):
        return await _huge(simulator, fault, request)
    instead = _instead(simulator, fault)
    return instead or await _spoil(simulator, fault, request, await handler(request))


async def _spoil(
    simulator: Simulator, fault: Fault, request: web.Request, answer: web.StreamResponse
) -> web.StreamResponse:
    """
    Lose an answer that is ready, or damage it if it is a good one.
    """
    if fault.kind == "lost_reply":
        return _drop(request)
    if answer.status != 200 or not isinstance(answer, web.Response):
        return answer
    for name, value in {**simulator.date(), **fault.headers}.items():
        answer.headers[name] = value
    body = answer.body if isinstance(answer.body, bytes) else b""
    if fault.kind == "cut_body":
        return await _cut(request, answer, body)
    if fault.kind == "slow_body":
        return await _drip(request, answer, body, fault.seconds)
    answer.body = _spoil_body(simulator, fault, answer, body)
    return answer


def _drop(request: web.Request) -> web.Response:
    """
    Reset the connection: the client sees neither status nor body.
    """
    transport = request.transport
    if transport is not None:
        connection: socket.socket = transport.get_extra_info("socket")
        # Without lingering a close is sent as RST.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response(status=499)


def _instead(simulator: Simulator, fault: Fault) -> web.Response | None:
    """
    Make the short answers that stand in for the provider's own.
    """
    limits = fault.limit_headers(simulator.now())
    if fault.kind == "rate_limited":
        message = fault.body or '{"message":"Too many requests"}'
        return _text(429, message, {**_JSON, **limits, **fault.headers})
    if fault.kind == "status":
        message = fault.body or '{"message":"Simulated failure"}'
        return _text(fault.status, message, {**_JSON, **limits, **fault.headers})
    if fault.kind == "redirect":
        status = fault.status if 300 <= fault.status < 400 else 302
        return _text(status, "", {"Location": fault.location, **fault.headers})
    if fault.kind == "not_json":
        message = fault.body or "<html><body>Simulated maintenance page</body></html>"
        return _text(200, message, {"Content-Type": "text/html", **fault.headers})
    if fault.kind == "error_envelope":
        message = fault.body or '{"error":"InternalError","message":"Simulated failure"}'
        return _text(200, message, {**_JSON, **fault.headers})
    return None


def _text(status: int, text: str, headers: dict[str, str]) -> web.Response:
    """
    Make an answer of some text.
    """
    return web.Response(status=status, body=text.encode(), headers=headers)


def _spoil_body(simulator: Simulator, fault: Fault, answer: web.Response, body: bytes) -> bytes:
    """
    Change the body of a good answer; the header that tells its length stays true.
    """
    if fault.kind == "cut_json":
        return body[: len(body) // 2]
    if fault.kind == "gzip":
        answer.headers["Content-Encoding"] = "gzip"
        return gzip.compress(body, compresslevel=1)
    if fault.kind == "wrong_encoding":
        answer.headers["Content-Encoding"] = "gzip"
        return body
    if fault.kind in ("without_items", "missing_id", "wrong_types"):
        page: dict[str, Any] = json.loads(body)
        _spoil_page(simulator, fault, page)
        return json.dumps(page).encode()
    return body


def _spoil_page(simulator: Simulator, fault: Fault, page: dict[str, Any]) -> None:
    """
    Change the items of a page: all gone, or the first of them damaged.
    """
    name = next((name for name in simulator.item_fields if name in page), None)
    if name is None:
        return
    if fault.kind == "without_items":
        del page[name]
    elif page[name] and fault.kind == "missing_id":
        del page[name][0][simulator.id_field]
    elif page[name]:
        first = page[name][0]
        for field, value in first.items():
            # Ids stay: this is about fields that do not fit, not about unknown items.
            if not field.endswith(("_identification", "Id")):
                first[field] = {"unexpected": True} if isinstance(value, str) else "unexpected"


async def _cut(request: web.Request, answer: web.Response, body: bytes) -> web.StreamResponse:
    """
    Promise the whole body, send half of it, and close.
    """
    stream = web.StreamResponse(status=answer.status, headers=_kept(answer))
    stream.content_length = len(body)
    await stream.prepare(request)
    await stream.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return stream


async def _drip(
    request: web.Request, answer: web.Response, body: bytes, seconds: float
) -> web.StreamResponse:
    """
    Send the body in twenty pieces, spread over some seconds.
    """
    stream = web.StreamResponse(status=answer.status, headers=_kept(answer))
    stream.content_length = len(body)
    await stream.prepare(request)
    step = max(1, -(-len(body) // 20))
    for start in range(0, len(body), step):
        await stream.write(body[start : start + step])
        await asyncio.sleep(seconds / 20)
    return stream


def _kept(answer: web.Response) -> dict[str, str]:
    """
    Take over the headers of an answer, but for its length.
    """
    return {name: value for name, value in answer.headers.items() if name != "Content-Length"}


async def _huge(simulator: Simulator, fault: Fault, request: web.Request) -> web.StreamResponse:
    """
    Send an answer that is JSON as far as anybody reads, and far too large.
    """
    blocks = -(-fault.size // len(_BLOCK))
    stream = web.StreamResponse(headers={**_JSON, **simulator.date(), **fault.headers})
    if fault.kind == "gzip_bomb":
        stream.headers["Content-Encoding"] = "gzip"
    await stream.prepare(request)
    if fault.kind == "gzip_bomb":
        head, block, tail = _bomb(blocks)
    else:
        head, block, tail = _PADDING[0], _BLOCK, _PADDING[1]
    await stream.write(head)
    for _ in range(blocks):
        await stream.write(block)
        # A write that fits the buffer does not yield; others have to be served meanwhile.
        await asyncio.sleep(0)
    await stream.write(tail)
    return stream


@lru_cache(maxsize=4)
def _bomb(blocks: int) -> tuple[bytes, bytes, bytes]:
    """
    Make a gzip stream of one long JSON text: its head, one block to repeat, its tail.

    After a full flush a block does not refer to what stands before it, so the same
    bytes may be repeated and nothing is compressed twice.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    parts = [
        packer.compress(text) + packer.flush(zlib.Z_FULL_FLUSH)
        for text in (_PADDING[0], _BLOCK, _PADDING[1])
    ]
    check = zlib.crc32(_PADDING[0])
    for _ in range(blocks):
        check = zlib.crc32(_BLOCK, check)
    check = zlib.crc32(_PADDING[1], check)
    size = len(b"".join(_PADDING)) + blocks * len(_BLOCK)
    trailer = struct.pack("<II", check, size & 0xFFFFFFFF)
    return _GZIP_HEAD + parts[0], parts[1], parts[2] + packer.flush() + trailer
