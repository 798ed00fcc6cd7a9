# SPDX-License-Identifier: Apache-2.0
"""
Waiting that a stop can end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def unless(stopped: asyncio.Event, awaited: Awaitable[T]) -> T | None:
    """
    Wait for a result, or give it up as soon as an event is set.

    Returns:
        The result; None if it was given up.
    """
    asked = asyncio.ensure_future(awaited)
    stopping = asyncio.ensure_future(stopped.wait())
    try:
        await asyncio.wait({asked, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            asked.cancel()
            await asyncio.wait({asked})
        return None if asked.cancelled() else asked.result()
    finally:
        stopping.cancel()
        # A failed task, its traceback and this frame would hold each other, and with them
        # whatever the failed call had opened.
        del asked
