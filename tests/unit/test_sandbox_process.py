# SPDX-License-Identifier: Apache-2.0
"""
Processes under a guard: signals, endings, and what is left behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connector.errors import OutsideError
from connector.sandbox.process import Guard, Process

IDLE = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]

# Stands for any program that uses a sandbox: it tells what it started, then hangs.
PARENT = """
import os, sys, time
from connector.sandbox.process import Guard, Process
guard = Guard()
process = Process("idle", guard, sys.argv[1:])
process.launch()
print(process.pid, guard.folder, flush=True)
{more}
time.sleep(600)
"""


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """
    Wait until a condition holds; tell whether it did.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def guard() -> Iterator[Guard]:
    guard = Guard()
    yield guard
    guard.close()


def parent(more: str = "") -> tuple[subprocess.Popen[str], int, Path]:
    """
    Start a program that uses a guard; give it, the guarded process, and the data folder.
    """
    code = PARENT.format(more=more)
    program = subprocess.Popen(
        [sys.executable, "-c", code, *IDLE], stdout=subprocess.PIPE, text=True
    )
    pid, folder = program.stdout.readline().split()
    assert alive(int(pid))
    assert Path(folder).is_dir()
    return program, int(pid), Path(folder)


def end(program: subprocess.Popen[str], number: signal.Signals) -> None:
    program.send_signal(number)
    program.wait()
    program.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_a_parent_that_ends_by_a_signal(number):
    """
    However the parent ends, its process is killed and its folder removed.
    """
    program, pid, folder = parent()
    end(program, number)
    assert eventually(lambda: not alive(pid))
    assert eventually(lambda: not folder.exists())


def test_a_frozen_process_does_not_outlive_its_parent():
    """
    A process that was stopped in its tracks is killed too.
    """
    program, pid, folder = parent("process.pause()")
    end(program, signal.SIGKILL)
    assert eventually(lambda: not alive(pid))
    assert eventually(lambda: not folder.exists())


def test_a_forked_child_that_keeps_the_pipe_open_keeps_nothing_alive():
    """
    The guard sees that its parent is gone even when the pipe is still held by a child.
    """
    fork = "child = os.fork()\nif child: print(child, flush=True)\nelse: os.close(1)"
    program, pid, folder = parent(fork)
    child = int(program.stdout.readline())
    try:
        end(program, signal.SIGKILL)
        assert eventually(lambda: not alive(pid))
        assert eventually(lambda: not folder.exists())
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_the_process_dies_with_a_guard_that_is_killed(guard):
    """
    Even the guard may be killed without leaving a server behind.
    """
    process = Process("idle", guard, IDLE)
    process.launch()
    folder = guard.folder
    guard._process.kill()
    assert eventually(lambda: not alive(process.pid))
    with pytest.raises(OutsideError, match="guard"):
        process.launch()
    shutil.rmtree(folder)


def test_close_kills_and_cleans(guard):
    """
    After `close` there is neither process nor folder, and nothing can be started.
    """
    process = Process("idle", guard, IDLE)
    process.launch()
    folder = guard.folder
    guard.close()
    assert not alive(process.pid)
    assert not folder.exists()
    with pytest.raises(OutsideError, match="closed"):
        process.launch()


def test_close_without_use_starts_nothing(guard):
    """
    A guard that was never used has no process and no folder.
    """
    guard.close()
    assert guard._process is None


def test_stop_lets_a_process_clean_up(guard, tmp_path):
    """
    A stop is a SIGTERM that the process can act on.
    """
    ready, done = tmp_path / "ready", tmp_path / "done"
    code = (
        "import pathlib, signal, sys, time\n"
        f"ready, done = pathlib.Path({str(ready)!r}), pathlib.Path({str(done)!r})\n"
        "signal.signal(signal.SIGTERM, lambda *_: (done.touch(), sys.exit(0)))\n"
        "ready.touch()\n"
        "time.sleep(600)\n"
    )
    process = Process("clean", guard, [sys.executable, "-c", code])
    process.launch()
    assert eventually(ready.exists)
    process.stop()
    assert done.exists()
    assert process.exit_code == 0
    assert not process.running


def test_stop_kills_what_does_not_listen(guard, tmp_path):
    """
    A process that ignores SIGTERM is killed after the timeout.
    """
    ready = tmp_path / "ready"
    code = (
        "import pathlib, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "time.sleep(600)\n"
    )
    process = Process("deaf", guard, [sys.executable, "-c", code])
    process.launch()
    assert eventually(ready.exists)
    process.stop(timeout=0.1)
    assert process.exit_code == -signal.SIGKILL


def test_stop_reaches_a_paused_process(guard):
    """
    A frozen process ends by a clean stop, without the wait for the timeout.
    """
    process = Process("idle", guard, IDLE)
    process.launch()
    process.pause()
    assert process.paused
    process.stop()
    assert process.exit_code == -signal.SIGTERM
    assert not process.paused


def test_a_killed_process_can_be_run_again(guard):
    """
    A second launch runs the same command as a new process.
    """
    process = Process("idle", guard, IDLE)
    assert not process.running
    process.launch()
    first = process.pid
    process.kill()
    assert process.exit_code == -signal.SIGKILL
    process.launch()
    assert process.running
    assert process.pid != first


def test_launch_of_a_running_process_does_nothing(guard):
    """
    There is one process, however often it is launched.
    """
    process = Process("idle", guard, IDLE)
    process.launch()
    first = process.pid
    process.launch()
    assert process.pid == first


def test_the_output_is_in_the_error(guard):
    """
    What a process wrote last is told when it fails.
    """
    process = Process("broker 1", guard, [sys.executable, "-c", "print('out of coffee'); exit(3)"])
    process.launch()
    assert process.ended(10)
    assert process.exit_code == 3
    assert "broker 1 gave up. The end of its log:\nout of coffee" in str(process.failure("gave up"))


def test_credentials_of_the_parent_do_not_reach_a_process(guard, monkeypatch):
    """
    A process sees none of our environment but what it needs.
    """
    monkeypatch.setenv("STEDI_API_KEY", "invented")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Dinvented=1")
    code = "import os; print(sorted(os.environ))"
    process = Process("env", guard, [sys.executable, "-I", "-c", code])
    process.launch()
    assert process.ended(10)
    text = process.log.read_text()
    assert "PATH" in text
    assert "STEDI_API_KEY" not in text
    assert "JAVA_TOOL_OPTIONS" not in text


def test_a_command_that_does_not_exist_is_an_error(guard):
    """
    The system's reason is told, and the guard lives on.
    """
    with pytest.raises(OutsideError, match="could not start a process"):
        Process("none", guard, ["/nonexistent/java"]).launch()
    process = Process("idle", guard, IDLE)
    process.launch()
    assert process.running


def test_a_guard_that_does_not_run_is_an_error(monkeypatch, tmp_path):
    """
    A guard that ends before its first answer is told, not waited for.
    """
    monkeypatch.setattr("connector.sandbox.process._GUARD", tmp_path / "none.py")
    guard = Guard()
    with pytest.raises(OutsideError, match="guard of the sandbox ended"):
        _ = guard.folder
    guard.close()
