# SPDX-License-Identifier: Apache-2.0
"""
What the tests on real servers share: one broker and registry, and processes that end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from connector.sandbox import Sandbox
from connector.sandbox.simulators.runner import SimulatorProcess
from tests.integration.farm import Farm
from tests.integration.seeing import RunningReader
from tests.integration.workers import Worker

# Where the broker comes from: TEST_BROKER names one of these.
BROKERS: Mapping[str, Callable[[], Sandbox]] = {"sandbox": Sandbox}

_WORKERS = pytest.StashKey[list[Worker]]()


class Cluster(NamedTuple):
    """
    A real broker and a real registry that all tests share; topics have names of their own.
    """

    bootstrap_servers: str
    registry_url: str


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """
    Start one broker and one registry for all tests; who stops one starts it again.
    """
    kind = os.environ.get("TEST_BROKER", "sandbox")
    if kind not in BROKERS:
        pytest.exit(f"TEST_BROKER has to be one of: {', '.join(BROKERS)}", returncode=4)
    with BROKERS[kind]() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def cluster(sandbox: Sandbox) -> Cluster:
    """
    Give the addresses alone, to tests that never stop a server.
    """
    return Cluster(sandbox.bootstrap_servers, sandbox.registry_url)


@pytest.fixture
def simulate() -> Iterator[Callable[..., SimulatorProcess]]:
    """
    Start simulated providers with arguments of ``python -m connector.sandbox.simulators``.
    """
    started: list[SimulatorProcess] = []

    def start(*arguments: str) -> SimulatorProcess:
        process = SimulatorProcess(*arguments)
        started.append(process)
        process.start()
        return process

    yield start
    for process in started:
        process.stop()


@pytest.fixture
def simulator(simulate: Callable[..., SimulatorProcess]) -> SimulatorProcess:
    """
    Start simulated providers that have no events yet.
    """
    return simulate()


@pytest.fixture
def farm() -> Iterator[Farm]:
    """
    Serve many simulated providers of different variants in this process.
    """
    with Farm() as farm:
        yield farm


@pytest.fixture
def worker(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[Mapping[str, str]], Worker]]:
    """
    Make workers, not started; they are killed at the end, and shown if the test failed.
    """
    made: list[Worker] = []
    request.node.stash[_WORKERS] = made

    def make(environment: Mapping[str, str]) -> Worker:
        made.append(Worker(environment, tmp_path / f"worker-{len(made) + 1}.log"))
        return made[-1]

    yield make
    for one in made:
        one.kill()


@pytest.fixture
def watch(sandbox: Sandbox) -> Iterator[Callable[..., RunningReader]]:
    """
    Read topics as read_committed all the time that a test runs.
    """
    readers: list[RunningReader] = []

    def start(*topics: str) -> RunningReader:
        readers.append(RunningReader(sandbox.bootstrap_servers, *topics))
        readers[-1].start()
        return readers[-1]

    yield start
    for reader in readers:
        reader.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    """
    Show the ends of the workers' logs with a test that failed.
    """
    report = yield
    if report.failed:
        for one in item.stash.get(_WORKERS, []):
            report.sections.append(
                (f"worker {one.log.name}, exit code {one.exit_code}", one.tail())
            )
    return report
