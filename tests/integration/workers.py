# SPDX-License-Identifier: Apache-2.0
"""
The connector as its users run it: processes of their own, seen from outside only.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from connector.sandbox import Sandbox
from connector.sandbox.environment import connector_environment

# What a process needs to live; no variable that the connector would take for a setting.
_KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ")
_WENT_WELL = '"event":"transaction_committed"'
_SAMPLE = re.compile(r"^(?P<name>\w+(?:\{.*\})?) (?P<value>\S+)$", re.MULTILINE)


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """
    Add what a process needs to live, and nothing else of ours.
    """
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | dict(environment)


def settings(
    sandbox: Sandbox, providers: Mapping[str, str], *, name: str = "c", **changes: str | None
) -> dict[str, str]:
    """
    Give the variables of a connector whose topics, group and ids are its own.

    Args:
        sandbox: Where Kafka and the registry are.
        providers: What ``SimulatorProcess.env`` gives; it decides which sources there are.
        name: ``CONNECTOR_NAME``; the topic prefix is new with each call.
        changes: Further variables, lower case; None removes one.
    """
    environment = {
        **connector_environment(sandbox, providers, name=name),
        "CONNECTOR_TOPIC_PREFIX": f"t{uuid.uuid4().hex[:10]}.",
        "CONNECTOR_LOG_FORMAT": "json",
    }
    for key, value in changes.items():
        if value is None:
            environment.pop(key.upper(), None)
        else:
            environment[key.upper()] = value
    return environment


def account(
    variables: Mapping[str, str], provider: str, suffix: str, **changes: str
) -> dict[str, str]:
    """
    Rename a provider's variables to those of a further account, ``provider:suffix``.
    """
    before, after = f"{provider.upper()}_", f"{provider.upper()}_{suffix.upper()}_"
    renamed = {
        after + name.removeprefix(before): value
        for name, value in variables.items()
        if name.startswith(before)
    }
    return renamed | {f"{after}{name.upper()}": value for name, value in changes.items()}


def eventually(
    condition: Callable[[], Any], timeout: float, what: str = "", *, every: float = 0.05
) -> Any:
    """
    Wait until a condition gives something true, and give that.

    Raises:
        TimeoutError: It did not in time.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {timeout:g} s: {what or condition}")
        time.sleep(every)
    return value


def command(
    environment: Mapping[str, str], *arguments: str, timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """
    Run one command of the connector to its end.
    """
    return subprocess.run(
        [sys.executable, "-m", "connector", *arguments],
        env=scrubbed(environment),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


class Worker:
    """
    One ``connector run`` that can be started, killed, frozen, and started again.

    Args:
        environment: All its variables, and no others.
        log: The file for its standard error; every start appends to it.

    Attributes:
        program: What is started; a test may put a program around ``connector run``.
    """

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self.program: Sequence[str] = ("-m", "connector", "run")
        self.environment = dict(environment)
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0
        self._port: int | None = None

    @property
    def pid(self) -> int:
        """
        The system's id of the latest start.
        """
        if self._process is None:
            raise RuntimeError("the worker was never started")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """
        How it ended, None while it runs.
        """
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        return self._process is not None and self.exit_code is None

    def start(self) -> Worker:
        """
        Start it without waiting for anything.
        """
        assert not self.running
        self._began = self.log.stat().st_size if self.log.exists() else 0
        self._port = None
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self.program],
                env=scrubbed(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    def kill(self) -> None:
        """
        End it without warning.
        """
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> None:
        """
        Ask it to end, without waiting.
        """
        self._signal(signal.SIGTERM)

    def stop(self, timeout: float = 40.0) -> int:
        """
        Ask it to end, and give its exit code.
        """
        self.terminate()
        return self.wait(timeout)

    def wait(self, timeout: float = 40.0) -> int:
        """
        Wait for its end, and give its exit code.
        """
        assert self._process is not None
        return self._process.wait(timeout)

    def suspend(self) -> None:
        """
        Freeze it: it holds what it holds, and does nothing.
        """
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """
        Let it go on.
        """
        self._signal(signal.SIGCONT)

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """
        List what the latest start logged, all or those of one event.
        """
        if not self.log.exists():
            return []
        with self.log.open("rb") as log:
            log.seek(self._began)
            lines = log.read().split(b"\n")[:-1]
        found = [_parsed(line) for line in lines]
        return [event for event in found if name is None or event.get("event") == name]

    def port(self, timeout: float = 30.0) -> int:
        """
        Give its admin port, which it tells once it listens.
        """
        if self._port is None:
            told = eventually(
                lambda: self.events("worker_started") or not self.running,
                timeout,
                "the worker told no admin port",
            )
            if told is True:
                raise RuntimeError(f"the worker ended ({self.exit_code}) before it listened")
            self._port = int(told[0]["admin_port"])
        return self._port

    def get(self, path: str) -> tuple[int, str]:
        """
        Ask its admin port; status and text.

        Raises:
            OSError: It does not answer.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port(), timeout=15)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def ready(self) -> bool:
        return self._answers("/ready")

    def live(self) -> bool:
        return self._answers("/live")

    def status(self) -> dict[str, Any]:
        """
        Read ``/status``.
        """
        found: dict[str, Any] = json.loads(self.get("/status")[1])
        return found

    def feed(self, source_partition: str) -> dict[str, Any]:
        """
        Read one feed of ``/status``; empty while this worker does not serve it.
        """
        feeds = self.status()["feeds"]
        return next((f for f in feeds if f["source_partition"] == source_partition), {})

    def metrics(self) -> dict[str, float]:
        """
        Read ``/metrics``, by name with labels.
        """
        text = self.get("/metrics")[1]
        return {found["name"]: float(found["value"]) for found in _SAMPLE.finditer(text)}

    def metric(self, name: str, **labels: str) -> float:
        """
        Add up the samples of one name whose labels include these; 0 if there is none.
        """
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(
            value
            for sample, value in self.metrics().items()
            if sample.partition("{")[0] == name and all(label in sample for label in wanted)
        )

    def memory(self, field: str = "VmRSS") -> int:
        """
        Read its memory in bytes from the kernel: ``VmRSS`` now, ``VmHWM`` the most ever.
        """
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    def wait_until(
        self, condition: Callable[[Worker], Any], timeout: float = 30.0, what: str = ""
    ) -> Any:
        """
        Wait until a condition on this worker holds; one that does not answer fulfils none.

        Raises:
            RuntimeError: It ended.
            TimeoutError: The condition did not hold in time.
        """

        def holds() -> Any:
            if not self.running:
                raise RuntimeError(f"the worker ended ({self.exit_code}): {what}")
            try:
                return condition(self)
            except OSError:
                return None

        return eventually(holds, timeout, what)

    def wait_ready(self, timeout: float = 40.0) -> Worker:
        """
        Wait until it says that it is ready.
        """
        self.wait_until(Worker.ready, timeout, "ready")
        return self

    def tail(self, lines: int = 60) -> str:
        """
        Give the end of its log, but for the many lines about transactions that went well.
        """
        if not self.log.exists():
            return ""
        all_lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join([line for line in all_lines if _WENT_WELL not in line][-lines:])

    def _answers(self, path: str) -> bool:
        return self.get(path)[0] == 200

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        # Not a line of the log: a traceback of the interpreter, say.
        event = None
    return event if isinstance(event, dict) else {"text": line.decode(errors="replace")}
