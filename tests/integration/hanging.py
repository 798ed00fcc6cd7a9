# SPDX-License-Identifier: Apache-2.0
"""
``connector run`` whose threads hang for as long as a file exists.

Usage: ``python hanging.py <folder>``; the files are ``group`` (the thread that polls the
group) and ``loop`` (the event loop).
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from connector.cli import main
from connector.kafka.group import Group
from connector.worker import Worker

FOLDER = Path(sys.argv.pop(1))


def hang(name: str) -> None:
    while (FOLDER / name).exists():
        time.sleep(0.02)


poll, run = Group._poll, Worker.run


def hanging_poll(group: Group) -> None:
    hang("group")
    poll(group)


async def hanging_run(worker: Worker) -> None:
    async def hang_now_and_then() -> None:
        while True:
            await asyncio.sleep(0.02)
            hang("loop")

    hanging = asyncio.create_task(hang_now_and_then())
    try:
        await run(worker)
    finally:
        hanging.cancel()


Group._poll = hanging_poll  # type: ignore[method-assign] - that is what it is for
Worker.run = hanging_run  # type: ignore[method-assign] - likewise
sys.argv.append("run")
main()
