# SPDX-License-Identifier: Apache-2.0
"""
Processes that end with us, however we end, and leave no files behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from connector.errors import OutsideError

_GUARD = Path(__file__).with_name("guard.py")
_LOG_TAIL = 30

# All that a server sees of our environment: no credentials, and none of the variables
# that Java, Kafka, or the registry take for settings.
_ENVIRONMENT = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ")


class Guard:
    """
    A data folder and the processes in it, removed and killed when this process ends.

    The work is done by a process of its own (see ``guard.py``), which begins at the
    first use. Methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path()
        self._closed = False

    @property
    def folder(self) -> Path:
        """
        The data folder, until `close`.

        Raises:
            OutsideError: It could not be made, or the guard is closed.
        """
        with self._lock:
            self._pipes()
            return self._folder

    def request(self, **request: Any) -> dict[str, Any]:
        """
        Ask the guard for one thing, as described in ``guard.py``.

        Raises:
            OutsideError: The guard could not do it, or is gone.
        """
        with self._lock:
            to_guard, from_guard = self._pipes()
            try:
                to_guard.write(json.dumps(request).encode() + b"\n")
                to_guard.flush()
            except OSError as error:
                raise OutsideError("The guard of the sandbox was killed.") from error
            return _read(from_guard)

    def close(self) -> None:
        """
        Kill what still runs, remove the folder, and wait until both are done.
        """
        with self._lock:
            self._closed = True
            if self._process is not None:
                for pipe in (self._process.stdin, self._process.stdout):
                    # A request that a killed guard never read is flushed once more here.
                    with contextlib.suppress(OSError):
                        if pipe is not None:
                            pipe.close()
                self._process.wait()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._closed:
            raise OutsideError("The sandbox is closed; start a new one.")
        first = self._process is None
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Ctrl-C in a terminal is for us to handle, not for the servers.
                start_new_session=True,
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            )
        to_guard, from_guard = self._process.stdin, self._process.stdout
        if to_guard is None or from_guard is None:
            raise AssertionError
        if first:
            self._folder = Path(_read(from_guard)["folder"])
        return to_guard, from_guard


def _read(from_guard: IO[bytes]) -> dict[str, Any]:
    line = from_guard.readline()
    if not line:
        raise OutsideError("The guard of the sandbox ended, and its servers with it.")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise OutsideError(f"The sandbox could not start a process: {answer['error']}.")
    return answer


class Process:
    """
    One command that can be run, killed, frozen, and run again.

    Args:
        name: What it is, for messages: ``broker 1``.
        guard: The guard that owns it.
        argv: The command. It stays the same, so a second run has the same ports and data.

    Attributes:
        name: As given.
        log: The file that it writes to.
        pid: The system's id of its latest run, 0 before the first.
    """

    def __init__(self, name: str, guard: Guard, argv: Sequence[str]) -> None:
        self.name = name
        self.log = guard.folder / f"{name.replace(' ', '-')}.log"
        self._guard = guard
        self._argv = list(argv)
        self.pid = 0
        self._id: int | None = None
        self._paused = False

    @property
    def exit_code(self) -> int | None:
        """
        How it ended (a negative number is a signal), None while it runs or before.
        """
        if self._id is None:
            return None
        code: int | None = self._guard.request(do="poll", process=self._id)["exit_code"]
        return code

    @property
    def running(self) -> bool:
        """
        Whether the process exists, paused or not.
        """
        return self._id is not None and self.exit_code is None

    @property
    def paused(self) -> bool:
        """
        Whether it was frozen by `pause`.
        """
        return self._paused and self.running

    def launch(self) -> None:
        """
        Start it without waiting; nothing happens when it runs already.

        Raises:
            OutsideError: The system does not run the command.
        """
        if not self.running:
            answer = self._guard.request(do="run", argv=self._argv, log=str(self.log))
            self._id = answer["process"]
            self.pid = answer["pid"]
            self._paused = False

    def terminate(self) -> None:
        """
        Ask it to end (SIGTERM) without waiting.
        """
        if self.running:
            self._signal(signal.SIGTERM)
            # A frozen process would not see it.
            self.resume()

    def stop(self, timeout: float = 30.0) -> None:
        """
        Stop it cleanly (SIGTERM), or kill it when that takes longer than `timeout` seconds.
        """
        self.terminate()
        if not self.ended(timeout):
            self.kill()

    def kill(self) -> None:
        """
        End it without warning (SIGKILL) and wait until it is gone.
        """
        if self.running:
            self._signal(signal.SIGKILL)
            self.ended(10.0)

    def pause(self) -> None:
        """
        Freeze it (SIGSTOP): its connections stay open and nobody answers.
        """
        self._signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """
        Let it go on after `pause` (SIGCONT).
        """
        self._signal(signal.SIGCONT)
        self._paused = False

    def ended(self, timeout: float) -> bool:
        """
        Wait at most `timeout` seconds for its end; tell whether it ended.
        """
        deadline = time.monotonic() + timeout
        while self.running:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def failure(self, what: str) -> OutsideError:
        """
        Make an error that says what happened to it, with the end of its log.
        """
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-_LOG_TAIL:]
        except OSError:
            lines = []
        tail = "The end of its log:\n" + "\n".join(lines) if lines else "It wrote no log."
        return OutsideError(f"The sandbox's {self.name} {what}. {tail}")

    def _signal(self, number: signal.Signals) -> None:
        if self._id is None:
            raise OutsideError(f"The sandbox's {self.name} was not started.")
        self._guard.request(do="signal", process=self._id, signal=int(number))
