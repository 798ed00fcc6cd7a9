# SPDX-License-Identifier: Apache-2.0
"""
The admin port: health, metrics and status over HTTP, read-only (DESIGN section 10).
"""

from __future__ import annotations

from typing import Any, Protocol

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from connector.admin.metrics import Metrics

# The group's thread may wait this long in one legal step: a commit that proves ownership
# while a broker is away, or a revocation that waits for transactions.
_GROUP_SILENCE_SECONDS = 90.0


class Subject(Protocol):
    """
    What the admin port reports on.
    """

    metrics: Metrics

    def alive(self, silence: float) -> bool:
        """
        True while the loops make progress.

        Args:
            silence: Seconds that the group's thread may be silent.
        """
        ...

    def not_ready(self) -> list[str]:
        """
        Why this worker is not ready; empty if it is.
        """
        ...

    def status(self) -> dict[str, Any]:
        """
        Tell everything that there is to tell, without a secret.
        """
        ...


def make_app(subject: Subject) -> web.Application:
    """
    Make the application of the admin port.
    """

    async def live(_request: web.Request) -> web.Response:
        alive = subject.alive(_GROUP_SILENCE_SECONDS)
        return web.Response(
            text="alive\n" if alive else "a loop makes no progress\n", status=200 if alive else 503
        )

    async def ready(_request: web.Request) -> web.Response:
        reasons = subject.not_ready()
        text = "".join(f"{reason}\n" for reason in reasons) or "ready\n"
        return web.Response(text=text, status=503 if reasons else 200)

    async def metrics(_request: web.Request) -> web.Response:
        body = generate_latest(subject.metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def status(_request: web.Request) -> web.Response:
        body = orjson.dumps(subject.status(), option=orjson.OPT_INDENT_2)
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.add_routes(
        [
            web.get("/live", live),
            web.get("/ready", ready),
            web.get("/metrics", metrics),
            web.get("/status", status),
        ]
    )
    return app


async def serve(subject: Subject, host: str, port: int) -> tuple[web.AppRunner, int]:
    """
    Listen on the admin port.

    Returns:
        What to clean up at the end, and the port that was taken.

    Raises:
        OSError: The address cannot be listened on.
    """
    runner = web.AppRunner(make_app(subject), access_log=None, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError:
        await runner.cleanup()
        raise
    return runner, runner.addresses[0][1]
