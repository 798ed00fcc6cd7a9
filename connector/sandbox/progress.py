# SPDX-License-Identifier: Apache-2.0
"""
What a sandbox tells people: short lines, and a bar while it downloads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Progress:
    """
    Messages and bars on a console; silent without one.

    Where the console is no terminal, a bar becomes a line for every quarter.

    Args:
        console: Where to write; None writes nothing.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console

    def say(self, text: str) -> None:
        """
        Write one line.
        """
        if self._console is not None:
            self._console.print(text, markup=False, highlight=False)

    @contextmanager
    def bar(self, text: str, total: int) -> Iterator[Callable[[int], None]]:
        """
        Show how much of `total` bytes is done.

        Yields:
            A function that takes the bytes that came since its last call (a negative
            number when they have to come again), from any thread.
        """
        if self._console is None or not self._console.is_terminal:
            self.say(text)
            yield self._lines(total)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        with RichProgress(*columns, TimeRemainingColumn(), console=self._console) as rich:
            task = rich.add_task(text, total=total)
            yield lambda amount: rich.advance(task, amount)

    def _lines(self, total: int) -> Callable[[int], None]:
        lock = threading.Lock()
        done = 0
        told = 0

        def advance(amount: int) -> None:
            nonlocal done, told
            with lock:
                done += amount
                quarter = 4 * done // max(total, 1)
                if quarter > told:
                    told = quarter
                    self.say(f"  {done / 1e6:.0f} of {total / 1e6:.0f} MB")

        return advance
