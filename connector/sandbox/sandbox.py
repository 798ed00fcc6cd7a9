# SPDX-License-Identifier: Apache-2.0
"""
Kafka and a registry together, for the demo, the tests and the benchmarks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from rich.console import Console

from connector.sandbox.artifacts import Cache
from connector.sandbox.broker import FAST_START, KafkaCluster
from connector.sandbox.process import Guard
from connector.sandbox.progress import Progress
from connector.sandbox.registry import Registry


class Sandbox:
    """
    A real Kafka and a real registry that need nothing but Python.

    ::

        with Sandbox() as sandbox:
            print(sandbox.bootstrap_servers, sandbox.registry_url)

    All methods block; from asyncio call them with ``asyncio.to_thread``.

    Args:
        brokers: How many brokers.
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
        self._progress = Progress(console)
        self._guard = Guard()
        cache = Cache()
        self.kafka = KafkaCluster(
            brokers,
            jvm=jvm,
            properties=properties,
            progress=self._progress,
            cache=cache,
            guard=self._guard,
        )
        self.registry = (
            Registry(progress=self._progress, cache=cache, guard=self._guard) if registry else None
        )

    @property
    def bootstrap_servers(self) -> str:
        """
        ``host:port`` of the brokers, with commas between several.
        """
        return self.kafka.bootstrap_servers

    @property
    def registry_url(self) -> str:
        """
        The base URL of the registry, or an empty text without one.
        """
        return self.registry.url if self.registry else ""

    def start(self) -> None:
        """
        Start all of it at once and wait until it serves.

        Raises:
            OutsideError: A download failed, or a server did not start.
        """
        begin = time.monotonic()
        with ThreadPoolExecutor(2) as pool:
            tasks = [pool.submit(self.kafka.start)]
            if self.registry:
                tasks.append(pool.submit(self.registry.start))
            for task in tasks:
                task.result()
        self._progress.say(f"Kafka is up on {self.bootstrap_servers}")
        if self.registry:
            self._progress.say(f"The registry is up on {self.registry_url}")
        self._progress.say(f"Started in {time.monotonic() - begin:.1f} s")

    def stop(self) -> None:
        """
        Stop all of it cleanly, then remove the data.
        """
        with ThreadPoolExecutor(2) as pool:
            tasks = [pool.submit(self.kafka.stop)]
            if self.registry:
                tasks.append(pool.submit(self.registry.stop))
            for task in tasks:
                task.result()
        self.close()

    def close(self) -> None:
        """
        End all of it at once and remove the data.
        """
        self._guard.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
