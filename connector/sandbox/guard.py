# SPDX-License-Identifier: Apache-2.0
"""
Keeps servers no longer alive than the process that wanted them.

This file runs as a process of its own, with the standard library alone::

    python -I -S guard.py <parent process id>

It makes a data folder, starts servers and signals them as its parent asks on
standard input, one JSON object a line, and answers each with one line. When that
pipe ends, however the parent ended, it kills the servers and removes the folder.
``PR_SET_PDEATHSIG`` alone would not do: it is tied to the thread that started the
server, leaves a gap between fork and prctl, removes no folder, and macOS has none.

Requests and answers::

    (at the start)                              {"folder": "/tmp/connector-sandbox-…"}
    {"do": "run", "argv": […], "log": path}     {"process": n, "pid": pid}
    {"do": "signal", "process": n, "signal": s} {}
    {"do": "poll", "process": n}                {"exit_code": null | code}

A request that fails is answered with ``{"error": text}``.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import Any

# A forked child of the parent may hold our pipe open after the parent was killed,
# so the parent's process id is looked at as well, this often (seconds).
PARENT_CHECK = 1.0

_PR_SET_PDEATHSIG = 1


def _die_with_guard() -> None:
    """
    Ask Linux to kill this child when the guard itself is killed.

    Safe between fork and exec because the guard has one thread.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Servers:
    """
    The servers of one data folder.
    """

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """
        Do what one request asks for.
        """
        if request["do"] == "run":
            return self._run(request["argv"], request["log"])
        process = self._processes[request["process"]]
        if request["do"] == "signal":
            process.send_signal(request["signal"])
            return {}
        return {"exit_code": process.poll()}

    def _run(self, argv: list[str], log: str) -> dict[str, Any]:
        with open(log, "ab") as output:  # noqa: PTH123 - pathlib doubles the start time
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_guard if sys.platform == "linux" else None,  # noqa: PLW1509 - one thread
            )
        self._processes.append(process)
        return {"process": len(self._processes) - 1, "pid": process.pid}

    def kill(self) -> None:
        """
        Kill what still runs; SIGKILL ends stopped processes too.
        """
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()


def _serve(servers: Servers, parent: int) -> None:
    """
    Answer requests until the pipe ends or the parent is another one.
    """
    buffer = b""
    while True:
        ready, _, _ = select.select([0], [], [], PARENT_CHECK)
        if not ready:
            if os.getppid() != parent:
                return
            continue
        data = os.read(0, 65536)
        if not data:
            return
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            try:
                answer = servers.answer(json.loads(line))
            except OSError as error:
                answer = {"error": error.strerror}
            _reply(answer)


def _reply(answer: dict[str, Any]) -> None:
    os.write(1, json.dumps(answer).encode() + b"\n")


def _ignore(_number: int, _frame: object) -> None:
    """
    Take note of a signal and go on.
    """


def main() -> None:
    """
    Guard one data folder until the parent is gone.
    """
    # The parent decides when we end, not the terminal that both hang on. A handler rather
    # than SIG_IGN: that would be inherited, and Java would not hear its SIGTERM either.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ignore)
    try:
        folder = tempfile.mkdtemp(prefix="connector-sandbox-")
    except OSError as error:
        _reply({"error": f"no data folder could be made ({error.strerror})"})
        return
    servers = Servers()
    try:
        # Dumps of a crashed Java land in the working folder, and shall go with it.
        os.chdir(folder)
        _reply({"folder": folder})
        _serve(servers, int(sys.argv[1]))
    finally:
        servers.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
