# SPDX-License-Identifier: Apache-2.0
"""
Server processes that end with us, however we end, and leave no files behind.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from connector.errors import OutsideError

_GUARD = Path(__file__).with_name("guard.py")
_LOG_TAIL = 30

# Below the ports that systems hand out by themselves, so that no client's own end
# can sit on a port while its broker is down, nor connect to itself there.
_PORTS = range(20000, 32000)


def free_port() -> int:
    """
    Find a TCP port of the loopback address on which nobody listens.

    Raises:
        OutsideError: Every port that was tried is taken.
    """
    for _ in range(100):
        port = _PORTS.start + secrets.randbelow(len(_PORTS))
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OutsideError(
        f"No free port was found between {_PORTS.start} and {_PORTS.stop} on 127.0.0.1. "
        "End other sandboxes and try again."
    )


class Guard:
    """
    A data folder and the servers in it, removed and killed when this process ends.

    The work is done by a process of its own (see ``guard.py``). Methods may be called
    from any thread.

    Attributes:
        folder: The data folder; exists until `close`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.folder = Path(self._read()["folder"])

    def request(self, **request: Any) -> dict[str, Any]:
        """
        Ask the guard for one thing, as described in ``guard.py``.

        Raises:
            OutsideError: The guard could not do it, or is gone.
        """
        with self._lock:
            if self._process.stdin is None or self._process.stdin.closed:
                raise OutsideError("The sandbox is closed: start a new one.")
            try:
                self._process.stdin.write(json.dumps(request).encode() + b"\n")
                self._process.stdin.flush()
            except OSError as error:
                raise OutsideError(
                    "The guard of the sandbox was killed, and its servers."
                ) from error
            return self._read()

    def _read(self) -> dict[str, Any]:
        if self._process.stdout is None:
            raise OutsideError("The guard of the sandbox has no pipe.")
        line = self._process.stdout.readline()
        if not line:
            raise OutsideError("The guard of the sandbox ended, and its servers with it.")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise OutsideError(f"A server of the sandbox could not be run: {answer['error']}")
        return answer

    def close(self) -> None:
        """
        Kill what still runs, remove the folder, and wait until both are done.
        """
        with self._lock:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None and not pipe.closed:
                    pipe.close()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Server:
    """
    One server that can be started, stopped, killed, frozen, and started again.

    Args:
        name: What it is, for messages: ``broker 1``.
        guard: The guard that owns the process.
        argv: The command. It stays the same, so a restart has the same ports and data.
        ready: Asks the server whether it serves; called until it returns True.
        start_timeout: Seconds until `start` gives up.
    """

    def __init__(
        self,
        name: str,
        *,
        guard: Guard,
        argv: Sequence[str],
        ready: Callable[[], bool],
        start_timeout: float = 60.0,
    ) -> None:
        self.name = name
        self.log = guard.folder / f"{name.replace(' ', '-')}.log"
        self._guard = guard
        self._argv = list(argv)
        self._ready = ready
        self._start_timeout = start_timeout
        self._process: int | None = None

    @property
    def running(self) -> bool:
        """
        Whether the process exists, frozen or not.
        """
        return self._process is not None and self._exit_code() is None

    def start(self) -> None:
        """
        Start it and wait until it serves.

        Raises:
            OutsideError: It ended at once or did not get ready; with the end of its log.
        """
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """
        Start it without waiting; nothing happens when it runs already.
        """
        if not self.running:
            answer = self._guard.request(do="run", argv=self._argv, log=str(self.log))
            self._process = answer["process"]

    def wait_ready(self) -> None:
        """
        Wait until it serves.

        Raises:
            OutsideError: It ended, or was not ready in time; with the end of its log.
        """
        deadline = time.monotonic() + self._start_timeout
        while True:
            if not self.running:
                raise OutsideError(f"{self._what()} ended while it started.{self._tail()}")
            if self._ready():
                return
            if time.monotonic() > deadline:
                self.kill()
                raise OutsideError(
                    f"{self._what()} did not get ready in {self._start_timeout:.0f} s.{self._tail()}"
                )
            time.sleep(0.05)

    def stop(self, timeout: float = 30.0) -> None:
        """
        Stop it cleanly (SIGTERM), or with SIGKILL when it takes longer than `timeout` seconds.
        """
        if self.running:
            self._signal(signal.SIGTERM)
            # A frozen process would never see the first signal.
            self._signal(signal.SIGCONT)
            if not self._ended(timeout):
                self.kill()

    def kill(self) -> None:
        """
        End it without warning (SIGKILL) and wait until it is gone.
        """
        if self.running:
            self._signal(signal.SIGKILL)
            self._ended(10.0)

    def pause(self) -> None:
        """
        Freeze it (SIGSTOP): its connections stay open and nobody answers.
        """
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """
        Let it go on after `pause` (SIGCONT).
        """
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """
        Stop it cleanly and start it with the same ports and the same data.
        """
        self.stop()
        self.start()

    def _signal(self, number: int) -> None:
        if self._process is None:
            raise OutsideError(f"{self._what()} was not started.")
        self._guard.request(do="signal", process=self._process, signal=int(number))

    def _exit_code(self) -> int | None:
        code: int | None = self._guard.request(do="poll", process=self._process)["exit_code"]
        return code

    def _ended(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while self.running:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def _what(self) -> str:
        return f"The sandbox's {self.name}"

    def _tail(self) -> str:
        """
        The last lines that the server wrote.
        """
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-_LOG_TAIL:]
        except OSError:
            return ""
        return " The end of its log:\n" + "\n".join(lines) if lines else " It wrote nothing."
