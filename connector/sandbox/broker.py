# SPDX-License-Identifier: Apache-2.0
"""
A real Apache Kafka on this computer: one broker or several, in KRaft mode.
"""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from connector.sandbox.artifacts import KAFKA
from connector.sandbox.cache import Cache
from connector.sandbox.java import FAST_START, command
from connector.sandbox.ports import free_port
from connector.sandbox.probe import serves
from connector.sandbox.process import Guard, Process
from connector.sandbox.progress import Progress
from connector.sandbox.properties import LOGGING, Address, render, server_properties
from connector.sandbox.server import Server, Service

_FORMAT_TIMEOUT = 120.0


class KafkaCluster(Service):
    """
    Brokers with free ports, and data that goes away with them.

    All methods block; from asyncio call them with ``asyncio.to_thread``.

    Args:
        brokers: How many: 1 or 3.
        jvm: Options for their Java: `FAST_START`, `THROUGHPUT`, or others.
        properties: Server properties that come on top of ours.
        progress: Where to say what happens.
        guard: The guard of a sandbox that the cluster belongs to.

    Attributes:
        brokers: Each can be stopped, killed, paused, resumed and restarted by itself.
            Empty before the first start.
    """

    def __init__(
        self,
        brokers: int = 1,
        *,
        jvm: Sequence[str] = FAST_START,
        properties: Mapping[str, str] | None = None,
        progress: Progress | None = None,
        guard: Guard | None = None,
    ) -> None:
        super().__init__(guard)
        self.brokers: tuple[Server, ...] = ()
        self._jvm = tuple(jvm)
        self._properties = dict(properties or {})
        self._progress = progress or Progress()
        self._cluster_id = new_cluster_id()
        self._addresses = tuple(
            Address(node, free_port(), free_port()) for node in range(1, brokers + 1)
        )

    @property
    def bootstrap_servers(self) -> str:
        """
        What clients need: ``127.0.0.1:<port>``, with commas between several.
        """
        return ",".join(f"127.0.0.1:{one.port}" for one in self._addresses)

    def launch(self) -> None:
        """
        Start all brokers without waiting for them.

        Raises:
            OutsideError: A download failed, or a data folder could not be formatted.
        """
        if not self.brokers:
            self.brokers = self._make()
        for broker in self.brokers:
            broker.launch()

    def wait(self) -> None:
        """
        Wait until transactions and groups work on every broker.

        Raises:
            OutsideError: A broker ended or did not get ready; with the end of its log.
        """
        for broker in self.brokers:
            broker.wait()

    def start(self) -> None:
        """
        Start all brokers and wait until transactions and groups work.

        Started again after `stop` or `kill`, it has the same ports and the same data.

        Raises:
            OutsideError: A download failed, or a broker did not start.
        """
        self.launch()
        self.wait()

    def stop(self) -> None:
        """
        Stop all brokers cleanly; their data stays until `close`.
        """
        # All at once: the last of three would wait in vain for a majority of controllers.
        for broker in self.brokers:
            broker.terminate()
        for broker in self.brokers:
            broker.stop()

    def kill(self) -> None:
        """
        End all brokers without warning (SIGKILL); their data stays until `close`.
        """
        for broker in self.brokers:
            broker.kill()

    def _make(self) -> tuple[Server, ...]:
        """
        Write the settings and format the data folders.
        """
        cache = Cache()
        cache.provide([KAFKA], self._progress)
        folder = self._guard.folder
        logging = folder / "log4j2.properties"
        logging.write_text(LOGGING)
        class_path = os.pathsep.join(map(str, cache.class_path()))
        java = (f"-Dlog4j2.configurationFile={logging}", "-cp", class_path)
        files = [self._configure(address) for address in self._addresses]
        self._format(files, command(folder, FAST_START, *java))
        return tuple(
            Server(
                f"broker {address.node}",
                self._guard,
                command(folder, self._jvm, *java, "kafka.Kafka", str(file)),
                self._ready(address),
            )
            for address, file in zip(self._addresses, files, strict=True)
        )

    def _configure(self, address: Address) -> Path:
        folder = self._guard.folder
        file = folder / f"broker-{address.node}.properties"
        data = folder / f"broker-{address.node}"
        properties = server_properties(address, self._addresses, data, self._properties)
        file.write_text(render(properties))
        return file

    def _format(self, files: Sequence[Path], java: Sequence[str]) -> None:
        """
        Give each data folder its cluster id, as Kafka wants before the first start.
        """
        tool = [*java, "kafka.tools.StorageTool", "format", "-t", self._cluster_id, "-c"]
        runs = [Process(f"format of {one.stem}", self._guard, [*tool, str(one)]) for one in files]
        for run in runs:
            run.launch()
        for run in runs:
            if not run.ended(_FORMAT_TIMEOUT):
                raise run.failure(f"did not end in {_FORMAT_TIMEOUT:.0f} s")
            if run.exit_code:
                raise run.failure("failed")

    def _ready(self, address: Address) -> Callable[[], bool]:
        def ready() -> bool:
            # Those that were killed or frozen on purpose are not waited for.
            alive = sum(broker.running and not broker.paused for broker in self.brokers)
            return serves(f"127.0.0.1:{address.port}", cluster_id=self._cluster_id, brokers=alive)

        return ready


def new_cluster_id() -> str:
    """
    Make up an id for a cluster: 16 random bytes in base64, as Kafka makes them.

    It never begins with a dash, which StorageTool would take for an option.
    """
    first, *rest = uuid.uuid4().bytes
    return base64.urlsafe_b64encode(bytes([first & 0x7F, *rest])).decode().rstrip("=")
