# SPDX-License-Identifier: Apache-2.0
"""
Kafka and a registry together, for the demo, the tests and the benchmarks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rich.console import Console

from connector.sandbox.artifacts import KAFKA, REGISTRY
from connector.sandbox.broker import KafkaCluster
from connector.sandbox.cache import Cache
from connector.sandbox.java import FAST_START
from connector.sandbox.progress import Progress
from connector.sandbox.registry import Registry
from connector.sandbox.server import Service


class Sandbox(Service):
    """
    A real Kafka and a real registry that need nothing but Python.

    ::

        with Sandbox() as sandbox:
            print(sandbox.bootstrap_servers, sandbox.registry_url)

    All methods block; from asyncio call them with ``asyncio.to_thread``.

    Args:
        brokers: How many brokers: 1 or 3.
        registry: Whether a registry is wanted.
        jvm: Options for the Java of the brokers: `FAST_START` or `THROUGHPUT`.
        properties: Server properties of the brokers that come on top of ours.
        console: Where to say what happens; None is silent.

    Attributes:
        kafka: The brokers.
        registry: The registry, or None.
    """

    def __init__(
        self,
        *,
        brokers: int = 1,
        registry: bool = True,
        jvm: Sequence[str] = FAST_START,
        properties: Mapping[str, str] | None = None,
        console: Console | None = None,
    ) -> None:
        super().__init__(None)
        self._progress = Progress(console)
        self.kafka = KafkaCluster(
            brokers,
            jvm=jvm,
            properties=properties,
            progress=self._progress,
            guard=self._guard,
        )
        self.registry = Registry(progress=self._progress, guard=self._guard) if registry else None

    @property
    def bootstrap_servers(self) -> str:
        """
        ``host:port`` of the brokers, with commas between several.
        """
        return self.kafka.bootstrap_servers

    @property
    def registry_url(self) -> str:
        """
        The base URL of the registry; empty without one.
        """
        return self.registry.url if self.registry else ""

    def start(self) -> None:
        """
        Start all of it side by side and wait until it serves.

        Raises:
            OutsideError: A download failed, or a server did not start.
        """
        # First and in this thread, so that Ctrl-C ends a download and one bar shows it.
        Cache().provide([KAFKA, REGISTRY] if self.registry else [KAFKA], self._progress)
        begin = time.monotonic()
        if self.registry:
            self.registry.server.launch()
        self.kafka.start()
        self._progress.say(f"Kafka is up on {self.bootstrap_servers}")
        if self.registry:
            self.registry.server.wait()
            self._progress.say(f"The schema registry is up on {self.registry_url}")
        self._progress.say(f"Started in {time.monotonic() - begin:.1f} s")
