# SPDX-License-Identifier: Apache-2.0
"""
The demonstration: everything real but the providers, and a kill -9 in the middle.

Each actor is the program that a user would run, in a process of its own: ``connector
run`` is killed, ``connector tail`` shows what a read_committed consumer sees, and
``connector verify`` judges the topics. What the simulated providers offered is counted
against what was read, apart from that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from connector.errors import ConnectorError
from connector.sandbox.simulators.runner import SimulatorProcess

# Half of a run comes before the kill, half after it.
_BEFORE_SECONDS = 6.0
_AFTER_SECONDS = 4.0
# The simulated Stedi holds back what is younger, as the real one does with 15 s.
_HOLD_BACK_SECONDS = 0.5
_CATCH_UP_SECONDS = 40.0
_STREAMS = {"monetago": "activity", "stedi": "transactions"}
# A killed worker is forgotten after this; short, so that the show goes on.
_SESSION_MS = "3000"


class DemoError(ConnectorError):
    """
    The demonstration did not show what it promises.
    """


class Tail:
    """
    ``connector tail``, whose lines are printed and remembered.

    Args:
        environment: The variables of the connector.
        console: Where the lines go; None shows nothing.
    """

    def __init__(self, environment: Mapping[str, str], console: Console | None) -> None:
        self._console = console
        self._process = subprocess.Popen(
            [sys.executable, "-m", "connector", "tail", "--from-beginning", "--follow"],
            env=dict(environment),
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ids: dict[str, Counter[str]] = {}
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """
        End the process and read what it still said.
        """
        self._process.terminate()
        self._process.wait(timeout=10)
        self._thread.join(timeout=10)

    def _read(self) -> None:
        for line in self._process.stdout or ():
            record = json.loads(line)
            self.ids.setdefault(record["topic"], Counter())[record["headers"]["id"]] += 1
            if self._console is not None:
                self._console.out(line.rstrip("\n"), highlight=False)


class WorkerProcess:
    """
    ``connector run``, with its log in a file.

    Args:
        environment: The variables of the connector.
        log: Where its log goes.
    """

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._environment = dict(environment)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> int:
        """
        Start it; gives its process id.
        """
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "connector", "run"],
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        return self._process.pid

    def kill(self) -> None:
        """
        Kill it with -9.
        """
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """
        Ask it to stop; gives its exit code.
        """
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            return self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.kill()
            return -9

    def refuse_dead(self) -> None:
        """
        Raise if it has ended by itself.
        """
        if self._process is not None and self._process.poll() is not None:
            tail = self._log.read_text(errors="replace").splitlines()[-5:]
            raise DemoError("The worker ended by itself. Its last lines:\n" + "\n".join(tail))


def demonstrate(
    environment: Mapping[str, str],
    simulators: SimulatorProcess,
    *,
    console: Console,
    show_records: bool,
    log: Path,
) -> None:
    """
    Run the demonstration against a Kafka and a registry that are up.

    Args:
        environment: The variables of the connector.
        simulators: The running simulators, with events.
        console: Where to show it.
        show_records: Print every record that is read.
        log: Where the worker's log goes.

    Raises:
        DemoError: Something was lost, repeated, or did not come.
    """
    variables = {
        **os.environ,
        **environment,
        "CONNECTOR_KAFKA_SESSION_TIMEOUT_MS": _SESSION_MS,
        "CONNECTOR_LOG_FORMAT": "json",
    }
    for name in _STREAMS:
        simulators.generate(name, rate=15.0)
    simulators.configure("stedi", hold_back=_HOLD_BACK_SECONDS)
    worker = WorkerProcess(variables, log)
    console.rule(f"connector run: worker {worker.start()} starts, its log is {log}")
    _wait_for_topics(variables, worker)
    tail = Tail(variables, console if show_records else None)
    try:
        _watch(worker, _BEFORE_SECONDS)
        worker.kill()
        console.rule("kill -9: the worker is gone in the middle of its work")
        time.sleep(1.0)
        console.rule(f"connector run: worker {worker.start()} takes over from what Kafka says")
        _watch(worker, _AFTER_SECONDS)
        for name in _STREAMS:
            simulators.quiet(name)
        _wait_for_all(simulators, environment, tail, worker)
        code = worker.stop()
    finally:
        worker.kill()
        tail.stop()
    if code != 0:
        raise DemoError(f"The worker ended with exit code {code} when asked to stop.")
    console.rule("connector verify: nothing missing, nothing twice")
    verified = subprocess.run(
        [sys.executable, "-m", "connector", "verify"], env=variables, check=False
    )
    if verified.returncode != 0:
        raise DemoError("connector verify found something.")
    for name, offered, counts in _deliveries(simulators, environment, tail):
        twice = sum(count - 1 for count in counts.values())
        missing = len(offered - counts.keys())
        console.print(
            f"{name}: offered {len(offered)}, read {counts.total()}, missing {missing}, "
            f"twice {twice}"
        )
        if missing or twice:
            raise DemoError(f"{name}: {missing} missing, {twice} twice.")


def _watch(worker: WorkerProcess, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        worker.refuse_dead()
        time.sleep(0.1)


def _wait_for_topics(variables: Mapping[str, str], worker: WorkerProcess) -> None:
    """
    Wait until the worker has created its topics: before that there is nothing to tail.
    """
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415 - slow to import

    admin = AdminClient({"bootstrap.servers": variables["CONNECTOR_KAFKA_BOOTSTRAP_SERVERS"]})
    end = time.monotonic() + _CATCH_UP_SECONDS
    wanted = {f"{source}.{stream}" for source, stream in _STREAMS.items()}
    while not wanted <= set(admin.list_topics(timeout=5).topics):
        worker.refuse_dead()
        if time.monotonic() > end:
            raise DemoError("The worker did not create its topics.")
        time.sleep(0.1)


def _wait_for_all(
    simulators: SimulatorProcess,
    environment: Mapping[str, str],
    tail: Tail,
    worker: WorkerProcess,
) -> None:
    end = time.monotonic() + _CATCH_UP_SECONDS
    while any(
        offered - counts.keys() for _, offered, counts in _deliveries(simulators, environment, tail)
    ):
        worker.refuse_dead()
        if time.monotonic() > end:
            return  # What is missing is counted, and told, at the end.
        time.sleep(0.2)


def _deliveries(
    simulators: SimulatorProcess, environment: Mapping[str, str], tail: Tail
) -> list[tuple[str, set[str], Counter[str]]]:
    prefix = environment.get("CONNECTOR_TOPIC_PREFIX", "")
    return [
        (
            f"{source}.{stream}",
            {event["id"] for event in simulators.ledger(source, body=False)},
            Counter(tail.ids.get(f"{prefix}{source}.{stream}", {})),
        )
        for source, stream in _STREAMS.items()
    ]
