# SPDX-License-Identifier: Apache-2.0
"""
Who takes part, and how each is started.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks.job import Job
from connector.sandbox import Sandbox
from connector.sandbox.environment import connector_environment


@dataclass(frozen=True, slots=True)
class Contender:
    """
    One way to bring the backlog into Kafka.

    Attributes:
        name: On the command line.
        title: In the table.
        module: What is run: ``benchmarks.script``, or None for the connector itself.
        pages: Pages in a transaction, where it is ours to say.
        exactly_once: Through crashes.
        own_writer: Encodes with the connector's Avro writer.
        usual: Takes part unless others are named.
    """

    name: str
    title: str
    module: str | None
    pages: int
    exactly_once: str
    own_writer: bool = False
    usual: bool = True


CONTENDERS = (
    Contender("script", "hand-written script", "benchmarks.script", 10, "by hand"),
    Contender(
        "script-1", "the same, a transaction a page", "benchmarks.script", 1, "by hand", usual=False
    ),
    Contender("ceiling", "the parts alone, fastavro", "benchmarks.ceiling", 10, "-"),
    Contender(
        "parts", "the parts alone, our Avro writer", "benchmarks.ceiling", 10, "-", own_writer=True
    ),
    Contender("connector", "`connector run`", None, 0, "yes"),
)
SCRIPT, CEILING, PARTS, OURS = "script", "ceiling", "parts", "connector"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """
    What all contenders stand on.

    Attributes:
        sandbox: Kafka and the registry.
        provider: MonetaGo's variables (``MONETAGO_…``).
        after: Start of the backlog, ISO 8601.
        folder: For what contenders print.
    """

    sandbox: Sandbox
    provider: Mapping[str, str]
    after: str
    folder: Path


def topic_of(prefix: str) -> str:
    """
    Name the data topic of a run.
    """
    return f"{prefix}monetago.activity"


def state_topic_of(prefix: str) -> str:
    """
    Name the state topic of a run of one of the others.
    """
    return f"{prefix}state"


@contextmanager
def running(contender: Contender, ground: Ground, prefix: str) -> Iterator[subprocess.Popen[bytes]]:
    """
    Run a contender; it is stopped at the end of the context.

    Args:
        contender: Which one.
        ground: Where it runs.
        prefix: What stands before the names of its topics.
    """
    if contender.module is None:
        command, environment = connector_command(ground, prefix)
    else:
        job = _job(contender, ground, prefix)
        command = [sys.executable, "-m", contender.module, job.argument()]
        environment = dict(os.environ)
    with (ground.folder / f"{prefix}log").open("wb") as output:
        process = _start(command, environment, output)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def connector_command(
    ground: Ground, prefix: str, **changes: str
) -> tuple[list[str], dict[str, str]]:
    """
    Give the command line and the environment of the connector.

    Args:
        ground: Where it runs.
        prefix: What stands before the names of its topics.
        changes: Further variables.
    """
    ours = connector_environment(ground.sandbox, ground.provider, name="bench")
    environment = {
        **os.environ,
        **ours,
        "CONNECTOR_TOPIC_PREFIX": prefix,
        "CONNECTOR_LOG_FORMAT": "json",
        "MONETAGO_START": ground.after,
        **changes,
    }
    return [sys.executable, "-m", "connector", "run"], environment


def _start(
    command: list[str], environment: Mapping[str, str], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=dict(environment), stdout=output, stderr=subprocess.STDOUT)


def _job(contender: Contender, ground: Ground, prefix: str) -> Job:
    provider = ground.provider
    return Job(
        api=provider["MONETAGO_BASE_URL"],
        token_url=provider["MONETAGO_TOKEN_URL"],
        credentials={
            "grant_type": "client_credentials",
            "client_id": provider["MONETAGO_CLIENT_ID"],
            "client_secret": provider["MONETAGO_CLIENT_SECRET"],
            "audience": provider["MONETAGO_AUDIENCE"],
        },
        after=ground.after,
        bootstrap=ground.sandbox.bootstrap_servers,
        registry=ground.sandbox.registry_url,
        topic=topic_of(prefix),
        state_topic=state_topic_of(prefix),
        pages=contender.pages,
        own_writer=contender.own_writer,
    )
