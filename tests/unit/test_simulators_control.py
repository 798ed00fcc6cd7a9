# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from connector.sandbox.simulators import (
    Fault,
    Remote,
    Rhythm,
    SimulatorProcess,
    Simulators,
    SimulatorThread,
    times,
)
from connector.sandbox.simulators.generator import Generator
from connector.sandbox.simulators.simulator import Simulator

STEDI = "/2023-08-01/polling/transactions"


@pytest.fixture
def simulators() -> Iterator[Simulators]:
    with SimulatorThread(Simulators()) as simulators:
        yield simulators


@pytest.fixture
def remote(simulators) -> Remote:
    return Remote(simulators.url)


def status(simulators: Simulators, path: str) -> int:
    env = simulators.env()
    request = urllib.request.Request(
        simulators.url + path, headers={"Authorization": env["STEDI_API_KEY"]}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def tell_when(simulator: Simulator, count: int, tell: Callable[[], None]) -> None:
    """Calls back once a ledger has as many events as that."""
    offer = simulator.offer

    def counted(*given, **words):
        events = offer(*given, **words)
        if len(simulator.ledger) >= count:
            tell()
        return events

    simulator.offer = counted


def test_env_has_the_connectors_variables(simulators) -> None:
    """The variables lead a connector here; the start is the caller's."""
    env = simulators.env()
    assert set(env) == {
        "MONETAGO_BASE_URL",
        "MONETAGO_TOKEN_URL",
        "MONETAGO_CLIENT_ID",
        "MONETAGO_CLIENT_SECRET",
        "MONETAGO_AUDIENCE",
        "MONETAGO_ALLOW_PRIVATE_ADDRESSES",
        "STEDI_BASE_URL",
        "STEDI_API_KEY",
        "STEDI_ALLOW_PRIVATE_ADDRESSES",
    }
    assert env["MONETAGO_BASE_URL"] == f"{simulators.url}/v1"
    assert env["STEDI_BASE_URL"] == f"{simulators.url}/2023-08-01"
    assert simulators.url.startswith("http://127.0.0.1:")


def test_ledger_is_read_from_outside(simulators, remote) -> None:
    """Every event ever offered is told, visible or not, exact and in order."""
    offered = simulators.monetago.offer(count=1200) + simulators.monetago.offer(late=600)
    told = remote.ledger("monetago")
    assert [(e["seq"], e["id"], e["key"], e["event_time"], e["visible_at"]) for e in told] == [
        event[:5] for event in offered
    ]
    assert [e["body"] for e in told] == [json.loads(event.body) for event in offered]
    assert remote.ledger("monetago", since=1199, body=False) == [e.head() for e in offered[1199:]]
    assert remote.ledger("stedi") == []


def test_events_are_added_from_outside(simulators, remote) -> None:
    """Late events, equal timestamps and given bodies can be asked for."""
    equal = remote.offer("monetago", count=3, event_time=1000)
    late = remote.offer("monetago", event_time=times.now(), late=60)
    given = remote.offer("stedi", body='{"transactionId":"t-1"}')
    assert [event["event_time"] for event in equal] == [1000] * 3
    assert late[0]["visible_at"] - late[0]["event_time"] == 60_000
    assert (given[0]["id"], given[0]["key"]) == ("t-1", "t-1")
    assert len(simulators.monetago.ledger) == 4


def test_faults_are_armed_from_outside(simulators, remote) -> None:
    """A fault armed over HTTP hits, is counted, and can be disarmed."""
    path = STEDI + "?startDateTime=2024-05-01T00:00:00Z"
    remote.fault("stedi", Fault(kind="status", status=503), Fault(kind="reset", times=None))
    assert status(simulators, path) == 503
    told = remote.faults("stedi")
    assert ([fault["kind"] for fault in told["armed"]], told["hits"]) == (["reset"], {"status": 1})
    remote.clear_faults("stedi")
    assert status(simulators, path) == 200


def test_options_are_switched_from_outside(simulators, remote) -> None:
    """All options of a change are switched; with a wrong one none is."""
    remote.configure("monetago", order="descending", cap=20)
    with pytest.raises(ValueError, match="400"):
        remote.configure("monetago", order="ascending", cap=0)
    options = simulators.monetago.options
    assert (options.order, options.cap) == ("descending", 20)


def test_unknown_names_are_refused(remote) -> None:
    """A provider, a field or a body that does not exist is an error for the caller."""
    for call in (
        lambda: remote.ledger("nobody"),
        lambda: remote.offer("stedi", cuont=3),
        lambda: remote.configure("stedi", unheard=1),
        lambda: remote.generate("stedi", rate=0),
    ):
        with pytest.raises(ValueError, match="40"):
            call()


def test_request_log_counts_and_keeps_no_secret(simulators, remote) -> None:
    """Requests are counted by path and status; unknown parameters lose their values."""
    secret = simulators.env()["STEDI_API_KEY"]
    assert status(simulators, f"{STEDI}?startDateTime=2024-05-01T00:00:00Z&key={secret}") == 200
    assert status(simulators, STEDI) == 400
    told = remote.requests("stedi")
    assert told["counts"] == {f"GET {STEDI} 200": 1, f"GET {STEDI} 400": 1}
    assert told["recent"][0]["query"] == {"startDateTime": "2024-05-01T00:00:00Z", "key": "…"}
    assert told["max_in_flight"] == 1
    assert secret not in json.dumps(told)


def test_tokens_are_revoked_from_outside(simulators, remote) -> None:
    """A token can be let die by a tool in another process."""
    simulators.monetago._tokens["invented"] = 1 << 60
    remote.revoke_tokens()
    assert simulators.monetago._tokens == {}


def test_generator_is_started_and_stopped_from_outside(simulators, remote) -> None:
    """Events come until they are told to stop."""
    enough = threading.Event()
    tell_when(simulators.stedi, 50, enough.set)
    remote.generate("stedi", rate=5000)
    assert enough.wait(timeout=10)
    remote.quiet("stedi")
    stopped = len(simulators.stedi.ledger)
    assert remote.offer("stedi")[0]["seq"] == stopped + 1


async def test_generator_makes_bursts_equal_and_late_events() -> None:
    """The rhythm decides how many events share a time and how many come late."""
    simulator = Simulators().monetago
    generator = Generator(
        simulator, Rhythm(burst=0.02, burst_size=30, equal=0.2, late=0.2, late_by=5)
    )
    await generator.stop()
    clock = itertools.count(times.now())
    simulator.now = lambda: next(clock)
    counts = [generator._step() for _ in range(500)]
    events = simulator.ledger.events()
    late = [event.visible_at - event.event_time for event in events]
    assert set(counts) == {1, 30}
    assert len(events) == sum(counts)
    steps = [events[end - 1].event_time for end in itertools.accumulate(counts)]
    assert 50 < len(steps) - len(set(steps)) < 150
    assert 0 < sum(delay > 1000 for delay in late) < len(events) / 4
    assert max(late) < 6000


async def test_generator_keeps_its_rate_and_ends_when_stopped() -> None:
    """What is owed for the time that passed is offered, bursts included."""
    simulator = Simulators().monetago
    loop = asyncio.get_running_loop()
    begun = loop.time()
    generator = Generator(simulator, Rhythm(rate=2000))
    enough = asyncio.Event()
    tell_when(simulator, 200, enough.set)
    await asyncio.wait_for(enough.wait(), timeout=10)
    passed = loop.time() - begun
    await generator.stop()
    assert len(simulator.ledger) <= passed * 2000 + 20
    assert generator._task.done()


def test_process_serves_and_ends_with_its_pipe() -> None:
    """The process tells its addresses, is steered from here, and ends when asked to."""
    arguments = ("--backlog", "50", "--span", "10", "--only", "stedi")
    settings = ("--set", "stedi.hold_back=0.2", "--set", "monetago.order=descending")
    with SimulatorProcess(*arguments, *settings) as process:
        child = process._process
        assert process.env()["STEDI_BASE_URL"] == f"{process.url}/2023-08-01"
        assert len(process.ledger("stedi", body=False)) == 50
        assert process.ledger("monetago") == []
        event = process.offer("stedi")[0]
        assert event["visible_at"] - event["event_time"] == 200
    assert child.returncode == 0


def test_process_that_cannot_start_is_an_error(capfd) -> None:
    """A wrong setting ends the process with a text that names it."""
    with pytest.raises(RuntimeError):
        SimulatorProcess("--set", "stedi.unheard=1").start()
    assert "unheard" in capfd.readouterr().err


@pytest.mark.parametrize("stdin", [subprocess.PIPE, subprocess.DEVNULL])
def test_process_ends_when_its_parent_is_killed(stdin) -> None:
    """However the parent ends, the simulators end too, with a pipe and without one."""
    source = (
        "import subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'connector.sandbox.simulators']\n"
        f"subprocess.Popen(command, stdin={stdin})\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) as parent:
        told = json.loads(parent.stdout.readline())
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        # The pipe ends when the last process that holds its other end has ended.
        assert parent.stdout.read() == b""
    with pytest.raises(ConnectionRefusedError):
        Remote(told["url"]).ledger("stedi")
