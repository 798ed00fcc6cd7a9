# SPDX-License-Identifier: Apache-2.0
"""
A real schema registry on this computer: Apicurio, by Confluent's API.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from connector.sandbox.artifacts import REGISTRY
from connector.sandbox.cache import Cache
from connector.sandbox.java import command
from connector.sandbox.ports import free_port
from connector.sandbox.probe import answers
from connector.sandbox.process import Guard
from connector.sandbox.progress import Progress
from connector.sandbox.server import Server, Service

JVM = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class Registry(Service):
    """
    A registry with a free port, and data that goes away with it.

    What is registered keeps its ids through `stop`, a kill and a new `start`.
    All methods block; from asyncio call them with ``asyncio.to_thread``.

    Args:
        jvm: Options for its Java.
        progress: Where to say what happens.
        guard: The guard of a sandbox that the registry belongs to.
    """

    def __init__(
        self,
        *,
        jvm: Sequence[str] = JVM,
        progress: Progress | None = None,
        guard: Guard | None = None,
    ) -> None:
        super().__init__(guard)
        self._jvm = tuple(jvm)
        self._progress = progress or Progress()
        self._port = free_port()
        # In every answer, so that no other server on this port is taken for ours.
        self._header = ("X-Sandbox", uuid.uuid4().hex)
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """
        The base of Confluent's API: ``http://127.0.0.1:<port>/apis/ccompat/v7``.
        """
        return f"http://127.0.0.1:{self._port}/apis/ccompat/v7"

    @property
    def server(self) -> Server:
        """
        The process, to be stopped, killed, paused, resumed and restarted.

        Raises:
            OutsideError: It was not downloaded yet, and the download failed.
        """
        if self._server is None:
            self._server = self._make()
        return self._server

    def start(self) -> None:
        """
        Start it and wait until it answers.

        Raises:
            OutsideError: The download failed, or it did not start.
        """
        self.server.start()

    def stop(self) -> None:
        """
        Stop it cleanly; what is registered stays until `close`.
        """
        self.server.stop()

    def _make(self) -> Server:
        cache = Cache()
        cache.provide([REGISTRY], self._progress)
        (runner,) = cache.registry_folder().glob("*-runner.jar")
        folder = self._guard.folder
        # Without WRITE_DELAY=0 a kill loses what was registered in the last half second.
        database = f"jdbc:h2:file:{folder / 'registry'};WRITE_DELAY=0"
        name, value = self._header
        argv = command(
            folder,
            self._jvm,
            "-Dquarkus.http.host=127.0.0.1",
            f"-Dquarkus.http.port={self._port}",
            f'-Dquarkus.http.header."{name}".value={value}',
            f"-Dquarkus.datasource.jdbc.url={database}",
            "-jar",
            str(runner),
        )
        return Server(
            "registry",
            self._guard,
            argv,
            lambda: answers(f"{self.url}/subjects", self._header),
        )
