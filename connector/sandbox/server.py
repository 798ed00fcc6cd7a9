# SPDX-License-Identifier: Apache-2.0
"""
What the servers of a sandbox have in common.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from connector.sandbox.process import Guard, Process

# Far more than a start takes, even on a computer with much else to do.
_START_TIMEOUT = 120.0


class Server(Process):
    """
    A process that can be asked whether it serves.

    Args:
        name: What it is, for messages: ``broker 1``.
        guard: The guard that owns it.
        argv: The command.
        ready: Asks the server itself; may block for some seconds.
    """

    def __init__(
        self, name: str, guard: Guard, argv: Sequence[str], ready: Callable[[], bool]
    ) -> None:
        super().__init__(name, guard, argv)
        self._ready = ready

    def start(self) -> None:
        """
        Start it and wait until it serves.

        Raises:
            OutsideError: It ended at once or did not get ready; with the end of its log.
        """
        self.launch()
        self.wait()

    def wait(self) -> None:
        """
        Wait until it serves.

        Raises:
            OutsideError: It ended or did not get ready; with the end of its log.
        """
        deadline = time.monotonic() + _START_TIMEOUT
        while self.running:
            if self._ready():
                return
            if time.monotonic() > deadline:
                raise self.failure(f"did not get ready in {_START_TIMEOUT:.0f} s")
            time.sleep(0.05)
        raise self.failure(f"ended while it started (exit code {self.exit_code})")

    def restart(self) -> None:
        """
        Stop it cleanly and start it again, with the same ports and the same data.
        """
        self.stop()
        self.start()


class Service(ABC):
    """
    Servers under one guard; used with ``with``, or by `start` and `close`.

    Args:
        guard: The guard of a larger service, which closes it; None makes one.
    """

    def __init__(self, guard: Guard | None) -> None:
        self._guard = guard or Guard()
        self._owns_guard = guard is None

    @abstractmethod
    def start(self) -> None:
        """
        Start everything and wait until it serves.
        """

    def close(self) -> None:
        """
        End everything at once and remove the data.
        """
        if self._owns_guard:
            self._guard.close()

    def __enter__(self) -> Self:
        """
        Start; what was begun is closed again when that fails.
        """
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """
        Close.
        """
        self.close()
