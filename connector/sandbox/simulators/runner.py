# SPDX-License-Identifier: Apache-2.0
"""
Simulators beside code that is not asyncio: in a thread, or in a process of their own.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from connector.sandbox.simulators.faults import Fault
from connector.sandbox.simulators.server import Simulators

T = TypeVar("T")


class SimulatorThread:
    """
    Serves simulators from a thread; their ledgers can be read from any other.

    Args:
        simulators: What to serve, not started.
    """

    def __init__(self, simulators: Simulators) -> None:
        self.simulators = simulators
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def run(self, step: Coroutine[Any, Any, T]) -> T:
        """
        Run a coroutine, such as ``simulators.generate(...)``, where the simulators live.
        """
        return asyncio.run_coroutine_threadsafe(step, self._loop).result(timeout=30)

    def __enter__(self) -> Simulators:
        """
        Start serving.
        """
        self._thread.start()
        self.run(self.simulators.start())
        return self.simulators

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """
        Stop serving.
        """
        self.run(self.simulators.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Remote:
    """
    Speaks to simulators in another process, by the paths that ``control.py`` serves.

    Args:
        url: Their origin.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def ledger(self, name: str, *, since: int = 0, body: bool = True) -> list[dict[str, Any]]:
        """
        Read a ledger: ``seq``, ``id``, ``key``, ``event_time``, ``visible_at`` and ``body``.
        """
        path = f"/_ledger/{name}?since={since}&body={str(body).lower()}"
        return [json.loads(line) for line in self._call("GET", path).splitlines()]

    def requests(self, name: str) -> dict[str, Any]:
        """
        Read a request log: ``counts``, ``recent`` and ``max_in_flight``.
        """
        return self._json("GET", f"/_requests/{name}")

    def faults(self, name: str) -> dict[str, Any]:
        """
        Read what faults are ``armed``, and the ``hits`` so far by kind.
        """
        return self._json("GET", f"/_faults/{name}")

    def fault(self, name: str, *faults: Fault) -> None:
        """
        Arm faults.
        """
        self._call("POST", f"/_faults/{name}", [fault.model_dump() for fault in faults])

    def clear_faults(self, name: str) -> None:
        """
        Disarm all faults.
        """
        self._call("DELETE", f"/_faults/{name}")

    def offer(self, name: str, **words: Any) -> list[dict[str, Any]]:
        """
        Add events in the words of ``Offer``; gives their ledger entries without bodies.
        """
        added: list[dict[str, Any]] = json.loads(self._call("POST", f"/_events/{name}", words))
        return added

    def configure(self, name: str, **changes: Any) -> None:
        """
        Switch options.
        """
        self._call("POST", f"/_options/{name}", changes)

    def generate(self, name: str, **words: Any) -> None:
        """
        Let events come, in the words of ``Rhythm``.
        """
        self._call("POST", f"/_generator/{name}", words)

    def quiet(self, name: str) -> None:
        """
        Let no more events come.
        """
        self._call("DELETE", f"/_generator/{name}")

    def revoke_tokens(self) -> None:
        """
        Let MonetaGo's tokens die.
        """
        self._call("DELETE", "/_tokens/monetago")

    def _json(self, method: str, path: str) -> dict[str, Any]:
        """
        Call for one JSON object.
        """
        value: dict[str, Any] = json.loads(self._call(method, path))
        return value

    def _call(self, method: str, path: str, body: Any = None) -> bytes:
        """
        Make one call.

        Raises:
            ValueError: The simulators refused it; the text says why.
        """
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise ValueError(f"{method} {path}: {answer.status} {content.decode()}")
        return content


class SimulatorProcess(Remote):
    """
    Simulators in a process of their own, which ends with this one however that ends.

    Args:
        arguments: Those of ``python -m connector.sandbox.simulators``.
    """

    def __init__(self, *arguments: str) -> None:
        super().__init__("")
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None
        self._env: Mapping[str, str] = {}

    def env(self) -> dict[str, str]:
        """
        Give the connector's variables, all but ``…_START``.
        """
        return dict(self._env)

    @property
    def pid(self) -> int:
        """
        Give the system's id of the process, 0 before it was started.
        """
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """
        Start the process and wait until it listens.

        Raises:
            RuntimeError: It ended before; its own text stands on standard error.
        """
        command = [sys.executable, "-m", "connector.sandbox.simulators", *self._arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            self.stop()
            raise RuntimeError("the simulators ended before they listened")
        told = json.loads(line)
        self.url, self._env = told["url"], told["env"]

    def stop(self) -> None:
        """
        Close the pipe, at which the process ends; kill it if it does not.
        """
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()

    def __enter__(self) -> Self:
        """
        Start.
        """
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """
        Stop.
        """
        self.stop()
